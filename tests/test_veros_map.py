"""T(x) of real Veros setups: Markov to the bit, the stock model's own answer, FACTS of the coarse ACC."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_same_numbers
from scipy.sparse import csr_array, eye_array

import spinup
from solvers import Evaluate, Operator, StepOperator
from spinup import veros_map
from spinup.errors import ModelFailure, UsageError
from spinup.maps import years_of_operator
from spinup.methods import bind
from spinup.store.view import open_state
from spinup.veros_map import VerosMap

REPOSITORY = Path(__file__).parent.parent
SMALL = {"nx": 8, "ny": 42, "nz": 15}  # a slice of the bundled domain: every process, little to compile and run

#: Compiling the whole step at once rounds differently from compiling its kernels one by one, and the solver of the
#: streamfunction stops at 1e-8: a few steps leave a relative difference of that order. The surface
#: pressure leaves 1.2e-6 to 2e-6.
ROUNDING, OF_PRESSURE = 1e-6, 3e-6


def assert_same(one, other):
    assert set(one) == set(other)
    for name in one:
        np.testing.assert_array_equal(np.asarray(one[name]), np.asarray(other[name]), err_msg=name)


@pytest.fixture(scope="module")
def coarse() -> VerosMap:
    return spinup.load_case("acc-coarse").build()


@pytest.mark.parametrize("setup", ["acc", "acc_basic"])
def test_two_periods_are_one_of_twice_the_length(setup):
    """Bitwise, for every bundled setup that needs no download; 7 steps leave the time levels rotated."""
    steps = 7
    once, twice = VerosMap(setup, period=steps), VerosMap(setup, period=2 * steps)
    start = once.start()
    assert_same(once.evaluate(once.evaluate(start)), twice.evaluate(start))


@pytest.mark.parametrize(
    ("lid", "rounding"), [(True, ROUNDING), (False, OF_PRESSURE)], ids=["rigid lid", "free surface"]
)
def test_it_is_the_stock_models_answer(lid, rounding):
    """Against `VerosSetup.step` called step by step, as `veros run` does."""
    from veros.setups.acc_basic.acc_basic import ACCBasicSetup

    steps, settings = 6, SMALL | {"enable_streamfunction": lid}
    ours = VerosMap("acc_basic", period=steps, settings=settings)
    stock = ACCBasicSetup(override=settings)
    stock.setup()
    stock.state.diagnostics.clear()
    for _ in range(steps):
        stock.step(stock.state)
    end = ours.evaluate(ours.start())
    vs = stock.state.variables
    assert float(end["time"]) == float(vs.time)
    for name in ("temp", "salt", "u", "v", "psi", "tke"):
        theirs = np.asarray(getattr(vs, name))[..., int(vs.tau)]
        np.testing.assert_allclose(
            np.asarray(end[name])[..., 1], theirs, rtol=0, atol=rounding * np.abs(theirs).max(), err_msg=name
        )


def test_the_state_holds_everything_the_model_remembers(coarse):
    state = coarse.start()
    assert {
        "temp",
        "salt",
        "dtemp",
        "dsalt",
        "u",
        "v",
        "du",
        "dv",
        "psi",
        "dpsi",
        "tke",
        "dtke",
        "K_diss_v",
        "time",
    } <= set(state)


def test_replacing_nothing_changes_nothing(coarse):
    state = coarse.evaluate(coarse.start())
    assert_same(coarse.replace(state, coarse.fields(state)), state)


def test_replacing_moves_every_time_level_and_the_halo(coarse):
    state = coarse.evaluate(coarse.start())
    layout = coarse.layout
    x = layout.pack(coarse.fields(state))
    moved = coarse.replace(state, layout.unpack(x + 0.25, fill=0.0))
    np.testing.assert_array_equal(layout.pack(coarse.fields(moved)), x + 0.25)
    ocean = np.asarray(coarse._template.variables.maskT) > 0.5
    difference = np.asarray(moved["temp"]) - np.asarray(state["temp"])
    np.testing.assert_allclose(difference[2:-2, 2:-2][ocean[2:-2, 2:-2]], 0.25, atol=1e-12)
    np.testing.assert_array_equal(np.asarray(moved["temp"])[:2, ..., 1], np.asarray(moved["temp"])[-4:-2, ..., 1])
    np.testing.assert_array_equal(difference[2:-2, 2:-2][~ocean[2:-2, 2:-2]], 0.0)


def test_land_is_never_in_the_vector(coarse):
    layout = coarse.layout
    assert layout.size == 4500
    assert layout.size == int((np.asarray(coarse._template.variables.maskT)[2:-2, 2:-2] > 0.5).sum())
    np.testing.assert_allclose(layout.inner.norm(np.ones(layout.size)), 1.0)


def test_direct_integration_reproduces_the_measured_drifts(coarse):
    """Volume-weighted rms of T(x) - x in K per year: 7.85e-1 in year 1, 6.0e-2 in year 10."""
    state, layout, drifts = coarse.start(), coarse.layout, []
    for _ in range(10):
        before, state = layout.pack(coarse.fields(state)), coarse.evaluate(state)
        drifts.append(layout.inner.norm(layout.pack(coarse.fields(state)) - before))
    assert drifts[0] == pytest.approx(7.85e-1, rel=2e-3)
    assert drifts[9] == pytest.approx(6.0e-2, rel=5e-3)


def test_diagnostics(coarse):
    state = coarse.start()
    for _ in range(3):
        state = coarse.evaluate(state)
    values = coarse.diagnose(state)
    assert set(values) == set(coarse.diagnostics)
    mean = coarse.layout.means(coarse.layout.pack(coarse.fields(state)))["temp"]
    volume = coarse.layout.variables[0].volume[coarse.layout.variables[0].mask].sum()
    assert values["heat_content"] == pytest.approx(1024.0 * 3991.86795711963 * mean * volume, rel=1e-9)
    assert 50 < values["barotropic_transport"] < 300
    assert 1 < values["overturning_max"] < 50


def test_heat_content_changes_by_the_flux_that_the_map_says(coarse):
    """Warmed by 1 K in a year of 366 days, the ocean takes up rho cp depth / year through its surface."""
    vs = coarse._template.variables
    ocean = np.asarray(vs.maskT)[2:-2, 2:-2]
    area = float((np.asarray(vs.area_t)[2:-2, 2:-2] * ocean[..., -1]).sum())
    warmer = coarse.replace(coarse.start(), {"temp": coarse.fields(coarse.start())["temp"] + 1.0})
    joules = coarse.diagnose(warmer)["heat_content"] - coarse.diagnose(coarse.start())["heat_content"]
    heat = coarse.contents["temp"]
    assert (heat.quantity, heat.units) == ("heat", "W m-2")
    assert heat.factor == pytest.approx(joules / area / (366 * 86400), rel=1e-9)
    assert coarse.rigid_lid


def changes_in_a_step(model, state):
    """Of heat and salt, by what the map says goes through the surface and is made within, and by their contents: by
    ocean surface, W m-2 and kg m-2 s-1."""
    vs = model._template.variables
    ocean = np.asarray(vs.maskT)[2:-2, 2:-2, -1]
    area, year = float((np.asarray(vs.area_t)[2:-2, 2:-2] * ocean).sum()), model._seconds_per_year
    before, after = model.diagnose(state), model.diagnose(model.advance(state, 1))
    found = {}
    for quantity, seconds in (("heat", 1.0), ("salt", year)):
        names = [n for n in (f"surface_{quantity}_flux", f"interior_{quantity}_source") if n in before]
        content = (after[f"{quantity}_content"] - before[f"{quantity}_content"]) / (area * model.dt)
        found[quantity] = (sum(before[name] for name in names) / seconds, content)
    return found


def test_heat_goes_through_the_surface_as_the_map_says(coarse):
    """The content changes over the next step by the flux of the state, to rounding; temperature alone is forced."""
    state = coarse.evaluate(coarse.start())
    once = coarse.advance(state, 1)
    values = coarse.diagnose(state)
    through, content = changes_in_a_step(coarse, state)["heat"]
    assert content == pytest.approx(through, rel=1e-9)
    assert through < -1.0  # it still cools from its start
    assert values["surface_heat_gain"] > 0 > values["surface_heat_loss"]
    assert values["surface_heat_gain"] + values["surface_heat_loss"] == pytest.approx(through, rel=1e-12)
    assert not [name for name in coarse.diagnostics if name.startswith(("surface_salt", "interior"))]
    assert coarse.contents["temp"].surface == tuple(f"surface_heat_{what}" for what in ("flux", "gain", "loss"))
    assert_same(coarse.advance(state, 1), once)  # to look at the forcing leaves the model as it was


def sourced():
    """The setup of `acc-coarse-salt`, its salinity restored, with sources of both tracers in the interior."""
    from veros import veros_routine
    from veros.core.operators import numpy as npx

    setup = spinup.load_case("acc-coarse-salt").build.__globals__["setup"]()

    class Sourced(setup):
        @veros_routine
        def set_forcing(self, state):
            setup.__dict__["set_forcing"].function(self, state)
            vs = state.variables
            vs.temp_source = 1e-9 * (5.0 - vs.temp[..., vs.tau])
            vs.salt_source = 1e-11 * npx.cos(vs.temp[..., vs.tau])

    return Sourced


def test_salt_and_sources_in_the_interior_are_told_too():
    model = VerosMap(sourced, period=1, settings={"enable_tempsalt_sources": True})
    state = model.evaluate(model.start())
    values = model.diagnose(state)
    assert set(values) == set(model.diagnostics)
    for quantity, (known, content) in changes_in_a_step(model, state).items():
        assert content == pytest.approx(known, rel=1e-7)
        assert abs(values[f"surface_{quantity}_flux"]) > abs(values[f"interior_{quantity}_source"]) > 0
    assert model.contents["salt"].interior == "interior_salt_source"
    assert model.diagnostics["surface_salt_flux"].units == "kg m-2 year-1"


def test_diagnostics_of_ones_own_stand_beside_the_maps():
    """A control variate among them, which an operator's map is asked for at the noise floor."""
    own = {"days": ("days", "days so far", lambda state: state["time"] / 86400)}
    model = VerosMap("acc_basic", period=2, settings=SMALL, diagnostics=own, control_variates=("days",))
    state = model.evaluate(model.start())
    values = model.diagnose(state)
    assert set(values) == set(model.diagnostics)
    assert values["days"] == pytest.approx(2 * model.dt / 86400)
    assert model.diagnostics["days"].long_name == "days so far"
    assert model.describe()["control_variates"] == ["days"]
    with pytest.raises(UsageError, match=r"'day' is none of the diagnostics given \(did you mean 'days'\?\)"):
        VerosMap("acc_basic", period=2, settings=SMALL, diagnostics=own, control_variates=("day",))
    taken = {"kinetic_energy": ("J", "mine", lambda state: 0.0)}
    with pytest.raises(UsageError, match="'kinetic_energy' is one that every VerosMap has; give yours another name"):
        _ = VerosMap("acc_basic", period=2, settings=SMALL, diagnostics=taken).diagnostics


