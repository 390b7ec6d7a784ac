"""Several members as one map: what cancels, what it costs, and what it refuses."""

import json

import numpy as np
import pytest
import xarray as xr
from helpers import assert_same_numbers
from scipy.sparse import diags_array

import spinup
from solvers import Outcome
from spinup.audit import audit
from spinup.auto import choose
from spinup.ensemble import Ensemble
from spinup.errors import ModelFailure, UsageError
from spinup.function_map import FunctionMap
from spinup.report.reading import read_run
from spinup.report.summary import summary

N = 8
ANSWER = np.linspace(-4.0, 3.0, N)
DECAY = np.linspace(0.1, 0.9, N)  # a period
MEMBERS = 16


def noise(seed, period):
    return np.random.default_rng([int(seed), int(period)]).standard_normal(N)


def noisy(state):
    """Towards ANSWER, off course by another noise in every period and for every seed."""
    c = state["c"] - DECAY * (state["c"] - ANSWER) + 0.1 * noise(state["seed"], state["period"])
    return {"c": c, "seed": state["seed"], "period": state["period"] + 1}


def model(function=noisy, **options):
    start = {"c": np.zeros(N), "seed": np.array(1), "period": np.array(0)}
    return FunctionMap(function, start, **{"accelerate": ("c",), "dims": {"c": ("x",)}} | options)


def seeded(member, state):
    state["seed"] += 100 * member  # it may write into what it is given
    return state


def ensemble(members=MEMBERS, start=seeded, **options):
    return Ensemble(model(**options), members, start)


def case(members=MEMBERS, **settings):
    given = {"method": "anderson", "budget": 10.0 * members, "tolerance": 1e-12} | settings
    return spinup.Case(name="noisy", title="Noisy", build=lambda: ensemble(members), **given)


def rms(x):
    return float(np.sqrt(np.mean(np.square(x))))


# --- what a map is -------------------------------------------------------------------------------


def test_noise_that_cancels_leaves_the_residual_of_the_model_without_noise():
    def signed(state):
        return state | {"c": 0.5 * state["c"] + 1 + 0.25 * state["seed"]}  # no digit of these is rounded

    both = Ensemble(model(signed), 2, lambda member, state: state | {"seed": np.array([1, -1])[member]})
    quiet = model(signed)
    x = np.arange(N, dtype=float)
    state = both.evaluate(both.replace(both.start(), {"c": x}))
    without = quiet.evaluate(quiet.replace(quiet.start() | {"seed": np.array(0)}, {"c": x}))
    np.testing.assert_array_equal(both.fields(state)["c"], without["c"])
    np.testing.assert_array_equal(state["c"], without["c"] + [[0.25], [-0.25]])


def test_unchanged_fields_leave_every_member_as_it_was_to_the_bit():
    many = ensemble()
    state = many.evaluate(many.start())
    again = many.replace(state, many.layout.unpack(many.layout.pack(many.fields(state))))
    for name in state:
        np.testing.assert_array_equal(again[name], state[name])


def test_all_members_are_moved_by_the_same_change_and_keep_what_they_carry():
    many = ensemble(2)
    state = many.start() | {"c": np.array([np.zeros(N), np.full(N, 2.0)])}
    moved = many.replace(state, {"c": np.full(N, 5.0)})
    np.testing.assert_array_equal(moved["c"], [np.full(N, 4.0), np.full(N, 6.0)])
    np.testing.assert_array_equal(moved["seed"], [1, 101])
    np.testing.assert_array_equal(many.fields(moved)["c"], np.full(N, 5.0))
    np.testing.assert_array_equal(state["c"][0], np.zeros(N))  # what was given stays as it is


def test_where_a_member_would_leave_the_bounds_all_come_nearer_to_their_mean():
    many = ensemble(2, bounds=(0.0, 10.0))
    state = many.start() | {"c": np.array([np.full(N, 1.0), np.full(N, 5.0)])}  # 2 on either side
    target = np.full(N, 3.0)
    target[:5] = 0.0, 1.0, 2.0, 9.5, 11.0  # the last is out of bounds itself: there is no room for any spread
    moved = many.replace(state, {"c": target})["c"]
    np.testing.assert_array_equal(moved[:, :6], [[0, 0, 0, 9, 11, 1], [0, 2, 4, 10, 11, 5]])


