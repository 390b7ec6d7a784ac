"""The audit: an equilibrium stays, another state moves on, and an unstable one leaves."""

import json
import textwrap

import numpy as np
import pytest
from helpers import LINEAR
from scipy.sparse import csr_array, diags_array

import spinup
from solvers import StepOperator
from spinup.audit import audit, integrate_on, judge, slowest
from spinup.function_map import FunctionMap
from spinup.maps import Content
from spinup.repeated import apart
from spinup.report import report_numbers
from spinup.report.audit_verdict import Kind, Seen, decay_words, kind_of, repeated_words, sentence, slowest_words
from spinup.report.budgets import budget_words
from spinup.report.reading import read_run
from spinup.run import Progress


def test_the_end_of_a_converged_run_stays(linear_run, tmp_path):
    run = tmp_path / "run"
    run.symlink_to(linear_run)
    found = audit(run, years=5)
    moved = spinup.open(tmp_path / "run-audit").c.values[-1] - read_run(linear_run).end("c")
    assert found.moved["c"] == np.sqrt(np.mean(moved**2)) < 1e-5
    assert found.years == 5
    assert found.drift[1] <= found.drift[0]
    assert audit(run, years=8).years == 8  # goes on from where it was


def test_a_state_that_leaves_is_no_equilibrium(tmp_path):
    def build():
        return FunctionMap(lambda s: {"x": 1.3 * s["x"]}, start={"x": np.full(3, 1e-6)})

    case = spinup.Case(name="leaving", title="x grows", build=build, method="picard", budget=2, tolerance=1e-30)
    spinup.run(case, out=tmp_path / "run")
    spinup.run(case, out=tmp_path / "on", start=tmp_path / "run", budget=10)
    found = judge(tmp_path / "run", read_run(tmp_path / "run"), read_run(tmp_path / "on"))
    assert found.kind == Kind.UNSTABLE
    assert "leaves where it is" in found.verdict


def test_a_map_that_is_not_deterministic_is_found_and_said(tmp_path):
    random = np.random.default_rng(2)

    def build():
        return FunctionMap(
            lambda s: {"x": 0.5 * s["x"] + 1e-3 * random.standard_normal(100)},
            start={"x": np.ones(100)},
            units={"x": "K"},
        )

    case = spinup.Case(name="shaky", title="Shaky", build=build, method="picard", budget=20, tolerance=1e-30)
    spinup.run(case, out=tmp_path / "run")
    integrate_on(case, tmp_path / "run-audit", tmp_path / "run", 10, Progress())
    found = apart(case, tmp_path / "run-audit")
    assert found["x"] == pytest.approx(np.sqrt(2) * 1e-3, rel=0.3)
    assert "not deterministic: one period, done twice from one state, ended x 0.001" in repeated_words(found)


def test_a_map_that_fails_the_second_time_is_said_to(tmp_path):
    calls = []

    def build():
        def halve(state):
            calls.append(state)
            return {"x": np.full(3, np.nan) if len(calls) > 20 else 0.5 * state["x"]}

        return spinup.FunctionMap(halve, start={"x": np.ones(3)})

    case = spinup.Case(name="frail", title="Frail", build=build, method="picard", budget=10, tolerance=1e-30)
    spinup.run(case, out=tmp_path / "run")
    integrate_on(case, tmp_path / "run-audit", tmp_path / "run", 10, Progress())
    assert apart(case, tmp_path / "run-audit") == {"x": None}
    assert "failed the second time" in repeated_words({"x": None})


def test_a_map_that_is_deterministic_is_not_said_to_be_otherwise(linear_run, tmp_path):
    run = tmp_path / "run"
    run.symlink_to(linear_run)
    seen = audit(run, years=5)
    assert seen.repeated == {"c": 0.0}
    assert seen.repeated_words == ""
    assert not [s for s in report_numbers([run])["verdict"] if "deterministic" in s]


def test_the_command_line_says_it(tmp_path):
    from test_cli import spinup_command

    assert spinup_command("run", LINEAR, "--out", tmp_path / "run").returncode == 0
    done = spinup_command("audit", tmp_path / "run", "--years", "3")
    assert done.returncode == 0, done.stderr
    assert "c moved" in done.stdout
    assert "verdict" in done.stdout


