"""How far a state is from the equilibrium, by what the residuals of the latest states say alone.

    dF γ ~ f,  f = T(x) - x,   e = x - x* ~ dX γ - (f - dF γ)

dX and dF are the changes from one state to the next, of the state and of its residual: the multisecant step of H. Fang
and Y. Saad, Numer. Linear Algebra Appl. 16 (2009), 197-221, section 3. What the secants do not span counts as
forgotten within one application of T. That is a variant of the inverse of `error_estimate` for maps of which nothing
else is known: of low rank, from T itself. Along a direct run it is reduced rank extrapolation, and as good.

An accelerator has removed from f what the secants span, and is farther away than they know. How much, earlier estimates
tell: those e_j that now, with the equilibrium where it seems to be, turn out to have been too small make the newest
larger by the same factor. Single estimates scatter; the largest of the latest three counts.

Shapes: x, f, e are (n,); states and residuals (p, n), the newest last.
"""

from dataclasses import dataclass

import numpy as np

from solvers.inner import EUCLIDEAN, Array, InnerProduct
from solvers.vectors import combine

DEPTH = 10  # secants of an estimate
LOOK_BACK = 12  # estimates that are looked back at
LATEST = 3  # estimates of which the largest counts
PAIRS = DEPTH + LOOK_BACK + LATEST  # states and residuals that an estimate hangs on
CUT = 1e-3  # singular values of the secants, scaled to unit length, below this share of the largest are left out


@dataclass(frozen=True, eq=False)
class _Seen:
    """A state and its residual, (n,); the size of its estimate, by its secants alone and with what those before it
    turned out to lack; 0 where it had no secants."""

    state: Array
    residual: Array
    size: float
    corrected: float


class SecantError:
    """The estimates of one state after another. What it keeps of those before is no more than it takes."""

    def __init__(self, inner: InnerProduct = EUCLIDEAN) -> None:
        self._inner = inner
        self._seen: list[_Seen] = []
        self._df: list[Array] = []  # of the latest states; for other libraries than NumPy
        self._gram = np.empty((0, 0))  # <df_i, df_j>, likewise

    def of(self, state: Array, residual: Array) -> Array | None:
        """x - x* of the next state; None where there are not two that differ, or nothing changed."""
        e, size, corrected = self._by_secants(state, residual), 0.0, 0.0
        if e is not None:
            size = self._inner.norm(e)
            corrected = size * self._lacking(state - e)
        self._seen = [*self._seen[-max(DEPTH, LOOK_BACK, LATEST) :], _Seen(state, residual, size, corrected)]
        largest = max(seen.corrected for seen in self._seen[-LATEST:])
        return e * (largest / size) if e is not None and size > 0 else e

    def _lacking(self, target: Array) -> float:
        """The factor by which estimates before were too small, at the most, if the equilibrium is at `target`, (n,)."""
        earlier = [seen for seen in self._seen[max(0, len(self._seen) - LOOK_BACK) :] if seen.size > 0]
        return max([1.0, *(self._inner.norm(seen.state - target) / seen.size for seen in earlier)])

    def _by_secants(self, state: Array, residual: Array) -> Array | None:
        """x - x* of a state by the secants that lead to it, (n,); None where they are nothing."""
        latest = self._seen[-DEPTH:]
        if not latest:
            return None
        if not isinstance(residual, np.ndarray):
            return self._by_kept_secants([*(seen.state for seen in latest), state], residual)
        dx = np.diff([*(seen.state for seen in latest), state], axis=0)
        df = np.diff([*(seen.residual for seen in latest), residual], axis=0)
        found = _coefficients(self._inner.gram(list(df), [*df, residual]))
        if found is None:
            return None
        columns, gamma = found
        return gamma @ dx[columns] - (residual - gamma @ df[columns])

    def _by_kept_secants(self, states: list[Array], residual: Array) -> Array | None:
        """The same for vectors that lie on a device: no copies of all of them in one array, and no product anew."""
        self._df = [*self._df[1 - DEPTH :], residual - self._seen[-1].residual]
        new = self._inner.gram(self._df, [self._df[-1], residual])
        old = self._gram[-len(self._df) + 1 :, -len(self._df) + 1 :] if len(self._df) > 1 else np.empty((0, 0))
        self._gram = np.block([[old, new[:-1, :1]], [new[:, 0]]])
        found = _coefficients(np.column_stack([self._gram, new[:, 1]]))
        if found is None:
            return None
        gamma = np.zeros(len(self._df))
        gamma[found[0]] = found[1]
        ways = -np.diff(gamma, prepend=0.0, append=0.0)  # dX γ in terms of the states
        return combine([residual, *self._df, *states], [-1.0, *gamma.tolist(), *ways.tolist()])


def _coefficients(products: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The columns of dF that are not 0, and γ for them, from the products of dF with itself and with f, (p, p + 1);
    None where all are 0."""
    columns = np.flatnonzero(np.diag(products) > 0)
    if not columns.size:
        return None
    scale = 1 / np.sqrt(np.diag(products)[columns])
    values, vectors = np.linalg.eigh(products[np.ix_(columns, columns)] * np.outer(scale, scale))
    kept = values > CUT**2 * values[-1]
    right = vectors.T @ (scale * products[columns, -1])
    return columns, scale * (vectors[:, kept] @ (right[kept] / values[kept]))


def secant_error(states: np.ndarray, residuals: np.ndarray, inner: InnerProduct = EUCLIDEAN) -> np.ndarray | None:
    """x - x* of the newest of these states; None where there are not two that differ, or nothing changed."""
    found, e = SecantError(inner), None
    for state, residual in zip(states, residuals, strict=True):
        e = found.of(state, residual)
    return e