def test_land_stays_as_it_is():
    mask = np.arange(N) > 0
    many = ensemble(2, mask={"c": mask})
    moved = many.replace(many.start(), {"c": np.full(N, 7.0)})
    np.testing.assert_array_equal(moved["c"], np.where(mask, 7.0, 0.0) * np.ones((2, 1)))


def test_a_change_that_is_spread_over_the_steps_moves_every_member_by_the_same():
    class Stepping(FunctionMap):
        has_steps, step_years = True, 0.25

        def advance(self, state, steps, toward=None):
            change = 0 if toward is None else toward["c"] - state["c"]
            return state | {"c": state["c"] + change, "period": state["period"] + steps}

    single = Stepping(noisy, model().start(), accelerate=("c",))
    many = Ensemble(single, 2, seeded)
    assert (many.has_steps, many.step_years) == (True, 0.25)
    state = many.start() | {"c": np.array([np.zeros(N), np.full(N, 2.0)])}
    after = many.advance(state, 3, {"c": np.full(N, 5.0)})
    np.testing.assert_array_equal(after["c"], [np.full(N, 4.0), np.full(N, 6.0)])
    np.testing.assert_array_equal(after["period"], [3, 3])


def test_what_is_said_of_the_model_is_said_of_the_ensemble():
    single = model(
        years=5.0,
        conserved=(("c",),),
        tendency=lambda state: diags_array(-DECAY),
        diagnostics={"seed": ("1", "its seed", lambda state: state["seed"])},
    )
    many = Ensemble(single, 3, seeded)
    for name in ("years", "conserved", "has_operator", "has_steps", "cycle_steps", "no_circulation", "contents"):
        assert getattr(many, name) == getattr(single, name)
    assert many.layout is single.layout
    assert many.operator(many.start()) == single.operator(single.start())
    assert many.operator_years == single.operator_years
    assert many.diagnose(many.start()) == {"seed": 101}
    assert many.dims("c") == ("member", "x")
    assert many.attrs("c") == single.attrs("c")


def test_members_carry_their_distances_though_the_model_carries_nothing():
    single = FunctionMap(np.cos, np.zeros(3), tendency=lambda x: diags_array(np.full(3, -1.0)))
    assert not single.carries
    assert not Ensemble(single, 1).carries
    assert Ensemble(single, 2).carries
    assert choose(Ensemble(single, 2))[0] == "ptc"


# --- runs ----------------------------------------------------------------------------------------


def test_more_members_come_nearer_to_the_known_mean_in_as_many_evaluations(tmp_path):
    errors = {}
    for members in (1, MEMBERS):
        result = spinup.run(case(members, budget=40.0 * members), out=tmp_path / str(members))
        assert result.evaluations == 40
        errors[members] = rms(spinup.open(tmp_path / str(members)).c[-20:] - ANSWER)
    assert errors[MEMBERS] < errors[1] / 2  # 1/4 in the mean of many seeds


def test_a_run_costs_the_model_years_of_all_members_and_drifts_by_those_of_one(tmp_path):
    half = spinup.Case(name="half", title="Half", build=lambda: ensemble(4, years=0.5), method="picard", budget=7)
    result = spinup.run(half, out=tmp_path / "run")
    assert (result.outcome, result.evaluations, result.model_years) == (Outcome.BUDGET, 3, 6.0)  # a fourth: 8 years
    run = spinup.open(tmp_path / "run")
    np.testing.assert_array_equal(run.model_years, [2, 4, 6])
    np.testing.assert_array_equal(run.evaluation_years, [0.5, 0.5, 0.5])
    np.testing.assert_allclose(run.drift, [rms(r) / 0.5 for r in (run.c - run.c_before).values], rtol=1e-14)
    np.testing.assert_allclose(run.c_residual, 0.5 * run.drift)
    assert summary(read_run(tmp_path / "run"))["members"] == 4
    with pytest.raises(UsageError, match=r"budget of 1\.5 model years is less than one evaluation, 2"):
        spinup.run(half, out=tmp_path / "short", budget=1.5)


def test_direct_integration_is_that_of_each_member(tmp_path):
    spinup.run(case(3, method="picard", budget=15), out=tmp_path / "run")
    end = spinup.open_state(tmp_path / "run")
    for member in range(3):
        alone = model()
        state = seeded(member, {name: value.copy() for name, value in alone.start().items()})
        for _ in range(5):
            state = alone.evaluate(state)
        np.testing.assert_array_equal(end.c[member], state["c"])