def test_the_noisy_wind_is_what_its_case_tells():
    """The stress that the model was under, averaged over the days of a year, against the case's control variate."""
    import jax

    model = spinup.load_case("acc-coarse-wind").build()
    mean_wind = model._setup.mean_wind

    @jax.jit
    def wind(markov):
        state = model._veros_state(markov)
        model._setup.set_forcing(state)
        return ((state.variables.surface_taux * mean_wind).sum() / (mean_wind**2).sum() - 1) / 0.2

    state, felt = model.start(), []
    for _ in range(366):
        felt.append(float(wind(state)))
        state = model.advance(state, 1)
    assert model.diagnose(state)["wind"] == pytest.approx(np.mean(felt), abs=1e-6)
    assert model.control_variates == ("wind",)


def test_overturning_of_an_analytic_cell(coarse):
    """Northward above, southward below, v = A cos(pi z / H): the streamfunction, largest at half the depth, is
    A H / pi times the width of the ocean, in a test of the diagnostic's sign and of its integral."""
    vs = coarse._template.variables
    z, depth, speed = np.asarray(vs.zt), float(np.asarray(vs.dzt).sum()), 1e-3
    v = np.zeros(vs.v.shape)
    v[...] = (speed * np.cos(np.pi * z / depth) * np.asarray(vs.maskV))[..., None]
    wet = np.asarray(vs.maskV)[2:-2, 2:-2]
    assert (wet[..., :1] == wet).all()  # the bottom is flat: the cell closes
    width = (np.asarray(vs.dxt)[2:-2, None] * np.asarray(vs.cosu)[2:-2] * wet[..., -1]).sum(axis=0)
    expected = speed * depth / np.pi * width.max() / 1e6
    assert coarse.diagnose({**coarse.start(), "v": v})["overturning_max"] == pytest.approx(expected, rel=0.05)
    assert coarse.diagnose({**coarse.start(), "v": -v})["overturning_max"] < 0.05 * expected  # it turns the other way


