"""The estimate of a run's error: how far the state is by the operator, and how far that has been wrong."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.sparse import csr_array, diags_array

import spinup
from solvers import Border, Evaluate, StepOperator
from solvers.sparse_lu import has_umfpack
from spinup.estimate import BY_OPERATOR, BY_SECANTS, FAR, MOVED, OVER, ErrorEstimator
from spinup.function_map import FunctionMap
from spinup.report.numbers import report_numbers
from spinup.report.verdict import sentences

N = 40
RATES = np.linspace(0.01, 0.05, N)  # of decay, a period
ANSWER = np.cos(np.arange(N))
START = ANSWER + np.sin(np.arange(N))


class Targets:
    """What the estimator keeps in a run's store."""

    def __init__(self) -> None:
        self.kept: list[np.ndarray] = []

    def save_target(self, target: np.ndarray) -> None:
        self.kept.append(target)

    def load_target(self) -> np.ndarray | None:
        return self.kept[-1] if self.kept else None


def residual(x: np.ndarray) -> np.ndarray:
    return np.expm1(-RATES) * (x - ANSWER)


def estimator(store: Targets, *, strength: float = 1.0, note: Callable[[str], None] = str) -> ErrorEstimator:
    """Of x' = -a (x - answer), by an operator that has `strength` times a."""
    model = FunctionMap(lambda state: state, {"c": START}, name="decay")
    found = ErrorEstimator(model, store, note)
    found.use(StepOperator(csr_array(diags_array(-strength * RATES)), 1), 0)
    return found


def sizes(found: ErrorEstimator, states: list[np.ndarray]) -> list[float]:
    records: list[dict] = []
    for x in states:
        records.append({"error": found.estimate(residual(x), Evaluate(x), records)})
    return [record["error"]["all"] for record in records]


def true(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean((x - ANSWER) ** 2)))


def test_with_the_right_operator_it_is_the_error():
    states = [ANSWER + share * (START - ANSWER) for share in (1.0, 0.9, 0.2)]
    assert sizes(estimator(Targets()), states) == pytest.approx([true(x) for x in states], rel=0.03)


def test_with_the_answer_of_a_circulation_it_is_calibrated_far_from_the_equilibrium():
    """A border that answers nothing: by the operator alone the estimate would be the error."""
    found = estimator(Targets())
    none = csr_array((N, N))
    border = Border(none, none, csr_array(diags_array(np.ones(N))), np.tile(np.arange(N), 2))
    found.use(StepOperator(csr_array(diags_array(-RATES)), 1, border=border), 0)
    states = [ANSWER + share * (START - ANSWER) for share in (1.0, 0.7, 0.2)]
    errors = np.array([true(x) for x in states])
    assert errors[1] < FAR < errors[0]
    expected = errors / (1 + (OVER - 1) * np.minimum(1.0, errors / FAR))
    assert sizes(found, states) == pytest.approx(expected, rel=0.03)


def test_what_the_operator_does_not_know_shows_in_the_way_of_the_target():
    """An operator of twice the strength sees half of the error, again and again; the step to where it points is as long
    as what is left."""
    store = Targets()
    states = [ANSWER + share * (START - ANSWER) for share in (1.0, 0.5, 0.25)]
    first, *later = sizes(estimator(store, strength=2.0), states)
    assert first == pytest.approx(true(states[0]) / 2, rel=0.05)
    for size, x in zip(later, states[1:], strict=True):
        assert size == pytest.approx(np.hypot(1, MOVED) * true(x) / 2, rel=0.05)
    np.testing.assert_allclose(store.kept[0], states[1], rtol=0.05, atol=0.05)


def test_with_seasons_the_way_of_the_target_is_that_beside_what_the_date_does():
    """Between two estimates lies a relaxation, in which the state moves with the season as the equilibrium does."""
    store = Targets()
    found = estimator(store, strength=2.0)
    found._model.cycle_steps = 2
    candidate, season = ANSWER + 0.5 * (START - ANSWER), 3.0 * np.sin(np.arange(N))
    store.fields = lambda number, *, before: {"c": candidate} if (number, before) == (1, True) else None
    first = found.estimate(residual(START), Evaluate(START), [])
    records = [{"error": first, "spread": False}, {"error": None, "spread": True}]
    second = found.estimate(residual(candidate), Evaluate(candidate + season), records)
    assert second["all"] == pytest.approx(np.hypot(1, MOVED) * true(candidate) / 2, rel=0.05)


