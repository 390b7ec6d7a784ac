"""The driver: failures are replies, replay is exact, a request that differs cuts the log."""

import json
import shutil
import sys
import time
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
import zarr
from helpers import LINEAR, NEWTON, assert_same_numbers
from scipy.sparse import csr_array

import solvers
import spinup
from solvers import Checkpoint, Evaluate, Operator, Outcome, Tangent
from solvers.noise import SPACING
from solvers.requests import Border
from solvers.seasons import DATES
from spinup.driver import Driver
from spinup.errors import UsageError
from spinup.estimate import OVER
from spinup.function_map import FunctionMap
from spinup.methods import after_direct
from spinup.store.journal import read_journal
from spinup.store.view import run_status, seconds_left


def test_the_run_is_what_the_solver_does_in_memory(linear_run):
    """The log of a run and `solvers.solve` on the same map agree to the bit."""
    model = spinup.load_case(LINEAR).build()
    carried = model.start()

    def evaluate(x):
        nonlocal carried
        carried = model.evaluate(model.replace(carried, model.layout.unpack(x)))
        return model.layout.pack(model.fields(carried))

    def method(x, *, stop):
        flow = after_direct(3, lambda x, **k: solvers.anderson(x, inner=model.layout.inner, depth=10, **k))
        return flow(x, stop=stop)

    x0 = model.layout.pack(model.fields(model.start()))
    result = solvers.solve(evaluate, x0, method, tolerance=1e-7, inner=model.layout.inner)
    ds = spinup.open(linear_run)
    np.testing.assert_array_equal(result.history, ds.drift.values)
    assert result.outcome.value == ds.attrs["outcome"] == "converged"


def test_a_blow_up_is_logged_and_the_method_backs_off(tmp_path, monkeypatch):
    run, again = tmp_path / "run", tmp_path / "again"
    monkeypatch.setenv("SPINUP_TEST_FAIL", "9,10")
    monkeypatch.setenv("SPINUP_TEST_CALLS", str(tmp_path / "calls"))
    result = spinup.run(LINEAR, out=run, budget=100)
    assert result.outcome is Outcome.CONVERGED
    ds = spinup.open(run)
    assert np.flatnonzero(ds.failed.values).tolist() == [9, 10]
    assert np.isnan(ds.drift.values[9:11]).all()
    assert np.isfinite(ds.c_before.values).all()
    np.testing.assert_array_equal(ds.model_years.values, np.arange(1, result.evaluations + 1))  # a failure costs too
    # the method backs off: T(x) of the last good evaluation, then half the way there
    x, g = ds.c_before.values[8], ds.c.values[8]
    np.testing.assert_array_equal(ds.c_before.values[10], g)
    np.testing.assert_allclose(ds.c_before.values[11], 0.5 * (x + g), rtol=1e-15)
    # a resumed run replays failures as it replays answers
    monkeypatch.setenv("SPINUP_TEST_CALLS", str(tmp_path / "calls-again"))
    spinup.run(LINEAR, out=again, budget=12)
    spinup.resume(again, budget=100)
    assert_same_numbers(run, again)


def test_a_model_that_always_fails_ends_as_unstable(tmp_path, monkeypatch):
    monkeypatch.setenv("SPINUP_TEST_FAIL", "0")
    monkeypatch.setenv("SPINUP_TEST_CALLS", str(tmp_path / "calls"))
    result = spinup.run(LINEAR, out=tmp_path / "run", method="picard")
    assert (result.outcome, result.evaluations, result.drift) == (Outcome.UNSTABLE, 1, None)


def test_resuming_a_finished_run_does_nothing(linear_run, tmp_path, monkeypatch):
    run, calls = tmp_path / "run", tmp_path / "calls"
    shutil.copytree(linear_run, run)
    monkeypatch.setenv("SPINUP_TEST_CALLS", str(calls))
    result = spinup.resume(run)
    assert result.outcome is Outcome.CONVERGED
    assert not calls.exists()
    assert_same_numbers(linear_run, run)


