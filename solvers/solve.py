"""The in-memory driver: a generator, a map, a loop."""

from collections.abc import Callable
from math import inf, isfinite, nan
from typing import Any

import numpy as np

from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.requests import Array, Evaluate, Failure, Method, Operator, Outcome, StepOperator, Stop, Tangent
from solvers.result import Result


def solve(
    T: Callable[[Array], Array],
    x0: Array,
    method: Method,
    *,
    tolerance: float = 1e-8,
    max_evaluations: int = 1000,
    stop: Stop | None = None,
    operator: Callable[[Array], StepOperator] | None = None,
    tangent: Callable[[Array, Array], Array] | None = None,
    inner: InnerProduct = EUCLIDEAN,
) -> Result:
    """Find x = T(x) from x0, shape (n,), by `method`: picard, or partial(anderson, depth=3), ...

    It ends when ‖T(x) - x‖ <= tolerance, or when stop(x, T(x)) says so if a stop is given. `inner` measures the
    residual here; a method that projects has an inner product of its own, bound like its other settings.
    operator(x) gives the StepOperator at x, tangent(x, v) the derivative of T along v, for methods that ask for them; a
    derivative counts as an evaluation, whose residual is not known: nan in the history.
    A map that raises ArithmeticError, or returns anything that is not finite, has failed: the method may back off.
    """
    stop = stop or (lambda x, g: inner.norm(g - x) <= tolerance)
    best, least = x0, inf
    history: list[float] = []
    flow = method(x0, stop=stop)
    reply: Any = None
    try:
        while True:
            request = flow.send(reply)
            reply = None
            if isinstance(request, Operator):
                if operator is None:
                    raise ValueError("the method asks for the one-step operator: solve(..., operator=...)")
                reply = operator(request.x)
            if isinstance(request, Tangent) and tangent is None:
                raise ValueError("the method asks for the derivative of T: solve(..., tangent=...)")
            if isinstance(request, Evaluate | Tangent):
                if isinstance(request, Evaluate) and request.steps is not None:
                    raise ValueError("the method asks for part of a period: solve takes whole ones")
                if len(history) == max_evaluations:
                    outcome = Outcome.BUDGET
                    break
                if isinstance(request, Tangent):
                    reply, norm = _derivative(tangent, request), nan
                else:
                    reply, norm = _evaluate(T, request.x, inner)
                history.append(norm)
                if norm < least:
                    best, least = request.x, norm
    except StopIteration as end:
        outcome = end.value
    finally:
        flow.close()
    return Result(outcome, best, least if least < inf else nan, len(history), history)


def _own(a: Array) -> Array:
    """A copy where somebody could write into it: a map may work in its argument or reuse its result's memory."""
    return a.copy() if isinstance(a, np.ndarray) else a


def _evaluate(T: Callable[[Array], Array], x: Array, inner: InnerProduct) -> tuple[Array | Failure, float]:
    """T(x) and its residual norm, or a Failure and nan."""
    try:
        g = _own(T(_own(x)))
        norm = inner.norm(g - x)
    except ArithmeticError as error:
        return Failure(f"{type(error).__name__}: {error}"), nan
    if not isfinite(norm):
        return Failure("the map returned values that are not finite"), nan
    return g, norm


def _derivative(tangent: Any, request: Tangent) -> Array | Failure:
    """J v, or a Failure."""
    try:
        found = _own(tangent(_own(request.x), _own(request.v)))
    except ArithmeticError as error:
        return Failure(f"{type(error).__name__}: {error}")
    if not bool(found.__array_namespace__().isfinite(found).all()):
        return Failure("the derivative is not finite")
    return found
