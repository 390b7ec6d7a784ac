"""A function as a fixed-point map: what it hands over, what it keeps, and what it refuses."""

import subprocess
import sys
from collections import namedtuple
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import diags_array

import solvers
import spinup
from cases import ideal_age
from solvers.seasons import DATES
from spinup.auto import choose
from spinup.conserve import conserve, totals, without_totals
from spinup.errors import ModelFailure, UsageError
from spinup.function_map import FunctionMap
from spinup.report.reading import read_run
from spinup.state import Coordinate, Layout, Variable
from spinup.toy_ocean import Season, ToyOcean

MASK = np.array([[True, True, False], [True, False, True]])
START = {"temp": np.full((2, 3), 10.0), "salt": np.full((2, 3), 35.0), "wind": np.ones(4), "steps": np.array(0)}


def relax(state):
    """Half the way to (4, 34) a year; the wind and the count of steps go on."""
    return {
        "temp": state["temp"] + 0.5 * (4 - state["temp"]),
        "salt": state["salt"] + 0.5 * (34 - state["salt"]),
        "wind": -state["wind"],
        "steps": state["steps"] + 1,
    }


def ocean(function=relax, start=START, **options):
    settings = {"accelerate": ("temp", "salt"), "mask": MASK} | options
    return FunctionMap(function, start, **settings)


# --- what a map is -------------------------------------------------------------------------------


def test_one_period_moves_all_variables_and_leaves_the_state_given_alone():
    model = ocean()
    model.prepare()
    before = model.start()
    after = model.evaluate(before)
    assert after["temp"][0, 0] == 7
    assert after["steps"] == 1
    assert before["temp"][0, 0] == 10
    assert START["temp"][0, 0] == 10


def test_the_vector_holds_ocean_cells_of_accelerated_variables():
    model = ocean()
    assert model.layout.size == 2 * MASK.sum()
    assert set(model.fields(model.start())) == {"temp", "salt"}