def test_a_lower_tolerance_goes_on(linear_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(linear_run, run)
    result = spinup.resume(run, tolerance=1e-9, budget=200)
    assert result.outcome is Outcome.CONVERGED
    assert result.drift <= 1e-9
    assert result.evaluations > spinup.open(linear_run).sizes["evaluation"]


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("extrapolation", {"kind": "mpe", "dimension": 4, "wait": 2}),
        pytest.param(
            "snes",
            {"options": "-snes_anderson_m 10"},
            marks=pytest.mark.skipif(find_spec("petsc4py") is None, reason="PETSc is not installed: make distributed"),
        ),
        ("anderson", {"type": 1, "depth": 4}),
        ("ngmres", {"depth": 4}),
        ("ngmres", {"depth": 4, "eager": True}),
    ],
)
def test_a_run_in_parts_is_the_run_in_one(tmp_path, method, settings):
    """Budgets that end within a window and at a jump; checkpoints are fewer than evaluations."""
    options = {"method": method, "settings": settings, "store": {"checkpoint_every": 4}, "tolerance": 1e-12}
    spinup.run(LINEAR, out=tmp_path / "one", budget=40, **options)
    spinup.run(LINEAR, out=tmp_path / "parts", budget=9, **options)
    for budget in (10, 17, 40):
        spinup.resume(tmp_path / "parts", budget=budget)
    assert_same_numbers(tmp_path / "one", tmp_path / "parts")


@pytest.mark.parametrize("checkpoint_every", [1, 4])
def test_a_run_that_asks_for_derivatives_in_parts_is_the_run_in_one(tmp_path, checkpoint_every):
    """Budgets that end before, amid and after the derivatives of a Newton step; erased fields; a cut log."""
    options = {"store": {"checkpoint_every": checkpoint_every, "fields_every": 5}}
    one = spinup.run(NEWTON, out=tmp_path / "one", **options)
    assert one.outcome is Outcome.CONVERGED
    assert one.evaluations == one.model_years  # a derivative costs an evaluation
    spinup.run(NEWTON, out=tmp_path / "parts", budget=3, **options)
    for budget in (7, 15, 16, 200):
        result = spinup.resume(tmp_path / "parts", budget=budget)
    assert result.outcome is Outcome.CONVERGED
    assert_same_numbers(tmp_path / "one", tmp_path / "parts")
    assert not run_status(tmp_path / "parts")["problems"]


def test_a_derivative_leaves_the_state_where_it_is(tmp_path):
    run = spinup.run(NEWTON, out=tmp_path / "run", budget=12).path
    ds = spinup.open(run)
    derivatives = ds.tangent.values == 1
    np.testing.assert_array_equal(np.flatnonzero(derivatives), [3, 4, 5, 6, 7, 9, 10, 11])  # of two Newton steps
    np.testing.assert_array_equal(ds.c.values[derivatives], ds.c_before.values[derivatives])
    np.testing.assert_array_equal(ds.c.values[3:8], np.repeat(ds.c_before.values[2:3], 5, axis=0))
    assert np.isnan(ds.drift.values[derivatives]).all()
    assert np.isnan(ds.c_residual.values[derivatives]).all()
    model = spinup.load_case(NEWTON).build()
    kept = zarr.open_group(run, mode="r")["tangents"]
    for number in (3, 11):
        v, x = kept["c_direction"][number], ds.c.values[number]
        np.testing.assert_array_equal(model.tangent({"c": x}, {"c": v})["c"], kept["c"][number])


def change_settings(run, **settings):
    """Have a run be one of a method with other settings, so that its replay asks for other states."""
    group = zarr.open_group(run, mode="r+", use_consolidated=False)
    header = json.loads(group.attrs["header"])
    header["settings"] = header["settings"] | settings
    group.attrs["header"] = json.dumps(header)


def test_a_replay_with_another_derivative_cuts_the_log(tmp_path):
    run = spinup.run(NEWTON, out=tmp_path / "run", budget=9).path
    change_settings(run, products="difference")
    with pytest.warns(UserWarning, match="replay of evaluation 3 asks for another state"):
        result = spinup.resume(run, budget=12)
    assert result.evaluations == 12
    assert spinup.open(run).tangent.values.sum() == 0


