"""Did two runs end in the same equilibrium? By their estimated errors, and by how deep their water is mixed."""

import math
from typing import Any

import numpy as np

from spinup.report import words
from spinup.report.axes import axes_of, place
from spinup.report.reading import RunData, same_grid
from spinup.report.rung import mixed
from spinup.report.summary import error_estimates

NEAR = 2.0  # states of one equilibrium are at most so many times their estimated errors apart
NAMED = 6  # columns that are named, the rest is counted


def equilibria(a: RunData, b: RunData, apart: dict[str, float]) -> dict[str, Any]:
    """Of two runs whose ends are `apart`, rms by variable in its units, in JSON types.

    same: True where both have converged and are within twice their estimated errors of each other, False where they are
    farther apart; None where that cannot be told: a run that is far from its end is within its error of many
    equilibria, or a run has no estimate by an operator. columns: those of `changed_columns`. verdict: a sentence.
    """
    columns = changed_columns(a, b)
    same = None
    estimates = [error_estimates(run) if run.estimates_by_operator else {} for run in (a, b)]
    allowed = {
        name: NEAR * math.hypot(*(e[name]["last"] for e in estimates))
        for name in apart
        if all(name in e and e[name]["last"] is not None for e in estimates)
    }
    if apart and allowed.keys() == apart.keys():
        within = all(apart[name] <= allowed[name] for name in apart)
        same = (a.outcome == b.outcome == "converged" or None) if within else False
    return {"same": same, "columns": columns, "verdict": _verdict(a, b, apart, allowed, same, columns)}


def changed_columns(a: RunData, b: RunData) -> list[dict[str, Any]]:
    """The water columns that are mixed to another level at the end of b than at that of a: where, and how many levels
    are mixed in each, the largest difference first. None of runs whose first variable is not one of three dimensions,
    depth first, on one grid."""
    name = a.variables[0]
    one, other = mixed(a, a.end(name)), mixed(b, b.end(name)) if same_grid(a, b, name) else None
    if one is None or other is None:
        return []
    levels, (_, *across) = (one, other), axes_of(a, name)
    by = np.abs(other - one)
    cells = sorted(np.argwhere(by > 0).tolist(), key=lambda c: -by[tuple(c)])
    return [
        {
            "where": ", ".join(place(axis, i) for axis, i in zip(across, cell, strict=True)),
            "a": int(levels[0][tuple(cell)]),
            "b": int(levels[1][tuple(cell)]),
        }
        for cell in cells
    ]


def _verdict(
    a: RunData,
    b: RunData,
    apart: dict[str, float],
    allowed: dict[str, float],
    same: bool | None,
    columns: list[dict[str, Any]],
) -> str:
    if not apart:
        return f"{a.name} and {b.name} have no ends to compare"
    if apart.keys() != allowed.keys():
        return (
            f"whether {a.name} and {b.name} ended in the same equilibrium is not known: their errors are not estimated"
        )
    sizes = ", ".join(
        f"{words.number(apart[name])} {words.difference_units(a.units(name))} of {name} apart where their estimated "
        f"errors allow {words.number(allowed[name])}"
        for name in apart
    )
    if same is None:
        return f"not told apart, {a.name} and {b.name}, as not both have converged: {sizes}"
    if same:
        return f"one equilibrium, as far as {a.name} and {b.name} know theirs: {sizes}"
    where = ""
    if columns:
        named = "; ".join(f"{c['where']} ({c['a']} levels, {c['b']})" for c in columns[:NAMED])
        rest = f"; and {len(columns) - NAMED} more" if len(columns) > NAMED else ""
        where = f". Mixed to another level: {len(columns)} of the water columns, {named}{rest}"
    return f"different equilibria, or one is not there yet, {a.name} and {b.name}: {sizes}{where}"