def test_replace_sets_the_ocean_and_keeps_land_and_carried_variables():
    model = ocean()
    x = np.arange(8.0)
    state = model.replace(model.start(), model.layout.unpack(x))
    np.testing.assert_array_equal(model.layout.pack(model.fields(state)), x)
    assert (state["temp"][~MASK] == 10).all()
    assert state["wind"] is model.start()["wind"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_replace_by_the_same_fields_changes_no_bit(dtype):
    rng = np.random.default_rng(1)
    model = FunctionMap(lambda s: s, {"a": rng.random(50).astype(dtype)})
    state = model.start()
    again = model.replace(state, model.layout.unpack(model.layout.pack(model.fields(state))))
    assert again["a"].dtype == dtype
    np.testing.assert_array_equal(again["a"], state["a"])


def test_all_floating_arrays_are_accelerated_unless_told_otherwise():
    model = FunctionMap(relax, START)
    assert [v.name for v in model.layout.variables] == ["temp", "salt", "wind"]


def test_options_by_name_and_for_all():
    model = ocean(
        units={"temp": "degC"},
        long_names={"temp": "temperature"},
        scale={"salt": 0.1},
        bounds={"salt": (0, None)},
        volume=np.full((2, 3), 2.0),
        dims=("y", "x"),
        coords={"y": Coordinate(("y",), np.arange(2.0)), "x": np.arange(3.0)},
        years=5,
    )
    temp, salt = model.layout.variables
    assert (temp.units, temp.long_name, temp.bounds, temp.scale) == ("degC", "temperature", None, 1.0)
    assert (salt.units, salt.bounds, salt.scale) == ("1", (0.0, np.inf), 0.1)
    assert temp.dims == ("y", "x")
    assert model.dims("wind") == ("wind_0",)
    assert model.dims("steps") == ()
    assert model.years == 5
    assert set(model.layout.coords) == {"y", "x"}


def test_diagnostics_see_the_state_as_the_function_does():
    model = ocean(diagnostics={"mean": ("degC", "mean temperature", lambda s: s["temp"].mean())})
    assert model.diagnostics["mean"].units == "degC"
    assert model.diagnose(model.start()) == {"mean": 10.0}


def test_description_is_json():
    import json

    description = json.loads(json.dumps(ocean(name="toy").describe()))
    assert description["function"] == "relax"
    assert description["accelerate"] == ["temp", "salt"]
    assert description["shapes"]["temp"] == [2, 3]


def test_names():
    assert FunctionMap(partial(relax), START).name == "relax"
    assert FunctionMap(lambda s: s, START).name == "function"


def test_a_function_may_write_into_what_it_is_given_and_return_its_own_buffer():
    buffer = np.zeros(3)

    def careless(state):
        state["a"] *= 0.5
        buffer[:] = state["a"]
        return {"a": buffer}

    model = FunctionMap(careless, {"a": np.ones(3)})
    first = model.evaluate(model.start())
    model.evaluate(first)
    assert (first["a"] == 0.5).all()
    assert (model.start()["a"] == 1).all()


def test_a_bare_array_is_called_x_and_a_number_will_do():
    model = FunctionMap(np.cos, np.ones(2))
    assert model.evaluate(model.start())["x"][0] == np.cos(1)
    assert FunctionMap(lambda s: {"a": 0.5 * s["a"]}, {"a": 1.0}).layout.size == 1


def test_a_numpy_function_does_not_import_jax():
    code = (
        "import sys, types\n"
        "package = types.ModuleType('spinup'); package.__path__ = sys.argv[1:]; sys.modules['spinup'] = package\n"
        "import numpy as np\n"
        "from spinup.function_map import FunctionMap\n"
        "m = FunctionMap(lambda s: {'a': 0.5 * s['a']}, {'a': np.ones(3)})\n"
        "s = m.evaluate(m.start()); m.replace(s, m.fields(s)); m.layout.pack(m.fields(s))\n"
        "assert 'jax' not in sys.modules\n"
    )
    import spinup.function_map

    folder = spinup.function_map.__file__.rpartition("/")[0]
    subprocess.run([sys.executable, "-c", code, folder], check=True)


@pytest.mark.parametrize("jit", [False, True])
def test_anderson_finds_the_answer(jit):
    model = FunctionMap(relax, START, accelerate=("temp", "salt"), mask=MASK, jit=jit)
    layout = model.layout

    def period(x):
        return layout.pack(model.fields(model.evaluate(model.replace(model.start(), layout.unpack(x)))))

    x0 = layout.pack(model.fields(model.start()))
    result = solvers.solve(period, x0, solvers.anderson, tolerance=1e-12, max_evaluations=20)
    np.testing.assert_allclose(result.x, [4] * 4 + [34] * 4, rtol=1e-12)


# --- JAX -----------------------------------------------------------------------------------------


def test_jax_functions_run_in_double_precision():
    import jax
    import jax.numpy as jnp

    model = FunctionMap(lambda s: {"a": jnp.sin(s["a"])}, {"a": np.ones(3)}, jit=True)
    out = model.evaluate(model.start())
    assert isinstance(out["a"], jax.Array)
    assert out["a"].dtype == np.float64


def test_prepare_compiles_once_and_for_all():
    traced = []

    def year(state):
        traced.append(1)
        return {"a": state["a"] * 0 + 2.0, "n": state["n"] + 1}

    model = FunctionMap(year, {"a": np.ones(3), "n": 0}, jit=True)
    model.prepare()
    state = model.evaluate(model.evaluate(model.start()))
    model.evaluate(model.replace(state, model.fields(state)))
    assert len(traced) == 1
    assert int(state["n"]) == 2


def test_nested_states_have_dotted_names():
    import jax.numpy as jnp

    Ice = namedtuple("Ice", "thickness cover")
    start = {"ice": Ice(jnp.ones(2), jnp.zeros(2)), "layers": [jnp.ones(3), jnp.zeros(3)]}

    def year(state):
        ice, (top, deep) = state["ice"], state["layers"]
        return {"ice": ice._replace(thickness=ice.thickness + 1), "layers": [top + deep, deep]}

    model = FunctionMap(year, start, accelerate=["ice.thickness"])
    assert list(model.start()) == ["ice.thickness", "ice.cover", "layers.0", "layers.1"]
    out = model.evaluate(model.start())
    assert (np.asarray(out["ice.thickness"]) == 2).all()


def test_a_state_read_from_disk_is_handed_over_as_jax_arrays():
    import jax.numpy as jnp

    model = FunctionMap(lambda s: {"a": s["a"].at[0].set(0.0)}, {"a": jnp.ones(3, dtype="float64")})
    assert model.evaluate({"a": np.ones(3)})["a"][0] == 0


@pytest.mark.parametrize("act", [FunctionMap.prepare, lambda model: model.evaluate(model.start())])
def test_a_numpy_function_cannot_be_compiled(act):
    model = FunctionMap(lambda s: {"a": np.sin(np.asarray(s["a"]))}, {"a": np.ones(3)}, jit=True)
    with pytest.raises(UsageError, match=r"cannot be compiled by JAX: write it with jax.numpy, or pass jit=False"):
        act(model)


# --- the model fails -----------------------------------------------------------------------------


@pytest.mark.parametrize("jit", [False, True])
def test_values_that_are_not_finite_name_the_cell(jit):
    def burst(state):
        return relax(state) | {"temp": state["temp"] / (state["salt"] - 35) + np.arange(6.0).reshape(2, 3)}

    model = FunctionMap(burst, START, accelerate=("temp", "salt"), mask=MASK, dims=("y", "x"), jit=jit)
    with (
        np.errstate(divide="ignore"),
        pytest.raises(ModelFailure, match=r"temp is inf at y=0, x=0 \(first of 4 values"),
    ):
        model.evaluate(model.start())


def test_land_may_hold_anything():
    def year(state):
        return {"a": np.where(MASK, state["a"], np.nan)}

    model = FunctionMap(year, {"a": np.where(MASK, 1.0, np.nan)}, mask=MASK)
    model.evaluate(model.start())


def test_a_carried_variable_must_be_finite_too():
    model = ocean(lambda s: relax(s) | {"wind": s["wind"] * np.nan})
    with pytest.raises(ModelFailure, match="wind is nan at wind_0=0"):
        model.evaluate(model.start())


@pytest.mark.parametrize("error", [FloatingPointError, ZeroDivisionError, OverflowError, np.linalg.LinAlgError])
def test_numerical_errors_are_failures_of_the_model(error):
    def year(state):
        raise error("no pivot")

    with pytest.raises(ModelFailure, match=f"year raised {error.__name__}: no pivot"):
        FunctionMap(year, START).evaluate(START)


def test_other_errors_are_the_programs_own():
    with pytest.raises(KeyError):
        FunctionMap(lambda s: s["sea"], START).evaluate(START)


# --- the user is told ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temp": np.ones((3, 2))}, r"returned 'temp' with shape \(3, 2\), it was given \(2, 3\)"),
        ({"temp": np.ones((2, 3), "float32")}, r"returned 'temp' as float32, it was given float64: .*jax_enable_x64"),
        ({"steps": np.array(0.5)}, r"returned 'steps' as float64, it was given int64: make the start of that type"),
        ({"sea": 1.0}, r"returned 'sea', which the start does not have: add it to the start"),
    ],
)
def test_a_function_that_returns_something_else(change, message):
    with pytest.raises(UsageError, match=message):
        ocean(lambda s: relax(s) | change).evaluate(START)


