"""A model that is put on a state which does not fit it, a start or the end of a step, is left alone till it settles."""

from collections.abc import Generator, Mapping
from typing import Any

from solvers.inner import InnerProduct
from solvers.requests import Array, Checkpoint, Evaluate, Failure, Note, Outcome, Stop


def left_alone(
    x: Array,
    size: float,
    *,
    stop: Stop,
    share: float,
    inner: InnerProduct,
    steps: int | None = None,
    over: str = "the shock of the start is over",
    kept: Mapping[str, Any] | None = None,
    first: float = 0.0,
) -> Generator[Any, Any, tuple[Array, float] | Outcome]:
    """Direct integration from x, (n,), while the residual falls below this share of the one before: the state then and
    the norm of the first residual, or how the run ended. steps: time steps of an evaluation, by default those of a
    period.

    size, first: norm of the residual before x, and of the first of all; 0 where there is none. Checkpoints have them as
    "shocked", but the last, and "first", and what is `kept`. over: that it is, as the log is told.
    """
    kept = kept or {}
    while True:
        g = yield Evaluate(x, steps=steps)
        if isinstance(g, Failure):
            return Outcome.UNSTABLE
        if stop(x, g):
            return Outcome.CONVERGED
        before, size = size, inner.norm(g - x)
        x, first = g, first or size
        if size == 0 or (before and size > share * before):
            ratio = size / before if before else 0.0
            yield Note(f"{over}: the residual is {ratio:.2f} of the one before")
            yield Checkpoint({"x": x, "first": first, **kept})
            return x, first
        yield Checkpoint({"x": x, "shocked": size, "first": first, **kept})