def test_both_tracers_by_default():
    model = VerosMap("acc_basic", period=3, settings=SMALL)
    assert [v.name for v in model.layout.variables] == ["temp", "salt"]
    x = model.layout.pack(model.fields(model.start()))
    np.testing.assert_array_equal(x[model.layout.slices["salt"]], 35.0)


def test_a_blow_up_is_a_model_failure():
    model = VerosMap("acc_basic", period="1 year", settings={**SMALL, "dt_mom": 86400.0}, days_per_year=60)
    with pytest.raises(ModelFailure, match="blew up"):
        model.evaluate(model.start())


def test_a_blow_up_of_numbers_that_stay_finite_is_one():
    model = VerosMap("acc_basic", period=3, settings=SMALL)
    state = model.start()
    wild = state | {"tke": np.full_like(state["tke"], 1e20)}
    with pytest.raises(ModelFailure, match=r"tke is 1e\+20 m2 s-2 after 1 steps"):
        model.advance(wild, 1)


RESTART_SCRIPT = """
import sys
from veros import runtime_settings as rs
rs.backend, rs.float_type, rs.linear_solver, rs.use_special_tdma = "jax", "float64", "scipy_jax", False
from veros.setups.acc_basic.acc_basic import ACCBasicSetup
setup = ACCBasicSetup(override=dict(nx=8, ny=42, nz=15, runlen=7 * 43200.0, restart_output_filename=sys.argv[1]))
setup.setup()
setup.state.diagnostics.clear()
setup.run(show_progress_bar=False)
"""