def test_a_function_that_returns_too_little():
    with pytest.raises(UsageError, match=r"returned no 'temp' \(did you mean 'tmp'\?\)"):
        FunctionMap(lambda s: {"tmp": s["temp"]}, {"temp": np.ones(2)}).evaluate({"temp": np.ones(2)})
    with pytest.raises(UsageError, match="returned NoneType: it must return a dictionary"):
        ocean(lambda s: None).evaluate(START)
    with pytest.raises(UsageError, match="returned dict: it must return one array"):
        FunctionMap(lambda x: {}, np.ones(2)).evaluate({"x": np.ones(2)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accelerate": ("tmep",)}, r"no variable 'tmep' \(did you mean 'temp'\?\); it has temp, salt, wind, steps"),
        ({"accelerate": ("steps",)}, r"cannot accelerate 'steps': its type is int64"),
        ({"accelerate": ("temp", "temp")}, r"names a variable twice"),
        ({"accelerate": ()}, r"nothing to accelerate"),
        ({"mask": MASK.T}, r"mask has shape \(3, 2\), but 'temp' has \(2, 3\)"),
        ({"mask": ~np.ones((2, 3), bool)}, r"mask of 'temp' has no ocean cell"),
        ({"volume": np.ones(3)}, r"volume has shape \(3,\), but 'temp' has \(2, 3\)"),
        ({"volume": np.zeros((2, 3))}, r"volume of 'temp' must be positive .*smallest: 0"),
        ({"units": {"tem": "degC"}}, r"units: the state has no variable 'tem' \(did you mean 'temp'\?\)"),
        ({"bounds": (0, 5)}, r"temp is 10 at temp_0=0, temp_1=0, outside its bounds \(0, 5\)"),
        ({"bounds": (5, 0)}, r"bounds of 'temp' are \(5, 0\): the first must be below the second"),
        ({"bounds": 0.0}, r"bounds of 'temp' are 0.0: give a pair"),
        ({"scale": 0.0}, r"scale of 'temp' is 0: it must be positive"),
        ({"years": 0}, r"years=0: an evaluation must take a positive number"),
        ({"dims": {"temp": ("y",)}}, r"dims of 'temp' are \('y',\), but it has 2 dimensions"),
        ({"conserved": ("salt",)}, r"must be groups of names: write \(\('salt',\),\)"),
        ({"conserved": (("wind",),)}, r"'wind' is carried"),
        ({"conserved": (("salt",), ("salt", "temp"))}, r"'salt' is named twice"),
        ({"conserved": (("salt", "temp"),), "units": {"temp": "degC"}}, r"salt, temp cannot be added up"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UsageError, match=message):
        ocean(**options)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (
            START | {"temp": np.where(np.arange(6).reshape(2, 3) == 3, np.nan, 1.0)},
            r"start: temp is nan at temp_0=1, temp_",
        ),
        (START | {"salt": "35"}, r"'salt' is of type <U2, not a number"),
        ({}, r"start holds no array"),
    ],
)
def test_wrong_starts(start, message):
    with pytest.raises(UsageError, match=message):
        ocean(start=start)


