"""How far two runs ended from each other."""

from typing import Any

import numpy as np

from spinup.report import words
from spinup.report.axes import axes_of, place
from spinup.report.reading import RunData, same_grid, weighted_rms


def difference(a: RunData, b: RunData) -> dict[str, Any]:
    """b minus a at the end of both, in JSON types.

    variables: volume-weighted rms and mean difference, and the largest with its place; only those that both
    runs have on the same grid. diagnostics: both values and their difference. notes: what was left out, and why.
    """
    found: dict[str, Any] = {"a": a.name, "b": b.name, "variables": {}, "diagnostics": {}, "notes": []}
    names = [v for v in a.variables if v in b.variables]
    for name in names:
        if not same_grid(a, b, name):
            found["notes"].append(
                f"{name} is on another grid in {b.name} than in {a.name}: no difference of the fields"
            )
            continue
        one, other = a.end(name), b.end(name)
        if one is None or other is None:
            found["notes"].append(f"{(a if one is None else b).name} has no fields of {name} at its end")
            continue
        found["variables"][name] = field_difference(a, name, other - one)
    if not names:
        found["notes"].append(f"{a.name} and {b.name} have no variable in common")
    found["same_grid"] = bool(found["variables"]) and len(found["variables"]) == len(names)
    for name in a.diagnostics:
        if name in b.diagnostics:
            first, second = _last(a.column(name)), _last(b.column(name))
            found["diagnostics"][name] = {
                "units": words.units(a.diagnostics[name]["units"]),
                "long_name": words.prose(a.diagnostics[name]["long_name"]),
                "a": first,
                "b": second,
                "difference": None if first is None or second is None else second - first,
            }
    return found


def field_difference(run: RunData, name: str, values: np.ndarray) -> dict[str, Any]:
    """The numbers of one difference field."""
    volume = run.volume(name)
    ocean = volume > 0
    size = np.where(ocean, np.abs(values), -1.0)
    cell = np.unravel_index(int(np.argmax(size)), size.shape)
    axes = axes_of(run, name)
    return {
        "units": words.difference_units(run.units(name)),
        "rms": weighted_rms(values, volume),
        "mean": float(np.average(values[ocean], weights=volume[ocean])),
        "largest": float(values[cell]),
        "where": ", ".join(place(axis, int(i)) for axis, i in zip(axes, cell, strict=True)) or "the one value it has",
    }


def _last(values: np.ndarray) -> float | None:
    good = values[np.isfinite(values)]
    return float(good[-1]) if good.size else None