def test_a_derivative_that_fails_is_taken_by_a_difference(tmp_path):
    def step(state):
        return {"a": 0.5 * state["a"] + 1.0}

    def build():
        return FunctionMap(step, {"a": np.ones(3)}, jvp=lambda state, change: {"a": np.full(3, np.nan)})

    case = spinup.Case("x", "", build, method="newton", settings={"preconditioned": False}, budget=20)
    result = spinup.run(case, out=tmp_path / "run", tolerance=1e-9)
    assert result.outcome is Outcome.CONVERGED
    ds = spinup.open(result.path)
    assert ds.failed.values.tolist() == ds.tangent.values.tolist()
    assert spinup.resume(result.path, case=case).evaluations == result.evaluations  # failures are replayed
    np.testing.assert_allclose(ds.a.values[-1], 2.0, atol=1e-8)


def test_stopped_within_the_measurement_of_noise_it_goes_on_to_the_same_numbers(tmp_path):
    """A kill there is the same: what is replayed from the last checkpoint are the evaluations that are logged."""
    random = np.random.default_rng(0)
    Q = np.linalg.qr(random.normal(size=(60, 60)))[0]
    M, R = Q @ np.diag(np.exp(-np.logspace(-2, 1, 60))) @ Q.T, 1e6 * random.normal(size=(60, 60))

    def step(state):
        a = state["a"]
        return {"a": M @ (a - 0.002 * np.tanh(a) ** 2) + 0.01 + 1e-5 * np.sin(R @ a)}

    def run(name, budget, store=None):
        case = spinup.Case("x", "", lambda: FunctionMap(step, {"a": np.zeros(60)}), method="newton", budget=budget)
        spinup.run(case, out=tmp_path / name, tolerance=1e-9, settings={"dimension": 5}, store=store or {})
        return case

    run("whole", 20)
    poor = 6  # evaluation after a linear system that five derivatives did not solve
    points = spinup.open(tmp_path / "whole").a_before.values[poor : poor + 4]
    np.testing.assert_allclose(np.sqrt(np.mean(np.diff(points, axis=0) ** 2, axis=1)), SPACING, rtol=1e-6)
    for cut in range(poor + 1, poor + 7):
        case = run(f"cut-{cut}", cut, {"checkpoint_every": 1})
        spinup.resume(tmp_path / f"cut-{cut}", case=case, budget=20)
        for name in ("a", "a_before"):
            np.testing.assert_array_equal(
                spinup.open(tmp_path / f"cut-{cut}")[name].values, spinup.open(tmp_path / "whole")[name].values
            )


def test_an_operator_that_is_asked_for_next_is_made_once_and_serves_the_estimate(tmp_path, monkeypatch):
    """At what comes back, where it is another one than at the begin; stopped and resumed it is the same."""
    linearised, asked = [], []

    def tendency(state):
        linearised.append(state["a"][0])
        return -0.1 * (1 + state["a"][0]) * np.eye(3)

    def method(x, *, stop, checkpoint=None):
        x = x if checkpoint is None else checkpoint["x"]
        while True:
            g = yield Evaluate(x, operator_next=True)
            operator = yield Operator(g, border=True)
            asked.append((g[0], operator.matrix.toarray()[0, 0]))
            x = g + 1.0
            yield Checkpoint({"x": x})

    def case(budget):
        model = partial(FunctionMap, lambda s: {"a": s["a"] + 1.0}, {"a": np.zeros(3)}, tendency=tendency)
        return spinup.Case("x", "", model, method="picard", budget=budget)

    monkeypatch.setattr(sys.modules["spinup.run"], "bind", lambda *_: method)
    whole = spinup.run(case(4), out=tmp_path / "whole", tolerance=1e-300).path
    assert linearised == [1.0, 3.0, 5.0, 7.0]
    np.testing.assert_allclose(asked, [(g, -0.1 * (1 + g)) for g in linearised])
    by_that_of_the_end = 10 / 2 + 1  # by that of the begin it would be 10 / 1 + 1
    np.testing.assert_allclose(spinup.open(whole).error_estimate[0], by_that_of_the_end, rtol=0.02)
    spinup.run(case(4), out=tmp_path / "part", tolerance=1e-300, budget=2, store={"checkpoint_every": 1})
    spinup.resume(tmp_path / "part", case=case(4), budget=4)
    assert_same_numbers(whole, tmp_path / "part")


