"""The distance to the equilibrium that a run is approaching, estimated after every evaluation.

Where the map can take single steps or gives its tendency, the estimate is `solvers.error_estimate`: the residual seen
through the operator at a state not long ago. Elsewhere it is `solvers.secant_error`: how the residual changed from one
of the latest states to the next says what the slow modes leave to go, as far as these have shown.

The operator knows nothing of what changes within it on the way: columns that convect once the water below has slowly
changed, say. What shows it is that the equilibrium x - P^-1 r where the estimate points to is another one every time.
How far it moved since the last estimate counts as a part of the error of its own, independent of the other.

An estimate comes with an interval, which is measured, not derived: of nine in ten estimates of the benchmarked
accelerated runs without seasons and noise the true distance lies within it. An estimate says nothing of *which*
equilibrium is approached.
"""

import math
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from solvers import Evaluate, SingularMatrix, StepOperator
from solvers.error_estimate import LEAST_RATE, tendency_inverse
from solvers.seasons import DATES
from solvers.secant_error import PAIRS, SecantError
from solvers.tendency import memory_needed
from spinup.distributed.shared_store import SharedStore
from spinup.maps import FixedPointMap, operator_of, with_cells
from spinup.state import Layout, State
from spinup.store import RunStore, WrittenBehind
from spinup.store.journal import Record, last_error

EVERY = 10  # periods for which an operator of the estimator's own serves
GUARD = 1.5  # an estimate counts as at most so many times the one before
OVER, FAR = 1.4, 0.5  # with the circulation's answer: how many times too large from where on, in units of the norm
MOVED = 1.2  # share of the estimate that the way of the target is, at most the estimate itself
BY_OPERATOR = (0.4, 1.9)  # times the estimate: between these was the truth for 84 % of those in benchmarks/results
BY_SECANTS = (0.3, 5.0)  # the same of Anderson acceleration of the coarse ACC, and of direct runs of known maps


def least_rate(conserved: Collection[Any], *, has_steps: bool) -> float:
    """The rate a period at which the slowest mode of a map is said to decay at least: a total that is conserved does
    not at all, and the tendency of a whole period may have one that nobody told of."""
    return LEAST_RATE if conserved or not has_steps else 0.0