# --- keeping totals ------------------------------------------------------------------------------


def two_tracers(volume, bounds):
    mask = np.ones(volume.shape, dtype=bool)
    return Layout(tuple(Variable(n, ("i",), mask, volume, scale=s, bounds=bounds) for n, s in (("a", 1.0), ("b", 0.1))))


values = st.floats(-1, 10, allow_subnormal=False)


@given(arrays(float, 12, elements=values), arrays(float, 6, elements=st.floats(0.1, 100)), st.floats(0.01, 0.99))
def test_conserve_keeps_bounds_and_total(x, volume, share):
    layout = two_tracers(volume, (0.0, 8.0))
    wanted = share * 2 * 8.0 * volume.sum()
    y = conserve(layout, (("a", "b"),), x, (wanted,))
    assert (y >= 0).all()
    assert (y <= 8).all()
    assert totals(layout, (("a", "b"),), y)[0] == pytest.approx(wanted, rel=1e-14)


@given(
    arrays(float, 12, elements=st.floats(0, 8, allow_subnormal=False)), arrays(float, 6, elements=st.floats(0.1, 100))
)
def test_conserve_leaves_what_complies_to_the_bit(x, volume):
    layout = two_tracers(volume, (0.0, 8.0))
    np.testing.assert_array_equal(conserve(layout, (("a", "b"),), x, totals(layout, (("a", "b"),), x)), x)


