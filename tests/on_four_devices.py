"""Runs whose state is spread over four devices: tests for a process that has them, which `test_devices.py` starts.

XLA_FLAGS=--xla_force_host_platform_device_count=4 python -m pytest tests/on_four_devices.py
"""

import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_same_numbers
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import spinup
from spinup.case import Case
from spinup.device_layout import DeviceLayout
from spinup.errors import ModelFailure, StoreFull, UsageError
from spinup.run import Progress
from spinup.state import Layout, Variable
from spinup.store import RunStore, WrittenBehind
from spinup.store.journal import read_record

jax.config.update("jax_enable_x64", True)

NY, NX = 24, 40
MASK = np.ones((NY, NX), bool)
MASK[:4], MASK[10:14, 5:17], MASK[:, -1] = False, False, False
RATE = np.linspace(0.15, 0.6, NY * NX).reshape(NY, NX)
VECTOR = 2 * int(MASK.sum())  # numbers in the host's vector
METHODS: dict[str, dict[str, Any]] = {
    "picard": {},
    "anderson": {},
    "anderson type 1": {"type": 1, "mixing": 0.8},
    "ngmres": {"depth": 8},
    "extrapolation mpe": {"kind": "mpe", "wait": 2, "dimension": 5},
    "extrapolation rre": {"kind": "rre", "wait": 2, "dimension": 5},
    "auto": {},
}


def year(state):
    """Relaxation to known values, at a rate of each cell's own, with some exchange along x; the wind follows."""
    temp, salt = state["temp"], state["salt"]
    exchange = 0.1 * (jnp.roll(temp, 1, axis=1) - 2 * temp + jnp.roll(temp, -1, axis=1)) * MASK
    return {
        "temp": temp + RATE * (4 + 0.3 * jnp.sin(salt) - temp) + RATE * exchange,
        "salt": salt + 0.5 * RATE * (34 - salt),
        "wind": 0.5 * state["wind"] + 0.5 * jnp.mean(salt),
    }


def mesh(devices=4):
    return Mesh(np.array(jax.devices()[:devices]), ("x",))


def model(on=None, function=year, **options):
    """The map; on: the mesh that the start is spread over, none for the host."""
    start = {"temp": np.where(MASK, 10.0, 0.0), "salt": np.where(MASK, 35.0, 0.0), "wind": np.ones(3)}
    if on is not None:
        columns = NamedSharding(on, P(None, "x"))
        start |= {n: jax.device_put(start[n], columns) for n in ("temp", "salt")}
    settings = {"accelerate": ("temp", "salt"), "mask": {"temp": MASK, "salt": MASK}, "jit": True} | options
    return spinup.FunctionMap(function, start, **settings)


def run(out, method, on=None, progress=None, store=None, budget=30, tolerance=1e-8, **options):
    name = method.split()[0]
    case = Case("devices", "a test", lambda: model(on, **options))
    own = {"settings": METHODS.get(method, {}), "store": store, "progress": progress}
    return spinup.run(case, out=out, method=name, budget=budget, tolerance=tolerance, **own)


def end(path):
    data = spinup.open(path)
    return {name: data[name].values[-1] for name in ("temp", "salt")}


def assert_same_end(one, other):
    for name, values in end(one).items():
        wanted = end(other)[name]
        assert np.nanmax(np.abs(values - wanted)) <= 1e-9 * np.nanmax(np.abs(wanted))


# --- the vector ----------------------------------------------------------------------------------

SPREAD = {
    "columns": (("x",), (4,), P(None, "x"), P("x")),
    "rows": (("x",), (4,), P("x"), P("x", None)),
    "blocks": (("y", "x"), (2, 2), P("y", "x"), P("x", "y")),
    "both on one": (("y", "x"), (2, 2), P(("y", "x")), P(None, ("x", "y"))),
    "some whole": (("y", "x"), (2, 2), P("y"), P()),
    "one device": (("x",), (1,), P("x"), P()),
}