def test_the_report_says_what_the_audit_saw(linear_run, tmp_path):
    run = tmp_path / "run"
    run.symlink_to(linear_run)
    assert report_numbers([run])["audit"] is None
    seen = audit(run, years=5)
    numbers = report_numbers([run])
    assert numbers["audit"] == seen.as_json() | {"path": "run"}
    (sentence,) = [s for s in numbers["verdict"] if "integrated on" in s]
    assert seen.verdict in sentence
    assert f"c by {seen.moved['c']:.3g}"[:8] in sentence
    other = tmp_path / "other"
    other.symlink_to(linear_run)
    (tmp_path / "run-audit").rename(tmp_path / "other-audit")
    assert report_numbers([other])["audit"] is None  # an audit of another run


RATES = np.linspace(0.02, 1.0, 12)


@pytest.fixture
def decay(tmp_path):
    """A case file: x' = rates (1 - x), given as a tendency: the least damped decays by e in fifty years."""
    file = tmp_path / "decay.py"
    file.write_text(
        textwrap.dedent("""
            import numpy as np, spinup
            from scipy.sparse import csr_array, diags_array
            from spinup.function_map import FunctionMap

            RATES = np.linspace(0.02, 1.0, 12)

            def build():
                return FunctionMap(
                    lambda s: {"x": 1 + np.exp(-RATES) * (s["x"] - 1)},
                    start={"x": np.zeros(12)},
                    tendency=lambda s: csr_array(diags_array(-RATES)),
                )

            CASE = spinup.Case(name="decay", title="x", build=build, method="newton", budget=40, tolerance="1e-6")
        """)
    )
    return str(file)


def test_the_slowest_mode_is_found_and_said(decay, tmp_path):
    case = spinup.load_case(decay)
    spinup.run(case, out=tmp_path / "run")
    spinup.run(case, out=tmp_path / "on", start=tmp_path / "run", method="picard", budget=5, tolerance=1e-300)
    modes = slowest(tmp_path / "on")
    np.testing.assert_allclose(modes, -RATES[:4], rtol=1e-4)
    found = judge(tmp_path / "run", read_run(tmp_path / "run"), read_run(tmp_path / "on"), modes)
    assert found.verdict.endswith("its slowest mode decays by e in 50 model years")
    np.testing.assert_allclose(found.rates[0], (-0.02, 0.0), rtol=1e-4, atol=1e-9)
    assert found.kind == Kind.STABLE


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ((), ""),
        (((-0.005, 0.0),), "; its slowest mode decays by e in 200 model years"),
        (((-0.1, 0.5),), "; its slowest mode decays by e in 10 model years, swinging once in 12.6 years"),
        (((0.02, 0.0),), "; but a mode of the linearised step grows by e in 50 model years: watch it longer"),
        (((1e-9, 0.0),), "; one direction is neutral: nothing decides where along it the state ends, a conserved"),
    ],
)
def test_modes_in_words(rates, words):
    assert slowest_words(rates).startswith(words)
    assert bool(slowest_words(rates)) == bool(words)


def test_a_report_does_not_look_for_modes_again(decay, tmp_path, monkeypatch):
    spinup.run(decay, out=tmp_path / "run")
    seen = audit(tmp_path / "run", years=5)
    np.testing.assert_allclose([real for real, _ in seen.rates], -RATES[:4], rtol=1e-4)
    monkeypatch.setattr("spinup.audit.slowest", None)
    assert report_numbers([tmp_path / "run"])["audit"]["rates"] == seen.rates


def test_an_audit_does_without_modes_that_are_not_found(linear_run, tmp_path, monkeypatch):
    """ARPACK may fail to converge: the verdict comes all the same."""
    from scipy.sparse import linalg

    def fails(*_, **__):
        raise linalg.ArpackNoConvergence("no convergence", np.zeros(0), np.zeros((0, 0)))

    operator = StepOperator(csr_array(diags_array(-np.linspace(0.02, 1.0, 60))), 1)
    monkeypatch.setattr("spinup.audit.newest_estimate_operator", lambda path: (operator, 0))
    assert len(slowest(tmp_path)) == 4
    monkeypatch.setattr(linalg, "eigs", fails)
    assert slowest(tmp_path) == ()
    run = tmp_path / "run"
    run.symlink_to(linear_run)
    assert audit(run, years=5).rates == ()


