"""A run whose model never rests: its mean state in the store, in the report and after a resume."""

import itertools
import json

import numpy as np
import pytest
import xarray as xr
from helpers import assert_same_numbers
from scipy.sparse import diags_array

import spinup
from solvers import Evaluate, Outcome
from spinup.errors import UsageError
from spinup.function_map import FunctionMap
from spinup.report.reading import read_run
from spinup.report.summary import summary
from spinup.report.verdict import ending, mean_state
from spinup.run import Progress

N = 30
DECAY = np.linspace(0.02, 0.8, N)
MEAN = np.linspace(0, 10, N)
NOISE = np.random.default_rng(5).standard_normal((500, N))


def step(state):
    """Towards MEAN, off course by another noise in every period."""
    year = int(state["year"])
    return {"c": state["c"] - DECAY * (state["c"] - MEAN) + 0.01 * NOISE[year], "year": np.array(year + 1.0)}


def build():
    return FunctionMap(
        step,
        {"c": MEAN + 0.02, "year": np.zeros(())},
        accelerate=("c",),
        units={"c": "degC"},
        tendency=lambda state: diags_array(-DECAY),
        name="noisy",
    )


CASE = spinup.Case(name="noisy", title="Noisy", build=build, method="mean", budget=100, tolerance="1e-9 K")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("mean") / "run"
    result = spinup.run(CASE, out=path)
    assert (result.outcome, result.evaluations) == (Outcome.FLOOR, 24)
    return path


def test_the_mean_state_is_the_known_one_within_its_standard_error(run):
    mean = spinup.open_mean(run)
    assert mean.model_years == 24
    error = np.linalg.norm(mean.c_standard_error)
    assert np.linalg.norm(mean.c - MEAN) < 2 * error
    assert error < 2 * np.linalg.norm(0.01 / DECAY / np.sqrt(24))


def test_auto_comes_to_the_noise_floor_by_itself(tmp_path):
    """From far away, a map all of whose state is accelerated, by the map's tendency."""
    years = itertools.count()

    def step(state):
        return {"c": state["c"] - DECAY * (state["c"] - MEAN) + 0.01 * NOISE[next(years)]}

    case = spinup.Case(
        "noisy",
        "",
        lambda: FunctionMap(step, {"c": np.zeros(N)}, tendency=lambda state: diags_array(-DECAY)),
        budget=200,
    )
    result = spinup.run(case, out=tmp_path / "run", method="auto", tolerance=1e-9)
    assert result.outcome is Outcome.FLOOR
    mean = spinup.open_mean(tmp_path / "run")
    assert np.linalg.norm(mean.c - MEAN) < 2 * np.linalg.norm(mean.c_standard_error)
    assert np.linalg.norm(mean.c_standard_error) < 2 * np.linalg.norm(0.01 / DECAY / np.sqrt(24))


def test_auto_comes_to_it_where_other_variables_are_carried(tmp_path):
    """By pseudo-transient continuation, whose estimates no longer fall."""
    result = spinup.run(CASE, out=tmp_path / "run", method="auto", settings={}, budget=200)
    assert result.outcome is Outcome.FLOOR
    mean = spinup.open_mean(tmp_path / "run")
    assert np.linalg.norm(mean.c - MEAN) < 2 * np.linalg.norm(mean.c_standard_error)


def test_the_mean_state_opens_with_xarray_alone(run):
    mean = xr.open_zarr(run, group="mean_state", consolidated=False)
    assert mean.c.dims == spinup.open(run).c.dims[1:]
    assert mean.c.units == mean.c_standard_error.units == "degC"


def test_a_run_without_a_mean_state_says_so(tmp_path):
    spinup.run(CASE, out=tmp_path / "run", method="picard", settings={}, budget=3)
    with pytest.raises(KeyError, match="has no mean state"):
        spinup.open_mean(tmp_path / "run")
    assert summary(read_run(tmp_path / "run"))["mean_state"] is None


def test_a_report_says_what_the_mean_is_worth(run):
    numbers = summary(read_run(run))
    json.dumps(numbers)
    assert "noise floor" in ending(numbers)
    sentence = mean_state(numbers)
    rms = float(np.sqrt((spinup.open_mean(run).c_standard_error ** 2).mean()))
    assert numbers["mean_state"]["standard_error"]["c"]["rms"] == pytest.approx(rms)
    assert "24 model years" in sentence
    assert "K of c rms" in sentence


@pytest.mark.parametrize("stopped_after", [2, 8, 13, 17])
def test_a_run_that_went_on_found_the_same_mean_to_the_bit(run, tmp_path, stopped_after):
    spinup.run(CASE, out=tmp_path / "run", budget=stopped_after)
    spinup.resume(tmp_path / "run", case=CASE, budget=100)
    assert_same_numbers(tmp_path / "run", run)
    xr.testing.assert_identical(spinup.open_mean(tmp_path / "run"), spinup.open_mean(run))


