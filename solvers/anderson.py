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

from collections.abc import Callable, Mapping
from math import inf, isfinite, sqrt
from typing import Any

import numpy as np

from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.requests import Array, Checkpoint, Evaluate, Failure, Flow, Outcome, Stop
from solvers.vectors import Pair, between, combine, secant

TRIES = 5  # failures in a row, or ways tried from the best state, before giving up
CORRECT_ABOVE = 1e8  # the loss of accuracy, in units of eps, that a step is left with: 2e-8, less than a step gains
EPS = float(np.finfo(float).eps)

Mixing = float | Callable[[int, float], float]


def anderson(
    x: Array,
    *,
    stop: Stop,
    checkpoint: Mapping[str, Any] | None = None,
    inner: InnerProduct = EUCLIDEAN,
    depth: int = 5,
    mixing: Mixing = 1.0,
    start: int = 0,
    every: int = 1,
    condition_limit: float = 1e7,
    tikhonov: float = 0.0,
    restart_growth: float | None = None,
    bounds: tuple[Array, Array] | None = None,
    stall_after: int | None = None,
) -> Flow:
    """Anderson(depth) from x, shape (n,). Walker & Ni 2011, Algorithm AA.

    depth: differences held; 0 is damped Picard iteration.
    mixing: β in (0, 1], or β(k, gain) for step k = 0, 1, ..., where gain = ‖f̄‖ / ‖f‖ in [0, 1] is what the least
        squares leave of the residual. A β that varies costs one more pass over the differences.
    start: damped Picard steps before the first Anderson step. every: an Anderson step each so many steps.
    condition_limit: the oldest differences go while cond(R), columns scaled to unit length, is above it.
        A Gram matrix cannot tell conditions above eps^-1/2 = 7e7 from infinity.
    tikhonov: τ in ‖f̄‖² + τ ‖y‖², y the coefficients of the columns scaled to unit length.
    restart_growth: a residual this many times the least so far clears the history and goes back to the best state.
    bounds: (lower, upper), shape (n,) each; every candidate is projected onto them.
    stall_after: evaluations without a new least residual before it ends as STALLED.

    A Failure, or a residual that is not finite, clears the history and goes back to the last good pair (x, T(x)):
    the next candidate is T(x), then half the way there, a quarter, ... UNSTABLE at 5 failures in a row or at the
    first evaluation. STALLED when all that has been tried from the best state. ValueError: a setting out of range.
    """
    _check(depth, mixing, start, every, condition_limit, tikhonov, restart_growth, stall_after)
    damping = 1.0 if callable(mixing) else float(mixing)
    run = _Run(x, checkpoint, inner, depth, damping, keep=restart_growth is not None)

    while True:
        g = yield Evaluate(run.x)
        if not isinstance(g, Failure) and stop(run.x, g):
            return Outcome.CONVERGED

        if isinstance(g, Failure) or not run.measure(g):
            run.failures += 1
            if run.last is None or run.failures == TRIES:
                return Outcome.UNSTABLE
            run.back_to(run.last, run.way + 1)
        elif restart_growth is not None and run.norm > restart_growth * run.least:
            if run.best_way + 1 == TRIES:
                return Outcome.STALLED
            assert run.best is not None
            run.at_best = True
            run.back_to(run.best, run.best_way + 1)
        elif stall_after is not None and run.since_least >= stall_after:
            return Outcome.STALLED
        elif run.columns and run.steps >= start and (run.steps - start + 1) % every == 0:
            run.accelerate(mixing, condition_limit, tikhonov)
        else:
            run.damp(damping_of(mixing, run.steps, 1.0))

        run.steps += 1
        if bounds is not None:
            run.x = run.x.__array_namespace__().clip(run.x, bounds[0], bounds[1])
        yield Checkpoint(run.saved())