@given(arrays(float, 12, elements=values), arrays(float, 6, elements=st.floats(0.1, 100)))
def test_conserve_moves_the_least(x, volume):
    """Less than making up the total by the same amount everywhere in one tracer."""
    layout, group = two_tracers(volume, None), (("a", "b"),)
    wanted = totals(layout, group, x)[0] + 1.0
    moved = layout.inner.norm(conserve(layout, group, x, (wanted,)) - x)
    one = np.zeros(12)
    one[:6] = 1 / volume.sum()
    assert moved <= layout.inner.norm(one) * (1 + 1e-6)


def test_conserve_without_bounds_shifts_by_the_square_of_the_scale():
    layout = two_tracers(np.ones(6), None)
    y = conserve(layout, (("a", "b"),), np.zeros(12), (6 * 1.01,))
    np.testing.assert_allclose(y, [1.0] * 6 + [0.01] * 6, rtol=1e-14)


def test_conserve_clips_variables_outside_the_groups():
    layout = two_tracers(np.ones(6), (0.0, 8.0))
    y = conserve(layout, (("a",),), np.full(12, -1.0), (6.0,))
    np.testing.assert_allclose(y, [1.0] * 6 + [0.0] * 6, rtol=1e-14)


def test_conserve_refuses_the_impossible():
    layout = two_tracers(np.ones(6), (0.0, 8.0))
    with pytest.raises(ValueError, match=r"a \+ b: no state within the bounds has the total 97, 1 is left over"):
        conserve(layout, (("a", "b"),), np.zeros(12), (97.0,))


# --- what it may say of its Jacobian -------------------------------------------------------------


def halves(state):
    return {"c": 0.5 * state["c"]}


def with_tendency(tendency, **options):
    return FunctionMap(halves, {"c": np.ones(4)}, tendency=tendency, **options)


def test_a_tendency_is_the_operator_of_a_period():
    model = with_tendency(lambda state: np.diag(state["c"]))
    operator = model.operator(model.start())
    assert (model.has_operator, model.has_steps, model.carries) == (True, False, False)
    assert operator.steps == 1
    np.testing.assert_array_equal(operator.matrix.toarray(), np.eye(4))


def test_without_a_tendency_there_is_no_operator():
    model = with_tendency(None)
    assert not model.has_operator
    with pytest.raises(UsageError, match="give FunctionMap a `tendency` or a `step`"):
        model.operator(model.start())


@pytest.mark.parametrize(
    ("matrix", "message"),
    [(np.eye(3), r"tendency of halves has shape \(3, 3\), the vector is of 4"), (np.full((4, 4), np.nan), "finite")],
)
def test_a_tendency_that_does_not_fit_is_named(matrix, message):
    model = with_tendency(lambda state: matrix)
    with pytest.raises(UsageError, match=message):
        model.operator(model.start())


def test_auto_preconditions_where_a_tendency_is_given_and_nothing_is_carried():
    chosen, why, own = choose(with_tendency(lambda state: -np.eye(4)))
    assert chosen == "anderson"
    assert own["preconditioned"]
    assert "tendency" in why


def test_newton_is_refused_where_other_variables_are_carried(tmp_path):
    start = {"c": np.ones(4), "d": np.ones(4)}
    model = FunctionMap(lambda s: {"c": 0.5 * s["c"], "d": s["d"]}, start, accelerate="c")
    case = spinup.Case("carries", "carries", lambda: model)
    with pytest.raises(UsageError, match="carries other variables"):
        spinup.run(case, out=tmp_path / "run", method="newton")


@pytest.mark.parametrize("method", ["anderson", "ngmres"])
def test_a_preconditioner_is_refused_where_the_map_has_none(tmp_path, method):
    case = spinup.Case("none", "none", lambda: with_tendency(None))
    with pytest.raises(UsageError, match=f"{method}.preconditioned=true needs a map that gives its tendency"):
        spinup.run(case, out=tmp_path / "run", method=method, settings={"preconditioned": True})


