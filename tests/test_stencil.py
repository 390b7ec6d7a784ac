"""The Jacobian of a local step: its stencil is found, its matrix is exact, and a step that is not local is refused."""

from itertools import product

import numpy as np
import pytest
from scipy.sparse import coo_array, csr_array, diags_array, eye_array

from spinup import local_step
from spinup import stencil as stencil_module
from spinup.errors import ModelFailure, UsageError
from spinup.function_map import FunctionMap
from spinup.stencil import Stencil, stencil_of

CROSS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
COLUMNS = tuple((k, *offset) for k in (-1, 0, 1) for offset in CROSS)


def random_step(shape, offsets, *, cyclic=(), mask=None, seed=0):
    """A matrix (cells, cells) with random entries where a cell answers to the cells at some offsets; none on land."""
    random = np.random.default_rng(seed)
    mask = np.ones(shape, bool) if mask is None else mask
    rows, columns = [], []
    for cell in np.argwhere(mask):
        for offset in offsets:
            at = cell + offset
            around = [a % n if axis in cyclic else a for axis, (a, n) in enumerate(zip(at, shape, strict=True))]
            if all(0 <= a < n for a, n in zip(around, shape, strict=True)) and mask[tuple(around)]:
                rows.append(np.ravel_multi_index(tuple(cell), shape))
                columns.append(np.ravel_multi_index(tuple(around), shape))
    entries = random.uniform(0.1, 1.0, len(rows))
    return csr_array(coo_array((entries, (rows, columns)), shape=(np.prod(shape),) * 2))


def model_of(matrix, shape, *, jit=False, **options):
    """A map whose step is the matrix."""
    dense = matrix.toarray() if jit else matrix

    def step(state):
        return {"c": (dense @ state["c"].reshape(-1)).reshape(shape)}

    return FunctionMap(lambda s: s, {"c": np.ones(shape)}, step=step, steps=10, jit=jit, **options)


def jacobian(model, state=None):
    operator = model.operator(model.start() if state is None else state)
    return (operator.matrix + eye_array(model.layout.size)).toarray()


# --- colours -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cyclic", list(product([False, True], repeat=2)))
@pytest.mark.parametrize("shape", [(10, 10), (12, 7), (11, 13), (37, 6), (7, 29)])
@pytest.mark.parametrize("wide", [False, True])
def test_no_cell_answers_to_two_of_a_colour(shape, cyclic, wide):
    offsets = (*CROSS, (0, 2), (-2, 1)) if wide else CROSS
    stencil = Stencil(shape, offsets, cyclic, (False, False))
    for row in stencil_rows(stencil):
        colours = stencil.colours.ravel()[row]
        assert len(np.unique(colours)) == len(colours)


@pytest.mark.parametrize("cyclic", [(False, False), (True, False), (True, True)])
def test_a_box_around_the_stencil_serves_where_no_lattice_is_found(cyclic, monkeypatch):
    monkeypatch.setattr(stencil_module, "TRIES", 0)
    stencil = Stencil((11, 13), (*CROSS, (2, -1)), cyclic, (False, False))
    assert stencil.lattice == (4 * 3, (1, 4))
    for row in stencil_rows(stencil):
        assert len(np.unique(stencil.colours.ravel()[row])) == len(row)


def stencil_rows(stencil):
    """The cells that each cell answers to."""
    sources = np.array(list(stencil.sources()))
    return [column[column >= 0] for column in sources.T]


def test_a_wide_cyclic_grid_whose_size_divides_by_nothing_has_a_seam():
    """Five colours and as many in the seam: a lattice that closes would have 97."""
    assert Stencil((9, 97), CROSS, (False, True), (False, False)).number == 10
    assert Stencil((9, 95), CROSS, (False, True), (False, False)).number == 5


def test_a_full_dimension_has_a_colour_for_each_of_its_cells():
    stencil = stencil_of((4, 30, 30), [(k, *offset) for k in range(-3, 4) for offset in CROSS])
    assert stencil.full == (True, False, False)
    assert stencil.number == 4 * 5
    row = stencil_rows(stencil)[31]
    assert len(row) == 4 * 5
    assert len(np.unique(stencil.colours.ravel()[row])) == 4 * 5


def test_what_was_seen_around_the_ends_makes_a_dimension_cyclic():
    assert stencil_of((9,), [(1,), (-1,), (8,)]).cyclic == (True,)
    assert stencil_of((9,), [(1,), (-1,)]).cyclic == (False,)
    assert stencil_of((9,), [(k,) for k in range(-8, 9)]).full == (True,)
    assert stencil_of((), []).number == 1


