"""`spinup.run` and `spinup.resume`: a case, a store, a driver."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from solvers import Flow, Outcome, Stop
from solvers.petsc_factors import options_given
from spinup.case import Case, defines_case, import_case, load_case
from spinup.device_layout import DeviceLayout
from spinup.distributed.build import built_on
from spinup.distributed.groups import led
from spinup.distributed.ranks import Ranks, everyone, together
from spinup.distributed.shared_store import SharedStore, created, of_map, resumed
from spinup.driver import Driver
from spinup.errors import StoreError, UsageError
from spinup.estimate import ErrorEstimator
from spinup.maps import FixedPointMap, template
from spinup.methods import (
    after_direct,
    bind,
    check_capability,
    check_settings,
    checked_options,
    on_devices,
    validated,
)
from spinup.period import parse_years
from spinup.provenance import git_state, machine, package_versions
from spinup.state import State
from spinup.stopping import StopFlag, parse_wall_time, stop_on_signals
from spinup.store import Header, RunStore, WrittenBehind
from spinup.store.creation import check_names, occupied
from spinup.store.header import StoreSettings, read_header
from spinup.store.journal import last_error, last_interval, read_journal
from spinup.store.view import read_state
from spinup.tolerance import converged_below, parse_tolerance

OWN_START = "the map's own start"  # what a run's header says of a start that was not given


@dataclass(frozen=True)
class RunResult:
    """How a run ended, and where it is."""

    path: Path
    outcome: Outcome
    evaluations: int
    model_years: float
    drift: float | None
    best_drift: float | None
    error: dict[str, float] | None  # estimated, by variable, and of "all"
    error_interval: dict[str, tuple[float, float | None]] | None  # of the estimates

    @property
    def message(self) -> str:
        return self.outcome.message


@dataclass(frozen=True)
class Change:
    """What is done to the state that a run starts from. words: to follow the name of its start in the record. of: takes
    the map and its full state, and gives the changed one."""

    words: str
    of: Callable[[FixedPointMap, State], State]


class Progress:
    """What a run tells while it goes on; the default tells nothing."""

    def started(self, header: Header, records: list[dict[str, Any]]) -> None: ...
    def evaluated(self, record: dict[str, Any]) -> None: ...
    def note(self, text: str) -> None: ...
    def ended(self) -> None: ...


def run(
    case: Case | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    method: str | None = None,
    settings: Mapping[str, Any] | None = None,
    store: Mapping[str, Any] | None = None,
    budget: str | float | None = None,
    tolerance: str | float | None = None,
    start: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    start_periods: int | None = None,
    change: Change | None = None,
    wall_time: str | float | None = None,
    petsc: str = "",
    groups: int | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Run `case` into a new store at `out`. What is not given comes from the case.

    Parameters
    ----------
    case : Case, name or file
    settings : of the method, e.g. {"depth": 5}
    store : `StoreSettings`, e.g. {"states_every": 10}
    budget : model years, a number or "60 years"
    tolerance : "0.05 K", the error estimate below which the run has converged, in units of accelerated variables; a
        number: the drift below which it has, weighted rms per model year
    start : another run (its newest state), a restart file of the model, or a full state; default: the map's own
    start_periods : direct periods before the method begins
    change : what is done to the start first
    wall_time : the run stops, to be resumed, before so much time is over: seconds, "01:30:00" or "90 minutes"
    petsc : PETSc's options for the linear solves with operators, "-pc_type asm -sub_pc_type ilu", by PETSc then also in
        one process; default: on several ranks LU factors by MUMPS
    groups : so many groups of ranks share out the members of an ensemble and the perturbed steps of an operator, the
        model whole on each rank or, on several ranks of a group, split. Default: as many as there are ranks where the
        model is for one process

    Raises
    ------
    UsageError
        Anything asked for that can't be; nothing is written then.
    StoreFull
        The disk filled up; the run can be resumed.
    """
    ranks = everyone()
    case = case if isinstance(case, Case) else load_case(case)
    progress = _of_leader(ranks, progress)
    path = Path(out)
    if _shared(ranks, path.exists() and (not path.is_dir() or any(path.iterdir()))):
        raise UsageError(occupied(path))
    chosen = method or case.method
    own = case.settings if chosen == case.method else {}
    header = {
        "case": case.name,
        "title": case.title,
        "case_file": str(case.file) if case.file else None,
        "case_text": case.file.read_text() if case.file else None,
        "method": chosen,
        "settings": check_settings(chosen, {**own, **(settings or {})}),
        "store": validated(StoreSettings, store or {}, "store"),
        "budget_years": parse_years(budget if budget is not None else case.budget),
        **parse_tolerance(tolerance if tolerance is not None else case.tolerance),
        "petsc": checked_options(petsc),
        "start_periods": start_periods if start_periods is not None else case.start_periods,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": package_versions(),
        "machine": machine(),
        "git": git_state(case.file),
    }
    if header["start_periods"] < 0:
        raise UsageError(f"start_periods = {header['start_periods']} must not be negative")
    limit = parse_wall_time(wall_time)
    with stop_on_signals(progress.note, limit) as flag:
        return _start(case, chosen, _shared(ranks, header), start, path, progress, flag, change, ranks, groups)


