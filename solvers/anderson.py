"""Anderson acceleration of x = T(x), of type II unless type I is asked for.

Source: H. F. Walker and P. Ni, Anderson acceleration for fixed-point iterations, SIAM J. Numer. Anal. 49 (2011),
1715-1735, Algorithm AA in the unconstrained form of section 2. Mixing: D. G. Anderson, J. ACM 12 (1965), 547-560.

    f_k = T(x_k) - x_k,   df_j = f_{j+1} - f_j,   gamma = argmin ||f_k - sum_j gamma_j df_j||
    x_{k+1} = x̄ + β f̄,   x̄ = x_k - sum_j gamma_j (x_{j+1} - x_j),   f̄ = f_k - sum_j gamma_j df_j

Differs from the source:
1. Least squares by the seminormal equations; see secants.py. Type I, another gamma: see oblique.py.
2. h_j = x_j + β f_j is kept, not the difference of two: x_{k+1} = sum_j alpha_j h_j, alpha from gamma. For β = 1 it is
   the reply itself, so nothing is computed or stored twice.
3. Optional: Tikhonov term; periodic steps (P. P. Pratapa, P. Suryanarayana, J. E. Pask, J. Comput. Phys. 306 (2016),
   43-54), also whenever the residual has settled; rollback; projection of the candidates.

Shapes: x, f, df_j, h_j are flat vectors (n,). Requests: Evaluate, then Checkpoint, at each step.
"""

from collections.abc import Callable, Mapping
from math import inf, isfinite
from typing import Any

from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.oblique import ObliqueSecants
from solvers.ranges import require
from solvers.requests import Array, Checkpoint, Evaluate, Failure, Flow, Outcome, Stop
from solvers.secants import Secants
from solvers.vectors import Pair, between, pair_of, pair_state

REST, LONGEST_REST = 2, 12  # evaluations between Anderson steps where these wait for the residual to settle
TRIES = 5  # failures in a row, or ways tried from the best state, before giving up

HISTORIES: dict[int, Callable[..., Secants]] = {1: ObliqueSecants, 2: Secants}

Mixing = float | Callable[[int, float], float]


def anderson(
    x: Array,
    *,
    stop: Stop,
    checkpoint: Mapping[str, Any] | None = None,
    inner: InnerProduct = EUCLIDEAN,
    type: int = 2,
    depth: int = 5,
    mixing: Mixing = 1.0,
    every: int = 1,
    settled: float | None = None,
    condition_limit: float = 1e7,
    tikhonov: float = 0.0,
    restart_growth: float | None = None,
    project: Callable[[Array], Array] | None = None,
    stall_after: int | None = None,
) -> Flow:
    """Anderson(depth) from x, shape (n,). Walker & Ni 2011, Algorithm AA.

    type: 2, the least residual, or 1, a residual orthogonal to the steps.
    depth: differences held; 0 is damped Picard iteration.
    mixing: β > 0, or β(k, gain) for step k = 0, 1, ..., where gain = ‖f̄‖ / ‖f‖ in [0, 1] is what the least
        squares leave of the residual. A β that varies costs one more pass over the differences.
    every: an Anderson step each so many steps, damped Picard steps x + β f between.
    settled: an Anderson step instead as soon as the residual has settled: its cosine with the one before is above this.
        For maps that carry what x does not hold, and that answers a jump of x only by and by. At least two evaluations
        lie between such steps, and at most 12.
    condition_limit: the oldest differences go while cond(R), columns scaled to unit length, is above it.
        A Gram matrix cannot tell conditions above eps^-1/2 = 7e7 from infinity.
    tikhonov: τ in ‖f̄‖² + τ ‖y‖², y the coefficients of the columns scaled to unit length.
    restart_growth: a residual this many times the least so far clears the history and goes back to the best state.
    project: applied to every candidate; `within(lower, upper)` keeps it within bounds.
    stall_after: evaluations without a new least residual before it ends as STALLED.

    A Failure, or a residual that is not finite, clears the history and goes back to the last good pair (x, T(x)):
    the next candidate is T(x), then half the way there, a quarter, ... UNSTABLE at 5 failures in a row or at the
    first evaluation; STALLED when all that has been tried from the best state.
    A checkpoint goes on to the bit, given the same settings. ValueError: a setting out of range.
    """
    _check(type, depth, mixing, every, settled, condition_limit, tikhonov, restart_growth, stall_after)
    damping = 1.0 if callable(mixing) else float(mixing)
    secants = HISTORIES[type](inner, depth, damping, checkpoint or {}, x.__array_namespace__().asarray)
    at = _Position(x, checkpoint, keep_best=restart_growth is not None)

    while True:
        g = yield Evaluate(at.x)
        failed = isinstance(g, Failure)
        if not failed and stop(at.x, g):
            return Outcome.CONVERGED

        norm = None if failed else secants.add((at.x, g), at.last)
        if norm is None:
            at.failures += 1
            if at.last is None or at.failures == TRIES:
                return Outcome.UNSTABLE
            secants.forget(at.last)
            at.go_part_way(at.way + 1)
        else:
            at.measured((at.x, g), norm)
            if restart_growth is not None and norm > restart_growth * at.least:
                if at.best_way + 1 == TRIES:
                    return Outcome.STALLED
                at.last, at.at_best = at.best, True
                secants.forget(at.last)
                at.go_part_way(at.best_way + 1)
            elif stall_after is not None and at.since_least >= stall_after:
                return Outcome.STALLED
            elif secants.columns and at.is_due(every, settled, secants.cosine):
                gamma, gain = secants.minimise(at.last, norm, condition_limit, tikhonov)
                at.go(secants.candidate(at.last, gamma, damping_of(mixing, at.steps, gain)))
                at.rested = 0
            else:
                beta = damping_of(mixing, at.steps, 1.0)
                x = secants.damped[-1] if beta == damping else between(at.last, beta)
                at.go(x, 0 if beta == 1 else -1)

        at.steps += 1
        if project is not None:
            at.x = project(at.x)
        yield Checkpoint(at.saved() | secants.saved())


