"""A method on the preconditioned map: its fixed points are those of T, its slow modes are fast.

    T_P(x) = x - P_s^-1 r,   r = T(x) - x

P_s^-1 is the inverse of the tendency (`solvers.error_estimate`) at s = 1 / Δτ: one such step is one of
pseudo-transient continuation, C. T. Kelley and D. E. Keyes, SIAM J. Numer. Anal. 35 (1998), 508-523. The method
minimises the preconditioned residual, which is the estimated error; H. Fang and Y. Saad, Numer. Linear Algebra Appl. 16
(2009), 197-221; for nonlinear GMRES, P. Brune et al., SIAM Rev. 57 (2015), 535-565, "left preconditioning".

The operator serves for so many evaluations. Then the method begins anew with a new one, since differences of residuals
that were preconditioned in two ways say nothing of each other; it goes on from its next candidate.

Shapes: x and r are (n,). Requests: Checkpoint and Operator at each beginning, those of the method but its checkpoints.
A run resumed between two of them repeats the requests since, which a driver that keeps a log answers from it.
"""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import numpy as np

from solvers.chain_factors import SingularMatrix
from solvers.error_estimate import tendency_inverse
from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.ranges import require
from solvers.requests import Array, Checkpoint, Evaluate, Failure, Flow, Method, Note, Operator, Outcome, Stop
from solvers.stall import PROGRESS


def preconditioned(
    x: Array,
    *,
    stop: Stop,
    checkpoint: Mapping[str, Any] | None = None,
    method: Method,
    step: float = 100.0,
    serves: int = 5,
    border: bool = False,
    stall_after: int | None = None,
    inner: InnerProduct = EUCLIDEAN,
) -> Flow:
    """`method` on T_P of the header, from x, shape (n,).

    step: Δτ > 0, in periods. serves: evaluations, at least 2, for which an operator does. border: whether it is to come
    with the balance of what is carried.
    stall_after: evaluations, whatever their operators, without a preconditioned residual that is a tenth smaller than
    the least so far before it ends as STALLED.

    Where the operator is singular, so many evaluations are without it. Ends as the method does. ValueError: a setting
    out of range.
    """
    require(
        ("step", step, step > 0, "above 0"),
        ("serves", serves, serves >= 2, "at least 2"),
        ("stall_after", stall_after, stall_after is None or stall_after >= 1, "at least 1, or None"),
    )
    saved = {"x": x} if checkpoint is None else checkpoint
    x = x.__array_namespace__().asarray(saved["x"])
    least, since = float(saved.get("least", inf)), int(saved.get("since", 0))  # since: evaluations
    while True:
        yield Checkpoint({"x": x, "least": least, "since": since})
        operator = yield Operator(x, border=border)
        try:
            precondition = tendency_inverse(operator, 1 / step)
        except SingularMatrix as error:
            yield Note(f"{error}: on without it")
            precondition = np.negative
        flow, made = method(x, stop=lambda x, g: False), 0
        try:
            request = next(flow)
            while not (isinstance(request, Evaluate) and made == serves):
                reply = None if isinstance(request, Checkpoint) else (yield request)
                if isinstance(request, Evaluate):
                    made += 1
                    if not isinstance(reply, Failure):
                        if stop(request.x, reply):
                            return Outcome.CONVERGED
                        reply = _mapped(request.x, reply, precondition)
                        failed = isinstance(reply, Failure)
                        size, since = inf if failed else inner.norm(reply - request.x), since + 1
                        if size < PROGRESS * least:
                            least, since = size, 0
                        if since == stall_after:
                            return Outcome.STALLED
                request = flow.send(reply)
            x = request.x
        except StopIteration as end:
            return end.value
        finally:
            flow.close()


def _mapped(x: Array, g: Array, precondition: Callable[[np.ndarray], np.ndarray]) -> Array | Failure:
    """T_P(x) of the header, (n,), g being T(x); a Failure where the operator is too nearly singular for it."""
    try:
        return x - x.__array_namespace__().asarray(precondition(np.asarray(g - x)))
    except SingularMatrix as error:
        return Failure(str(error))