def _start(
    case: Case,
    chosen: str,
    header: dict[str, Any],
    start: Any,
    path: Path,
    progress: Progress,
    flag: StopFlag,
    change: Change | None,
    ranks: Ranks | None,
    groups: int | None,
) -> RunResult:
    """Build the map, make the store, and drive."""
    restart = isinstance(start, (str, os.PathLike)) and Path(start).is_file()
    other = None if restart else _read_start(start)
    progress.note(f"building {case.name}")
    with built_on(ranks, case, groups, progress.note) as (model, spread):
        return led(spread, lambda: _begin(model, chosen, header, other, start, path, progress, flag, change), flag)


def _begin(
    model: FixedPointMap,
    chosen: str,
    header: dict[str, Any],
    other: State | None,
    start: Any,
    path: Path,
    progress: Progress,
    flag: StopFlag,
    change: Change | None,
) -> RunResult:
    """Make the store of a map, and drive. other: the state of `start`, where that is no restart file."""
    ranks = None if model.layout.split is None else model.layout.split.ranks
    restart = start is not None and other is None
    check_names(model)
    check_capability(chosen, header["settings"], model)
    if restart and ranks is not None:
        raise UsageError(f"the file {start} is read in one process only: start from the folder of a run")
    if restart:
        other = _read_restart(model, Path(str(start)))
    elif other is not None and not isinstance(start, Mapping):
        other = _my_part(other, model)
    origin = "given in Python" if isinstance(start, Mapping) else str(start)
    first = model.start() if other is None else together(ranks, lambda: _fitting(other, model, origin))
    origin = OWN_START if other is None else origin
    if change is not None:
        first, origin = change.of(model, first), f"{origin}, {change.words}"
    together(ranks, lambda: model.layout.check_start(model.fields(first)))
    converged_below(header["tolerance"], header["tolerance_unit"], model.layout)
    cost = model.members * model.years
    if header["budget_years"] < cost * (1 - 1e-12):
        raise UsageError(
            f"a budget of {header['budget_years']:g} model years is less than one evaluation, {cost:g}: raise it"
        )
    full = Header(
        **header,
        start=origin,
        map=model.describe(),
        years_per_evaluation=model.years,
    )
    with created(path, full, model, first) as store_:
        return _drive(model, store_, progress, flag)