def test_a_map_that_gives_its_tendency_says_so_in_the_record_and_one_that_does_not_is_as_it_was():
    assert with_tendency(lambda state: -np.eye(4)).describe()["tendency"] is True
    assert "tendency" not in with_tendency(None).describe()


def test_the_report_says_that_the_error_was_estimated_with_the_tendency(tmp_path):
    case = spinup.Case("gives", "gives", lambda: with_tendency(lambda state: np.log(0.5) * np.eye(4)))
    spinup.run(case, out=tmp_path / "run", method="picard", budget=3)
    assert read_run(tmp_path / "run").estimates_by_operator


def test_auto_takes_secants_where_other_variables_are_carried():
    start = {"c": np.ones(4), "d": np.ones(4)}
    chosen, why, _ = choose(FunctionMap(lambda s: s, start, accelerate="c", tendency=lambda state: -np.eye(4)))
    assert chosen == "ptc"
    assert "carries other variables" in why


def diffuse(state):
    """One of ten steps a year: diffusion along a line, and a source."""
    c = state["c"]
    return {"c": c + 0.01 * (np.roll(c, 1) + np.roll(c, -1) - 2 * c) + 0.001 * (1.0 - c)}


def diffuse_a_year(state):
    for _ in range(10):
        state = diffuse(state)
    return state


LINE = {"c": np.linspace(0, 1, 8)}


def test_a_step_is_an_operator_of_as_many_steps_as_are_said():
    model = FunctionMap(diffuse_a_year, LINE, step=diffuse, steps=10)
    operator = model.operator(model.start())
    assert (model.has_operator, model.has_steps, operator.steps) == (True, False, 10)
    around = np.roll(np.eye(8), 1, axis=0)
    known = 0.01 * (around + around.T - 2 * np.eye(8)) - 0.001 * np.eye(8)
    np.testing.assert_allclose(operator.matrix.toarray(), known, atol=1e-10)


def test_a_map_that_gives_a_step_says_so_in_the_record():
    described = FunctionMap(diffuse_a_year, LINE, step=diffuse, steps=10).describe()
    assert (described["step"], described["steps"]) == (True, 10)
    assert not {"step", "steps"} & set(FunctionMap(diffuse_a_year, LINE).describe())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": diffuse}, "steps=None: say how many a period has"),
        ({"step": diffuse, "steps": 0}, "steps=0: say how many a period has"),
        ({"step": diffuse, "steps": 1.5}, "steps=1.5: say how many a period has"),
        ({"steps": 10}, "steps=10 is how many a period has of the function `step`: give that, too"),
        ({"step": diffuse, "steps": 10, "tendency": lambda s: np.eye(8)}, "`tendency` and `step` say the same"),
    ],
)
def test_a_step_that_does_not_fit(options, message):
    with pytest.raises(UsageError, match=message):
        FunctionMap(diffuse_a_year, LINE, **options)


@pytest.mark.parametrize("jit", [False, True])
def test_a_step_that_does_not_return_a_state_is_named(jit):
    model = FunctionMap(diffuse_a_year, LINE, step=lambda state: {"x": state["c"]}, steps=10, jit=jit)
    with pytest.raises(UsageError, match="step of diffuse_a_year returned no 'c'"):
        model.operator(model.start())


def test_a_step_that_jax_cannot_differentiate_is_taken_by_differences():
    import jax

    def calls_out(state):
        return {"c": jax.pure_callback(lambda c: np.asarray(c) / 2, jax.ShapeDtypeStruct((8,), float), state["c"])}

    model = FunctionMap(calls_out, LINE, step=calls_out, steps=1, jit=True)
    np.testing.assert_allclose(model.operator(model.start()).matrix.toarray(), -0.5 * np.eye(8), atol=1e-9)


