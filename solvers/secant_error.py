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

import numpy as np

from solvers.inner import EUCLIDEAN, InnerProduct

DEPTH = 10  # secants of an estimate
LOOK_BACK = 12  # estimates that are looked back at
LATEST = 3  # estimates of which the largest counts
PAIRS = DEPTH + LOOK_BACK + LATEST  # states and residuals that an estimate can use
CUT = 1e-3  # singular values of the secants, scaled to unit length, below this share of the largest are left out


def secant_error(states: np.ndarray, residuals: np.ndarray, inner: InnerProduct = EUCLIDEAN) -> np.ndarray | None:
    """x - x* of the newest of these states; None where there are not two that differ, or nothing changed."""
    known, newest = _Secants(states, residuals, inner), len(states) - 1
    errors = {n: e for n in range(1, newest + 1) if (e := known.error(n)) is not None}
    if newest not in errors:
        return None
    sizes = {n: inner.norm(e) for n, e in errors.items()}

    def seen_later(number: int) -> float:
        """The size of an estimate, made larger where those before it were too small."""
        target = states[number] - errors[number]
        earlier = [n for n in errors if number - LOOK_BACK <= n < number and sizes[n] > 0]
        return sizes[number] * max([1.0, *(inner.norm(states[n] - target) / sizes[n] for n in earlier)])

    largest = max(seen_later(n) for n in errors if n > newest - LATEST)
    return errors[newest] * (largest / sizes[newest]) if sizes[newest] > 0 else errors[newest]


class _Secants:
    """The changes from state to state and the products of those of the residual."""

    def __init__(self, states: np.ndarray, residuals: np.ndarray, inner: InnerProduct) -> None:
        self._residuals = residuals
        self._dx, self._df = np.diff(states, axis=0), np.diff(residuals, axis=0)
        self._gram = inner.gram(list(self._df), [*self._df, *residuals])

    def error(self, number: int) -> np.ndarray | None:
        """x - x* of state `number`, by the secants that lead to it, (n,); None where they are nothing."""
        columns = np.arange(max(0, number - DEPTH), number)
        columns = columns[np.diag(self._gram)[columns] > 0]
        if not columns.size:
            return None
        scale = 1 / np.sqrt(np.diag(self._gram)[columns])
        values, vectors = np.linalg.eigh(self._gram[np.ix_(columns, columns)] * np.outer(scale, scale))
        kept = values > CUT**2 * values[-1]
        right = vectors.T @ (scale * self._gram[columns, len(self._df) + number])
        gamma = scale * (vectors[:, kept] @ (right[kept] / values[kept]))
        return gamma @ self._dx[columns] - (self._residuals[number] - gamma @ self._df[columns])
