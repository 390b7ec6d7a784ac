"""The history of type-I Anderson acceleration: a residual is cancelled along the steps, not as far as it can be.

Source: H. Fang and Y. Saad, Numer. Linear Algebra Appl. 16 (2009), 197-221, where it is Broyden's first method with
several secants; J. Zhang, B. O'Donoghue and S. Boyd, SIAM J. Optim. 30 (2020), 3170-3197.

    <s_i, f - sum_j gamma_j df_j> = 0  for all i,   s_j = x_{j+1} - x_j

Type II asks for the least f̄, which is orthogonal to the df_i instead. For a linear map with all differences held type I
is Arnoldi's method (FOM), as type II is GMRES.

Differs from the sources: the oldest differences go while the matrix <s_i, df_j>, its vectors scaled to unit length, is
too near to singular, as in `secants.py`; there is no check of every step against a bound that falls with their number,
which would need to know a contraction's constant (`restart_growth` of `anderson` is the safeguard).

Costs beside those of `Secants`: m more vectors held, and one more pass over 2 m of them a step.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from solvers.requests import Array
from solvers.secants import Secants
from solvers.vectors import Pair, combine


class ObliqueSecants(Secants):
    """The differences, and the steps s_j that they came from."""

    def restore(self, saved: Mapping[str, Any], asarray: Callable[[Any], Array]) -> None:
        super().restore(saved, asarray)
        self.moves: list[Array] = [asarray(v) for v in saved.get("moves", [])]  # s_j

    def saved(self) -> dict[str, Any]:
        return super().saved() | {"moves": list(self.moves)}

    def forget(self, pair: Pair | None = None) -> None:
        super().forget(pair)
        self.moves = []

    def add(self, pair: Pair, last: Pair | None) -> float | None:
        norm = super().add(pair, last)
        if norm is not None and last is not None and self.columns:
            self.moves = [*self.moves, combine([pair[0], last[0]], [1.0, -1.0])]
        self.moves = self.moves[len(self.moves) - len(self.columns) :]
        return norm

    def minimise(self, pair: Pair, norm: float, condition_limit: float, tikhonov: float) -> tuple[np.ndarray, float]:
        """gamma for the newest pair, and the gain ‖f̄‖ / ‖f‖, which may be above 1. Drops the oldest differences."""
        f = combine(pair, [-1.0, 1.0])
        products = self.inner.gram(self.moves, [*self.columns, f, *self.moves])
        m = len(self.moves)
        lengths = np.sqrt(np.diag(self.gram)), np.sqrt(np.diag(products[:, m + 1 :]))
        gamma = petrov_galerkin(products[:, :m], products[:, m], *lengths, condition_limit, tikhonov)
        self.keep_newest(len(gamma))
        self.moves = self.moves[m - len(gamma) :]
        left = self.inner.norm(combine(*self.remainder(pair, gamma)))
        return gamma, left / norm if norm else 1.0


def petrov_galerkin(
    matrix: np.ndarray,
    rhs: np.ndarray,
    columns: np.ndarray,
    rows: np.ndarray,
    condition_limit: float,
    tikhonov: float,
) -> np.ndarray:
    """gamma of the header, (p,), for the newest p <= m differences, the most (but at least one) that the limit allows.

    matrix: <s_i, df_j>, (m, m); rhs: <s_i, f>; columns, rows: the lengths of df_j and s_i, (m,). tikhonov: added to the
    diagonal of -matrix, scaled, which is positive definite where T is a contraction.
    """
    rows = np.where(rows > 0, rows, 1.0)  # a step of nothing says nothing, and has no length to divide by
    for first in range(len(rhs)):
        scale = 1 / columns[first:]
        scaled = -matrix[first:, first:] * scale / rows[first:, None] + tikhonov * np.eye(len(scale))
        if np.linalg.cond(scaled) <= condition_limit:
            break
    return scale * np.linalg.lstsq(scaled, -rhs[first:] / rows[first:], rcond=1 / condition_limit)[0]
