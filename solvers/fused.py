"""Passes over JAX's vectors, compiled, so that each reads a vector once and its sums over several devices are one.

Compiling takes longer than many passes over a small vector. So a program is for four vectors at most, and a handful of
programs serves a history of any length.

Uncompiled, the array-API standard's `vecdot` takes JAX three to four times as long, a sum of multiples two to three
times (on a processor, 8e5 unknowns).
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

GROUP = 4  # vectors beside the one at hand


def is_jax(a: Any) -> bool:
    return type(a).__module__.startswith(("jax", "jaxlib"))  # without importing JAX


def products(weights: Any, rows: Sequence[Any], vector: Any) -> list[Any]:
    """<row, vector> of each row, in several arrays, (GROUP,) or shorter. weights: (n,), or None for ones."""
    return [_programs()[0](weights, list(rows[i : i + GROUP]), vector) for i in range(0, len(rows), GROUP)]


def combine(vectors: Sequence[Any], coefficients: Sequence[float]) -> Any:
    """sum_i coefficients[i] vectors[i]."""
    add, c = _programs()[1], np.asarray(coefficients, dtype=float)
    total = add(None, list(vectors[:GROUP]), c[:GROUP])
    for i in range(GROUP, len(vectors), GROUP):
        total = add(total, list(vectors[i : i + GROUP]), c[i : i + GROUP])
    return total


@cache
def _programs() -> tuple[Callable[..., Any], Callable[..., Any]]:
    import jax
    import jax.numpy as jnp

    def some_products(weights: Any, rows: list[Any], vector: Any) -> Any:
        weighted = vector if weights is None else weights * vector
        return jnp.stack([jnp.sum(weighted * row) for row in rows])

    def some_added(total: Any, vectors: list[Any], coefficients: Any) -> Any:
        for c, v in zip(coefficients, vectors, strict=True):
            total = c * v if total is None else total + c * v
        return total

    return jax.jit(some_products), jax.jit(some_added)
