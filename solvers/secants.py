"""The history of an accelerator: how the residual f = T(x) - x changed from one pair (x, T(x)) to the next.

It answers one question: which combination of the changes cancels most of the residual?

    gamma = argmin ||f - sum_j gamma_j df_j||,   df_j = f_{j+1} - f_j

Source: the seminormal equations, A. Björck, Linear Algebra Appl. 88 (1987), 31-48. Only R of dF = Q R is kept, by way
of the Gram matrix of the df_j, which grows by one row a step, as does <df_j, f> = <df_j, f_last> + <df_j, df>. So a
step reads each df_j once and needs one reduction. Keeping Q would cost a second pass to orthogonalise, and a third to
write Q when the oldest column goes.

Differs from the source:
1. The columns are scaled to unit length before R is formed and its condition judged.
2. <df_j, f> is carried along, so that its rounding grows where f falls. Corrected steps, which form the residual anew,
   are taken where this or the condition calls for them, as many as it takes, and not otherwise.

Shapes: x, f, df_j, h_j are (n,); m <= depth differences are held, newest last.
"""

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any

import numpy as np

from solvers.inner import InnerProduct
from solvers.requests import Array
from solvers.vectors import Pair, between, combine, secant

EPS = float(np.finfo(float).eps)
TINY = float(np.finfo(float).tiny) / EPS  # squares below this are no longer accurate
LOSS = 2e-8  # the error of f̄ that may stand, relative to f; a step gains less than that


