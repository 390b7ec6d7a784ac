"""The passes over memory that an accelerator makes, each fused so that a vector is read once.

x, g, ...: arrays of shape (n,). Nothing here writes into an array that it was given.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from solvers import fused
from solvers.inner import BLOCK, InnerProduct, blocks, one_thread
from solvers.requests import Array

Pair = tuple[Array, Array]  # x, T(x)


def pair_state(name: str, pair: Pair | None) -> dict[str, Array]:
    """What a checkpoint holds of a pair of this name: references; nothing before the first."""
    return {} if pair is None else {f"x_{name}": pair[0], f"g_{name}": pair[1]}


def pair_of(saved: Mapping[str, Any], name: str, asarray: Callable[[Any], Array]) -> Any:
    """The pair that a checkpoint has under this name; None before the first."""
    return (asarray(saved[f"x_{name}"]), asarray(saved[f"g_{name}"])) if f"x_{name}" in saved else None


def combine(vectors: Sequence[Array], coefficients: Sequence[float]) -> Array:
    """sum_i coefficients[i] vectors[i], a new array. One pass over memory."""
    first = vectors[0]
    if fused.is_jax(first):
        return fused.combine(vectors, coefficients)
    if not isinstance(first, np.ndarray) or first.dtype != np.float64:
        total = coefficients[0] * first
        for c, v in zip(coefficients[1:], vectors[1:], strict=True):
            total = total + c * v
        return total

    from scipy.linalg.blas import daxpy  # here, since importing it takes longer than importing everything else

    total = np.empty_like(first)
    with one_thread(first):
        for s in blocks(first):
            out = total[s]
            np.multiply(first[s], coefficients[0], out=out)
            if out.size:  # BLAS wrappers refuse empty vectors
                for c, v in zip(coefficients[1:], vectors[1:], strict=True):
                    daxpy(v[s], out, a=c)  # NumPy has no multiply-and-add: two calls take half as long again
    return total


def between(pair: Pair, part: float) -> Array:
    """x + part (T(x) - x); T(x) itself, no copy, for the whole way."""
    return pair[1] if part == 1 else combine(pair, [1 - part, part])


def secant(
    inner: InnerProduct, columns: Sequence[Array], pair: Pair, last: Pair, damping: float
) -> tuple[Array, Array, np.ndarray]:
    """What the step from one pair to the next says of the residual f = T(x) - x.

    Returns df = f - f_last; h = x + damping f; and the products <column_j, df> ..., <df, df>, <df, f>, <f, f>, shape
    (len(columns) + 3,). One pass over memory and one reduction.
    """
    (x, g), (x_last, g_last) = pair, last
    if not isinstance(x, np.ndarray):
        f = g - x
        df = f - (g_last - x_last)
        every = slice(None)
        products = inner.products([*columns, df, f], df, every) + inner.products([f], f, every)
        return df, g if damping == 1 else x + damping * f, inner.total([products])

    df = np.empty_like(x)
    h = g if damping == 1 else np.empty_like(x)
    f_room, f_last_room = np.empty_like(x, shape=(2, BLOCK))

    def parts() -> Iterator[list[Array]]:
        for s in blocks(x):
            d = df[s]
            f = np.subtract(g[s], x[s], out=f_room[: d.size])
            np.subtract(f, np.subtract(g_last[s], x_last[s], out=f_last_room[: d.size]), out=d)
            if damping != 1:
                np.add(x[s], np.multiply(f, damping, out=f_last_room[: d.size]), out=h[s])
            yield inner.products([*[c[s] for c in columns], d, f], d, s) + inner.products([f], f, s)

    with one_thread(x):
        return df, h, inner.total(parts())