# --- matrices that are known ---------------------------------------------------------------------

ISLAND = np.ones((9, 11), bool)
ISLAND[3:6, 4:6] = ISLAND[0, :3] = False
KNOWN = {
    "line": ((12,), ((0,), (1,), (-2,)), (), None),
    "ring": ((12,), ((0,), (1,), (-1,)), (0,), None),
    "one_cell": ((1,), ((0,),), (), None),
    "plane": ((9, 11), CROSS, (), None),
    "cylinder": ((9, 11), CROSS, (1,), None),
    "torus": ((9, 12), CROSS, (0, 1), None),
    "island": ((9, 11), CROSS, (1,), ISLAND),
    "box": ((5, 6, 7), COLUMNS, (), None),
    "channel": ((5, 6, 8), COLUMNS, (2,), np.arange(240).reshape(5, 6, 8) % 31 > 0),
    "columns": ((5, 7, 6), tuple((k, *o) for k in range(-4, 5) for o in CROSS), (), None),
}


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", KNOWN)
def test_the_matrix_of_a_linear_step_is_found(name, jit):
    shape, offsets, cyclic, mask = KNOWN[name]
    matrix = random_step(shape, offsets, cyclic=cyclic, mask=mask)
    ocean = np.ones(shape, bool) if mask is None else mask
    known = matrix.toarray()[np.ix_(ocean.ravel(), ocean.ravel())]
    found = jacobian(model_of(matrix, shape, jit=jit, mask=ocean))
    np.testing.assert_allclose(found, known, rtol=1e-14 if jit else 0, atol=1e-15 if jit else 1e-9)


def test_a_state_of_a_single_number():
    model = FunctionMap(np.cos, 1.0, step=lambda x: 0.5 * x, steps=3)
    assert jacobian(model) == pytest.approx(np.array([[0.5]]), rel=1e-9)


def implicit_column(levels, exchange):
    """(levels, levels): an implicit step of vertical mixing, by which each cell answers to its whole column."""
    ones = np.full(levels - 1, exchange)
    inside = 1 + np.r_[ones, 0] + np.r_[0, ones]
    return np.linalg.inv(diags_array([-ones, inside, -ones], offsets=(-1, 0, 1)).toarray())


@pytest.mark.parametrize(("exchange", "levels"), [(5.0, 12), (1e-3, 30)])
def test_an_implicit_column(exchange, levels):
    """Strongly mixed it is full: a colour for each level. Weakly mixed it is local: what is rounding is left out."""
    import jax.numpy as jnp

    column = implicit_column(levels, exchange)

    def step(state):
        c = state["c"]
        east = 0.1 * (jnp.roll(c, 1, axis=1) - c)  # upwind around a ring
        return {"c": jnp.asarray(column) @ (c + east)}

    model = FunctionMap(lambda s: s, {"c": np.ones((levels, 12))}, step=step, steps=10, jit=True)
    upwind = 0.9 * np.eye(12) + 0.1 * np.roll(np.eye(12), 1, axis=0)
    np.testing.assert_allclose(jacobian(model), np.kron(column, upwind), rtol=0, atol=1e-15)
    model.operator(model.start())
    steps = model.operator_years / model.step_years
    assert steps == pytest.approx(12 * 2 + 1) if levels == 12 else steps < 30


# --- two variables, and steps that are not linear ------------------------------------------------


def reacting(module):
    """Two tracers that diffuse along a line; one is taken up into the other, and rains on the cell below."""

    def step(state):
        a, b = state["a"], state["b"]
        uptake = 0.1 * a / (a + 0.5) * state["light"]
        a = a + 0.2 * (module.roll(a, 1) - 2 * a + module.roll(a, -1)) - uptake + 0.3 * b
        b = 0.7 * b + module.concatenate([module.zeros(1), uptake[:-1]])
        return {"a": a, "b": b, "light": state["light"]}

    return step


def reacting_model(jit, **options):
    import jax.numpy as jnp

    random = np.random.default_rng(3)
    start = {"a": random.uniform(1, 2, 15), "b": random.uniform(0, 0.1, 15), "light": random.uniform(0.5, 1, 15)}
    return FunctionMap(
        reacting(jnp if jit else np), start, step=reacting(jnp if jit else np), steps=4, jit=jit,
        accelerate=("a", "b"), scale={"a": 1.0, "b": 0.01}, **options,
    )  # fmt: skip