def test_a_run_that_went_on_is_the_same_to_the_bit(tmp_path):
    spinup.run(case(4, budget=80), out=tmp_path / "whole", store={"checkpoint_every": 3})
    spinup.run(case(4, budget=29), out=tmp_path / "stopped", store={"checkpoint_every": 3})  # after 7 evaluations
    spinup.resume(tmp_path / "stopped", case=case(4), budget=80)
    assert_same_numbers(tmp_path / "whole", tmp_path / "stopped")
    xr.testing.assert_identical(
        spinup.open_state(tmp_path / "whole").drop_vars(["wall_seconds", "elapsed_seconds"], errors="ignore"),
        spinup.open_state(tmp_path / "stopped").drop_vars(["wall_seconds", "elapsed_seconds"], errors="ignore"),
    )


def test_the_store_opens_with_xarray_and_has_the_members(tmp_path):
    spinup.run(case(4), out=tmp_path / "run")
    run = xr.open_zarr(tmp_path / "run")
    assert run.c.dims == ("evaluation", "x")
    state = xr.open_zarr(tmp_path / "run", group="states", consolidated=False)
    assert state.c.dims == ("slot", "member", "x")
    end = spinup.open_state(tmp_path / "run")
    assert end.sizes["member"] == 4
    np.testing.assert_array_equal(end.seed, [1, 101, 201, 301])
    np.testing.assert_array_equal(end.c.mean("member"), spinup.open(tmp_path / "run").c[-1])


def test_a_failure_names_the_member_and_costs_as_much(tmp_path):
    def fragile(state):
        if state["seed"] == 201 and state["period"] == 3:
            raise FloatingPointError("blew up on purpose")
        return noisy(state)

    many = Ensemble(model(fragile), 4, seeded)
    with pytest.raises(ModelFailure, match=r"member 2: fragile raised FloatingPointError: blew up on purpose"):
        many.evaluate(many.start() | {"period": np.full(4, 3)})
    fails = spinup.Case(name="fails", title="Fails", build=lambda: many, method="picard", budget=40)
    result = spinup.run(fails, out=tmp_path / "run")
    assert (result.outcome, result.evaluations, result.model_years) == (Outcome.UNSTABLE, 4, 16)


def test_the_mean_state_is_of_the_years_of_all_members(tmp_path):
    def build():
        return Ensemble(model(tendency=lambda state: diags_array(-DECAY)), 4, seeded)

    noisy_case = spinup.Case(name="mean", title="Mean", build=build, method="mean", budget=400, tolerance="1e-9 1")
    result = spinup.run(noisy_case, out=tmp_path / "run", settings={"periods": 24})
    mean = spinup.open_mean(tmp_path / "run")
    assert result.outcome is Outcome.FLOOR
    assert mean.model_years == 4 * 24
    assert np.linalg.norm(mean.c - ANSWER) < 2 * np.linalg.norm(mean.c_standard_error)


CASE_FILE = """
import numpy as np
from scipy.sparse import diags_array
import spinup

DECAY = np.linspace(0.1, 0.9, 8)

def step(state):
    return {"c": state["c"] - DECAY * (state["c"] - state["target"]), "target": state["target"]}

def build():
    model = spinup.FunctionMap(
        step, {"c": np.zeros(8), "target": 1.0}, accelerate=("c",), tendency=lambda state: diags_array(-DECAY)
    )
    return spinup.Ensemble(model, 3, lambda member, state: state | {"target": 1.0 + member})

CASE = spinup.Case(name="targets", title="Targets", build=build, method="anderson", budget=200, tolerance=1e-10)
"""


def test_an_audit_gives_each_member_its_years(tmp_path):
    file = tmp_path / "targets.py"
    file.write_text(CASE_FILE)
    assert spinup.run(file, out=tmp_path / "run").outcome is Outcome.CONVERGED
    np.testing.assert_allclose(spinup.open(tmp_path / "run").c[-1], 2.0, atol=1e-9)
    seen = audit(tmp_path / "run", years=12)
    assert seen.years == 12
    assert spinup.open(tmp_path / "run-audit").model_years[-1] == 36
    assert audit(tmp_path / "run", years=12) == seen  # what is there is enough


# --- interannual forcing -------------------------------------------------------------------------

FORCING = np.array([3.0, -1.0, 4.0, 2.0])  # of four years that come again and again


def forced(state):
    wind = FORCING[int(state["period"]) % len(FORCING)]
    return state | {"c": state["c"] + DECAY * (wind - state["c"]), "period": state["period"] + 1}


