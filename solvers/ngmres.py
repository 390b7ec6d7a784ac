"""Nonlinear GMRES of x = T(x): a combination of past states, taken only where it is better than the plain step.

Source: P. Brune, M. Knepley, B. Smith, X. Tu, SIAM Rev. 57 (2015), 535-565, algorithm 8, as in PETSc's SNESNGMRES, with
T as what it calls the nonlinear preconditioner. The combination: T. Washio and C. W. Oosterlee, ETNA 6 (1997), 271-290.

    x_M = x_k + β F_k,   x_A = x_M + sum_i α_i (x_i - x_M),   α = argmin ||F_M + sum_i α_i (F_i - F_M)||,   F = T(x) - x
    A   ||F_A|| < gamma_a F_least
    B   epsilon_b ||x_A - x_M|| < min_i ||x_A - x_i||   or   ||F_A|| < delta_b F_least
    x_{k+1} = x_A where A and B hold, else x_M
    restart where, `restart_after` times in a row, B does not hold or ||F_A|| > gamma_c F_least

Of a linear map and with all differences held x_A is the iterate of GMRES itself.

Differs from the source:
1. T(x_A) gives both the residual of x_A and the next x_M: two evaluations a step, not more.
2. Not eager, F_M is left to the linear model, as Anderson acceleration does: x_A comes from the F_i alone and x_M is
   evaluated only where x_A was refused. One evaluation a step, two where it was. In B x_i + β F_i stands for x_i.
3. After a restart the history begins with the state that was selected.
4. α by differences of successive states, see secants.py.

Shapes: x and F are (n,). Requests: Evaluate, then Checkpoint, at each evaluation.
"""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Literal

from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.ranges import require
from solvers.requests import Array, Checkpoint, Evaluate, Failure, Flow, Outcome, Stop
from solvers.secants import Secants
from solvers.vectors import between, pair_of, pair_state

TRIES = 5  # plain steps in a row that fail before giving up


def ngmres(
    x: Array,
    *,
    stop: Stop,
    checkpoint: Mapping[str, Any] | None = None,
    inner: InnerProduct = EUCLIDEAN,
    depth: int = 30,
    mixing: float = 1.0,
    eager: bool = False,
    select: Literal["difference", "none"] = "difference",
    gamma_a: float = 2.0,
    epsilon_b: float = 0.1,
    delta_b: float = 0.9,
    gamma_c: float = 2.0,
    restart_after: int | None = 2,
    condition_limit: float = 1e7,
    project: Callable[[Array], Array] | None = None,
) -> Flow:
    """Nonlinear GMRES from x, shape (n,).

    depth: differences held.
    mixing: β > 0 of the header.
    eager: whether every plain step is evaluated before it is combined, as in the source, or only where a combination
        was refused.
    select: by A and B of the header, or none: every combination is taken.
    gamma_a, epsilon_b, delta_b, gamma_c: of the header.
    restart_after: combinations in a row that are poor, by the header, before the history is cleared; None: never.
    condition_limit: the oldest differences go while the condition of the least squares is above it.
    project: applied to every candidate.

    A combination that fails is refused. A plain step that fails is tried again half the way, a quarter, ...; UNSTABLE
    after 5 of them, or at a failure of the first evaluation.
    A checkpoint goes on to the bit, given the same settings. ValueError: a setting out of range.
    """
    _check(depth, mixing, select, restart_after, condition_limit)
    saved = {"x": x} if checkpoint is None else checkpoint
    asarray = x.__array_namespace__().asarray

    secants = Secants(inner, depth, 0.0 if eager else mixing, saved, asarray)
    x = asarray(saved["x"])
    combined = bool(saved.get("combined", False))  # x is a combination
    last, before = (
        pair_of(saved, name, asarray) for name in ("last", "before")
    )  # the newest pair of the history; that before a plain step
    least = float(saved.get("least", inf))
    poor, way = int(saved.get("poor", 0)), int(saved.get("way", 0))  # in a row; x is 2^-way of a plain step

    while True:
        g = yield Evaluate(x)
        failed = isinstance(g, Failure)
        if not failed and stop(x, g):
            return Outcome.CONVERGED
        norm = inf if failed else inner.norm(g - x)
        if combined:
            different = norm < delta_b * least or _far(x, secants.damped, epsilon_b, inner)
            good = norm < gamma_a * least and different
            poor = 0 if different and norm <= gamma_c * least else poor + 1
            if taken := norm < inf and (good or select == "none"):
                if before is not None:
                    secants.drop_newest(before)
                secants.add((x, g), before or last)
                last, least = (x, g), min(least, norm)
            if poor == restart_after:
                secants.forget(last)
                poor = 0
            combined = taken and not eager and bool(secants.columns)
        elif norm < inf:
            before = last if eager else None
            secants.add((x, g), last)
            last, least, way = (x, g), min(least, norm), 0
            combined = bool(secants.columns)
        else:
            way += 1
            if last is None or way == TRIES:
                return Outcome.UNSTABLE

        if combined:
            gamma, _ = secants.minimise(last, norm, condition_limit, 0.0)
            x = secants.candidate(last, gamma, secants.damping)
        else:
            x = between(last, mixing * 2.0**-way)
        if project is not None:
            x = project(x)
        state = {"x": x, "combined": combined, "least": least, "poor": poor, "way": way}
        yield Checkpoint(state | pair_state("last", last) | pair_state("before", before) | secants.saved())


def _far(x: Array, others: list[Array], share: float, inner: InnerProduct) -> bool:
    """Whether x, (n,), is farther from all of the others than this share of its distance to the last of them."""
    *rest, newest = others
    nearest = share * inner.norm(x - newest)
    return all(inner.norm(x - other) > nearest for other in rest)


def _check(depth: int, mixing: float, select: str, restart_after: int | None, condition_limit: float) -> None:
    """ValueError: a setting out of range."""
    require(
        ("depth", depth, depth >= 1, "at least 1"),
        ("mixing", mixing, mixing > 0, "above 0"),
        ("select", select, select in ("difference", "none"), "difference or none"),
        ("restart_after", restart_after, restart_after is None or restart_after >= 1, "at least 1, or None"),
        ("condition_limit", condition_limit, condition_limit > 1, "above 1"),
    )