@pytest.mark.parametrize("jit", [False, True])
def test_coupled_variables(jit):
    model = reacting_model(jit)
    start = model.start()
    slope = 0.1 * 0.5 / (np.asarray(start["a"]) + 0.5) ** 2 * np.asarray(start["light"])
    ring = np.roll(np.eye(15), 1, axis=0)
    aa = np.eye(15) + 0.2 * (ring - 2 * np.eye(15) + ring.T) - np.diag(slope)
    known = np.block([[aa, 0.3 * np.eye(15)], [np.diag(slope[:-1], -1), 0.7 * np.eye(15)]])
    np.testing.assert_allclose(jacobian(model), known, rtol=0, atol=1e-15 if jit else 1e-5)


@pytest.mark.parametrize("jit", [False, True])
def test_variables_with_land_of_their_own(jit):
    """A sediment below part of the water answers to it, and gives half of that back."""
    wet, bed = np.arange(20) > 2, (np.arange(20) > 6) & (np.arange(20) < 15)

    def step(state):
        sinks = 0.2 * state["water"] * bed
        return {"water": state["water"] - sinks + 0.1 * state["bed"] * bed, "bed": state["bed"] + sinks}

    start = {"water": np.ones(20), "bed": np.ones(20)}
    model = FunctionMap(lambda s: s, start, step=step, steps=4, mask={"water": wet, "bed": bed}, jit=jit)
    one, on = np.eye(20), np.diag(bed.astype(float))
    known = np.block([[one - 0.2 * on, 0.1 * on], [0.2 * on, one]])
    ocean = np.concatenate([wet, bed])
    np.testing.assert_allclose(jacobian(model), known[np.ix_(ocean, ocean)], atol=1e-15 if jit else 1e-9)


@pytest.mark.parametrize("jit", [False, True])
def test_what_it_costs_is_counted_in_perturbed_steps(jit):
    """Three colours of a, one of b, a check; and a step to take differences from. Samples are of the first time."""
    model = reacting_model(jit)
    expected = model.operator_years
    model.operator(model.start())
    assert model.operator_years == expected
    model.operator(model.start())
    assert model.operator_years == pytest.approx((3 + 1 + 1 + (not jit)) / 4)
    assert expected > model.operator_years
    assert model.step_years == 0.25


def test_the_steps_that_are_taken_are_those_counted():
    taken = []

    def step(state):
        taken.append(1)
        return reacting(np)(state)

    start = reacting_model(False).start()
    model = FunctionMap(step, start, step=step, steps=4, accelerate=("a", "b"))
    model.operator(start)
    assert len(taken) == round(model.operator_years * 4)
    taken.clear()
    model.operator(start)
    assert len(taken) == round(model.operator_years * 4)


def test_operators_of_a_linear_step_are_equal():
    matrix = random_step((9, 11), CROSS)
    model = model_of(matrix, (9, 11), jit=True)
    elsewhere = {"c": np.random.default_rng(1).normal(size=(9, 11))}
    assert model.operator(model.start()) == model.operator(elsewhere)


def test_single_precision():
    matrix = random_step((12,), ((0,), (1,))).toarray().astype("float32")
    for jit in (False, True):
        model = FunctionMap(lambda s: s, np.ones(12, "float32"), step=lambda x: (matrix * x).sum(-1), steps=10, jit=jit)
        np.testing.assert_allclose(jacobian(model), matrix, atol=1e-5)


# --- stencils that are not the same everywhere ---------------------------------------------------


def overflow():
    """(900, 900): a cross, and one cell that flows into another far from it."""
    shape = (30, 30)
    matrix = random_step(shape, CROSS).tolil()
    matrix[np.ravel_multi_index((24, 6), shape), np.ravel_multi_index((19, 8), shape)] = 0.5
    return csr_array(matrix)


@pytest.mark.parametrize("jit", [False, True])
def test_a_stencil_that_is_wider_in_one_place_is_found(jit):
    """One cell out of 900 has an overflow into another, five rows further: no sample is there."""
    matrix = overflow()
    found = jacobian(model_of(matrix, (30, 30), jit=jit))
    np.testing.assert_allclose(found, matrix.toarray(), atol=1e-14 if jit else 1e-9)


