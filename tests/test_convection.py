"""Water columns, and what is mixed in them from the surface down. Fields are [k, j, i], the surface last."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from spinup.convection import keep_mixed, mix, mixed_levels, stably_stratified, water_columns
from spinup.state import Layout, Variable


def column(*values: float) -> np.ndarray:
    """A field of one column, the first value at the floor."""
    return np.array(values)[:, None, None]


def layout(mask: np.ndarray, *names: str, volume: np.ndarray | None = None) -> Layout:
    volume = np.ones(mask.shape) if volume is None else volume
    return Layout(tuple(Variable(name, ("z", "y", "x"), mask, volume) for name in names))


def test_all_variables_of_a_column_share_its_number():
    """A deep column, one of land, one that is shallow and another deep one."""
    mask = np.array([[[True, False, False, True]], [[True, False, True, True]]])
    assert water_columns(layout(mask, "temp", "salt")).tolist() == [0, 2, 0, 1, 2] * 2


def test_columns_of_variables_with_masks_of_their_own():
    temp = Variable("temp", ("z", "y", "x"), np.array([[[False, True]]]), np.ones((1, 1, 2)))
    salt = Variable("salt", ("z", "y", "x"), np.array([[[True, True]]]), np.ones((1, 1, 2)))
    assert water_columns(Layout((temp, salt))).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ((1.0, 2.0, 3.0, 4.0), 0),
        ((1.0, 2.0, 4.0, 4.0), 1),
        ((1.0, 4.0, 4.05, 4.0), 2),
        ((4.0, 4.0, 4.0, 4.0), 3),
        ((4.0, 4.0, 3.0, 2.0), 0),  # alike at depth alone
        ((3.0, 3.0, 4.0, 4.0), 1),
        ((3.76, 3.84, 3.92, 4.0), 3),  # from level to level, however much it adds up to
        ((1.0, 2.0, 3.9, 4.0), 1),
        ((1.0, 2.0, 3.5, 4.0), 0),
    ],
)
def test_how_many_levels_are_mixed_from_the_surface(values, levels):
    field = column(*values)
    assert mixed_levels(field, np.ones(field.shape, dtype=bool), 0.15).tolist() == [[levels]]


def test_nothing_is_mixed_into_the_floor():
    mask = column(0, 0, 1, 1).astype(bool)
    assert mixed_levels(column(4.0, 4.0, 4.0, 4.0), mask, 0.1).tolist() == [[1]]
    assert mixed_levels(column(np.nan, np.nan, 4.0, 4.0), mask, 0.1).tolist() == [[1]]
    assert mixed_levels(column(4.0, 4.0, 4.0, 4.0), np.zeros((4, 1, 1), dtype=bool), 0.1).tolist() == [[0]]


def test_the_mixed_cells_are_at_their_mean():
    field, volume = column(1.0, 2.0, 3.0, 7.0), column(1.0, 2.0, 3.0, 1.0)
    np.testing.assert_array_equal(mix(field, volume, np.array([[0]])), field)
    np.testing.assert_array_equal(mix(field, volume, np.array([[1]])), column(1.0, 2.0, 4.0, 4.0))
    np.testing.assert_allclose(mix(field, volume, np.array([[2]])), column(1.0, 20 / 6, 20 / 6, 20 / 6))
    np.testing.assert_allclose(mix(field, volume, np.array([[3]])), column(3.0, 3.0, 3.0, 3.0))


@given(st.integers(0, 1000))
def test_mixing_keeps_the_content_of_every_column(seed):
    random = np.random.default_rng(seed)
    field, volume = random.normal(size=(5, 2, 3)), random.uniform(0.1, 2, (5, 2, 3))
    volume[: random.integers(3), 0, 1] = 0.0  # land
    levels = random.integers(0, 3, (2, 3))
    mixed = mix(field, volume, levels)
    np.testing.assert_allclose((volume * mixed).sum(axis=0), (volume * field).sum(axis=0), atol=1e-12)
    below = np.arange(5)[:, None, None] < 4 - levels
    np.testing.assert_array_equal(mixed[below], field[below])
    np.testing.assert_array_equal(mixed[:, levels == 0], field[:, levels == 0])


def test_what_is_mixed_stays_mixed_in_the_candidate():
    """Two columns of one salinity: temperature is mixed over two cells in the first, over none in the second."""
    mask = np.ones((3, 1, 2), dtype=bool)
    volume = np.array([[[1.0, 1.0]], [[3.0, 3.0]], [[1.0, 1.0]]])
    grid = layout(mask, "temp", "salt", volume=volume)
    x = {"temp": np.array([[[1.0, 1.0]], [[5.0, 2.0]], [[5.0, 5.0]]]), "salt": np.full((3, 1, 2), 7.0)}
    candidate = {
        "temp": np.array([[[0.0, 4.0]], [[6.0, 4.0]], [[2.0, 4.0]]]),
        "salt": np.array([[[9.0, 9.0]], [[0.0, 1.0]], [[4.0, 2.0]]]),
    }
    settled = grid.unpack(keep_mixed(grid, neutral=0.1)(grid.pack(x), grid.pack(candidate)))
    np.testing.assert_array_equal(settled["temp"], np.array([[[0.0, 4.0]], [[5.0, 4.0]], [[5.0, 4.0]]]))
    np.testing.assert_array_equal(settled["salt"], np.array([[[9.0, 9.0]], [[1.0, 1.0]], [[1.0, 2.0]]]))


def test_water_of_one_temperature_that_salinity_stratifies_is_not_mixed():
    """In units of the scales: salinity counts as alike to a tenth of 0.5."""
    temp, salt = (
        Variable(n, ("z", "y", "x"), np.ones((3, 1, 1), bool), np.ones((3, 1, 1)), scale=s)
        for n, s in (("temp", 1.0), ("salt", 0.5))
    )
    grid = Layout((temp, salt))
    x = grid.pack({"temp": column(5.0, 5.0, 5.0), "salt": column(34.0, 34.06, 34.1)})
    candidate = grid.pack({"temp": column(1.0, 2.0, 6.0), "salt": column(34.0, 34.1, 34.3)})
    settled = grid.unpack(keep_mixed(grid, neutral=0.1)(x, candidate))
    np.testing.assert_array_equal(settled["temp"], column(1.0, 4.0, 4.0))
    np.testing.assert_allclose(settled["salt"], column(34.0, 34.2, 34.2))


def test_land_is_not_mixed_in():
    mask = np.array([[[False]], [[True]], [[True]]])
    grid = layout(mask, "temp")
    settled = keep_mixed(grid, neutral=0.1)(np.array([5.0, 5.0]), np.array([1.0, 3.0]))
    np.testing.assert_array_equal(settled, [2.0, 2.0])


def test_a_variable_with_a_shallower_floor_keeps_its_own_content():
    temp = Variable("temp", ("z", "y", "x"), np.ones((3, 1, 1), dtype=bool), np.ones((3, 1, 1)))
    salt = Variable("salt", ("z", "y", "x"), column(0, 1, 1).astype(bool), np.ones((3, 1, 1)))
    grid = Layout((temp, salt))
    x = grid.pack({"temp": column(5.0, 5.0, 5.0), "salt": column(0.0, 2.0, 2.0)})
    candidate = grid.pack({"temp": column(1.0, 2.0, 6.0), "salt": column(0.0, 1.0, 3.0)})
    np.testing.assert_array_equal(keep_mixed(grid, neutral=0.1)(x, candidate), [3.0, 3.0, 3.0, 2.0, 2.0])


def test_water_is_mixed_with_the_lighter_water_that_it_lies_on():
    everywhere, warm_is_light = np.ones((4, 1, 1), dtype=bool), {"temp": np.full((4, 1, 1), -0.2)}

    def adjusted(*values: float, thickness: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)) -> list[float]:
        found = stably_stratified({"temp": column(*values)}, everywhere, column(*thickness), warm_is_light)
        return found["temp"].ravel().tolist()

    assert adjusted(1.0, 2.0, 3.0, 4.0) == [1.0, 2.0, 3.0, 4.0]
    assert adjusted(1.0, 4.0, 2.0, 9.0) == [1.0, 3.0, 3.0, 9.0]
    assert adjusted(1.0, 6.0, 2.0, 3.0) == pytest.approx([1.0, 11 / 3, 11 / 3, 11 / 3])  # what is mixed lies on lighter
    assert adjusted(1.0, 4.0, 2.0, 9.0, thickness=(1.0, 3.0, 1.0, 1.0)) == [1.0, 3.5, 3.5, 9.0]


def test_what_is_stratified_by_salt_is_not_mixed():
    fields = {"temp": column(3.0, 1.0), "salt": column(36.0, 35.0)}
    slopes = {"temp": column(-0.2, -0.2), "salt": column(0.8, 0.8)}
    mask = np.ones((2, 1, 1), dtype=bool)
    for name, field in stably_stratified(fields, mask, column(1.0, 1.0), slopes).items():
        np.testing.assert_array_equal(field, fields[name])
    mixed = stably_stratified(fields, mask, column(1.0, 1.0), {"temp": slopes["temp"]})
    np.testing.assert_array_equal(mixed["salt"], column(35.5, 35.5))  # with the temperature


@given(st.integers(0, 1000))
def test_stratified_columns_are_isotonic_regressions(seed):
    """Where one tracer makes the density, the adjustment is the nearest monotonic profile, land or not."""
    random = np.random.default_rng(seed)
    field, thickness = random.normal(size=(6, 2, 3)), random.uniform(0.1, 2, (6, 1, 1))
    mask = np.arange(6)[:, None, None] >= random.integers(0, 6, (2, 3))
    field[~mask] = np.nan
    found = stably_stratified({"temp": field}, mask, thickness, {"temp": np.full(field.shape, -0.2)})["temp"]
    for j, i in np.ndindex(2, 3):
        ocean = mask[:, j, i]
        expected = isotonic_regression(field[ocean, j, i], weights=thickness[ocean].ravel()).x
        np.testing.assert_allclose(found[ocean, j, i], expected, atol=1e-12)
    np.testing.assert_array_equal(found[~mask], field[~mask])
