"""What an algorithm may ask for, and what it is told.

Rule 1: an algorithm is a generator. It yields a request and is sent the reply; it never calls the
model, opens a file, reads a clock or prints.
Rule 2: everything that costs model time goes through a request, so that cost is counted in one place.
Rule 3: an array in a request or a reply belongs to whoever made it; nobody writes into it.

    request                reply
    Evaluate(x)            T(x), or a Failure
    Operator(x)            a StepOperator at x
    Checkpoint(state)      None; `algorithm(x0, checkpoint=state)` goes on from here
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

Array = Any  # an array of the array-API standard, shape (n,)


@dataclass(frozen=True, eq=False)
class Evaluate:
    """One application of the map; x is a candidate for the answer and its residual counts."""

    x: Array


@dataclass(frozen=True, eq=False)
class Operator:
    """The sparse Jacobian of one time step at x, for maps that can step once."""

    x: Array


@dataclass(frozen=True, eq=False)
class StepOperator:
    """The reply to Operator.

    matrix: A = J - I, the Jacobian of one time step of the accelerated variables less the identity, a sparse
    (n, n). steps: time steps in a period, so that steps * A is the linearised tendency of a period.
    """

    matrix: Any
    steps: int


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The algorithm may be resumed from here: numbers, strings and arrays by name."""

    state: Mapping[str, Any]


@dataclass(frozen=True)
class Failure:
    """The reply where the model did not come back with a usable state."""

    reason: str


class Outcome(Enum):
    """Why a run ended. The value is what a machine reads, `message` what a person reads."""

    CONVERGED = "converged"
    BUDGET = "budget"
    STALLED = "stalled"
    UNSTABLE = "unstable"
    STOPPED = "stopped"

    @property
    def message(self) -> str:
        return _MESSAGES[self]


_MESSAGES = {
    Outcome.CONVERGED: "the residual is below the tolerance",
    Outcome.BUDGET: "the budget is spent",
    Outcome.STALLED: "the residual no longer falls",
    Outcome.UNSTABLE: "the model failed again and again, whatever the step",
    Outcome.STOPPED: "stopped by the user",
}

Request = Evaluate | Operator | Checkpoint
Flow = Generator[Request, Any, Outcome]
Stop = Callable[[Array, Array], bool]  # (x, T(x)) -> is this good enough?


class Method(Protocol):
    """An algorithm with its settings bound, ready to start from x0 or from a checkpoint."""

    def __call__(self, x: Array, *, stop: Stop, checkpoint: Mapping[str, Any] | None = None) -> Flow: ...
