"""The inner product: weights, and a reduction over ranks.

An object of its own so that the algorithms are the same on one core and on a thousand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from solvers.requests import Array


@dataclass(frozen=True, eq=False)
class InnerProduct:
    """<a, b> = sum_i w_i a_i b_i, summed over ranks by `reduce`.

    weights: shape (n,), positive; None for the Euclidean product.
    reduce: sums an array over all ranks; None where there is one.
    """

    weights: Array | None = None
    reduce: Callable[[Any], Any] | None = None

    def norm(self, a: Array) -> float:
        """sqrt(<a, a>)."""
        raise NotImplementedError