@pytest.mark.parametrize("method", ["auto", "anderson", "ngmres"])
def test_a_resumed_run_of_a_step_ends_the_same(tmp_path, method):
    how: dict = {"method": method, "settings": {} if method == "auto" else {"preconditioned": True, "serves": 4}}
    case = spinup.Case(
        "steps", "steps", lambda: FunctionMap(diffuse_a_year, LINE, step=diffuse, steps=10), tolerance=1e-9, budget=200
    )
    whole = spinup.run(case, out=tmp_path / "whole", **how)
    assert whole.outcome.value == "converged"
    assert read_run(tmp_path / "whole").estimates_by_operator
    spinup.run(case, out=tmp_path / "pieces", budget=0.6 * whole.model_years, **how)
    pieces = spinup.resume(tmp_path / "pieces", case=case, budget=200)
    assert whole.outcome == pieces.outcome
    ends = [spinup.open(tmp_path / name).c.values for name in ("whole", "pieces")]
    np.testing.assert_array_equal(*ends)


# --- the step of the toy ocean -------------------------------------------------------------------


def implicit_part(ocean, now):
    """I + dt x vertical diffusion, sparse, by which a step of the toy ocean is its tendency."""
    exchange = ocean.dt * now.mixing
    below, above = np.pad(exchange, ((0, 1), (0, 0))).ravel(), np.pad(exchange, ((1, 0), (0, 0))).ravel()
    rows = diags_array([-exchange.ravel(), -exchange.ravel()], offsets=(ocean.ny, -ocean.ny), shape=(below.size,) * 2)
    return diags_array(1 / ocean.volume.ravel()) @ (diags_array(ocean.volume.ravel() + below + above) + rows)


def test_the_step_of_the_toy_ocean_is_its_tendency_of_that_season():
    ocean = ToyOcean(14, 9, 24)
    for season in (0, 13):
        now = Season(*(values[season] for values in ocean.season))
        model = FunctionMap(
            lambda c: c, np.ones(ocean.shape), step=lambda c, now=now: ocean.advance(c, now), steps=24, jit=True
        )
        operator = model.operator(model.start())
        known = ocean.matrix(season).toarray() / ocean.steps
        found = (implicit_part(ocean, now) @ operator.matrix).toarray()
        np.testing.assert_allclose(found, known, atol=1e-13)


def test_auto_with_a_step_is_about_as_good_as_with_a_tendency(tmp_path):
    """Ideal age: the step in the mean of the year, in place of the matrix that the case puts together."""
    size = (16, 10, 24)
    ocean = ToyOcean(*size)
    mean = Season(*(values.mean(axis=0) for values in ocean.season))

    def by_step():
        return FunctionMap(
            ideal_age.year(ocean),
            {"age": np.zeros(ocean.shape)},
            step=lambda state: {"age": ideal_age.step(ocean, state["age"], mean)},
            steps=ocean.steps,
            jit=True,
            volume=ocean.volume,
            bounds=(0.0, None),
        )

    assert choose(by_step())[2]["preconditioned"]
    taken = {}
    for name, build in (("step", by_step), ("tendency", lambda: ideal_age.build(*size))):
        case = spinup.Case(name, name, build, method="auto", tolerance=1e-8, budget=400)
        result = spinup.run(case, out=tmp_path / name)
        assert result.outcome.value == "converged"
        taken[name] = result.evaluations
    found, known = spinup.open(tmp_path / "step").age[-1], ideal_age.exact(*size)["age"]
    np.testing.assert_allclose(found, known, atol=1e-5)
    assert taken["step"] <= taken["tendency"] + 3, taken


