import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinup.errors import ModelFailure, UsageError
from spinup.state import Layout, Variable


def layout(seed: int = 0) -> Layout:
    rng = np.random.default_rng(seed)
    mask = rng.random((4, 5, 6)) > 0.3
    volume = rng.uniform(1, 2, mask.shape)
    temp = Variable("temp", ("z", "y", "x"), mask, volume, "degC", scale=2.0, bounds=(-2.0, 40.0))
    salt = Variable("salt", ("z", "y", "x"), mask, volume, "g/kg", scale=0.5)
    return Layout((temp, salt))


@given(seed=st.integers(0, 1000))
def test_packing_is_lossless_and_leaves_land_out(seed):
    grid = layout(seed)
    x = np.random.default_rng(seed).standard_normal(grid.size)
    fields = grid.unpack(x)
    np.testing.assert_array_equal(grid.pack(fields), x)
    for v in grid.variables:
        assert np.isnan(fields[v.name][~v.mask]).all()


def test_the_norm_is_the_rms_in_units_of_the_scales():
    grid = layout()
    x = np.concatenate([np.full(v.size, v.scale) for v in grid.variables])
    assert grid.inner.norm(x) == pytest.approx(1.0)
    assert grid.rms(x) == pytest.approx({"temp": 2.0, "salt": 0.5})
    assert grid.means(x) == pytest.approx({"temp": 2.0, "salt": 0.5})


def test_bounds_hold_where_a_variable_has_them():
    lower, upper = layout().bounds
    part = layout().slices["temp"]
    assert set(lower[part]) == {-2.0}
    assert set(upper[part]) == {40.0}
    assert np.isinf(lower[layout().slices["salt"]]).all()


def test_a_value_that_is_not_finite_is_named_by_its_cell():
    grid = layout()
    x = np.zeros(grid.size)
    cell = np.argwhere(grid.variables[1].mask)[3]
    x[grid.slices["salt"].start + 3] = np.nan
    where = ", ".join(f"{d}={i}" for d, i in zip("zyx", cell, strict=True))
    with pytest.raises(ModelFailure, match=f"salt is nan at {where}"):
        grid.check_finite(x)
    with pytest.raises(UsageError, match="start state: salt is nan"):
        grid.check_start(grid.unpack(x))


def test_a_wrong_shape_is_named():
    with pytest.raises(UsageError, match=r"temp has shape \(2,\), expected \(4, 5, 6\)"):
        layout().check_start({"temp": np.zeros(2), "salt": np.zeros(2)})
