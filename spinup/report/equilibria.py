"""Did two runs end in the same equilibrium? By their estimated errors, and by how deep their water is mixed."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from spinup.report import words
from spinup.report.axes import axes_of, place
from spinup.report.reading import RunData, same_grid
from spinup.report.rung import mixed, rung, rung_words
from spinup.report.summary import error_estimates

NEAR = 2.0  # states of one equilibrium are at most so many times their estimated errors apart
NAMED = 6  # columns that are named, the rest is counted


def equilibria(
    a: RunData, b: RunData, apart: dict[str, float], *, stays: tuple[bool | None, bool | None], one_model: bool
) -> dict[str, Any]:
    """Of two runs whose ends are `apart`, rms by variable in its units, in JSON types.

    stays: whether an audit found each end a stable equilibrium, None where none was made. one_model: whether both runs
    are of one model, as far as is known.

    same: True where both have converged and are within twice their estimated errors of each other, False where they are
    farther apart; None where that cannot be told: a run that is far from its end is within its error of many
    equilibria, or a run has no estimate by an operator, or its audit found no equilibrium. several: whether they are
    two of several equilibria of one model: not the same, and each end stays, or has converged and was not audited.
    rungs: by run, what tells its end from other equilibria, in words, "" where that has none. columns: those of
    `changed_columns`. verdict: a sentence.
    """
    columns = changed_columns(a, b)
    same = None
    estimates = [error_estimates(run) if run.estimates_by_operator else {} for run in (a, b)]
    allowed = {
        name: NEAR * math.hypot(*(e[name]["last"] for e in estimates))
        for name in apart
        if all(name in e and e[name]["last"] is not None for e in estimates)
    }
    rests = all(run.outcome == "converged" if stay is None else stay for run, stay in zip((a, b), stays, strict=True))
    if apart and allowed.keys() == apart.keys():
        within = all(apart[name] <= allowed[name] for name in apart)
        same = ((rests and a.outcome == b.outcome == "converged") or None) if within else False
    ends = Ends(
        apart=apart,
        allowed=allowed,
        same=same,
        rests=rests,
        several=same is False and rests and one_model,
        rungs=tuple("" if (found := rung(run)) is None else rung_words(found) for run in (a, b)),
        known=tuple(_known(run, stay) for run, stay in zip((a, b), stays, strict=True)),
        columns=columns,
    )
    rungs = dict(zip((a.name, b.name), ends.rungs, strict=True))
    return {"same": same, "several": ends.several, "rungs": rungs, "columns": columns, "verdict": _verdict(a, b, ends)}


@dataclass(frozen=True)
class Ends:
    """What the verdict on two ends is made from: see `equilibria`. allowed: as far as one equilibrium's may be apart.
    rests: whether each end is an equilibrium, as far as is known; known: how that is known."""

    apart: dict[str, float]
    allowed: dict[str, float]
    same: bool | None
    rests: bool
    several: bool
    rungs: tuple[str, ...]
    known: tuple[str, ...]
    columns: list[dict[str, Any]]


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


def _verdict(a: RunData, b: RunData, ends: Ends) -> str:
    if not ends.apart:
        return f"{a.name} and {b.name} have no ends to compare"
    if ends.apart.keys() != ends.allowed.keys():
        return (
            f"whether {a.name} and {b.name} ended in the same equilibrium is not known: their errors are not estimated"
        )
    sizes = ", ".join(
        f"{words.number(far)} {words.difference_units(a.units(name))} of {name} apart where their estimated errors "
        f"allow {words.number(ends.allowed[name])}"
        for name, far in ends.apart.items()
    )
    known = f"{a.name} {ends.known[0]}, {b.name} {ends.known[1]}"
    if ends.same is None:
        return f"not told apart, {a.name} and {b.name}, as not both are known well enough: {sizes}; {known}"
    if ends.same:
        return f"one equilibrium, as far as {a.name} and {b.name} know theirs: {sizes}{_one_rung(a, b, ends)}"
    if not ends.rests:
        return f"different equilibria, or one is not there yet, {a.name} and {b.name}: {sizes}; {known}{_where(ends)}"
    what = "and each is one of several of this model" if ends.several else "of models that are not known to be one"
    return (
        f"different equilibria, {a.name} and {b.name}, {what}: {sizes}{_two_rungs(a, b, ends)}; {known}{_where(ends)}"
    )


def _known(run: RunData, stays: bool | None) -> str:
    """Whether the end of a run is known to be an equilibrium, to follow its name."""
    audited = {None: "was not audited", True: "was audited as stable", False: "was audited, but not as stable"}[stays]
    return f"{'has' if run.outcome == 'converged' else 'has not'} converged and {audited}"


def _one_rung(a: RunData, b: RunData, ends: Ends) -> str:
    if ends.columns:
        return f"{_two_rungs(a, b, ends)}{_where(ends)}"
    return f"; its rung: {ends.rungs[0]}" if ends.rungs[0] else ""


def _two_rungs(a: RunData, b: RunData, ends: Ends) -> str:
    pairs = zip((a.name, b.name), ends.rungs, strict=True)
    return "".join(f"; {name} on the rung {found}" for name, found in pairs if found)


def _where(ends: Ends) -> str:
    """The columns that are mixed to another level, as a sentence to follow; "" where there are none."""
    columns = ends.columns
    if not columns:
        return ""
    named = "; ".join(f"{c['where']} ({c['a']} levels, {c['b']})" for c in columns[:NAMED])
    rest = f"; and {len(columns) - NAMED} more" if len(columns) > NAMED else ""
    return f". Mixed to another level: {len(columns)} of the water columns, {named}{rest}"