def resume(
    path: str | os.PathLike[str],
    *,
    case: Case | None = None,
    budget: str | float | None = None,
    tolerance: str | float | None = None,
    wall_time: str | float | None = None,
    groups: int | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Go on with the run at `path`: nothing it already holds is evaluated again.

    case: needed only where the run was started from Python with a case that is in no file. budget and
    tolerance replace those of the run. wall_time, groups: as of `run`.

    Raises
    ------
    UsageError, RunLocked, StoreError
    """
    ranks = everyone()
    changes = {
        "budget_years": None if budget is None else parse_years(budget),
        **({} if tolerance is None else parse_tolerance(tolerance)),
    }
    path = Path(path)
    progress = _of_leader(ranks, progress)
    with (
        stop_on_signals(progress.note, parse_wall_time(wall_time)) as flag,
        resumed(path, ranks) as store,
        stored_case(store.header, case, progress) as found,
        built_on(ranks, found, groups, progress.note) as (model, spread),
    ):
        return led(spread, lambda: _go_on(model, of_map(model, store), changes, progress, flag), flag)


def _go_on(
    model: FixedPointMap, store: RunStore | SharedStore, changes: dict[str, Any], progress: Progress, flag: StopFlag
) -> RunResult:
    """Check that the map is that of the run in the store, and drive. changes: of the header."""
    ranks = None if model.layout.split is None else model.layout.split.ranks
    together(ranks, lambda: _fitting(store.state(-1), model, f"of run {store.path}"))
    if differing := _differences(store.header.map, model.describe()):
        raise UsageError(
            f"run {store.path} was made with another map ({differing}): resume it with the case it was made with, "
            f"or start anew from its end, --start {store.path}"
        )
    for sentence in store.repair():
        progress.note(f"damage: {sentence}")
    done = store.records[-1]["model_years"] if store.records else 0.0
    if changes["budget_years"] is not None and changes["budget_years"] < done:
        raise UsageError(f"a budget of {changes['budget_years']:g} model years is below the {done:g} already done")
    for name, value in changes.items():
        if value is not None:
            setattr(store.header, name, value)
    store.save_header()
    return _drive(model, store, progress, flag)


def _of_leader(ranks: Ranks | None, progress: Progress | None) -> Progress:
    """What the leading rank tells; the others tell nothing."""
    return progress if progress is not None and (ranks is None or ranks.rank == 0) else Progress()


def _shared(ranks: Ranks | None, value: Any) -> Any:
    """That of the leading rank."""
    return value if ranks is None else ranks.share(value)


def _my_part(whole: State, model: FixedPointMap) -> State:
    """A full state of all cells to one of this rank's."""
    parts = model.layout.split
    if parts is None:
        return whole
    known = template(model)
    return {n: parts.mine(value, model.dims(n)) if n in known else value for n, value in whole.items()}


def _drive(model: FixedPointMap, store: RunStore | SharedStore, progress: Progress, flag: StopFlag) -> RunResult:
    model = on_devices(store.header.method, store.header.settings, model)
    if isinstance(model.layout, DeviceLayout) and isinstance(store, RunStore):
        with WrittenBehind(store, model.layout) as behind:
            return _driven(model, behind, progress, flag)
    return _driven(model, store, progress, flag)


def _driven(
    model: FixedPointMap, store: RunStore | SharedStore | WrittenBehind, progress: Progress, flag: StopFlag
) -> RunResult:
    header = store.header
    layout = model.layout
    x0 = layout.pack(model.fields(store.state(-1)))
    method = after_direct(header.start_periods, bind(header.method, header.settings, model, x0))

    def start_flow(checkpoint: dict[str, Any] | None, stop: Stop) -> Flow:
        return method(x0, stop=stop, checkpoint=checkpoint)

    good_enough = converged_below(header.tolerance, header.tolerance_unit, layout)
    store.set_outcome("")
    progress.note(f"preparing {model.name}")
    model.prepare()
    progress.started(header, store.records)
    try:
        driver = Driver(
            model,
            store,
            start_flow,
            good_enough,
            header.budget_years,
            flag,
            progress.evaluated,
            progress.note,
            ErrorEstimator(model, store, progress.note),
        )
        with options_given(header.petsc):
            outcome = driver.run()
        store.set_outcome(outcome.value)
    finally:
        progress.ended()
    drifts = [r["drift"] for r in store.records if r["drift"] is not None]
    return RunResult(
        store.path,
        outcome,
        len(store.records),
        store.records[-1]["model_years"] if store.records else 0.0,
        drifts[-1] if drifts else None,
        min(drifts, default=None),
        last_error(store.records),
        last_interval(store.records),
    )


@contextmanager
def stored_case(header: Header, case: Case | None, progress: Progress) -> Iterator[Case]:
    """The case the run was started with: as it was then, even if its file has changed since."""
    if case is not None:
        yield case
        return
    if header.case_text is None or header.case_file is None or not defines_case(header.case_text):
        raise UsageError(
            "the run was started from Python, by a script or session that defines no CASE: "
            "go on with it from there, spinup.resume(run, case=...)"
        )
    file = Path(header.case_file)
    if file.is_file() and file.read_text() == header.case_text:
        yield import_case(file)
        return
    progress.note(f"{file} is gone or has changed: going on with the case as stored in the run")
    with TemporaryDirectory() as folder:
        copy = Path(folder) / file.name
        copy.write_text(header.case_text)
        yield import_case(copy)


def _read_start(start: Any) -> State | None:
    if start is None:
        return None
    if isinstance(start, Mapping):
        return dict(start)
    path = Path(start)
    read_header(path)
    if not read_journal(path)[0]:
        raise UsageError(f"run {path} has no evaluation yet to start from")
    try:
        return read_state(path)
    except KeyError as error:
        raise StoreError(str(error.args[0])) from error


def _read_restart(model: FixedPointMap, file: Path) -> State:
    """A state from a file of the model's own. Raises UsageError where the map reads none."""
    read = getattr(model, "read_restart", None)
    if read is None:
        raise UsageError(f"{model.name} cannot start from the file {file}: give the folder of a run")
    return read(file)


def _fitting(state: State, model: FixedPointMap, origin: str) -> State:
    """`state` with the variables, shapes and types of the map. Raises UsageError where it does not fit."""
    fitting = {}
    for name, value in template(model).items():
        if name not in state:
            raise UsageError(f"start state {origin} lacks {name}: it was made with another model")
        wanted, given = np.asarray(value), np.asarray(state[name])
        if given.shape != wanted.shape:
            raise UsageError(f"start state {origin}: {name} has shape {given.shape}, the model needs {wanted.shape}")
        if not np.can_cast(given.dtype, wanted.dtype, "same_kind"):
            raise UsageError(f"start state {origin}: {name} is of type {given.dtype}, the model needs {wanted.dtype}")
        if given.dtype.kind == "f" and np.isnan(given).any() and not np.isnan(wanted).any():
            raise UsageError(f"start state {origin}: {name} holds NaN: mend it or start from another state")
        fitting[name] = state[name] if given.dtype == wanted.dtype else given.astype(wanted.dtype)
    return fitting


def _differences(then: dict[str, Any], now: dict[str, Any], prefix: str = "") -> str:
    """The settings that are not what they were, in words."""
    found = []
    for name in sorted(then.keys() | now.keys()):
        a, b = then.get(name), now.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += [_differences(a, b, f"{prefix}{name}.")] if a != b else []
        elif json.dumps(a) != json.dumps(b):
            found.append(f"{prefix}{name} was {a!r}, is {b!r}")
    return "; ".join(found)