def test_auto_comes_to_the_mean_state_where_its_method_stalls(tmp_path, monkeypatch):
    def stalls(x, *, stop, checkpoint=None, **_):
        for _ in range(3):
            x = yield Evaluate(x)
        return Outcome.STALLED

    monkeypatch.setattr("spinup.methods.pseudo_transient", stalls)
    notes = []

    class Listening(Progress):
        def note(self, text):
            notes.append(text)

    result = spinup.run(CASE, out=tmp_path / "run", method="auto", settings={}, budget=15, progress=Listening())
    assert result.outcome is Outcome.BUDGET
    assert spinup.open_mean(tmp_path / "run").model_years == 12
    assert any("the mean that it wanders about" in note for note in notes)
    result = spinup.resume(tmp_path / "run", case=CASE, budget=60)
    assert (result.outcome, result.evaluations) == (Outcome.FLOOR, 27)


def test_a_map_without_an_operator_has_a_mean_too(tmp_path):
    """That of its states: fast ones here, which nothing hides."""

    def fast(state):
        year = int(state["year"])
        return {"c": MEAN + 0.3 * (state["c"] - MEAN) + 0.01 * NOISE[year], "year": np.array(year + 1.0)}

    start = {"c": MEAN + 0.02, "year": np.zeros(())}
    case = spinup.Case(
        name="plain",
        title="Plain",
        build=lambda: FunctionMap(fast, start, accelerate=("c",), name="plain"),
        method="mean",
        budget=100,
        tolerance=1e-9,
    )
    for method in ("mean", "auto"):
        assert spinup.run(case, out=tmp_path / method, method=method).outcome is Outcome.FLOOR
        mean = spinup.open_mean(tmp_path / method)
        assert np.linalg.norm(mean.c - MEAN) < 2 * np.linalg.norm(mean.c_standard_error)


# --- control variates ------------------------------------------------------------------------------------------------

WIND = 0.1 * np.random.default_rng(6).standard_normal(500)


def windy(controls=("wind",), known=lambda state: WIND[int(state["year"]) - 1]):
    """The same under one more noise, of all cells alike, which the map tells."""

    def year(state):
        return step(state) | {"c": step(state)["c"] + WIND[int(state["year"])]}

    def build():
        return FunctionMap(
            year,
            {"c": MEAN + 0.02, "year": np.zeros(())},
            accelerate=("c",),
            tendency=lambda state: diags_array(-DECAY),
            diagnostics={"wind": ("1", "wind of the year", known)},
            control_variates=controls,
        )

    return spinup.Case(name="windy", title="Windy", build=build, method="mean", budget=100, tolerance=1e-9)


def test_what_the_map_tells_of_its_forcing_is_taken_out_of_the_mean(tmp_path):
    off = {}
    for controls in ((), ("wind",)):
        path = tmp_path / f"run-{len(controls)}"
        assert spinup.run(windy(controls), out=path).outcome is Outcome.FLOOR
        mean = spinup.open_mean(path)
        off[controls] = np.linalg.norm(mean.c - MEAN)
        assert off[controls] < 2 * np.linalg.norm(mean.c_standard_error)
    assert off["wind",] < 0.3 * off[()]
    np.testing.assert_array_equal(spinup.open(path).wind, WIND[:24])
    assert json.loads(spinup.open(path).attrs["header"])["map"]["control_variates"] == ["wind"]


@pytest.mark.parametrize("stopped_after", [2, 8, 13])
def test_with_control_variates_a_run_that_went_on_found_the_same_mean(tmp_path, stopped_after):
    spinup.run(windy(), out=tmp_path / "whole")
    spinup.run(windy(), out=tmp_path / "part", budget=stopped_after)
    spinup.resume(tmp_path / "part", case=windy(), budget=100)
    assert_same_numbers(tmp_path / "part", tmp_path / "whole")
    xr.testing.assert_identical(spinup.open_mean(tmp_path / "part"), spinup.open_mean(tmp_path / "whole"))


def test_a_year_of_which_the_map_cannot_tell_does_not_count(tmp_path):
    def forgets(state):
        return 1 / 0 if state["year"] == 7 else WIND[int(state["year"]) - 1]

    with pytest.warns(UserWarning, match="a diagnostic failed: ZeroDivisionError"):
        result = spinup.run(windy(known=forgets), out=tmp_path / "run")
    assert (result.outcome, result.evaluations) == (Outcome.FLOOR, 25)


def test_the_members_of_an_ensemble_tell_the_mean_of_theirs(tmp_path):
    case = windy()
    both = spinup.Case("both", "", lambda: spinup.Ensemble(case.build(), 2), method="mean", budget=100, tolerance=1e-9)
    spinup.run(both, out=tmp_path / "run")
    mean = spinup.open_mean(tmp_path / "run")
    np.testing.assert_allclose(spinup.open(tmp_path / "run").wind, (WIND[:24] + WIND[1:25]) / 2)
    assert np.linalg.norm(mean.c - MEAN) < 2 * np.linalg.norm(mean.c_standard_error)
    alone = spinup.Case("alone", "", lambda: spinup.Ensemble(windy(()).build(), 2), method="mean", budget=100)
    spinup.run(alone, out=tmp_path / "alone", tolerance=1e-9)
    assert np.linalg.norm(mean.c - MEAN) < 0.5 * np.linalg.norm(spinup.open_mean(tmp_path / "alone").c - MEAN)


def test_a_control_variate_is_a_diagnostic():
    with pytest.raises(UsageError, match=r"control_variates: 'wnd' is none .* \(did you mean 'wind'\?\); given: wind"):
        windy(("wnd",)).build()
