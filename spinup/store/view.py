"""Reading a run with xarray, also while it is being written or after it was killed."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.errors import ZarrUserWarning

from spinup.errors import StoreError
from spinup.state import State
from spinup.store.columns import COMMON, columns
from spinup.store.header import read_header
from spinup.store.journal import Record, damaged, last_error, last_interval, read_journal
from spinup.store.lock import is_locked


def open_run(path: str | Path, *, verify: bool = True) -> xr.Dataset:
    """The run at `path` as a dataset over the dimension `evaluation`, complete to the last evaluation.

    Damage to chunks that are still there is warned of by name. Raises UsageError where `path` is no run,
    or one of a newer format.
    """
    path = Path(path)
    header = read_header(path)
    records, problems = read_journal(path)
    if verify:
        problems += damage_sentences(path, records)
    for problem in problems:
        warnings.warn(f"run {path}: {problem}", stacklevel=2)
    group = zarr.open_group(path, mode="r", use_consolidated=False)
    attrs: dict[str, Any] = dict(group.attrs)
    numbers = columns(records, attrs["diagnostics"], attrs["variables"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # of the journal, which is not zarr's
        fields = [f"{name}{suffix}" for name in attrs["variables"] for suffix in ("_before", "")]
        dataset = xr.open_zarr(path, consolidated=False, drop_variables=[*numbers, *fields])
        for name in fields:  # one by one: in a run that was killed one may be an evaluation longer than the other
            others = [other for other in (*numbers, *fields) if other != name]
            field = xr.open_zarr(path, consolidated=False, drop_variables=others)[name]
            dataset[name] = field.isel(evaluation=slice(0, len(records)))
        for name, values in numbers.items():
            found = dict(group[name].attrs) if name in group else COMMON.get(name)
            if found is not None:  # else of a run of an earlier format
                dataset[name] = ("evaluation", values, found)
    dataset = dataset.set_coords([name for name in ("evaluation", "model_years") if name in dataset])
    dataset.attrs["header"] = header.model_dump_json()
    return dataset


def open_state(path: str | Path, evaluation: int | None = None) -> xr.Dataset:
    """The full state after `evaluation` (default: the newest; -1: the start), as the model keeps it.

    Raises KeyError where the run no longer has it, StoreError where it is damaged.
    """
    path = Path(path)
    read_header(path)
    records, _ = read_journal(path)
    good = [r["evaluation"] for r in records if r["slot"] is not None]
    number = evaluation if evaluation is not None else (good[-1] if good else -1)
    if number < 0:
        return xr.open_zarr(path, group="start", consolidated=False)
    states = {f: c for f, c in records[number]["files"].items() if f.startswith("states/")}
    slots = {r["slot"]: r["evaluation"] for r in records if r["slot"] is not None}
    kept = {owner: slot for slot, owner in slots.items()}
    if number not in kept:
        raise KeyError(f"run {path} keeps the full states of evaluations {sorted(kept)}, not of {number}")
    if found := damaged(path, states):
        raise StoreError(f"run {path}: the full state of evaluation {number} is damaged: {found[0]}")
    return xr.open_zarr(path, group="states", consolidated=False).isel(slot=kept[number])


def read_state(path: str | Path, evaluation: int | None = None) -> State:
    """The same in memory, as the map takes it."""
    state = open_state(path, evaluation)
    return {str(name): np.asarray(state[name]) for name in state.variables}


def open_mean(path: str | Path) -> xr.Dataset:
    """The mean state of a run whose model never rests, and its standard error; `model_years`: of which it is.

    Raises KeyError where the run found none: its method did not average.
    """
    path = Path(path)
    read_header(path)
    if not (path / "mean_state" / "zarr.json").is_file():
        raise KeyError(f"run {path} has no mean state: only runs that reach the noise floor of their model have one")
    return xr.open_zarr(path, group="mean_state", consolidated=False)


def damage_sentences(path: Path, records: list[Record]) -> list[str]:
    """What is wrong with the fields that are there; files a retention setting erased do not count."""
    sentences = []
    for record in records:
        fields = {f: c for f, c in record["files"].items() if not f.startswith("states/") and (path / f).exists()}
        sentences += [f"{damage} (evaluation {record['evaluation']})" for damage in damaged(path, fields)]
    return sentences


def run_status(path: str | Path, *, verify: bool = True) -> dict[str, Any]:
    """How far the run has got, in JSON types, and the damage to its fields if `verify`."""
    path = Path(path)
    header = read_header(path)
    records, problems = read_journal(path)
    if verify:
        problems += damage_sentences(path, records)
    outcome = zarr.open_group(path, mode="r", use_consolidated=False).attrs["outcome"]
    drifts = [r["drift"] for r in records if r["drift"] is not None]
    running = is_locked(path / "log" / "lock")
    return {
        "run": str(path),
        "case": header.case,
        "method": header.method,
        "state": "running" if running else (outcome or "interrupted"),
        "evaluations": len(records),
        "failures": sum(r["failure"] is not None for r in records),
        "model_years": records[-1]["model_years"] if records else 0.0,
        "budget_years": header.budget_years,
        "drift": drifts[-1] if drifts else None,
        "best_drift": min(drifts, default=None),
        "error_estimate": last_error(records),
        "error_interval": last_interval(records),
        "tolerance": header.tolerance,
        "tolerance_unit": header.tolerance_unit,
        "wall_seconds": sum((r["wall_seconds"] for r in records), 0.0),
        "elapsed_seconds": sum(map(elapsed_seconds, records), 0.0),
        "seconds_left": seconds_left(records, header.budget_years),
        "problems": problems,
    }


def elapsed_seconds(record: Record) -> float:
    """Wall time of an evaluation and of what came before it; of old runs that of the evaluation is all there is."""
    seconds: float = record["elapsed_seconds"] if "elapsed_seconds" in record else record["wall_seconds"]
    return seconds


def seconds_left(records: list[Record], budget_years: float) -> float | None:
    """Wall time to the end of the budget, at the pace of the last evaluations."""
    if not records:
        return None
    recent = records[-10:]
    before = records[-11]["model_years"] if len(records) > 10 else 0.0
    pace = sum(map(elapsed_seconds, recent)) / (recent[-1]["model_years"] - before)
    return max(0.0, budget_years - records[-1]["model_years"]) * pace