def seen_of(moved=0.01, error=0.01, drift=(1e-3, 9e-4), **more):
    return Seen(moved={"x": moved}, error={"x": error}, drift=drift, years=20, **more)


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        (Kind.STABLE, seen_of(rates=((-0.005, 0.0),))),
        (Kind.UNSTABLE, seen_of(drift=(1e-3, 2e-3))),
        (Kind.UNSTABLE, seen_of(drift=(1e-3, 1.1e-3), rates=((0.01, 0.0),))),  # both say it grows
        (Kind.UNSTABLE, seen_of(failed=True)),
        (Kind.NOT_TOLD, seen_of(rates=((0.01, 0.0),))),  # the step says it grows, the years do not
        (Kind.NOT_TOLD, seen_of(error=None)),
        (Kind.NOT_THERE, seen_of(moved=0.03)),
        (Kind.NEUTRAL, seen_of(rates=((1e-7, 0.0), (-0.01, 0.0)))),
        (Kind.CYCLE, seen_of(cycle=7.0, drift=(1e-3, 1e-3))),
        (Kind.FLOOR, seen_of(noise=True, moved=0.03)),
        (Kind.FLOOR, seen_of(floor=True)),
        (Kind.FLOOR, seen_of(noise=True)),
        (Kind.FLOOR, seen_of(noise=True, moved=0.03, converged=True)),
        (Kind.STABLE, seen_of(noise=True, converged=True)),  # below the tolerance noise does not matter
        (Kind.FLOOR, seen_of(noise=True, drift=(1e-3, 2e-3))),  # single years say little then
        (Kind.UNSTABLE, seen_of(floor=True, drift=(1e-3, 2e-3))),
    ],
)
def test_the_kind_by_what_was_seen(kind, seen):
    assert kind_of(seen) == kind
    assert sentence(kind, seen).startswith(kind.value)


def test_decay_in_words():
    assert decay_words({"x": 0.5}, {}) == ""
    assert decay_words({"x": 0.5}, {"x": 0.52}).endswith("as its linearised step says, 0.520")
    assert "less than its linearised step says" in decay_words({"x": 0.9}, {"x": 0.1})
    assert "more than its linearised step says" in decay_words({"x": 0.01}, {"x": 0.1})


def test_the_decay_is_what_the_linearised_step_foresees(decay, tmp_path):
    """Both are known: modes that begin alike decay by exp(-rate) a year."""
    spinup.run(decay, out=tmp_path / "run", budget=20, method="picard")
    found = audit(tmp_path / "run", years=10)
    e = np.exp(-20 * RATES)  # left to go when the audit begins
    r = (1 - np.exp(-RATES)) * e
    left, moved = (1 - np.exp(-RATES)) * e * np.exp(-9 * RATES), (1 - np.exp(-10 * RATES)) * e
    assert found.decay["x"] == pytest.approx(np.linalg.norm(left) / np.linalg.norm(r), rel=1e-6)
    assert found.foreseen["x"]["decay"] == pytest.approx(found.decay["x"], rel=0.05)
    assert found.foreseen["x"]["moved"] == pytest.approx(np.sqrt(np.mean(moved**2)), rel=0.05)
    assert "as its linearised step says" in found.decay_words
    assert report_numbers([tmp_path / "run"])["audit"]["foreseen"] == found.foreseen


def test_budgets_are_the_change_of_the_volume_mean(tmp_path):
    """A box of two cells that warms by 0.02 and 0.05 K a year, the second of three times the volume."""
    warming, volume = np.array([0.02, 0.05]), np.array([1.0, 3.0])

    def build():
        return FunctionMap(
            lambda s: {"temp": s["temp"] + 0.5 * warming},
            start={"temp": np.ones(2)},
            years=0.5,
            volume=volume,
            units={"temp": "degC"},
        )

    found = audited(tmp_path, build, 3)
    (budget,) = found.budgets.values()
    assert budget["per_century"] == pytest.approx(100 * (0.02 + 3 * 0.05) / 4)
    assert budget["units"] == "K"
    assert budget["flux"] is budget["content"] is None
    assert not found.rigid_lid
    assert budget_words("temp", budget) == "temp: 4.25 K per century"


