"""The one-step operator of a real ocean, and pseudo-transient continuation through the run."""

import numpy as np
import pytest
from helpers import LINEAR, assert_same_numbers
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

import spinup
from spinup import veros_map, veros_operator
from spinup.convection import water_columns
from spinup.errors import UsageError
from spinup.veros_operator import PERTURBATION, probes, stencil


@pytest.fixture(scope="module")
def spun_up():
    """The coarse ACC after three years, its operator there."""
    model = spinup.load_case("acc-coarse").build()
    state = model.start()
    for _ in range(3):
        state = model.evaluate(state)
    return model, state, model.operator(state)


def test_a_few_dozen_steps_give_the_operator(spun_up):
    model, _, _ = spun_up
    assert stencil(model.layout.variables[0].shape, cyclic=True).number == 5 * 5
    assert probes(model.layout, model._patch) == 26


@pytest.mark.parametrize("cyclic", [True, False])
@pytest.mark.parametrize(("nx", "around"), [(15, 25), (8, 32), (7, 35), (2, 20), (1, 15)])
def test_no_cell_is_reached_by_two_of_a_colour(nx, around, cyclic):
    """Also around a cyclic grid whose width is no multiple of five, or less than a stencil's."""
    shape = (7, 5, nx)
    number, _ = stencil(shape, cyclic=cyclic).lattice
    assert number == (around if cyclic else 25)
    colours = stencil(shape, cyclic=cyclic).colours
    for colour in range(colours.max() + 1):
        reached = np.zeros(shape)
        for k, j, i in np.argwhere(colours == colour):
            columns = {(j, i), (j + 1, i), (j - 1, i), *((j, i + d) for d in (1, -1))}
            for jj, ii in {(a, b % nx if cyclic else b) for a, b in columns}:
                if 0 <= jj < 5 and 0 <= ii < nx:
                    reached[max(0, k - 2) : k + 3, jj, ii] += 1
        assert reached.max() <= 1


def test_corners_do_not_answer(spun_up):
    """A single perturbation reaches no other column than its own and the four next to it."""
    model, state, _ = spun_up
    shape = model.layout.variables[0].shape
    alone = np.zeros((25, 1, *shape))  # as many as of the operator, to run the program that is compiled already
    alone[0, 0, 8, 10, 7] = PERTURBATION
    changes, _ = model._respond(state, alone)
    columns = np.abs(changes[0, 0] / PERTURBATION).max(axis=0)
    near = np.zeros(shape[1:], bool)
    near[10, 5:10] = near[8:13, 7] = True
    assert columns[10, 7] > 0.9
    assert columns[10, 6] > 1e-4
    assert columns[~near].max() < 1e-8


def test_columns_are_those_of_single_perturbations(spun_up):
    model, state, operator = spun_up
    layout, v = model.layout, model.layout.variables[0]
    cells = np.argwhere(v.mask)
    for column in (0, 777, 2500, layout.size - 1):
        alone = np.zeros((25, 1, *v.shape))
        alone[0, 0][tuple(cells[column])] = PERTURBATION
        changes, _ = model._respond(state, alone)
        expected = changes[0, 0][v.mask] / PERTURBATION - (np.arange(layout.size) == column)
        found = splu(csc_array(operator.implicit)).solve(operator.matrix[:, [column]].toarray().ravel())
        np.testing.assert_allclose(found, expected, atol=2e-9)


def test_the_operator_predicts_the_change_of_a_step(spun_up):
    """A smooth perturbation of a millikelvin: the step's change and the operator's agree to a few percent."""
    model, state, operator = spun_up
    v = model.layout.variables[0]
    shape = np.cos(np.arange(15) / 3)[:, None, None] * np.sin(np.arange(21) / 4)[None, :, None] * np.ones((1, 1, 15))
    fields = np.zeros((25, 1, *v.shape))
    fields[0, 0] = 1e-3 * shape * v.mask
    response = model._respond(state, fields)[0][0, 0][v.mask]
    x = fields[0, 0][v.mask]
    predicted = x + splu(csc_array(operator.implicit)).solve(operator.matrix @ x)
    assert np.linalg.norm(predicted - response) < 0.04 * np.linalg.norm(response - x)


