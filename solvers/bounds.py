"""Projection onto bounds."""

from collections.abc import Callable

from solvers.requests import Array


def within(lower: Array, upper: Array) -> Callable[[Array], Array]:
    """The function that clips x, shape (n,), to lower <= x <= upper, each of shape (n,) or ()."""

    def project(x: Array) -> Array:
        return x.__array_namespace__().clip(x, lower, upper)

    return project