def test_a_flux_is_said_where_the_map_knows_the_content():
    budget = {"per_century": -1.0, "units": "K", "content": "heat", "flux": -0.52, "flux_units": "W m⁻²"}
    budget["surface"] = None
    assert budget_words("temp", budget) == "temp: −1.00 K per century, heat −0.520 W m⁻²"


def heated(*, leak=0.0, cycle=0):
    """Two boxes, one warmed and one cooled, by 1 K a year for every K from where they are drawn to; fluxes in W m-2,
    of which K a year are three. leak: K a year that goes otherwise. cycle: time steps of its year, where it has any."""
    target = np.array([1.0, 3.0])
    gain = {"net": np.sum, "gain": lambda f: f[f > 0].sum(), "loss": lambda f: f[f < 0].sum()}

    def build():
        model = FunctionMap(
            lambda s: {"temp": target + (s["temp"] - target) * np.exp(-1e-3) + leak},
            start={"temp": np.array([3.0, 2.0])},
            units={"temp": "degC"},
            diagnostics={
                name: ("W m-2", name, lambda s, part=part: float(part(3e-3 * (target - s["temp"]) / 2)))
                for name, part in gain.items()
            },
        )
        model.contents = {"temp": Content("heat", "W m-2", 3.0, ("net", "gain", "loss"))}
        if cycle:
            describe = model.describe
            model.describe = lambda: describe() | {"cycle_steps": cycle}
        return model

    return build


def test_a_budget_closes_where_the_surface_gives_what_the_content_gains(tmp_path):
    """The mean of the year's two ends is that of a decay of 0.1 % a year to less than 1e-6 of it."""
    found = audited(tmp_path, heated(), 4)
    surface = found.budgets["temp"]["surface"]
    end = 3e-3 * np.array([-2.0, 1.0]) / 2 * np.exp(-6e-3)
    assert [surface[key] for key in ("net", "gain", "loss")] == pytest.approx([end.sum(), end[1], end[0]])
    assert surface["interior"] is None
    assert surface["closes"] is True
    assert abs(surface["lacking"]) < 1e-6 * abs(end.sum())
    words = budget_words("temp", found.budgets["temp"])
    assert "heat −0.00149 W m⁻², through the surface −0.00149 W m⁻², gaining 0.00149 and losing 0.00298: it c" in words
    numbers = found.as_json()
    assert json.loads(json.dumps(numbers, allow_nan=False))["budgets"]["temp"]["surface"] == surface


def test_a_budget_that_does_not_close_says_by_how_much(tmp_path):
    found = audited(tmp_path, heated(leak=1e-3), 4)
    surface = found.budgets["temp"]["surface"]
    assert surface["closes"] is False
    assert surface["lacking"] == pytest.approx(3e-3, rel=1e-3)
    assert "it does not close: 0.00300 W m⁻² come otherwise" in budget_words("temp", found.budgets["temp"])


def test_no_budget_is_said_to_close_with_seasons_or_without_a_beginning(tmp_path):
    for number, (build, years, why) in enumerate([(heated(cycle=12), 4, "seasons"), (heated(), 1, "beginning")]):
        (folder := tmp_path / str(number)).mkdir()
        budget = audited(folder, build, years).budgets["temp"]
        assert budget["surface"]["net"] == pytest.approx(-0.0015, rel=0.01)
        assert budget["surface"]["closes"] is budget["surface"]["lacking"] is None
        assert why in budget["surface"]["untold"]
        assert "whether it closes is not told, as " in budget_words("temp", budget)


def test_a_run_of_an_earlier_format_has_no_fluxes(tmp_path):
    audited(tmp_path, heated(), 4)
    after = read_run(tmp_path / "on")
    content = after.contents["temp"]
    del content["surface"], content["interior"]
    after.data.attrs["contents"] = json.dumps({"temp": content})
    found = judge(tmp_path / "run", read_run(tmp_path / "run"), after).budgets["temp"]
    assert found["surface"] is None
    assert budget_words("temp", found).endswith("heat −0.00149 W m⁻²")


