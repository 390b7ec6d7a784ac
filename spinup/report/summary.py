"""The numbers of one run, in JSON types: None for what was not measured."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from spinup.report import words
from spinup.report.pairs import field_difference
from spinup.report.reading import RunData, weighted_rms

SHOWN_VERSIONS = ("spinup", "veros", "jax", "jaxlib", "numpy", "scipy", "xarray", "zarr")


def summary(run: RunData) -> dict[str, Any]:
    """What the run was, what it cost and where it ended.

    Drift: weighted rms of T(x) - x per model year, in `drift_units`; drift_scaled: each variable in units of its
    scale, not in its own. Per variable: volume-weighted rms of
    the same in the variable's units per year, and the largest of the last evaluation with its place. Each with
    the first, last and lowest value.
    """
    header = run.header
    wall = run.column("wall_seconds")
    return {
        "name": run.name,
        "case": header["case"],
        "title": header["title"],
        "method": header["method"],
        "settings": header["settings"],
        "outcome": run.outcome,
        "evaluations": int(run.failed.size),
        "failures": int(run.failed.sum()),
        "failed_evaluations": [int(n) for n in np.flatnonzero(run.failed)],
        "direct_evaluations": int(run.failed.size if run.direct else run.direct_phase.sum()),
        "start_years": _start_years(run),
        "model_years": _number(run.model_years[-1]) if run.failed.size else 0.0,
        "years_per_evaluation": run.years,
        "members": run.members,
        "budget_years": header["budget_years"],
        "tolerance": header["tolerance"],
        "tolerance_units": header["tolerance_unit"] or drift_units(run),
        "tolerance_of": "estimated error" if header["tolerance_unit"] else "drift",
        "estimate_from": "operator" if run.estimates_by_operator else "secants",
        "drift_units": drift_units(run),
        "drift_scaled": _scaled(run),
        "drift": extremes(run.model_years, run.drift) | {"when_method_began": _when_method_began(run)},
        "variables": {
            v: {"long_name": run.long_name(v), "units": words.per_year(run.units(v))}
            | extremes(run.model_years, run.column(f"{v}_residual") / run.years)
            | {"largest": _largest(run, v)}
            for v in run.variables
        },
        "means": {
            v: {"long_name": f"volume mean of {run.long_name(v)}", "units": words.units(run.units(v))}
            | _ends(run.column(f"{v}_mean"))
            for v in run.variables
        },
        "diagnostics": {
            name: {"long_name": words.prose(d["long_name"]), "units": words.units(d["units"])} | _ends(run.column(name))
            for name, d in run.diagnostics.items()
        },
        "mean_state": _mean_state(run),
        "elapsed_seconds": _number(run.column("elapsed_seconds").sum()),
        "wall_seconds": _number(wall.sum()),
        "wall_seconds_per_evaluation": _number(np.median(wall)) if wall.size else None,
        "wall_seconds_first": _number(wall[0]) if wall.size else None,
        "provenance": provenance(run),
    }


def _mean_state(run: RunData) -> dict[str, Any] | None:
    """Of how many model years it is, and the volume-weighted rms of each variable's standard error."""
    if run.mean is None:
        return None
    errors = {v: weighted_rms(np.asarray(run.mean[f"{v}_standard_error"].values), run.volume(v)) for v in run.variables}
    return {
        "model_years": float(run.mean.attrs["model_years"]),
        "standard_error": {
            v: {"rms": _number(error), "units": words.difference_units(run.units(v))} for v, error in errors.items()
        },
    }


def series(run: RunData) -> dict[str, Any]:
    """The same by evaluation: what the charts are drawn from."""
    return {
        "model_years": numbers(run.model_years),
        "failed": [bool(f) for f in run.failed],
        "direct": [bool(d) for d in run.direct_phase],
        "wall_seconds": numbers(run.column("wall_seconds")),
        "drift": numbers(run.drift),
        "variables": {v: numbers(run.column(f"{v}_residual") / run.years) for v in run.variables},
        "means": {v: numbers(run.column(f"{v}_mean")) for v in run.variables},
        "diagnostics": {name: numbers(run.column(name)) for name in run.diagnostics},
    }


