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
) -> Generator[Any, Any, Array | Outcome]:
    """Direct integration from x, (n,), while the residual falls below this share of the one before: the state then,
    or how the run ended. steps: time steps of an evaluation, by default those of a period.

    size: norm of the residual before x; 0 where there is none. Checkpoints have it as "shocked", but the last; all of
    them have what is `kept`. over: that it is, as the log is told.
    """
    kept = kept or {}
    while True:
        g = yield Evaluate(x, steps=steps)
        if isinstance(g, Failure):
            return Outcome.UNSTABLE
        if stop(x, g):
            return Outcome.CONVERGED
        before, size = size, inner.norm(g - x)
        x = g
        if size == 0 or (before and size > share * before):
            ratio = size / before if before else 0.0
            yield Note(f"{over}: the residual is {ratio:.2f} of the one before")
            yield Checkpoint({"x": x, **kept})
            return x
        yield Checkpoint({"x": x, "shocked": size, **kept})
