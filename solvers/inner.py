"""The inner product: weights, and a reduction over ranks.

An object of its own so that the algorithms are the same on one core and on a thousand.

NumPy vectors are worked through in blocks that stay in the cache while every product that needs them is formed;
other arrays (JAX, ...) as a whole, since their library schedules the work itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from solvers.requests import Array

BLOCK = 8192  # elements: 64 KiB of float64, and below the length (10 000) from which OpenBLAS starts threads for a dot


def blocks(a: Array) -> Iterator[slice]:
    """Slices that cover a, shape (n,): cache-sized for NumPy, one for any other library."""
    if not isinstance(a, np.ndarray):
        yield slice(None)
        return
    for start in range(0, a.shape[0], BLOCK):
        yield slice(start, start + BLOCK)


@dataclass(frozen=True, eq=False)
class InnerProduct:
    """<a, b> = sum_i w_i a_i b_i, summed over ranks by `reduce`.

    weights: shape (n,), positive; None for the Euclidean product.
    reduce: sums a NumPy array over all ranks and returns it; None where there is one.
    """

    weights: Array | None = None
    reduce: Callable[[np.ndarray], np.ndarray] | None = None

    def norm(self, a: Array) -> float:
        """sqrt(<a, a>). One reduction."""
        return sqrt(self.dot(a, a))

    def dot(self, a: Array, b: Array) -> float:
        """<a, b>. One reduction."""
        return float(self.gram([a], [b])[0, 0])

    def gram(self, rows: Sequence[Array], vectors: Sequence[Array]) -> np.ndarray:
        """The matrix of <rows[i], vectors[j]>, shape (len(rows), len(vectors)), float64.

        One pass over memory and one reduction.
        """
        return self.total(self.products([r[s] for r in rows], [v[s] for v in vectors], s) for s in blocks(vectors[0]))

    def products(self, rows: Sequence[Array], vectors: Sequence[Array], s: slice) -> Array:
        """What block s of this rank adds to the matrix of `gram`; rows and vectors are already cut to it."""
        if self.weights is not None:
            w = self.weights[s]
            vectors = [w * v for v in vectors]
        if isinstance(vectors[0], np.ndarray):
            return np.array([[r.dot(v) for v in vectors] for r in rows], dtype=float)
        xp = vectors[0].__array_namespace__()
        return xp.stack([xp.stack([xp.vecdot(r, v) for v in vectors]) for r in rows])

    def total(self, parts: Iterator[Array]) -> np.ndarray:
        """The sum of what `products` gave for each block, over this rank and then over all: one reduction."""
        matrix = sum(np.asarray(part, dtype=float) for part in parts)
        assert isinstance(matrix, np.ndarray)
        return matrix if self.reduce is None else self.reduce(matrix)


EUCLIDEAN = InnerProduct()