def least_squares(
    gram: np.ndarray, rhs: np.ndarray, condition_limit: float, tikhonov: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """The columns to use, newest last, and their triangular factor.

    gram: <df_i, df_j>, shape (m, m); rhs: <df_i, f>, shape (m,). Returns gamma, shape (p,), for the newest p <= m
    columns; the matrix C, shape (p, p), with gamma = C rhs; cond(R). At least one column is used.
    """
    for first in range(len(rhs)):
        scale = 1 / np.sqrt(np.diag(gram)[first:])
        scaled = gram[first:, first:] * np.outer(scale, scale) + tikhonov * np.eye(len(scale))
        try:
            R = np.linalg.cholesky(scaled).T
        except np.linalg.LinAlgError:  # the columns are dependent to rounding
            continue
        condition = float(np.linalg.cond(R))
        if condition <= condition_limit or len(scale) == 1:
            break
    inverse = np.linalg.inv(R) * scale[:, None]
    C = inverse @ inverse.T
    return C @ rhs[first:], C, condition


class _Run:
    """What one run knows. A pair is (x, T(x)). Vectors are replaced, never written into."""

    def __init__(
        self,
        x: Array,
        checkpoint: Mapping[str, Any] | None,
        inner: InnerProduct,
        depth: int,
        damping: float,
        keep: bool,
    ) -> None:
        """From x, or as `saved`. keep: hold the best pair."""
        self.inner, self.depth, self.damping, self.keep = inner, depth, damping, keep
        saved = {"x": x} if checkpoint is None else checkpoint
        asarray = x.__array_namespace__().asarray

        def pair(name: str) -> Pair | None:
            return (asarray(saved[f"x_{name}"]), asarray(saved[f"g_{name}"])) if f"x_{name}" in saved else None

        self.x = asarray(saved["x"])  # the candidate
        self.way = int(saved.get("way", -1))  # it lies 2^-way of the way from x_last to g_last; -1: it does not
        self.last, self.best = pair("last"), pair("best")
        self.at_best = bool(saved.get("at_best", False))  # the last pair is the best
        self.best_way = int(saved.get("best_way", -1))  # as `way`, for the last candidate made from the best pair
        self.columns: list[Array] = [asarray(v) for v in saved.get("columns", [])]  # df_j, newest last
        self.damped: list[Array] = [asarray(v) for v in saved.get("damped", [])]  # h_j, one more than df_j
        self.gram = np.asarray(saved.get("gram", np.empty((0, 0))))  # <df_i, df_j>
        self.rhs = np.asarray(saved.get("rhs", np.empty(0)))  # <df_i, f>
        self.reach = np.asarray(saved.get("reach", np.empty(0)))  # the rounding in rhs_i is eps reach_i ‖df_i‖
        self.steps = int(saved.get("steps", 0))
        self.failures = int(saved.get("failures", 0))  # in a row
        self.norm, self.least = inf, float(saved.get("least", inf))  # residual norms: now, and the least
        self.since_least = int(saved.get("since_least", 0))  # evaluations

    def saved(self) -> dict[str, Any]:
        """All that `__init__` reads: references, no copies."""
        state = {
            "x": self.x,
            "way": self.way,
            "at_best": self.at_best,
            "best_way": self.best_way,
            "columns": list(self.columns),
            "damped": list(self.damped),
            "gram": self.gram,
            "rhs": self.rhs,
            "reach": self.reach,
            "steps": self.steps,
            "failures": self.failures,
            "least": self.least,
            "since_least": self.since_least,
        }
        for name, pair in (("last", self.last), ("best", self.best)):
            if pair is not None:
                state |= {f"x_{name}": pair[0], f"g_{name}": pair[1]}
        return state

    def measure(self, g: Array) -> bool:
        """Take in g = T(x): the residual and the newest difference. False, and no change, if they are not finite."""
        pair = (self.x, g)
        with np.errstate(over="ignore", invalid="ignore"):
            if self.last is None or self.depth == 0:
                f = g - self.x
                df, h, squares = None, between(pair, self.damping), self.inner.gram([f], [f])[0]
            else:
                df, h, squares = secant(self.inner, self.columns, pair, self.last, self.damping)
        if not np.isfinite(squares).all():
            return False

        norm = sqrt(squares[-1])
        if df is None or squares[-3] <= (EPS * norm) ** 2:  # no difference, or one that is all rounding
            self.forget()
        else:
            row = squares[:-2]
            self.gram = np.block([[self.gram, row[:-1, None]], [row]])
            self.rhs = np.append(self.rhs + row[:-1], squares[-2])  # <df_i, f> = <df_i, f_last> + <df_i, df>
            self.reach = np.append(self.reach + sqrt(row[-1]), norm)
            self.columns.append(df)
        self.damped.append(h)
        self.keep_newest(self.depth)

        self.last, self.norm, self.failures = pair, norm, 0
        self.at_best = self.norm < self.least
        self.since_least += 1
        if self.at_best:
            self.least, self.since_least = self.norm, 0
            self.best = pair if self.keep else None
        return True

    def accelerate(self, mixing: Mixing, condition_limit: float, tikhonov: float) -> None:
        """The Anderson step; Walker & Ni 2011, section 2."""
        gamma, C, condition = least_squares(self.gram, self.rhs, condition_limit, tikhonov)
        self.keep_newest(len(gamma))
        if condition * max(condition, self.reach[0] / self.norm) > CORRECT_ABOVE:
            gradient = self.inner.gram(self.columns, [combine(*self.remainder(gamma))])[:, 0]  # <df_i, f̄>
            self.rhs, self.reach = gradient + self.gram @ gamma, np.full(len(gamma), self.norm)
            gamma = gamma + C @ (gradient - tikhonov * np.diag(self.gram) * gamma)
        beta = self.damping
        if callable(mixing):
            beta = damping_of(mixing, self.steps, sqrt(max(0.0, 1 - float(gamma @ self.rhs) / self.norm**2)))

        vectors, weights = list(self.damped), np.diff(gamma, prepend=0.0, append=1.0).tolist()
        if beta != self.damping:
            more, w = self.remainder(gamma)
            vectors += more
            weights += [(beta - self.damping) * c for c in w]
        self.go(combine(vectors, weights), -1)

    def remainder(self, gamma: np.ndarray) -> tuple[list[Array], list[float]]:
        """Vectors and weights whose sum is f̄."""
        assert self.last is not None
        x, g = self.last
        return [g, x, *self.columns], [1.0, -1.0, *(-gamma).tolist()]

    def damp(self, beta: float) -> None:
        """The candidate x + β f."""
        assert self.last is not None
        self.go(self.damped[-1] if beta == self.damping else between(self.last, beta), 0 if beta == 1 else -1)

    def back_to(self, pair: Pair, way: int) -> None:
        """Forget the history; the candidate lies 2^-way of the way from x to T(x) of this pair."""
        self.forget()
        self.last, self.damped = pair, [between(pair, self.damping)]
        self.go(between(pair, 2.0**-way), way)

    def go(self, x: Array, way: int) -> None:
        self.x, self.way = x, way
        if self.at_best:
            self.best_way = way

    def forget(self) -> None:
        self.columns, self.damped = [], []
        self.gram, self.rhs, self.reach = np.empty((0, 0)), np.empty(0), np.empty(0)

    def keep_newest(self, m: int) -> None:
        """The newest m differences at most."""
        drop = max(0, len(self.columns) - m)
        self.columns, self.damped = self.columns[drop:], self.damped[drop:]
        self.gram, self.rhs, self.reach = self.gram[drop:, drop:], self.rhs[drop:], self.reach[drop:]


def damping_of(mixing: Mixing, step: int, gain: float) -> float:
    """β at this step. ValueError if it is no number."""
    beta = float(mixing(step, gain)) if callable(mixing) else mixing
    if not isfinite(beta):
        raise ValueError(f"mixing must give a finite number, gave {beta} at step {step}")
    return beta


def _check(
    depth: int,
    mixing: Mixing,
    start: int,
    every: int,
    condition_limit: float,
    tikhonov: float,
    restart_growth: float | None,
    stall_after: int | None,
) -> None:
    """ValueError: a setting out of range."""
    rules = [
        ("depth", depth, depth >= 0, "at least 0"),
        ("mixing", mixing, callable(mixing) or 0 < mixing <= 1, "in (0, 1]"),
        ("start", start, start >= 0, "at least 0"),
        ("every", every, every >= 1, "at least 1"),
        ("condition_limit", condition_limit, condition_limit > 1, "above 1"),
        ("tikhonov", tikhonov, tikhonov >= 0, "at least 0"),
        ("restart_growth", restart_growth, restart_growth is None or restart_growth > 1, "above 1, or None"),
        ("stall_after", stall_after, stall_after is None or stall_after >= 1, "at least 1, or None"),
    ]
    for name, value, good, rule in rules:
        if not good:
            raise ValueError(f"{name} must be {rule}, got {value}")