def test_starts_from_a_restart_file_that_stock_veros_wrote(tmp_path):
    file = tmp_path / "end.restart.h5"
    subprocess.run([sys.executable, "-c", RESTART_SCRIPT, str(file)], check=True, cwd=tmp_path, capture_output=True)
    after = VerosMap("acc_basic", period=7, settings=SMALL)
    restarted = VerosMap("acc_basic", period=7, settings=SMALL, restart_file=file)
    expected, start = after.evaluate(after.start()), restarted.start()
    assert float(start["time"]) == 7 * 43200.0
    for name in ("temp", "u", "psi", "dtemp", "tke"):
        largest = np.abs(np.asarray(expected[name])).max()
        np.testing.assert_allclose(
            np.asarray(start[name]), np.asarray(expected[name]), rtol=0, atol=ROUNDING * largest, err_msg=name
        )
    with pytest.raises(UsageError, match=r"restart file .* another grid"):
        VerosMap("acc_basic", period=3, settings={**SMALL, "nx": 10}, restart_file=file).start()
    with pytest.raises(UsageError, match="does not exist"):
        VerosMap("acc_basic", period=3, settings=SMALL, restart_file=tmp_path / "none.h5").start()
    case = spinup.Case("restarted", "", lambda: after, method="picard", budget=1, start_periods=0)
    spinup.run(case, out=tmp_path / "run", start=file)
    assert float(open_state(tmp_path / "run", -1)["time"]) == 7 * 43200.0


def test_a_setup_from_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from veros.setups.acc_basic.acc_basic import ACCBasicSetup\n\nclass Mine(ACCBasicSetup):\n    pass\n"
    )
    assert VerosMap(file, period=3, settings=SMALL).name == "Mine"
    file.write_text("from veros import nothing\n")
    with pytest.raises(UsageError, match=r"mine.py does not import: ImportError"):
        VerosMap(file)
    file.write_text("x = 1\n")
    with pytest.raises(UsageError, match="exactly one subclass"):
        VerosMap(file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"setup": "acc_basik"}, "did you mean 'acc_basic'"),
        ({"setup": "acc_basic", "settings": {"dt_tracr": 1.0}}, "did you mean 'dt_tracer'"),
        ({"setup": "acc_basic", "period": "100000 seconds"}, "2.31481 steps of 43200 s.*take 2 or 3 steps"),
        ({"setup": "acc_basic", "period": "a while"}, "not a model time"),
        ({"setup": "acc_basic", "period": 0}, "at least 1"),
        ({"setup": "acc_basic", "accelerate": ("tmp",)}, "cannot accelerate 'tmp'.*'temp'"),
        ({"setup": "acc_basic", "settings": {"nx": "many"}}, "ACCBasicSetup failed: ValueError"),
        ({"setup": int}, "must subclass veros.VerosSetup"),
    ],
)
def test_wrong_requests_say_what_to_change(arguments, message):
    with pytest.raises(UsageError, match=message):
        VerosMap(**arguments)


@pytest.fixture(scope="module")
def seasonal():
    return spinup.load_case("acc-coarse-seasonal").build()