def test_a_run_that_is_stopped_at_every_evaluation_ends_the_same(tmp_path):
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    options = {"method": "ptc", "start_periods": 2, "store": {"checkpoint_every": 3}, "tolerance": 1e-9}
    spinup.run("acc-coarse", out=whole, budget=12, **options)
    spinup.run("acc-coarse", out=pieces, budget=2, **options)
    for budget in (3.5, 4.5, 6, 8.5, 12):
        spinup.resume(pieces, budget=budget)
    assert_same_numbers(whole, pieces)
    ds = spinup.open(whole)
    steps = np.diff(ds.model_years.values)
    np.testing.assert_allclose(steps[3::2], 1 + 26 / 366)  # after the shock an operator before every second evaluation


def test_a_map_without_single_steps_is_refused(tmp_path):
    with pytest.raises(UsageError, match="or takes single time steps, linear does neither: use auto"):
        spinup.run(LINEAR, out=tmp_path / "run", method="ptc")
    assert not (tmp_path / "run").exists()


def test_nearly_neutral_water_answers_warming_as_it_answers_cooling(spun_up, monkeypatch):
    """Slopes of isopycnals jump where the water is nearly neutral: held, they leave no trace of it in the operator."""
    model, state, _ = spun_up
    nearly = {"temp": 8.0 + 3e-3 * np.random.default_rng(0).normal(size=model.layout.variables[0].shape)}
    neutral = model.replace(state, nearly)

    def asymmetry():
        both = []
        for sign in (1, -1):
            monkeypatch.setattr(veros_operator, "PERTURBATION", sign * PERTURBATION)
            both.append(model.operator(neutral).matrix)
        return abs(both[0] - both[1]).sum() / abs(both[0]).sum()

    assert asymmetry() < 1e-4
    monkeypatch.setattr(veros_map, "NEARLY_NEUTRAL", 1e-30)
    monkeypatch.delattr(model, "_respond")
    assert asymmetry() > 1e-2
    monkeypatch.undo()
    del model.__dict__["_respond"]


def test_no_water_column_grows_by_itself():
    """With its neighbours and the circulation as they are. After a year of seasons the base of the mixed layer is
    nearly neutral: slopes that were held less would make a column grow by a factor of e within a day or two there."""
    model = spinup.load_case("acc-coarse-seasonal").build()
    operator = model._operator_at(model.evaluate(model.start()), border=False)
    columns = water_columns(model.layout)
    for column in range(columns.max() + 1):
        own = np.flatnonzero(columns == column)
        explicit, implicit = (matrix[own][:, own].toarray() for matrix in (operator.matrix, operator.implicit))
        assert np.linalg.eigvals(np.linalg.solve(implicit, explicit)).real.max() < 1e-9


def test_the_circulation_carries_no_unstable_stratification(spun_up):
    """Two cells, the upper the colder, count as at their mean where the circulation's answer carries them."""
    model, state, _ = spun_up
    temp = np.asarray(model.fields(state)["temp"])
    turned, mixed = temp.copy(), temp.copy()
    middle = temp[6:8, 10, 5].mean()
    turned[6:8, 10, 5] = middle + 0.3, middle - 0.3
    volume = model.layout.unpack(model.layout.inner.weights, fill=0.0)["temp"][6:8, 10, 5]
    mixed[6:8, 10, 5] = np.average(turned[6:8, 10, 5], weights=volume)
    responses = [
        model.operator(model.replace(state, {"temp": field}), border=True).border.response for field in (turned, mixed)
    ]
    assert abs(responses[0] - responses[1]).max() < 1e-12  # dense they would take hundreds of megabytes
    as_it_was = model.operator(state, border=True).border.response
    assert abs(as_it_was - responses[0]).max() > 1e-6