@pytest.fixture(params=SPREAD)
def layouts(request):
    """The host's layout and that on devices, of variables spread in several ways, one of them a number."""
    axes, shape, temp, salt = SPREAD[request.param]
    on = Mesh(np.array(jax.devices()[: int(np.prod(shape))]).reshape(shape), axes)
    rng = np.random.default_rng(3)
    variables = (
        Variable("temp", ("y", "x"), MASK, rng.uniform(1, 2, MASK.shape), scale=2.0, bounds=(-2.0, 40.0)),
        Variable("salt", ("y", "x"), MASK & (rng.random(MASK.shape) > 0.5), rng.uniform(1, 2, MASK.shape), scale=0.5),
        Variable("level", (), np.array(True), np.array(1.0)),
    )
    shardings = {"temp": NamedSharding(on, temp), "salt": NamedSharding(on, salt), "level": NamedSharding(on, P())}
    return Layout(variables), DeviceLayout(variables, shardings=shardings)


def some_fields(seed):
    rng = np.random.default_rng(seed)
    return {"temp": rng.normal(size=MASK.shape), "salt": rng.normal(size=MASK.shape), "level": rng.normal()}


def test_a_vector_holds_the_same_numbers_as_on_the_host(layouts):
    host, layout = layouts
    x = host.pack(some_fields(0))
    packed = layout.pack(some_fields(0))
    np.testing.assert_array_equal(layout.on_host(packed), x)
    np.testing.assert_array_equal(np.asarray(layout.placed(x)), np.asarray(packed))
    for fill in (np.nan, 0.0):
        wanted = host.unpack(x, fill)
        found = layout.unpack(packed, fill)
        for name in wanted:
            np.testing.assert_array_equal(np.asarray(found[name]), wanted[name])
            assert found[name].sharding.is_equivalent_to(layout.shardings[name], found[name].ndim)


def test_sums_over_a_vector_are_those_on_the_host(layouts):
    host, layout = layouts
    (x, y), (a, b) = ([each.pack(some_fields(seed)) for seed in (1, 2)] for each in layouts)
    assert layout.inner.dot(a, b) == pytest.approx(host.inner.dot(x, y), rel=1e-13)
    assert layout.rms(a) == pytest.approx(host.rms(x), rel=1e-13)
    assert layout.means(a) == pytest.approx(host.means(x), rel=1e-12)
    for one, other in zip(layout.bounds, host.bounds, strict=True):
        np.testing.assert_array_equal(layout.on_host(one), other)