class Answered(FunctionMap):
    """A tendency of -0.1, and something carried that answers at once and makes it -0.2."""

    no_circulation = ""

    def __init__(self):
        super().__init__(lambda s: {"a": 0.8 * s["a"]}, {"a": np.ones(3)}, tendency=lambda s: -0.1 * np.eye(3))

    def operator(self, state, *, border=False):
        one = csr_array(np.eye(3))
        answer = Border(0.1 * one, one, one, np.tile(np.arange(3), 2)) if border else None
        return replace(super().operator(state), border=answer)


def test_the_error_is_estimated_with_the_border_also_where_the_method_wants_none(tmp_path, monkeypatch):
    def method(x, *, stop, checkpoint=None):
        x = x if checkpoint is None else checkpoint["x"]
        while True:
            operator = yield Operator(x)
            assert operator.border is None
            x = yield Evaluate(x)
            yield Checkpoint({"x": x})

    monkeypatch.setattr(sys.modules["spinup.run"], "bind", lambda *_: method)
    case = spinup.Case("x", "", Answered, method="picard", budget=4)
    whole = spinup.run(case, out=tmp_path / "whole", tolerance=1e-300).path
    far = (spinup.open(whole).error_estimate / spinup.open(whole).drift).values
    with_the_border = 1 / 0.2 + 1  # P^-1 of a residual of a period; without it 1 / 0.1 + 1
    np.testing.assert_allclose(far[-1], with_the_border / OVER, rtol=0.01)
    spinup.run(case, out=tmp_path / "part", tolerance=1e-300, budget=2, store={"checkpoint_every": 1})
    spinup.resume(tmp_path / "part", case=case, budget=4)
    assert_same_numbers(whole, tmp_path / "part")


class WithSeasons(FunctionMap):
    """A tendency that is known on a date, at a tenth of a year."""

    cycle_steps, operator_years = 1, 0.1

    def __init__(self, told):
        super().__init__(lambda s: {"a": 0.8 * s["a"] + 1}, {"a": np.ones(3)}, tendency=lambda s: -0.2 * np.eye(3))
        self.told = told

    def operator(self, state, *, border=False, dates=1):
        self.told.append(dates)
        return super().operator(state)


def test_the_operator_of_a_map_with_seasons_is_of_as_many_dates_as_are_asked_for_and_costs_as_much(
    tmp_path, monkeypatch
):
    def method(x, *, stop, checkpoint=None):
        yield Operator(x)
        x = yield Evaluate(x)
        yield Operator(x, dates=3)
        x = yield Evaluate(x)
        return Outcome.STALLED

    told = []
    case = spinup.Case("x", "", partial(WithSeasons, told), method="picard", budget=4)
    direct = spinup.run(case, out=tmp_path / "direct", tolerance=1e-300, budget=1).path
    assert told == [DATES]
    assert spinup.open(direct).model_years.values == pytest.approx([1.0])
    told.clear()
    monkeypatch.setattr(sys.modules["spinup.run"], "bind", lambda *_: method)
    run = spinup.run(case, out=tmp_path / "run", tolerance=1e-300).path
    assert told == [1, 3]
    np.testing.assert_allclose(spinup.open(run).model_years, [1.1, 2.4])