def test_fluxes_of_one_state_say_nothing_of_noise(tmp_path):
    random = np.random.default_rng(5)

    def build():
        model = FunctionMap(
            lambda s: {"x": 0.1 * s["x"] + random.standard_normal(50)},
            start={"x": np.zeros(50)},
            diagnostics={name: ("W m-2", name, lambda s: 1.0) for name in ("net", "gain", "loss")},
        )
        model.contents = {"x": Content("heat", "W m-2", 1.0, ("net", "gain", "loss"))}
        return model

    assert audited(tmp_path, build, 30).budgets["x"]["surface"]["untold"] == "the state wanders"


def audited(tmp_path, build, years, **case):
    """The audit of a run of one year of a map made here; such a case is in no file, so it is integrated on by hand."""
    made = spinup.Case(name="case", title="", build=build, method="picard", budget=2, tolerance=1e-300, **case)
    spinup.run(made, out=tmp_path / "run")
    spinup.run(made, out=tmp_path / "on", start=tmp_path / "run", budget=years)
    return judge(tmp_path / "run", read_run(tmp_path / "run"), read_run(tmp_path / "on"))


def rotation(turns: float, radius: float):
    """Two numbers that go round once in `turns` evaluations of two years, on a circle of radius 1 that attracts."""
    c, s = np.cos(2 * np.pi / turns), np.sin(2 * np.pi / turns)

    def step(state):
        x = state["x"]
        return {"x": np.array([[c, -s], [s, c]]) @ x * 1.3 / (1 + 0.3 * (x @ x))}

    return lambda: FunctionMap(step, start={"x": np.array([radius, 0.0])}, years=2.0)


def test_a_limit_cycle_is_found_with_its_period(tmp_path):
    found = audited(tmp_path, rotation(7, 0.9), 60)
    assert found.kind == Kind.CYCLE
    assert found.cycle == 14
    assert "once in about 14 model years" in found.verdict


def test_a_damped_oscillation_is_no_limit_cycle(tmp_path):
    c, s = 0.97 * np.cos(2 * np.pi / 7), 0.97 * np.sin(2 * np.pi / 7)  # a fifth is lost in a round
    step = np.array([[c, -s], [s, c]])
    found = audited(tmp_path, lambda: FunctionMap(lambda q: {"x": step @ q["x"]}, start={"x": np.ones(2)}), 30)
    assert found.cycle is None
    assert found.kind == Kind.NOT_TOLD


def noisy(strength: float):
    """Twenty numbers that decay to 1 at rates of a year to a century, under noise with a memory of three years."""
    rng, keep = np.random.default_rng(3), 0.7
    shocks = rng.standard_normal((200, 20))
    rates = np.geomspace(0.01, 1, 20)

    def step(state):
        year = int(state["year"])
        noise = keep * state["noise"] + shocks[year]
        x = 1 + np.exp(-rates) * (state["x"] - 1) + strength * noise
        return {"x": x, "noise": noise, "year": state["year"] + 1}

    start = {"x": np.zeros(20), "noise": np.zeros(20), "year": np.zeros(())}
    return lambda: FunctionMap(step, start=start, accelerate=("x",))


def test_the_noise_floor_is_told_from_the_way_there(tmp_path):
    on_the_way, at_rest = tmp_path / "a", tmp_path / "b"
    on_the_way.mkdir()
    at_rest.mkdir()
    assert audited(on_the_way, noisy(1e-5), 30).kind == Kind.NOT_TOLD
    assert audited(at_rest, noisy(0.5), 30).kind == Kind.FLOOR


def test_a_map_that_fails_on_the_way_is_unstable(tmp_path):
    def step(state):
        if state["x"][0] > 5:
            raise ArithmeticError("too large")
        return {"x": state["x"] + 1.0}

    found = audited(tmp_path, lambda: FunctionMap(step, start={"x": np.ones(2)}), 9)
    assert found.kind == Kind.UNSTABLE
    assert "the model failed" in found.verdict