class ErrorEstimator:
    """Estimates for one run. Its own operators are kept in the store, so that a resumed run estimates the same.

    note: told once how much memory the run's solves take, before the first of them.
    """

    def __init__(
        self, model: FixedPointMap, store: RunStore | SharedStore | WrittenBehind, note: Callable[[str], None]
    ) -> None:
        self._model = model
        self._store = store
        self._note = note
        self._slowest = least_rate(model.conserved, has_steps=model.has_steps)
        self.forget()

    def forget(self) -> None:
        """Know no more than the store does, of which a part was cut."""
        self._operator: StepOperator | None = None
        self._made = -1  # the evaluation before which the operator was made
        self._caught_up = False  # with the operators of its own in the store
        self._target: np.ndarray | None = None  # x - P^-1 r of the last estimate
        self._by_secants = SecantError(self._model.layout.inner)
        self._newest: int | None = None  # the evaluation that the secants were last told

    @property
    def between(self) -> tuple[float, float]:
        """The distance is expected between these times its estimate."""
        return BY_SECANTS if self._operator is None else BY_OPERATOR

    def use(self, operator: StepOperator, number: int) -> None:
        """The method asked for this operator before evaluation `number`: it serves here too."""
        if self._operator is None:
            self._note(memory_needed(operator))
        self._operator, self._made = operator, number

    def prepare(self, after: State, number: int) -> float:
        """After evaluation `number`: make an operator at its state where there is none of late. Returns the model years
        of that, which are not the run's own: without the estimate it would not need them."""
        if not self._model.has_operator:
            return 0.0
        if not self._caught_up:  # a run that was stopped goes on with what it estimated with
            kept, self._caught_up = self._store.load_estimate_operator(number - 1), True
            if kept is not None and kept[1] > self._made:
                self.use(with_cells(self._model, kept[0]), kept[1])
        # Early on, the state and with it the operator changes fast: after 0, 1, 2, 4, 8 periods, then every tenth.
        if self._operator is not None:
            made, now = self._periods(self._made), self._periods(number)
            if now - made < min(EVERY, max(1, made)):
                return 0.0
        operator, years = operator_of(self._model, after, not self._model.no_circulation, DATES)
        self._store.save_estimate_operator(operator, years)
        self.use(operator, number)
        return years

    def _periods(self, number: int) -> float:
        """How long the run was before evaluation `number`."""
        cost = self._model.members * self._model.years
        return self._store.records[number - 1]["model_years"] / cost if number > 0 else 0.0

    def estimate(self, residual: Any, request: Evaluate, records: list[Record]) -> dict[str, float] | None:
        """The rms distance of each variable, in its units, and "all", the norm of the inner product; None where there
        is nothing to go by."""
        layout = self._model.layout
        before = last_error(records)
        if self._operator is not None:
            try:
                inverse = tendency_inverse(self._operator, self._slowest)
                vector = inverse(layout.on_host(residual), steps=request.steps)
            except SingularMatrix:
                return None
            found = _sizes(layout.host, vector)
            if not layout.any(not np.isfinite(vector).all()):
                found = self._with_the_way_of_the_target(layout.on_host(request.x), vector, found, records)
                if self._operator.border is not None:
                    found = calibrated(found)
            guard = GUARD
        else:
            self._catch_up(records)
            x = residual.__array_namespace__().asarray(request.x)
            vector_by_secants = self._by_secants.of(x, residual)
            if vector_by_secants is None:
                return None
            found, guard = _sizes(layout, vector_by_secants), np.inf
        if not all(np.isfinite(value) for value in found.values()):
            return None
        if before is not None:
            found = {name: min(value, guard * before[name]) if before[name] else value for name, value in found.items()}
        return found

    def _catch_up(self, records: list[Record]) -> None:
        """Have the secants know the evaluations of these records, as they do but after a resume, or a cut of the log:
        then they are told those that an estimate hangs on."""
        measured = [r["evaluation"] for r in records if r["residual"] is not None]
        if self._newest != (measured[-1] if measured else None):
            layout, self._by_secants = self._model.layout, SecantError(self._model.layout.inner)
            for number in measured[1 - PAIRS :]:
                x, g = (layout.pack(self._store.fields(number, before=first)) for first in (True, False))
                self._by_secants.of(x, g - x)
        self._newest = len(records)

    def _with_the_way_of_the_target(
        self, x: np.ndarray, error: np.ndarray, found: dict[str, float], records: list[Record]
    ) -> dict[str, float]:
        """The sizes `found` of the estimated error, (n,), with the way that the target came since the last estimate."""
        before = self._store.load_target() if self._target is None else self._target
        self._target = x - error
        self._store.save_target(self._target)
        if before is None:
            return found
        left = x - before
        if self._model.cycle_steps and records and records[-1].get("spread"):
            # With seasons the target moves with the date. Before the relaxation it was still that of the last estimate.
            left = self._model.layout.host.pack(self._store.fields(len(records) - 1, before=True)) - before
        way = _sizes(self._model.layout.host, left - error)
        return {name: math.hypot(size, MOVED * min(way[name], size)) for name, size in found.items()}


def calibrated(sizes: dict[str, float]) -> dict[str, float]:
    """The sizes of an error estimated with the answer of the circulation, less what they were too large by in the
    benchmarked runs: far from the equilibrium the answer of an ocean is less than linear."""
    over = 1 + (OVER - 1) * min(1.0, sizes["all"] / FAR)
    return {name: size / over for name, size in sizes.items()}


def _sizes(layout: Layout, v: Any) -> dict[str, float]:
    """The rms of each variable of a vector, (n,), in its units, and "all", the norm of the inner product."""
    return layout.rms(v) | {"all": layout.inner.norm(v)}
