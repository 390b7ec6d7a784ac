"""Anderson acceleration, type II, of x = T(x).

Source: H. F. Walker and P. Ni, Anderson acceleration for fixed-point iterations, SIAM J. Numer. Anal. 49 (2011),
1715-1735, Algorithm AA in the unconstrained form of section 2. Mixing: D. G. Anderson, J. ACM 12 (1965), 547-560.

    f_k = T(x_k) - x_k,   df_j = f_{j+1} - f_j,   gamma = argmin ||f_k - sum_j gamma_j df_j||
    x_{k+1} = x̄ + β f̄,   x̄ = x_k - sum_j gamma_j (x_{j+1} - x_j),   f̄ = f_k - sum_j gamma_j df_j

Shapes: x, f, df_j and h_j are flat vectors (n,). m <= depth differences are held, newest last.

Differs from the source:
1. Least squares by the seminormal equations: only R of dF = Q R is kept, from the Gram matrix of the differences,
   which grows by one row a step; so a step reads each df once and needs one reduction. One corrected step (A. Björck,
   Linear Algebra Appl. 88 (1987), 31-48) where the condition calls for it. Keeping Q would cost a second pass to
   orthogonalise, and a third to write Q when the oldest column goes.
2. The columns are scaled to unit length before their condition is judged.
3. h_j = x_j + β f_j is kept, not the difference of two: x_{k+1} = sum_j alpha_j h_j, alpha from gamma. For β = 1 it is
   the reply itself, so nothing is computed or stored twice.
4. Optional: Tikhonov term; periodic steps (P. P. Pratapa, P. Suryanarayana, J. E. Pask, J. Comput. Phys. 306 (2016),
   43-54); rollback; projection onto bounds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, sqrt
from typing import Any

import numpy as np

from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.requests import Array, Checkpoint, Evaluate, Failure, Flow, Outcome, Stop
from solvers.vectors import combine, secant

TRIES = 5  # failures in a row, or retreats to the same state, before giving up
CORRECT_ABOVE = 1e4  # cond(R); the seminormal equations lose cond(R)^2 eps, 2e-8 here: less than any step gains


def anderson(
    x: Array,
    *,
    stop: Stop,
    checkpoint: Mapping[str, Any] | None = None,
    inner: InnerProduct = EUCLIDEAN,
    depth: int = 5,
    mixing: float | Callable[[int, float], float] = 1.0,
    start: int = 0,
    every: int = 1,
    condition_limit: float = 1e6,
    tikhonov: float = 0.0,
    restart_growth: float = 100.0,
    bounds: tuple[Array, Array] | None = None,
    stall_after: int | None = None,
) -> Flow:
    """Anderson(depth) from x, shape (n,). Walker & Ni 2011, Algorithm AA.

    depth: differences held; 0 is damped Picard iteration.
    mixing: β in (0, 1], or β(k, gain) for step k = 0, 1, ..., where gain = ‖f̄‖ / ‖f‖ in [0, 1] is what the least
        squares left of the residual. A β that varies costs one more pass over the differences.
    start: damped Picard steps before the first Anderson step; every: an Anderson step each so many steps.
    condition_limit: the oldest differences go while the condition of R, columns scaled to unit length, is above it.
        From a Gram matrix no condition above eps^-1/2 = 7e7 can be told.
    tikhonov: weight of ‖gamma‖² against ‖f̄‖², columns scaled to unit length.
    restart_growth: a residual this many times the best so far clears the history and goes back to the best state.
    bounds: (lower, upper), shape (n,) each; a candidate is projected onto them.
    stall_after: evaluations without a new best residual before it ends as stalled.

    A Failure, or a residual that is not finite, clears the history and goes back to the last good state: from there
    the Picard step, then half of it, a quarter, ... UNSTABLE after 5 failures in a row, or at the first evaluation;
    STALLED after 5 retreats to the same best state. ValueError: a setting outside its range.
    """
    _check(depth=depth, start=start, every=every, tikhonov=tikhonov, restart_growth=restart_growth)
    beta0 = 1.0 if callable(mixing) else float(mixing)
    state = _State(x) if checkpoint is None else _State.restored(checkpoint, x)

    while True:
        x = state.x
        g = yield Evaluate(x)
        failed = isinstance(g, Failure)
        if not failed and stop(x, g):
            return Outcome.CONVERGED
        failed = failed or not state.measure(g, inner, beta0, depth)

        if failed:
            state.failures += 1
            if state.last is None or state.failures == TRIES:
                return Outcome.UNSTABLE
            state.retreat(state.last, state.failures - 1 + state.was_picard, beta0)
        elif state.norm > restart_growth * state.best_norm:
            state.retreats += 1
            if state.retreats == TRIES:
                return Outcome.STALLED
            state.retreat(state.best, state.retreats, beta0)
        elif stall_after is not None and state.since_best >= stall_after:
            return Outcome.STALLED
        else:
            k = state.steps
            accelerate = depth > 0 and k >= start and (k - start + 1) % every == 0
            state.step(inner, mixing, beta0, condition_limit, tikhonov, accelerate)
        state.steps += 1
        if bounds is not None:
            state.x = x.__array_namespace__().clip(state.x, bounds[0], bounds[1])
        yield Checkpoint(state.saved())