class _Position:
    """Where the run stands. A pair is (x, T(x)). Vectors are replaced, never written into."""

    def __init__(self, x: Array, checkpoint: Mapping[str, Any] | None, *, keep_best: bool) -> None:
        """At x, or as `saved()`."""
        saved = {"x": x} if checkpoint is None else checkpoint
        asarray = x.__array_namespace__().asarray

        self.keep_best = keep_best
        self.x = asarray(saved["x"])  # the candidate
        self.way = int(saved.get("way", -1))  # it lies 2^-way of the way from x to T(x) of the last pair; -1: elsewhere
        self.last, self.best = (pair_of(saved, name, asarray) for name in ("last", "best"))
        self.at_best = bool(saved.get("at_best", False))  # the last pair is the best
        self.best_way = int(saved.get("best_way", -1))  # `way` of the last candidate made from the best pair
        self.least = inf if keep_best and self.best is None else float(saved.get("least", inf))  # residual norm
        self.since_least = int(saved.get("since_least", 0))  # evaluations
        self.failures = int(saved.get("failures", 0))  # in a row
        self.steps = int(saved.get("steps", 0))
        self.rested = int(saved.get("rested", 0))  # evaluations since the last Anderson step

    def saved(self) -> dict[str, Any]:
        """All that `__init__` reads: references, no copies."""
        names = ("x", "way", "at_best", "best_way", "least", "since_least", "failures", "steps", "rested")
        state = {name: getattr(self, name) for name in names}
        return state | pair_state("last", self.last) | pair_state("best", self.best)

    def measured(self, pair: Pair, norm: float) -> None:
        """Take in a pair and its residual norm."""
        self.last, self.failures = pair, 0
        self.rested += 1
        self.at_best = norm < self.least
        self.since_least += 1
        if self.at_best:
            self.least, self.since_least = norm, 0
            self.best = pair if self.keep_best else None

    def is_due(self, every: int, settled: float | None, cosine: float) -> bool:
        """Whether the next step is to be one of Anderson's."""
        if settled is None:
            return (self.steps + 1) % every == 0
        return self.rested >= REST and (cosine > settled or self.rested >= LONGEST_REST)

    def go(self, x: Array, way: int = -1) -> None:
        """The next candidate, made from the last pair."""
        self.x, self.way = x, way
        if self.at_best:
            self.best_way = way

    def go_part_way(self, way: int) -> None:
        """The next candidate: 2^-way of the way from x to T(x) of the last pair."""
        self.go(between(self.last, 2.0**-way), way)


def damping_of(mixing: Mixing, step: int, gain: float) -> float:
    """β at this step. ValueError if it is no number."""
    beta = float(mixing(step, gain)) if callable(mixing) else mixing
    if not isfinite(beta):
        raise ValueError(f"mixing must give a finite number, gave {beta} at step {step}")
    return beta


def _check(
    type: int,
    depth: int,
    mixing: Mixing,
    every: int,
    settled: float | None,
    condition_limit: float,
    tikhonov: float,
    restart_growth: float | None,
    stall_after: int | None,
) -> None:
    """ValueError: a setting out of range."""
    require(
        ("type", type, type in HISTORIES, "1 or 2"),
        ("depth", depth, depth >= 0, "at least 0"),
        ("mixing", mixing, callable(mixing) or mixing > 0, "above 0, or a function"),
        ("every", every, every >= 1, "at least 1"),
        ("settled", settled, settled is None or -1 <= settled < 1, "a cosine below 1, or None"),
        ("condition_limit", condition_limit, condition_limit > 1, "above 1"),
        ("tikhonov", tikhonov, tikhonov >= 0, "at least 0"),
        ("restart_growth", restart_growth, restart_growth is None or restart_growth > 1, "above 1, or None"),
        ("stall_after", stall_after, stall_after is None or stall_after >= 1, "at least 1, or None"),
    )