@pytest.mark.parametrize("members", [1, 2, 4])
def test_members_that_share_out_the_years_of_the_forcing_leave_no_weather(members, tmp_path):
    """Started a period apart, as many members as years have each year once in every evaluation."""
    years = spinup.Case(
        name="forced",
        title="Forced",
        build=lambda: Ensemble(model(forced), members),
        method="anderson",
        settings={"depth": 8},
        budget=25 * members,
        tolerance=1e-9,
    )
    result = spinup.run(years, out=tmp_path / "run")
    assert (result.outcome is Outcome.CONVERGED) == (members == len(FORCING))
    if members == len(FORCING):
        np.testing.assert_allclose(spinup.open(tmp_path / "run").c[-1], FORCING.mean(), atol=1e-8)


# --- how members start ---------------------------------------------------------------------------


def test_members_start_a_period_apart_unless_told_otherwise():
    single, many = model(), Ensemble(model(), 3)
    state = single.start()
    for member in range(3):
        for name, value in many.start().items():
            np.testing.assert_array_equal(value[member], state[name])
        state = single.evaluate(state)
    assert many.describe()["start_years"] == 2
    assert ensemble(3).describe()["start_years"] == 0


def test_members_start_from_the_state_of_another_run(tmp_path):
    alone = spinup.Case(name="alone", title="Alone", build=model, method="picard", budget=5)
    spinup.run(alone, out=tmp_path / "alone")
    state = {name: value.values for name, value in spinup.open_state(tmp_path / "alone").items()}
    start = ensemble(3).start_from(state)
    spinup.run(case(3), out=tmp_path / "run", start=start)
    first = spinup.open(tmp_path / "run").c_before[0]
    np.testing.assert_allclose(first, state["c"], rtol=1e-14)
    with pytest.raises(UsageError, match=r"c has shape \(8,\), the model needs \(3, 8\)"):
        spinup.run(case(3), out=tmp_path / "other", start=state)


def test_a_resumed_run_does_not_integrate_the_starts_again(tmp_path):
    calls = []

    def counted(state):
        calls.append(int(state["period"]))
        return noisy(state)

    lagged = spinup.Case(
        name="lagged", title="Lagged", build=lambda: Ensemble(model(counted), 3), method="picard", budget=6
    )
    spinup.run(lagged, out=tmp_path / "run")
    assert calls == [0, 1, 0, 1, 2, 1, 2, 3]  # two for the starts, then three an evaluation
    spinup.resume(tmp_path / "run", case=lagged, budget=9)
    assert calls[8:] == [2, 3, 4]


def test_the_description_is_json_and_tells_another_ensemble():
    described = json.loads(json.dumps(ensemble(3).describe()))
    assert described | model().describe() == described
    assert (described["members"], described["member_start"]) == (3, "seeded")
    assert json.dumps(Ensemble(model(), 3).describe()) != json.dumps(ensemble(3).describe())


# --- what it refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (lambda member, state: state, r"members 0 and 1 start the same and would stay the same"),
        (lambda member, state: {"c": state["c"]}, r"of member 0 returned no 'seed': give the whole state"),
        (
            lambda member, state: state | {"sed": 3},
            r"returned 'sed', which the model does not have .*'seed'",
        ),
        (lambda member, state: state | {"c": np.zeros(3)}, r"'c' as float64 of shape \(3,\), the model has float64 of"),
        (lambda member, state: state | {"seed": 0.5}, r"'seed' as float64 of shape \(\), the model has int64"),
        (lambda member, state: None, r"returned NoneType: it must return a dictionary"),
        (lambda member, state: state["wind"], r"of member 0 raised KeyError: 'wind'"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(start, message):
    with pytest.raises(UsageError, match=message):
        Ensemble(model(), 2, start).start()


def test_a_start_that_fails_is_refused():
    def fails(state):
        raise FloatingPointError("no")

    with pytest.raises(UsageError, match=r"member 1 has no start, period 1 from the model's own failed.*`start`"):
        Ensemble(model(fails), 2).start()


@pytest.mark.parametrize("members", [0, 2.5])
def test_members_are_counted_from_one(members):
    with pytest.raises(UsageError, match=f"members={members}: an ensemble has a whole number of members, one or more"):
        Ensemble(model(), members)


def test_a_dimension_of_that_name_is_refused():
    with pytest.raises(UsageError, match=r"already has a variable or dimension 'member' \(c\)"):
        Ensemble(Ensemble(model(), 2), 2)
