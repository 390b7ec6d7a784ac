"""The passes over memory that an accelerator makes, each fused so that a vector is read once.

x, g, ...: arrays of shape (n,). Nothing here writes into an array that it was given.
"""

from collections.abc import Sequence

import numpy as np

from solvers.inner import InnerProduct, blocks
from solvers.requests import Array


def combine(vectors: Sequence[Array], coefficients: Sequence[float]) -> Array:
    """sum_i coefficients[i] vectors[i], a new array."""
    first = vectors[0]
    if not isinstance(first, np.ndarray):
        total = coefficients[0] * first
        for c, v in zip(coefficients[1:], vectors[1:], strict=True):
            total = total + c * v
        return total
    total = np.empty_like(first)
    scratch = np.empty_like(first, shape=max((s.stop - s.start for s in blocks(first)), default=0))
    for s in blocks(first):
        out = total[s]
        term = scratch[: out.shape[0]]
        np.multiply(first[s], coefficients[0], out=out)
        for c, v in zip(coefficients[1:], vectors[1:], strict=True):
            np.multiply(v[s], c, out=term)
            np.add(out, term, out=out)
    return total


def secant(
    inner: InnerProduct, columns: Sequence[Array], x: Array, g: Array, x_last: Array, g_last: Array
) -> tuple[Array, np.ndarray]:
    """The change of the residual f = g - x since the last pair, and its products with everything.

    Returns df = f - f_last, and the matrix of <row, vector>, shape (len(columns) + 2, 2): the rows are the columns,
    df, f; the vectors are df, f. One pass over memory and one reduction.
    """
    df = np.empty_like(x) if isinstance(x, np.ndarray) else (g - x) - (g_last - x_last)

    def parts():  # type: ignore[no-untyped-def]
        for s in blocks(x):
            f = g[s] - x[s]
            d = np.subtract(f, g_last[s] - x_last[s], out=df[s]) if isinstance(x, np.ndarray) else df
            yield inner.products([*(c[s] for c in columns), d, f], [d, f], s)

    return df, inner.total(parts())