@pytest.mark.parametrize("jit", [False, True])
def test_a_stencil_that_widens_as_the_state_changes_is_found(jit):
    """At the start nothing flows; later it does."""
    import jax.numpy as jnp

    module = jnp if jit else np

    def step(state):
        c = state["c"]
        return {"c": c + state["flow"] * (module.roll(c, 2) - c), "flow": state["flow"]}

    start = {"c": np.ones(20), "flow": np.array(0.0)}
    model = FunctionMap(lambda s: s, start, step=step, steps=5, accelerate="c", jit=jit)
    np.testing.assert_allclose(jacobian(model), np.eye(20), atol=1e-9)
    known = 0.7 * np.eye(20) + 0.3 * np.roll(np.eye(20), 2, axis=0)
    np.testing.assert_allclose(jacobian(model, start | {"flow": np.array(0.3)}), known, atol=1e-9)


def test_a_kink_is_no_reason_to_refuse():
    """Where all are equal a cell answers to its rise, not to its fall: no matrix says how it answers to all at once."""

    def step(state):
        c = state["c"]
        rise = c - np.roll(c, 1)
        return {"c": c - 0.05 * rise - 0.1 * np.maximum(rise, 0)}

    found = jacobian(FunctionMap(lambda s: s, {"c": np.ones(20)}, step=step, steps=5))
    np.testing.assert_allclose(found, 0.85 * np.eye(20) + 0.05 * np.roll(np.eye(20), 1, axis=0), atol=1e-9)


# --- what is refused -----------------------------------------------------------------------------


def test_a_step_that_takes_the_mean_of_all_is_not_local():
    model = FunctionMap(
        lambda s: s, {"c": np.ones((50, 50))}, step=lambda s: {"c": s["c"] - s["c"].mean()}, steps=5, name="mean"
    )
    with pytest.raises(
        UsageError, match=r"step of mean is not local: a cell answers to c so far away .*2500 steps .*`tendency`"
    ):
        model.operator(model.start())


def test_a_step_that_mixes_cells_up_is_not_local():
    order = np.random.default_rng(0).permutation(2500)
    model = FunctionMap(lambda s: s, np.ones((50, 50)), step=lambda x: x + x.ravel()[order].reshape(x.shape), steps=5)
    with pytest.raises(
        UsageError, match=r"is not local: a cell answers to x so far away \(x_0=-?\d+, x_1=-?\d+ from it"
    ):
        model.operator(model.start())


def test_a_stencil_that_does_not_cease_to_widen_is_refused(monkeypatch):
    monkeypatch.setattr(local_step, "ROUNDS", 1)
    with pytest.raises(
        UsageError, match=r"after 1 searches .* c at c_0=24, c_1=6 answers to c at c_0=19, c_1=8\. Give"
    ):
        jacobian(model_of(overflow(), (30, 30)))


def test_variables_of_several_shapes():
    start = {"c": np.ones(3), "d": np.ones((3, 2))}
    with pytest.raises(UsageError, match=r"variables of 2 shapes \(\(3,\), \(3, 2\)\).* give a `tendency`"):
        FunctionMap(lambda s: s, start, step=lambda s: s, steps=5).operator(start)


def test_a_step_that_fails():
    def step(state):
        return {"c": state["c"] / (1 - state["c"])}

    model = FunctionMap(lambda s: s, {"c": np.ones(3)}, step=step, steps=5, name="burst")
    with (
        np.errstate(divide="ignore"),
        pytest.raises(ModelFailure, match="step of burst returned a state in which c is inf"),
    ):
        model.operator(model.start())
    compiled = FunctionMap(lambda s: s, {"c": np.ones(3)}, step=step, steps=5, name="burst", jit=True)
    with pytest.raises(ModelFailure, match="the perturbed steps of burst are not finite"):
        compiled.operator(compiled.start())


def test_a_mixed_layer_that_is_deeper_in_places_widens_the_stencil_in_few_searches():
    """Implicit mixing reaches the further the stronger it is: it is so in a few columns between the samples."""
    import jax.numpy as jnp

    levels, exchange = 40, np.full(16, 1e-3)
    exchange[[3, 11]] = 0.03
    columns = jnp.asarray([implicit_column(levels, e) for e in exchange])
    model = FunctionMap(
        lambda s: s,
        {"c": np.ones((levels, 16))},
        step=lambda s: {"c": jnp.einsum("jkl,lj->kj", columns, s["c"])},
        steps=10,
        jit=True,
    )
    found = jacobian(model).reshape(levels, 16, levels, 16)
    for j in range(16):
        np.testing.assert_allclose(found[:, j, :, j], columns[j], rtol=0, atol=1e-12)