class Secants:
    """The differences and what the step needs of them. Vectors are replaced, never written into."""

    def __init__(
        self,
        inner: InnerProduct,
        depth: int,
        damping: float,
        saved: Mapping[str, Any],
        asarray: Callable[[Any], Array],
    ) -> None:
        """Empty, or as `saved()`. damping: the β of h_j = x_j + β f_j."""
        self.inner, self.depth, self.damping = inner, depth, damping
        self.cosine = 0.0  # of the angle between the residual of the newest pair and that of the one before
        self.restore(saved, asarray)

    def restore(self, saved: Mapping[str, Any], asarray: Callable[[Any], Array]) -> None:
        """All that `saved()` gave; empty where that is."""
        self.columns: list[Array] = [asarray(v) for v in saved.get("columns", [])]  # df_j
        self.damped: list[Array] = [asarray(v) for v in saved.get("damped", [])]  # h_j, one more than df_j
        self.gram = np.asarray(saved.get("gram", np.empty((0, 0))))  # <df_i, df_j>
        self.rhs = np.asarray(saved.get("rhs", np.empty(0)))  # <df_j, f>
        self.reach = np.asarray(saved.get("reach", np.empty(0)))  # the rounding in rhs_j is eps reach_j ‖df_j‖

    def saved(self) -> dict[str, Any]:
        """All that `restore` reads: references, no copies."""
        vectors = {"columns": list(self.columns), "damped": list(self.damped)}
        return vectors | {"gram": self.gram, "rhs": self.rhs, "reach": self.reach}

    def forget(self, pair: Pair | None = None) -> None:
        """Drop all differences; the next one starts from this pair."""
        self.columns = []
        self.damped = [] if pair is None else [between(pair, self.damping)]
        self.gram, self.rhs, self.reach = np.empty((0, 0)), np.empty(0), np.empty(0)

    def drop_newest(self, last: Pair) -> None:
        """Undo the last `add`, which followed `last`. What was dropped for it stays so."""
        if not self.columns:
            self.forget(last)
            return
        self.columns, self.damped = self.columns[:-1], self.damped[:-1]
        self.rhs, self.gram = self.rhs[:-1] - self.gram[:-1, -1], self.gram[:-1, :-1]
        self.reach = self.reach[:-1]

    def keep_newest(self, m: int) -> None:
        """The newest m differences at most."""
        drop = max(0, len(self.columns) - m)
        self.columns, self.damped = self.columns[drop:], self.damped[drop:]
        self.gram, self.rhs, self.reach = self.gram[drop:, drop:], self.rhs[drop:], self.reach[drop:]

    def add(self, pair: Pair, last: Pair | None) -> float | None:
        """Take in the pair that follows `last`. Its residual norm; None, and no change, if that is not finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            if last is None or self.depth == 0:
                f = pair[1] - pair[0]
                df, h, squares = None, between(pair, self.damping), self.inner.gram([f], [f])[0]
            else:
                df, h, squares = secant(self.inner, self.columns, pair, last, self.damping)
        if not np.isfinite(squares).all():
            return None

        norm = sqrt(squares[-1])
        self.cosine = 0.0 if df is None else _cosine(*squares[-3:])
        if df is None or norm == 0 or squares[-3] <= max(TINY, (EPS * norm) ** 2):  # no change but rounding
            self.forget()
        else:
            row = squares[:-2]
            self.gram = np.block([[self.gram, row[:-1, None]], [row]])
            self.rhs = np.append(self.rhs + row[:-1], squares[-2])
            self.reach = np.append(self.reach + sqrt(row[-1]), norm)
            self.columns.append(df)
        self.damped.append(h)
        self.keep_newest(self.depth)
        return norm

    def minimise(self, pair: Pair, norm: float, condition_limit: float, tikhonov: float) -> tuple[np.ndarray, float]:
        """gamma for the newest pair, and the gain ‖f̄‖ / ‖f‖. Drops the oldest differences that are too dependent."""
        gamma, C, condition = least_squares(self.gram, self.rhs, condition_limit, tikhonov)
        self.keep_newest(len(gamma))
        loss = EPS * condition * max(condition, self.reach[0] / norm)
        while loss > LOSS:
            gradient = self.inner.gram(self.columns, [combine(*self.remainder(pair, gamma))])[:, 0]  # <df_j, f̄>
            self.rhs, self.reach = gradient + self.gram @ gamma, np.full(len(gamma), norm)
            gamma = gamma + C @ (gradient - tikhonov * np.diag(self.gram) * gamma)
            loss *= min(0.1, EPS * condition**2)
        return gamma, sqrt(max(0.0, 1 - float(gamma @ (2 * self.rhs - self.gram @ gamma)) / norm**2))

    def remainder(self, pair: Pair, gamma: np.ndarray) -> tuple[list[Array], list[float]]:
        """Vectors and weights whose sum is f̄ = f - sum_j gamma_j df_j."""
        return [pair[1], pair[0], *self.columns], [1.0, -1.0, *(-gamma).tolist()]

    def candidate(self, pair: Pair, gamma: np.ndarray, beta: float) -> Array:
        """x̄ + β f̄; Walker & Ni 2011, section 2. One pass over the h_j, and over the df_j if β is not that of h_j."""
        vectors, weights = list(self.damped), np.diff(gamma, prepend=0.0, append=1.0).tolist()
        if beta != self.damping:
            more, w = self.remainder(pair, gamma)
            vectors, weights = vectors + more, weights + [(beta - self.damping) * c for c in w]
        return combine(vectors, weights)


def _cosine(changed: float, cross: float, now: float) -> float:
    """Of the angle between f and f - df, from <df, df>, <df, f> and <f, f>; 0 where one of them is nothing."""
    product = now * max(0.0, now - 2 * cross + changed)
    return (now - cross) / sqrt(product) if product > 0 else 0.0


def least_squares(
    gram: np.ndarray, rhs: np.ndarray, condition_limit: float, tikhonov: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """The minimiser of ‖f - sum_j gamma_j df_j‖² + tikhonov sum_j (gamma_j ‖df_j‖)² over the newest columns.

    gram: <df_i, df_j>, shape (m, m); rhs: <df_j, f>, shape (m,). Returns gamma, shape (p,), for the newest p <= m
    columns, the most (but at least one) whose cond(R) <= condition_limit; C, shape (p, p), gamma = C rhs; cond(R).
    """
    for first in range(len(rhs)):
        scale = 1 / np.sqrt(np.diag(gram)[first:])
        scaled = gram[first:, first:] * np.outer(scale, scale) + tikhonov * np.eye(len(scale))
        try:
            R = np.linalg.cholesky(scaled).T
        except np.linalg.LinAlgError:  # dependent to rounding
            continue
        condition = float(np.linalg.cond(R))
        if condition <= condition_limit:
            break
    inverse = scale[:, None] * np.linalg.inv(R)
    C = inverse @ inverse.T
    return C @ rhs[first:], C, condition