def test_elapsed_time_is_that_of_the_method_too(tmp_path, monkeypatch):
    def method(x, *, stop, checkpoint=None):
        while True:
            time.sleep(0.2)
            x = yield Evaluate(x)

    case = spinup.Case("x", "", lambda: FunctionMap(lambda a: {"a": 0.5 * a["a"]}, {"a": np.ones(3)}), budget=4)
    monkeypatch.setattr(sys.modules["spinup.run"], "bind", lambda *_: method)
    path = spinup.run(case, out=tmp_path / "run", tolerance=1e-300, budget=3).path
    run = spinup.open(path)
    assert (run.elapsed_seconds.values >= 0.2).all()
    assert (run.wall_seconds.values < 0.2).all()
    status = run_status(path)
    assert status["elapsed_seconds"] == pytest.approx(run.elapsed_seconds.values.sum())
    assert status["wall_seconds"] == pytest.approx(run.wall_seconds.values.sum())
    records, _ = read_journal(path)
    assert seconds_left(records, 6.0) == pytest.approx(status["elapsed_seconds"])
    assert seconds_left([r | {"elapsed_seconds": 1.0} for r in records], 5.0) == pytest.approx(2.0)
    old = [{k: v for k, v in r.items() if k != "elapsed_seconds"} for r in records]
    assert seconds_left(old, 6.0) == pytest.approx(status["wall_seconds"])


def test_derivatives_of_a_map_that_has_none(tmp_path):
    case = spinup.Case("x", "", lambda: FunctionMap(dict, {"a": np.ones(3)}), method="newton", budget=3)
    with pytest.raises(UsageError, match=r"newton.products=tangent: dict cannot give the derivative of a period"):
        spinup.run(case, out=tmp_path / "run", settings={"products": "tangent"})
    driver = Driver(case.build(), *[None] * 8)
    with pytest.raises(UsageError, match="make it a FunctionMap with jit=True or a jvp"):
        driver._differentiate(Tangent(np.ones(3), np.ones(3)), {}, 0.0)


def test_a_replay_that_differs_cuts_the_log_and_says_so(tmp_path):
    run = tmp_path / "run"
    spinup.run(LINEAR, out=run, budget=19, store={"checkpoint_every": 8})
    change_settings(run, depth=2)
    with pytest.warns(UserWarning, match=r"replay of evaluation 17 asks for another state .* from evaluation 16"):
        result = spinup.resume(run, budget=25)
    assert result.evaluations == 25
    assert result.model_years == 25


def test_where_no_checkpoint_leads_back_a_replay_that_differs_loses_nothing(tmp_path):
    run = tmp_path / "run"
    spinup.run(LINEAR, out=run, budget=19, store={"checkpoint_every": 8})
    before = spinup.open(run).c.values
    for checkpoint in (run / "checkpoints").glob("[ab]*"):
        shutil.rmtree(checkpoint) if checkpoint.is_dir() else checkpoint.unlink()
    change_settings(run, depth=2)
    with pytest.warns(UserWarning, match=r"replay of evaluation 7 asks for .* anew from evaluation 18, the newest"):
        result = spinup.resume(run, budget=25)
    assert result.evaluations == 25
    after = spinup.open(run)
    np.testing.assert_array_equal(after.c.values[:19], before)
    np.testing.assert_array_equal(after.c_before.values[19], before[18])


def test_a_diagnostic_that_fails_costs_no_evaluation(tmp_path):
    def step(state):
        return {"a": 0.5 * state["a"]}

    diagnostics = {"bad": ("1", "always fails", lambda state: 1 / 0)}
    case = spinup.Case("x", "", lambda: FunctionMap(step, {"a": np.ones(3)}, diagnostics=diagnostics), budget=3)
    with pytest.warns(UserWarning, match="a diagnostic failed: ZeroDivisionError"):
        result = spinup.run(case, out=tmp_path / "run")
    assert result.evaluations == 3
    assert np.isnan(spinup.open(result.path).bad.values).all()


@pytest.mark.parametrize("name", ["drift", "states", "a_before", "evaluation"])
def test_names_that_would_clash_are_refused(tmp_path, name):
    case = spinup.Case("x", "", lambda: FunctionMap(dict, {"a": np.ones(3), name: np.ones(3)}), budget=3)
    with pytest.raises(UsageError, match=f"the name '{name}' is taken"):
        spinup.run(case, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_map_is_not_resumed(tmp_path):
    def case(years):
        return spinup.Case(
            "x", "", lambda: FunctionMap(dict, {"a": np.ones(3)}, years=years), method="picard", budget=9
        )

    run = spinup.run(case(1.0), out=tmp_path / "run", tolerance=1e-300, budget=2).path
    with pytest.raises(UsageError, match="made with another map"):
        spinup.resume(run, case=case(2.0))