def test_a_run_that_goes_on_knows_the_last_target():
    store = Targets()
    states = [ANSWER + share * (START - ANSWER) for share in (1.0, 0.5)]
    whole = sizes(estimator(Targets(), strength=2.0), states)
    first = estimator(store, strength=2.0).estimate(residual(states[0]), Evaluate(states[0]), [])
    again = estimator(store, strength=2.0).estimate(residual(states[1]), Evaluate(states[1]), [{"error": first}])
    assert again is not None
    assert again["all"] == whole[1]


def test_a_target_that_jumps_counts_as_no_more_than_the_estimate_and_that_grows_by_half_at_most():
    states = [START, ANSWER + 0.1 * (START - ANSWER), ANSWER - 30 * (START - ANSWER)]
    found = sizes(estimator(Targets(), strength=0.5), states)
    assert found[1] <= np.hypot(1, MOVED) * 2 * true(states[1]) * 1.05
    assert found[2] == pytest.approx(1.5 * found[1])


def test_the_interval_goes_with_what_the_estimate_is_made_of(tmp_path, linear_run):
    assert estimator(Targets()).between == BY_OPERATOR
    by_secants = spinup.open(linear_run)
    assert np.isfinite(by_secants.error_estimate.values[1:]).all()
    for end, factor in zip(("low", "high"), BY_SECANTS, strict=True):
        np.testing.assert_allclose(by_secants[f"error_estimate_{end}"].values, factor * by_secants.error_estimate)

    model = FunctionMap(
        lambda state: {"c": state["c"] - RATES * (state["c"] - ANSWER)},
        {"c": START},
        tendency=lambda state: csr_array(diags_array(-RATES)),
        name="decay",
    )
    case = spinup.Case(
        "decay", "Decay at known rates", lambda: model, method="picard", budget="5 years", tolerance=1e-9
    )
    result = spinup.run(case, out=tmp_path / "run")
    run = spinup.open(tmp_path / "run")
    for end, factor in zip(("low", "high"), BY_OPERATOR, strict=True):
        np.testing.assert_allclose(run[f"c_error_estimate_{end}"].values, factor * run.c_error_estimate.values)
    assert result.error_interval["c"] == pytest.approx([f * result.error["c"] for f in BY_OPERATOR])
    assert (run.c_error_estimate_low < true(run.c.values[-1])).values[-1]
    assert "between" in " ".join(sentences(report_numbers([tmp_path / "run"])))


def secants_only(**options):
    """A run of x' = -a (x - answer) of which nothing is known but T."""

    def build():
        return FunctionMap(lambda state: {"c": state["c"] - 5 * RATES * (state["c"] - ANSWER)}, {"c": START})

    return spinup.Case("unknown", "Nothing known", build, **({"tolerance": 1e-9, "method": "anderson"} | options))


def test_a_map_of_which_nothing_is_known_has_an_estimate_whatever_the_method(tmp_path):
    for method in ("picard", "anderson"):
        spinup.run(secants_only(method=method, budget=40), out=tmp_path / method)
        run = spinup.open(tmp_path / method)
        truth = np.array([true(x) for x in run.c_before.values])
        ratio = (run.c_error_estimate.values / truth)[5:][truth[5:] > 1e-7]
        assert len(ratio) > 5
        assert np.mean(ratio > 1 / BY_SECANTS[1]) > 0.9
        if method == "picard":  # behind an accelerator that is this fast it lags
            assert np.median(ratio) == pytest.approx(1.0, abs=0.5)


def test_it_stops_at_a_tolerance_in_units(tmp_path):
    result = spinup.run(secants_only(tolerance="0.01 1", budget=400), out=tmp_path / "run")
    assert result.outcome.value == "converged"
    assert true(spinup.open(tmp_path / "run").c.values[-1]) < 0.01


def test_estimates_by_secants_go_on_after_a_resume(tmp_path):
    """Also where the fields of most evaluations are not kept."""
    store = {"fields_every": 1000, "checkpoint_every": 2}
    spinup.run(secants_only(budget=40), out=tmp_path / "whole", store=store)
    spinup.run(secants_only(budget=33), out=tmp_path / "parts", store=store)
    spinup.resume(tmp_path / "parts", case=secants_only(), budget=40)
    whole, parts = (spinup.open(tmp_path / name).error_estimate.values for name in ("whole", "parts"))
    np.testing.assert_array_equal(parts, whole)


def test_the_memory_of_the_solves_is_told_once():
    told: list[str] = []
    found = estimator(Targets(), note=told.append)
    found.use(StepOperator(csr_array(diags_array(-2 * RATES)), 1), 1)
    # of a diagonal matrix, one entry of 12 bytes for each unknown
    library = "UMFPACK" if has_umfpack() else "SuperLU"
    assert told == [f"each solve has 40 unknowns; its LU factors, by {library}, take at most 480 bytes of memory"]