def test_seasons_come_round(seasonal):
    """The forcing of a date is that of the same date a year on, and not that of half a year on."""
    assert seasonal.cycle_steps == 366
    veros = seasonal._veros_state(seasonal.start())
    forcing = []
    for day in (90, 90 + 183, 90 + 366):
        with veros.variables.unlock():
            veros.variables.time = day * 86400.0
        seasonal._setup.set_forcing(veros)
        forcing.append(np.asarray(veros.variables.forc_temp_surface))
    np.testing.assert_allclose(forcing[0], forcing[2], atol=1e-12 * abs(forcing[0]).max())
    swing = (forcing[0] - forcing[1])[:, [5, -6]] / np.asarray(veros.variables.t_rest)[:, [5, -6]]
    np.testing.assert_allclose(swing[5], 2 * 3.0 * np.sin(2 * np.pi * 90 / 366) * np.array([-1, 1]), rtol=0.02)


def test_residuals_of_a_seasonal_map_are_of_whole_years(seasonal):
    """From the first on, at every date that the relaxations lead to; what relaxes counts as no residual."""
    x = seasonal.layout.pack(seasonal.fields(seasonal.start()))
    flow = bind("auto", {}, seasonal, x)(x, stop=lambda x, g: False)
    requests, request = [], next(flow)
    while len(requests) < 12:
        requests.append(request)
        if isinstance(request, Evaluate):
            reply = request.x + 1e-3
        elif isinstance(request, Operator):
            n = seasonal.layout.size
            reply = StepOperator(csr_array(-1e-4 * eye_array(n)), 366)
        else:
            reply = None
        request = flow.send(reply)
    evaluations = [(r.steps, r.spread) for r in requests if isinstance(r, Evaluate)]
    assert len(evaluations) >= 4
    assert evaluations[:4] == [(366, False), (40, True)] * 2


def test_the_operator_of_a_year_knows_its_halves_and_the_way_there(seasonal):
    """The year is not integrated twice, and is the same to the bit where it is."""
    state = seasonal.start()
    operator = seasonal.operator(state)
    assert (len(operator.seasons), operator.cycle_steps) == (2, 366)
    assert abs(operator.seasons[0].matrix - operator.seasons[1].matrix).max() > 0
    assert seasonal.operator_years == pytest.approx(2 * 26 / 366)
    assert seasonal._on_the_way(state, 366)[1] == 274
    assert seasonal._on_the_way(state, 200)[1] == 0
    assert seasonal._on_the_way({**state, "temp": state["temp"] + 1e-9}, 366)[1] == 0
    shared = seasonal.advance(state, 366)
    seasonal._way = None
    whole = seasonal.advance(state, 366)
    for name, value in whole.items():
        np.testing.assert_array_equal(shared[name], value)


def test_a_seasonal_run_goes_on_to_the_bit(tmp_path):
    """Stopped after the residual of the first cycle, whose operator was made on its way."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    spinup.run("acc-coarse-seasonal", out=whole, budget=2.6)
    spinup.run("acc-coarse-seasonal", out=parts, budget=1.2)
    spinup.resume(parts, budget=2.6)
    assert spinup.open(whole).sizes["evaluation"] == 4
    assert_same_numbers(whole, parts)


def test_seasons_need_whole_years():
    with pytest.raises(UsageError, match="whole years"):
        VerosMap("acc_basic", period="90 days", seasonal=True)


def test_what_does_not_change_may_be_given_to_the_program(monkeypatch):
    """As for a large grid, where it is no constant of the program: the same steps but for rounding."""
    case = spinup.load_case(Path(__file__).parent / "cases" / "small_acc.py")
    constants, given = case.build(), case.build()
    template = given._template
    monkeypatch.setattr(veros_map, "LARGE", 0.0)
    assert given._advance.args[0] is not None
    assert given._template is template
    monkeypatch.undo()
    assert constants._advance.args == (None,)
    later = [model.evaluate(model.start()) for model in (constants, given)]
    for name, value in later[0].items():
        size = max(float(np.max(np.abs(value))), 1e-10)
        np.testing.assert_allclose(later[1][name] / size, np.asarray(value) / size, rtol=0, atol=1e-6, err_msg=name)


def test_the_operator_of_a_season_is_the_mean_of_its_dates(seasonal):
    """Of two dates of each half: the middles of the quarters."""
    state = seasonal.start()
    halves = seasonal.operator(state, dates=2).seasons
    begin, done, quarters = state, 0, []
    for at in (45, 137, 228, 320):
        begin, done = seasonal.advance(begin, at - done), at
        quarters.append(seasonal._operator_at(begin, border=False).matrix)
    for half, two in zip(halves, (quarters[:2], quarters[2:]), strict=True):
        np.testing.assert_allclose(half.matrix.toarray(), (two[0] + two[1]).toarray() / 2, rtol=0, atol=1e-15)
        assert not half.seasons
    assert years_of_operator(seasonal, 2) == 2 * seasonal.operator_years