def test_every_device_has_its_part_of_a_vector(layouts):
    _, layout = layouts
    x = layout.pack(some_fields(0))
    devices = next(iter(layout.shardings.values())).device_set
    assert {shard.device for shard in x.addressable_shards} == devices
    assert {shard.data.size for shard in x.addressable_shards} == {x.size // len(devices)}


def test_a_value_that_is_not_finite_is_named_by_its_cell(layouts):
    _, layout = layouts
    fields = some_fields(0)
    fields["temp"][20, 30] = np.inf
    with pytest.raises(ModelFailure, match="temp is inf at y=20, x=30"):
        layout.check_finite(layout.pack(fields))
    with pytest.raises(ModelFailure, match="temp is nan at temp_0=5, temp_1=0"):
        model(mesh(), lambda s: year(s) | {"temp": s["temp"].at[5, 0].set(jnp.nan)}).evaluate(model(mesh()).start())


def test_land_may_hold_anything():
    made = model(mesh(), lambda s: {n: jnp.where(MASK, v, jnp.nan) if v.ndim == 2 else v for n, v in year(s).items()})
    out = made.evaluate(made.start())
    assert np.isnan(np.asarray(out["temp"])[~MASK]).all()


def test_arrays_on_different_meshes_are_refused():
    other = Mesh(np.array(jax.devices()[::-1]), ("x",))
    start = {"a": jax.device_put(np.ones(8), NamedSharding(mesh(), P("x")))}
    start["b"] = jax.device_put(np.ones(8), NamedSharding(other, P("x")))
    with pytest.raises(UsageError, match="'b' and 'a' are spread over different meshes: use one for all arrays"):
        spinup.FunctionMap(lambda s: s, start)


# --- runs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def spread(tmp_path_factory):
    """Finished runs on four devices by method, not to be written into: result and folder in it."""
    folder, made = tmp_path_factory.mktemp("spread"), {}

    def of(method):
        if method not in made:
            made[method] = run(folder / str(len(made)), method, mesh(), store={"checkpoint_every": 4})
        return made[method]

    return of


@pytest.mark.parametrize("method", METHODS)
def test_as_many_evaluations_to_the_same_end_as_on_the_host(tmp_path, method, spread):
    whole = run(tmp_path / "whole", method)
    assert spread(method).outcome == whole.outcome
    assert spread(method).evaluations == whole.evaluations
    assert_same_end(spread(method).path, tmp_path / "whole")
    a, b = spinup.open(spread(method).path), spinup.open(tmp_path / "whole")
    np.testing.assert_allclose(a["drift"].values, b["drift"].values, rtol=1e-6, atol=1e-13)
    np.testing.assert_allclose(a["temp_error_estimate"].values, b["temp_error_estimate"].values, rtol=1e-3, atol=1e-9)


def test_bounds_and_totals_are_kept(tmp_path):
    def exchange(state):
        flux = RATE * MASK * (state["temp"] - 0.4 * state["salt"])
        return {"temp": state["temp"] - 0.4 * flux, "salt": state["salt"] + 0.4 * flux, "wind": state["wind"]}

    options = {"function": exchange, "conserved": (("temp", "salt"),), "bounds": (0.0, None)}
    for name, on in (("spread", mesh()), ("whole", None)):
        assert run(tmp_path / name, "anderson", on, **options).outcome.value == "converged"
    assert_same_end(tmp_path / "spread", tmp_path / "whole")
    assert sum(v[MASK].sum() for v in end(tmp_path / "spread").values()) == pytest.approx(45.0 * MASK.sum(), rel=1e-12)


def test_a_mesh_of_explicit_axes(tmp_path):
    on = jax.make_mesh((4,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))

    def relaxed(state):
        return {"temp": state["temp"] + 0.3 * (4 - state["temp"]), "salt": state["salt"], "wind": state["wind"]}

    assert run(tmp_path / "run", "anderson", on, function=relaxed).outcome.value == "converged"


def test_an_operator_on_the_host_estimates_the_error(tmp_path):
    from scipy.sparse import diags_array

    slopes = np.concatenate([RATE[MASK], 0.5 * RATE[MASK]])
    options = {"tendency": lambda state: diags_array(-slopes).tocsr()}
    for name, on in (("spread", mesh()), ("whole", None)):
        run(tmp_path / name, "anderson", on, **options)
    a, b = spinup.open(tmp_path / "spread"), spinup.open(tmp_path / "whole")
    one, other = (data["temp_error_estimate"].values for data in (a, b))
    assert np.isfinite(one).all()
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("method", ["newton", "anderson"])
def test_methods_of_the_host_too_take_a_state_that_is_spread(tmp_path, method):
    """Part of it is whole on every device."""
    for name, on in (("spread", mesh()), ("whole", None)):
        run(tmp_path / name, method, on, budget=12, accelerate=None)
    assert spinup.open(tmp_path / "spread").sizes == spinup.open(tmp_path / "whole").sizes
    assert_same_end(tmp_path / "spread", tmp_path / "whole")


class Watch(Progress):
    """What is brought to the host by which thread, from the second evaluation on."""

    def __init__(self, monkeypatch):
        self.seen: dict[bool, set[int]] = {True: set(), False: set()}  # of the main thread or not: sizes
        self.on = False
        kind = type(jnp.zeros(1))
        copied, valued = kind.__array__, kind._value

        def note(array):
            if self.on:
                self.seen[threading.current_thread() is threading.main_thread()].add(array.size)

        def to_array(array, *args, **kwargs):
            note(array)
            return copied(array, *args, **kwargs)

        def to_value(array):
            note(array)
            return valued.fget(array)

        monkeypatch.setattr(kind, "__array__", to_array)
        monkeypatch.setattr(kind, "_value", property(to_value))

    def evaluated(self, record):
        self.on = record["evaluation"] >= 1

    def ended(self):
        self.on = False


@pytest.mark.parametrize("method", ["picard", "anderson", "anderson type 1", "ngmres", "extrapolation mpe"])
def test_only_the_log_brings_vectors_to_the_host(tmp_path, method, monkeypatch):
    watch = Watch(monkeypatch)
    run(tmp_path / "run", method, mesh(), watch, store={"checkpoint_every": 4}, budget=15)
    assert max(watch.seen[True]) < 100, "the method's sums, and whether all is finite"
    assert max(watch.seen[False]) >= VECTOR, "the log"


def test_the_watch_sees_a_copy(monkeypatch):
    watch = Watch(monkeypatch)
    watch.on = True
    np.asarray(model(mesh()).on_devices().layout.inner.weights)
    assert max(watch.seen[True]) >= VECTOR


@pytest.mark.parametrize("method", ["anderson", "anderson type 1", "extrapolation rre"])
def test_the_history_is_spread_over_all_devices(tmp_path, method, monkeypatch):
    states: list[dict[str, Any]] = []
    save = WrittenBehind.save_checkpoint
    monkeypatch.setattr(WrittenBehind, "save_checkpoint", lambda store, s: (states.append(dict(s)), save(store, s)))
    run(tmp_path / "run", method, mesh(), store={"checkpoint_every": 5}, budget=6)
    vectors = [v for value in states[0].values() for v in (value if isinstance(value, list) else [value])]
    vectors = [v for v in vectors if isinstance(v, jax.Array)]
    assert len(vectors) >= 4
    for v in vectors:
        assert {s.device for s in v.addressable_shards} == set(jax.devices())
        assert {s.data.size for s in v.addressable_shards} == {v.size // 4}


# --- stopped and resumed -------------------------------------------------------------------------

KILLED_AT = 9


class Killing(Progress):
    def evaluated(self, record):
        if record["evaluation"] == KILLED_AT:
            os._exit(9)


@pytest.mark.parametrize(("method", "devices"), [("anderson", 4), ("ngmres", 1), ("extrapolation mpe", 2)])
def test_a_run_that_was_killed_goes_on(tmp_path, method, devices, spread):
    """On as many devices to the bit; on fewer the log fits, and the end is the same."""
    killed, whole = tmp_path / "killed", spread(method).path
    command = [sys.executable, __file__, str(killed), method]
    assert subprocess.run(command, check=False).returncode == 9
    done = len(list((killed / "log").glob("[0-9]*.json")))
    assert KILLED_AT - 1 <= done <= KILLED_AT + 1, "all but the one on its way is on disk"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the log is cut: no
        spinup.resume(killed, case=Case("devices", "a test", lambda: model(mesh(devices))))
    if devices == 4:
        assert_same_numbers(killed, whole)
    else:
        assert spinup.open(killed).sizes == spinup.open(whole).sizes
        assert_same_end(killed, whole)


def test_a_run_of_the_host_goes_on_on_devices(tmp_path, spread):
    run(tmp_path / "first", "anderson", store={"checkpoint_every": 4}, budget=9)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        spinup.resume(tmp_path / "first", case=Case("devices", "a test", lambda: model(mesh())), budget=30)
    assert spinup.open(tmp_path / "first").sizes == spinup.open(spread("anderson").path).sizes
    assert_same_end(tmp_path / "first", spread("anderson").path)


def test_a_full_disk_is_told_and_what_was_written_is_safe(tmp_path, monkeypatch, spread):
    append, full = RunStore.append, [True]

    def limited(store, *args):
        if full[0] and len(store.records) == 7:
            raise StoreFull("no space left")
        return append(store, *args)

    monkeypatch.setattr(RunStore, "append", limited)
    with pytest.raises(StoreFull, match="no space left"):
        run(tmp_path / "run", "anderson", mesh(), store={"checkpoint_every": 4})
    assert len(list((tmp_path / "run" / "log").glob("[0-9]*.json"))) == 7
    checkpoints = [read_record(file) for file in (tmp_path / "run" / "log").glob("checkpoint-*.json")]
    assert [checkpoint["evaluations"] for checkpoint in checkpoints] == [4], "not of the eighth, which is lost"
    full[0] = False
    spinup.resume(tmp_path / "run", case=Case("devices", "a test", lambda: model(mesh())))
    assert_same_numbers(tmp_path / "run", spread("anderson").path)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], mesh(), Killing(), store={"checkpoint_every": 4})