def errors(run: RunData) -> dict[str, Any] | None:
    """Distance to the exact answer by variable, where the case has one: volume-weighted rms, after each evaluation."""
    if run.errors is None:
        return None
    return {
        name: {"units": words.difference_units(run.units(name)), "series": numbers(values)}
        | extremes(run.model_years, values)
        for name, values in run.errors.items()
    }


def error_estimates(run: RunData) -> dict[str, Any]:
    """The estimated distance to equilibrium by variable, where there is one."""
    found = {}
    for name in run.variables:
        if (values := run.error_estimate(name)) is not None:
            ends = extremes(run.model_years, values)
            units = words.difference_units(run.units(name))
            last = np.flatnonzero(np.isfinite(values))[-1]
            interval = numbers(np.array([end[last] for end in run.interval(name) or (np.nan * values,) * 2]))
            found[name] = {"units": units, "series": numbers(values), "interval": interval} | ends
    return found


def provenance(run: RunData) -> dict[str, Any]:
    """Where the run came from; of the case's file the name alone."""
    header = run.header
    file = header["case_file"]
    return {
        "created": header["created"],
        "command": header["command"],
        "case_file": file.replace("\\", "/").rsplit("/", 1)[-1] if file else None,
        "git": header["git"],
        "start": header["start"],
        "machine": header["machine"],
        "versions": header["versions"],
        "store": header["store"],
        "map": header["map"],
    }


def extremes(model_years: np.ndarray, values: np.ndarray) -> dict[str, float | None]:
    """First, last and lowest of a series, and the model years at which it was lowest."""
    good = np.flatnonzero(np.isfinite(values))
    if not good.size:
        return {"first": None, "last": None, "lowest": None, "lowest_model_years": None}
    lowest = good[np.argmin(values[good])]
    return {
        "first": float(values[good[0]]),
        "last": float(values[good[-1]]),
        "lowest": float(values[lowest]),
        "lowest_model_years": float(model_years[lowest]),
    }


def years_to_reach(model_years: np.ndarray, values: np.ndarray, level: float) -> float | None:
    """Model years spent when `values` is first at or below `level`; None if it never is."""
    below = np.flatnonzero(values <= level)
    return float(model_years[below[0]]) if below.size else None


def decades(runs: Iterable[RunData]) -> list[float]:
    """The powers of ten that the drift of at least one run passes, largest first."""
    drifts = [d[np.isfinite(d) & (d > 0)] for d in (run.drift for run in runs)]
    drifts = [d for d in drifts if d.size]
    if not drifts:
        return []
    top = max(math.ceil(math.log10(d[0])) - 1 for d in drifts)
    bottom = min(math.ceil(math.log10(d.min())) for d in drifts)
    return [float(f"1e{k}") for k in range(top, bottom - 1, -1)]


def drift_units(run: RunData) -> str:
    """Units of the drift: the variable's where there is one, and its scale is 1; else every variable counts in
    units of its scale."""
    return words.per_year(run.units(run.variables[0])) if not _scaled(run) else "per year"


def _scaled(run: RunData) -> bool:
    if len(run.variables) == 1:
        residual = run.column(f"{run.variables[0]}_residual") / run.years
        known = np.isfinite(residual) & (residual > 0)
        return not np.allclose(run.drift[known], residual[known], rtol=1e-6)
    return True


def numbers(values: np.ndarray) -> list[float | None]:
    return [_number(v) for v in values]


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _largest(run: RunData, name: str) -> dict[str, Any] | None:
    residual = run.last_residual(name)
    if residual is None:
        return None
    found = field_difference(run, name, residual)
    return {"drift": found["largest"], "where": found["where"]}


def _ends(values: np.ndarray) -> dict[str, float | None]:
    good = values[np.isfinite(values)]
    return {"first": float(good[0]), "last": float(good[-1])} if good.size else {"first": None, "last": None}


def _start_years(run: RunData) -> float:
    """Model years of direct integration before the method began."""
    return 0.0 if run.direct or not run.direct_phase.any() else float(run.model_years[run.direct_phase][-1])


def _when_method_began(run: RunData) -> float | None:
    """Drift of the last direct evaluation before the method began."""
    direct = run.drift[run.direct_phase & ~run.failed]
    return _number(direct[-1]) if direct.size and not run.direct else None
