"""The inner product: weights, and a reduction over ranks.

An object of its own so that the algorithms are the same on one core and on a thousand.

NumPy vectors are worked through in blocks that stay in the cache while every product that needs them is formed;
other arrays as a whole: JAX's by what it compiled (`fused.py`), those of another library as this schedules the work.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import Any

import numpy as np

from solvers import fused

Array = Any  # an array of the array-API standard, shape (n,)

BLOCK = 65536  # elements: 512 KiB of float64, the second-level cache of a core; larger ones fall out of it
SMALL = 10_000  # elements from which BLAS may start threads


@cache
def _blas_libraries() -> Any:
    """NumPy's and SciPy's BLAS. Made when first needed: finding them takes as long as importing NumPy."""
    import scipy.linalg.blas  # noqa: F401  (loaded, so that it is found)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread(a: Array) -> AbstractContextManager[Any]:
    """While it lasts, BLAS works in the calling thread: its threads gain nothing on a block in the cache, wait for
    each other on a busy machine, and make the last bit depend on their number."""
    if not isinstance(a, np.ndarray) or a.size < SMALL:
        return nullcontext()
    return _blas_libraries().limit(limits=1, user_api="blas")


def blocks(a: Array) -> Iterator[slice]:
    """Slices that cover a, shape (n,): cache-sized for NumPy, one for any other library. At least one, if n = 0."""
    if not isinstance(a, np.ndarray):
        yield slice(None)
        return
    for start in range(0, max(1, a.shape[0]), BLOCK):
        yield slice(start, start + BLOCK)


@dataclass(frozen=True, eq=False)
class InnerProduct:
    """<a, b> = sum_i w_i a_i b_i, summed over ranks by `reduce`.

    weights: shape (n,), positive, of the vectors' own library; None for the Euclidean product.
    reduce: sums a NumPy array over all ranks and returns the sum; None where there is one rank.
    """

    weights: Array | None = None
    reduce: Callable[[np.ndarray], np.ndarray] | None = None

    def norm(self, a: Array) -> float:
        """sqrt(<a, a>). One reduction."""
        return sqrt(self.dot(a, a))

    def dot(self, a: Array, b: Array) -> float:
        """<a, b>. One reduction."""
        return float(self.gram([a], [b])[0, 0])

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank. One reduction."""
        return flag if self.reduce is None else bool(self.reduce(np.array([float(flag)]))[0])

    def gram(self, rows: Sequence[Array], vectors: Sequence[Array]) -> np.ndarray:
        """The matrix of <rows[i], vectors[j]>, shape (len(rows), len(vectors)), float64.

        One pass over memory and one reduction.
        """
        if not rows or not vectors:
            return np.zeros((len(rows), len(vectors)))

        def parts() -> Iterator[list[Array]]:
            for s in blocks(vectors[0]):
                cut = [r[s] for r in rows]
                yield [p for v in vectors for p in self.products(cut, v[s], s)]

        with one_thread(vectors[0]):
            return self.total(parts()).reshape(len(vectors), len(rows)).T

    def products(self, rows: Sequence[Array], vector: Array, s: slice) -> list[Array]:
        """What block s of this rank adds to each <row, vector>; rows and vector are cut to the block already. Numbers,
        or arrays of several of them."""
        if fused.is_jax(vector):  # which is one block
            return fused.products(self.weights, rows, vector)
        weighted = vector if self.weights is None else self.weights[s] * vector
        if isinstance(weighted, np.ndarray):
            dot = weighted.dot
            return [dot(r) for r in rows]
        vecdot = weighted.__array_namespace__().vecdot
        return [vecdot(weighted, r) for r in rows]

    def total(self, parts: Iterable[list[Array]]) -> np.ndarray:
        """The sum over all blocks, then over all ranks, of lists of products: one reduction. Shape (products,)."""
        lists: list = list(parts)
        first = lists[0][0]
        if not isinstance(first, np.generic):  # one transfer from a device for all products, not one for each
            xp = first.__array_namespace__()
            join = xp.concat if first.ndim else xp.stack
            lists = [np.asarray(join(part)) for part in lists]
        mine = np.sum(np.asarray(lists, dtype=float), axis=0)
        return mine if self.reduce is None else self.reduce(mine)


EUCLIDEAN = InnerProduct()
