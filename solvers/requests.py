"""What an algorithm may ask for, and what it is told.

Rule 1: an algorithm is a generator. It yields a request and is sent the reply; it never calls the
model, opens a file, reads a clock or prints.
Rule 2: everything that costs model time goes through a request, so that cost is counted in one place.
Rule 3: an array in a request or a reply belongs to whoever made it; nobody writes into it.

    request                reply
    Evaluate(x)            T(x), or a Failure; of part of a period where `steps` says so
    Tangent(x, v)          J v, the derivative of T at x along v, or a Failure
    Operator(x)            a StepOperator at x
    ControlVariates()      of the latest evaluation, (m,)
    Checkpoint(state)      None; `algorithm(x0, checkpoint=state)` goes on from here
    Mean(x, error, count)  None
    Note(text)             None
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np

from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.inner import Array as Array
from solvers.layers import Layers
from solvers.lumping import Cells
from solvers.rows import Rows


@dataclass(frozen=True, eq=False)
class Evaluate:
    """One application of the map; x is a candidate for the answer and its residual counts.

    steps: time steps to take instead of a whole period, for maps that can step.
    spread: the change from where the map stands to x is added bit by bit over the steps, not at once (an incremental
    update, as in data assimilation). What comes back is then no T(x), and its residual does not count.
    operator_next: an Operator with its border, at what comes back, is asked for next unless this is good enough: an
    estimate of the error may have it at once.
    """

    x: Array
    steps: int | None = None
    spread: bool = False
    operator_next: bool = False


@dataclass(frozen=True, eq=False)
class Tangent:
    """The derivative of T at x along v, shape (n,), for maps that have one. It costs as much as an evaluation."""

    x: Array
    v: Array


@dataclass(frozen=True, eq=False)
class Operator:
    """The sparse Jacobian of one time step at x, for maps that can step once.

    border: with the balance of the variables that are carried but answer x at once, where the map has one.
    dates: where the forcing has seasons, of how many dates of each season it is the mean. It costs in proportion.
    """

    x: Array
    border: bool = False
    dates: int = 1


@dataclass(frozen=True, eq=False)
class ControlVariates:
    """What the map tells of the fluctuations of its forcing in the latest evaluation, numbers whose expectation is 0;
    not finite where it could not."""


@dataclass(frozen=True, eq=False)
class Border:
    """How carried variables y answer a change of x, as a balance 0 = source dx + balance dy, and act on it.

    response: (n, m), the change of x in one time step for a unit of y, times `implicit` as the matrix is.
    source: (m, n). balance: (m, m), not singular. All sparse.
    chain: (n + m,) integers from 0: the link of a chain that each unknown of (x, y) belongs to; the links are coupled
    to their neighbours in the chain only; None where it is not known, as on several ranks.
    layers: where each unknown of (x, y) is, for where memory is short; or unknown.
    """

    response: Any
    source: Any
    balance: Any
    chain: np.ndarray | None
    layers: Layers | None = None


BORDER_MATRICES = ("response", "source", "balance")


@dataclass(frozen=True, eq=False)
class StepOperator:
    """The reply to Operator: the Jacobian J of one time step of the accelerated variables.

    Two are equal where all their numbers are: what is known of one, its factors above all, serves the other.

    matrix: M (J - I), sparse (n, n). steps: time steps in a period, so that steps * (J - I) is the linearised tendency
    of a period.
    implicit: M, sparse (n, n): the implicit part of the step, by which J is multiplied so that it is local; None for I.
    seasons: where the forcing goes through a cycle of `cycle_steps` time steps, the operators of its parts, of equal
    length and in their order; the rest is then their mean (`solvers.seasons`).
    cells: where the unknowns are, where that is known: what large systems are lumped by.
    """

    matrix: Any
    steps: int
    implicit: Any = None
    border: Border | None = None
    seasons: tuple["StepOperator", ...] = ()
    cycle_steps: int = 0
    cells: Cells | None = None

    @property
    def left(self) -> Any:
        """M, also where it is I."""
        if self.implicit is not None:
            return self.implicit
        if isinstance(self.matrix, Rows):
            return self.matrix.identity()
        from scipy.sparse import eye_array

        return eye_array(self.matrix.shape[0])

    @property
    def inner(self) -> InnerProduct:
        """The Euclidean inner product of the vectors that its matrices go with."""
        return self.matrix.inner if isinstance(self.matrix, Rows) else EUCLIDEAN

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, StepOperator):
            return self is other
        return (
            (self.steps, self.cycle_steps) == (other.steps, other.cycle_steps)
            and _same(self.matrix, other.matrix)
            and _same(self.implicit, other.implicit)
            and _same_border(self.border, other.border)
            and self.seasons == other.seasons
        )

    def __hash__(self) -> int:
        return hash((self.steps, self.cycle_steps, self.matrix.shape, self.matrix.nnz))


def _same_border(a: Border | None, b: Border | None) -> bool:
    if a is None or b is None:
        return a is b
    return (
        _same_arrays(a.chain, b.chain)
        and _same_layers(a.layers, b.layers)
        and all(_same(getattr(a, name), getattr(b, name)) for name in BORDER_MATRICES)
    )


def _same_layers(a: Layers | None, b: Layers | None) -> bool:
    if a is None or b is None:
        return a is b
    return all(np.array_equal(known, getattr(b, name)) for name, known in vars(a).items())


def _same_arrays(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b if a is None or b is None else np.array_equal(a, b)


def _same(a: Any, b: Any) -> bool:
    """Whether two sparse matrices, or none, have the same entries."""
    if a is None or b is None or a.shape != b.shape or isinstance(a, Rows) or isinstance(b, Rows):
        return a is b
    return (a != b).nnz == 0


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The algorithm may be resumed from here: numbers, strings and arrays by name."""

    state: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Mean:
    """What the state wanders about, as far as it was seen; the newest counts.

    x: (n,). standard_error: (n,), of each unknown. count: the periods it is the mean of.
    """

    x: Array
    standard_error: Array
    count: int


@dataclass(frozen=True)
class Note:
    """What the algorithm does and why, in a sentence for the user's log."""

    text: str


@dataclass(frozen=True)
class Failure:
    """The reply where the model did not come back with a usable state."""

    reason: str


class Outcome(Enum):
    """Why a run ended. The value is what a machine reads, `message` what a person reads."""

    CONVERGED = "converged"
    FLOOR = "floor"
    BUDGET = "budget"
    STALLED = "stalled"
    UNSTABLE = "unstable"
    STOPPED = "stopped"

    @property
    def message(self) -> str:
        return _MESSAGES[self]


_MESSAGES = {
    Outcome.CONVERGED: "the tolerance is reached",
    Outcome.FLOOR: "its own variability hides what is left: the mean state is kept, with its standard error",
    Outcome.BUDGET: "the budget is spent",
    Outcome.STALLED: "it no longer gets nearer",
    Outcome.UNSTABLE: "the model failed again and again, whatever the step",
    Outcome.STOPPED: "stopped by the user",
}

Request = Evaluate | Tangent | Operator | ControlVariates | Checkpoint | Mean | Note
Flow = Generator[Request, Any, Outcome]
Stop = Callable[[Array, Array], bool]  # (x, T(x)) -> is this good enough?


class Method(Protocol):
    """An algorithm with its settings bound, ready to start from x0 or from a checkpoint."""

    def __call__(self, x: Array, *, stop: Stop, checkpoint: Mapping[str, Any] | None = None) -> Flow: ...
