"""Which of several equilibria a run ended in: how deep its water is mixed, and its transports."""

from typing import Any

import numpy as np

from spinup.convection import mixed_levels
from spinup.report import words
from spinup.report.axes import axes_of, place
from spinup.report.reading import RunData

NEUTRAL = 0.05  # difference from level to level below which a column counts as mixed, in the first variable's units
TRANSPORT = "1e6 m3 s-1"  # units of the diagnostics that tell equilibria apart


def upward(run: RunData) -> slice | None:
    """How to take the first axis of the run's first variable so that its levels go upward; None where that variable is
    not one of three dimensions, depth first: there are no water columns then."""
    axes = axes_of(run, run.variables[0])
    if len(axes) != 3 or axes[0].kind != "Z":
        return None
    depth = axes[0]
    return slice(None, None, -1 if depth.downward and depth.values[0] < depth.values[-1] else 1)


def mixed(run: RunData, field: np.ndarray | None) -> np.ndarray | None:
    """How many steps down from the surface the columns of a field of the first variable are mixed, (ny, nx) integers,
    -1 on land; None where there are no columns, or no field."""
    up = upward(run)
    if up is None or field is None:
        return None
    ocean = run.volume(run.variables[0])[up] > 0
    return np.where(ocean.any(axis=0), mixed_levels(np.where(ocean, field[up], 0.0), ocean, NEUTRAL), -1)


def rung(run: RunData) -> dict[str, Any] | None:
    """What tells the end of a run from other equilibria, in JSON types; None where it has no water columns.

    levels: how many steps down from the surface each column is mixed, row by row, None on land. southernmost: `where`
    the southernmost row of water is, the most `levels` in it, and the `depth` of the lowest mixed cell, in `units`;
    None where the rows are not of latitude. transports: by diagnostic, value, units and long_name.
    """
    levels = mixed(run, run.end(run.variables[0]))
    if levels is None:
        return None
    transports: dict[str, dict[str, Any]] = {
        name: {
            "value": float(run.column(name)[run.last_good]),
            "units": words.units(about["units"]),
            "long_name": words.prose(about["long_name"]),
        }
        for name, about in run.diagnostics.items()
        if about["units"] == TRANSPORT
    }
    return {
        "levels": [[None if n < 0 else int(n) for n in row] for row in levels],
        "southernmost": _southernmost(run, levels),
        "transports": {n: t for n, t in transports.items() if np.isfinite(t["value"])},
    }


def rung_words(found: dict[str, Any]) -> str:
    """49.7 °S mixed 8 levels deep, to 371 m; 153 Sv of barotropic_transport, 14.9 Sv of overturning_max"""
    parts = []
    if south := found["southernmost"]:
        deep = f", to {words.number(south['depth'])} {south['units']}" if south["levels"] else ""
        parts.append(f"{south['where']} mixed {south['levels']} levels deep{deep}")
    if found["transports"]:
        parts.append(
            ", ".join(f"{words.number(t['value'], 4)} {t['units']} of {n}" for n, t in found["transports"].items())
        )
    return "; ".join(parts)


def _southernmost(run: RunData, levels: np.ndarray) -> dict[str, Any] | None:
    depth, rows, _ = axes_of(run, run.variables[0])
    up = upward(run)
    if rows.kind != "Y" or up is None:
        return None
    wet = np.flatnonzero((levels >= 0).any(axis=1))
    row = int(wet[np.argmin(rows.values[wet])])
    most = int(levels[row].max())
    return {
        "where": place(rows, row),
        "levels": most,
        "depth": float(depth.values[up][-1 - most]),
        "units": depth.units,
    }
