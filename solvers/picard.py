"""Picard iteration, x <- T(x): direct integration."""

from collections.abc import Mapping
from typing import Any

from solvers.requests import Array, Checkpoint, Evaluate, Failure, Flow, Outcome, Stop


def picard(x: Array, *, stop: Stop, checkpoint: Mapping[str, Any] | None = None) -> Flow:
    """x_{k+1} = T(x_k), x of shape (n,). A failure ends it: there is no other step to try."""
    if checkpoint is not None:
        x = checkpoint["x"]
    while True:
        g = yield Evaluate(x)
        if isinstance(g, Failure):
            return Outcome.UNSTABLE
        if stop(x, g):
            return Outcome.CONVERGED
        x = g
        yield Checkpoint({"x": x})