@given(seed=st.integers(0, 100))
def test_a_direction_without_totals(seed):
    """Each total is gone; nothing else but what `conserve` would give back; nothing of a direction that has none."""
    random = np.random.default_rng(seed)
    start = {"a": np.full(5, 2.0), "b": np.full((2, 3), 3.0), "free": np.ones(2)}
    volume = {name: random.uniform(0.5, 2, value.shape) for name, value in start.items()}
    scale = {"a": 2.0, "b": 0.1}
    layout = FunctionMap(lambda s: s, start, volume=volume, scale=scale, conserved=(("a", "b"),)).layout
    groups, x, v = (("a", "b"),), layout.pack(start), random.normal(size=layout.size)
    level = without_totals(layout, groups, v)
    assert totals(layout, groups, level)[0] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_array_equal(level[layout.slices["free"]], v[layout.slices["free"]])
    np.testing.assert_allclose(x + level, conserve(layout, groups, x + v, totals(layout, groups, x)), atol=1e-11)
    np.testing.assert_allclose(without_totals(layout, groups, level), level, atol=1e-12)


def cubes(state):
    """Land is answered, too; the wind drives, and is carried."""
    return {"c": state["c"] ** 3 + state["wind"].sum() * state["c"], "wind": state["wind"]}


CUBES = {"c": np.array([[1.0, 2.0], [3.0, 9.0]]), "wind": np.array([0.5, 1.5])}
OPEN = np.array([[True, True], [True, False]])
ALONG = {"c": np.array([[1.0, -1.0], [2.0, 0.0]])}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_jax_gives_the_derivative_of_what_is_accelerated(dtype):
    start = {name: value.astype(dtype) for name, value in CUBES.items()}
    model = FunctionMap(cubes, start, accelerate="c", mask=OPEN, jit=True)
    assert model.has_tangent
    found = model.tangent(model.start(), ALONG)
    assert list(found) == ["c"]
    np.testing.assert_array_equal(found["c"][OPEN], ((3 * CUBES["c"] ** 2 + 2) * ALONG["c"])[OPEN])
    np.testing.assert_array_equal(model.start()["c"], start["c"])


def test_a_derivative_that_is_given():
    def derivative(state, change):
        assert (change["wind"] == 0).all()
        return {"c": (3 * state["c"] ** 2 + state["wind"].sum()) * change["c"], "wind": change["wind"]}

    model = FunctionMap(cubes, CUBES, accelerate="c", mask=OPEN, jvp=derivative)
    np.testing.assert_array_equal(model.tangent(model.start(), ALONG)["c"], (3 * CUBES["c"] ** 2 + 2) * ALONG["c"])
    assert model.describe()["jvp"] is True


def test_without_a_derivative_there_is_none():
    model = FunctionMap(cubes, CUBES)
    assert not model.has_tangent
    with pytest.raises(UsageError, match="cubes has no derivative: give FunctionMap a `jvp`, or jit=True"):
        model.tangent(model.start(), CUBES)


def test_a_function_that_jax_cannot_differentiate_has_none():
    import jax

    def calls_out(state):
        return {"c": jax.pure_callback(lambda c: np.asarray(c) / 2, jax.ShapeDtypeStruct((4,), float), state["c"])}

    assert not FunctionMap(calls_out, {"c": np.ones(4)}, jit=True).has_tangent


def test_a_derivative_that_raises_or_returns_something_else():
    def fails(state, change):
        return {"c": change["c"] / np.float64(0), "wind": change["wind"]}

    model = FunctionMap(cubes, CUBES, accelerate="c", jvp=fails)
    with np.errstate(all="raise"), pytest.raises(ModelFailure, match="jvp of cubes raised FloatingPointError"):
        model.tangent(model.start(), ALONG)
    model = FunctionMap(cubes, CUBES, accelerate="c", jvp=lambda state, change: {"c": change["c"]})
    with pytest.raises(UsageError, match="jvp of cubes returned no 'wind'"):
        model.tangent(model.start(), ALONG)


@pytest.mark.parametrize(("variables", "dates"), [(1, None), (2, DATES)])
def test_auto_takes_more_dates_of_a_season_where_several_tracers_are_accelerated(variables, dates):
    steps = {"has_operator": True, "carries": True, "has_steps": True, "no_circulation": "", "cycle_steps": 12}
    model = SimpleNamespace(name="x", layout=SimpleNamespace(variables=range(variables)), **steps)
    assert choose(model)[2].get("dates") == dates
