"""Feed a generator from a map, and log every answer before it is passed on."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from solvers import (
    Checkpoint,
    ControlVariates,
    Evaluate,
    Failure,
    Flow,
    Mean,
    Note,
    Operator,
    Outcome,
    StepOperator,
    Stop,
    Tangent,
)
from spinup.distributed.ranks import PATIENCE
from spinup.distributed.shared_store import SharedStore
from spinup.errors import ModelFailure, SpinupError, UsageError
from spinup.estimate import ErrorEstimator
from spinup.maps import (
    NO_TANGENT,
    FixedPointMap,
    control_variates,
    has_tangent,
    operator_of,
    with_cells,
    years_of_operator,
)
from spinup.state import State
from spinup.stopping import StopFlag
from spinup.store import RunStore, WrittenBehind
from spinup.store.journal import Record

REPLAY_TOLERANCE = 1e-10  # of the variable's largest value; a replayed request that differs by more is another request


class Lap:
    """Wall seconds from one call to the next, the first from when it was made."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def __call__(self) -> float:
        before, self._last = self._last, time.perf_counter()
        return self._last - before


@dataclass(frozen=True)
class Driver:
    """One run: a map, a store, a budget.

    start_flow makes the generator, from the start (None) or from a checkpoint's state; stop is what it is to ask.
    good_enough says of the records up to an evaluation whether the run has converged with it.
    ahead: operators made before they are asked for, by the number of evaluations there are then, and their model years.
    lap: what an evaluation took with all that came before it since the last, the method's own work included.
    """

    model: FixedPointMap
    store: RunStore | SharedStore | WrittenBehind
    start_flow: Callable[[dict[str, Any] | None, Stop], Flow]
    good_enough: Callable[[list[Record]], bool]
    budget_years: float
    flag: StopFlag
    progress: Callable[[dict[str, Any]], None]
    note: Callable[[str], None]
    estimator: ErrorEstimator
    ahead: dict[int, tuple[StepOperator, float]] = field(default_factory=dict)
    lap: Lap = field(default_factory=Lap)

    def run(self) -> Outcome:
        """Go on until the method ends, the budget is spent or the user stops it. What the store already
        holds is replayed: nothing is evaluated twice."""
        return self._run_from(*self.store.load_checkpoint())

    def _run_from(self, logged: int, checkpoint: dict[str, Any] | None) -> Outcome:
        """The same from a checkpoint that had seen so many evaluations."""
        flow = self.start_flow(checkpoint, lambda x, g: self.good_enough(self.store.records[:logged]))
        carried = self.store.state(self.store.last_good())
        saved = logged  # evaluations that the last checkpoint had seen
        extra = 0.0  # model years spent on operators since the last evaluation
        try:
            request = next(flow)
            while True:
                reply: Any = None
                match request:
                    case Evaluate() | Tangent() if logged < len(self.store.records):
                        reply = self._replayed(request, logged)
                        if reply is None:
                            return self._cut_and_rerun(logged)
                        logged, extra = logged + 1, 0.0
                    case Evaluate() | Tangent():
                        if self.model.layout.any(self.flag.due()):
                            return Outcome.STOPPED
                        if self._spent(extra + self._cost(request)):
                            return Outcome.BUDGET
                        if isinstance(request, Tangent):
                            reply = self._differentiate(request, carried, extra)
                        else:
                            reply, carried = self._evaluate(request, carried, extra)
                        logged, extra = logged + 1, 0.0
                    case Operator(x, border, dates):
                        kept = self.ahead.pop(logged, None) or self._kept_operator(logged)
                        if kept is None and self.model.layout.any(self.flag.due()):
                            return Outcome.STOPPED
                        if kept is None and self._spent(years_of_operator(self.model, dates) + self._last_years()):
                            return Outcome.BUDGET
                        found, extra = kept or self._operator(x, carried, logged, border=border, dates=dates)
                        self.estimator.use(found, logged)
                        reply = found if border else replace(found, border=None)
                    case ControlVariates():
                        told = self.store.records[logged - 1]["diagnostics"]
                        reply = np.array([told[name] for name in control_variates(self.model)], dtype=float)
                    case Mean(x, error, count) if logged == len(self.store.records):
                        unpack = self.model.layout.unpack
                        self.store.save_mean(unpack(x), unpack(error), count * self._cost())
                    case Note(text) if logged == len(self.store.records):
                        self.note(text)
                    case Checkpoint(state) if self._due(logged, saved):
                        self.store.save_checkpoint(state)
                        saved = logged
                request = flow.send(reply)
        except StopIteration as end:
            return end.value
        finally:
            flow.close()

    def _done(self) -> float:
        return self.store.records[-1]["model_years"] if self.store.records else 0.0

    def _last_years(self) -> float:
        """What the last evaluation cost, which the next will be like; a period before the first."""
        return self.model.members * self.store.records[-1]["years"] if self.store.records else self._cost()

    def _years(self, request: Evaluate | Tangent | None = None) -> float:
        """Model years that a request is for, of a single member; None: a period."""
        if isinstance(request, Evaluate) and request.steps is not None:
            return request.steps * self.model.step_years
        return self.model.years

    def _cost(self, request: Evaluate | Tangent | None = None) -> float:
        """The same of all members."""
        return self.model.members * self._years(request)

    def _spent(self, years: float) -> bool:
        return self._done() + years > self.budget_years * (1 + 1e-12)

    def _operator(
        self, x: Any, carried: State, count: int, *, border: bool, dates: int = 1
    ) -> tuple[StepOperator, float]:
        """The one-step operator at x on top of the carried state, and its model years; kept before it is passed on,
        which is after `count` evaluations. The border costs no model years, and whether a method wants it or not, the
        error is estimated with it."""
        border = border or not self.model.no_circulation
        operator, years = operator_of(self.model, self._at(x, carried), border, dates)
        self.store.save_operator(operator, years, count)
        return operator, years

    def _kept_operator(self, count: int) -> tuple[StepOperator, float] | None:
        """The one that a run that was stopped had after so many evaluations, and its model years."""
        kept = self.store.load_operator(count)
        return None if kept is None else (with_cells(self.model, kept[0]), kept[1])

    def _due(self, logged: int, saved: int) -> bool:
        """Whether a checkpoint is: methods make them at their own steps, which may be many evaluations long."""
        every = self.store.header.store.checkpoint_every
        return logged == len(self.store.records) and logged - saved >= every

    def _advanced(self, request: Evaluate, carried: State) -> State:
        """The full state that the model makes of the carried one as asked."""
        if request.spread:
            toward = self.model.layout.unpack(request.x, fill=0.0)
            return self.model.advance(carried, request.steps or 0, toward=toward)
        state = self._at(request.x, carried)
        return self.model.evaluate(state) if request.steps is None else self.model.advance(state, request.steps)

    def _at(self, x: Any, carried: State) -> State:
        """The carried state with the vector x in it."""
        return self.model.replace(carried, self.model.layout.unpack(x, fill=0.0))

    def _evaluate(self, request: Evaluate, carried: State, extra: float) -> tuple[Any, State]:
        """Evaluate T at x on top of the carried state; log; give the reply and the state to carry on."""
        layout, x, years = self.model.layout, request.x, self._years(request)
        number = len(self.store.records)
        before = layout.logged(x)

        def evaluated() -> tuple[Any, State]:
            after = self._advanced(request, carried)
            return layout.pack(self.model.fields(after)), after

        found, record = self._attempt(request, evaluated, extra)
        if isinstance(found, Failure):
            record["elapsed_seconds"] = self.lap()
            self.progress(self.store.append(record, before, None, None))
            return found, carried
        g, after = found
        if not request.spread:
            if request.operator_next:
                self.ahead[number + 1] = self._operator(g, after, number + 1, border=True)
                self.estimator.use(self.ahead[number + 1][0], number + 1)
            else:
                record["estimate_years"] = self.estimator.prepare(after, number)
            residual = g - g.__array_namespace__().asarray(x)
            record |= {
                "drift": layout.inner.norm(residual) / years,
                "residual": {name: rms * (self.model.years / years) for name, rms in layout.rms(residual).items()},
                "error": self.estimator.estimate(residual, request, self.store.records),
            }
            record["error_between"] = None if record["error"] is None else list(self.estimator.between)
        record |= {
            "mean": layout.means(g),
            "diagnostics": self._diagnose(after),
            "elapsed_seconds": self.lap(),
        }
        self.progress(self.store.append(record, before, layout.logged(g), after))
        return g, after

    def _differentiate(self, request: Tangent, carried: State, extra: float) -> Any:
        """J v at x on top of the carried state, or a Failure; log."""
        model, layout = self.model, self.model.layout
        if not has_tangent(model):
            raise UsageError(f"{model.name} {NO_TANGENT}")
        direction = layout.unpack(request.v, fill=0.0)

        def derivative() -> tuple[np.ndarray]:
            return (layout.pack(model.tangent(self._at(request.x, carried), direction)),)

        found, record = self._attempt(request, derivative, extra)
        record["elapsed_seconds"] = self.lap()
        product = None if isinstance(found, Failure) else layout.unpack(found[0])
        at, direction = layout.unpack(request.x), layout.unpack(request.v)
        self.progress(self.store.append_tangent(record, at, direction, product))
        return found if isinstance(found, Failure) else found[0]

    def _attempt(
        self, request: Evaluate | Tangent, call: Callable[[], tuple[Any, ...]], extra: float
    ) -> tuple[Any, dict[str, Any]]:
        """What the call gave, its first entry finite, or a Failure; and what there is to record of it so far."""
        began = time.perf_counter()
        found: Any
        failure: str | None = None
        mistake: str | None = None
        wrong: Exception | None = None
        try:
            found = call()
            self.model.layout.check_finite(found[0])
        except ModelFailure as error:
            failure = str(error)
        except SpinupError:
            raise
        except Exception as error:
            wrong = error
            mistake = (
                f"evaluation {len(self.store.records)}: {self.model.name} raised {type(error).__name__}: {error}; "
                f"the evaluations before it are safe: start the mended case from them, --start {self.store.path}"
            )
        wall, years = time.perf_counter() - began, self._years(request)
        patience = PATIENCE + max((r["wall_seconds"] for r in self.store.records), default=0.0)
        told = self.model.layout.first(mistake or failure, patience)  # by one rank: it is so on all
        if told is not None:
            if self.model.layout.any(mistake is not None):
                raise UsageError(told) from wrong
            found = Failure(told)
        return found, {
            "phase": self._phase(),
            "failure": found.reason if isinstance(found, Failure) else None,
            **_kind(request),
            "years": years,
            "model_years": self._done() + extra + self._cost(request),
            "wall_seconds": wall,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "drift": None,
            "residual": None,
            "error": None,
            "error_between": None,
            "estimate_years": 0.0,
            "mean": None,
            "diagnostics": None,
        }

    def _diagnose(self, state: State) -> dict[str, float | None]:
        """The diagnostics; none where they fail, for what was computed must not be lost with them."""
        try:
            return dict(self.model.diagnose(state))
        except Exception as error:  # the diagnostics of a case are its author's code
            warnings.warn(f"a diagnostic failed: {type(error).__name__}: {error}", stacklevel=2)
            return dict.fromkeys(self.model.diagnostics)

    def _phase(self) -> str:
        direct = len(self.store.records) < self.store.header.start_periods
        return "direct" if direct else self.store.header.method

    def _replayed(self, request: Evaluate | Tangent, number: int) -> Any:
        """The logged reply to evaluation `number`, or None where the request is not the logged one."""
        layout, record = self.model.layout, self.store.records[number]
        if any(record[key] != asked for key, asked in _kind(request).items()):
            return None
        pairs = [(request.x, self.store.fields(number, before=True))]
        if isinstance(request, Tangent):
            pairs.append((request.v, self.store.tangent(number, direction=True)))
        whole = layout.host
        if layout.any(not all(self._same(layout.on_host(asked), whole.pack(logged)) for asked, logged in pairs)):
            return None
        failure = record["failure"]
        if failure is not None:
            return Failure(failure)
        is_tangent = isinstance(request, Tangent)
        return layout.pack(self.store.tangent(number) if is_tangent else self.store.fields(number, before=False))

    def _same(self, asked: np.ndarray, logged: np.ndarray) -> bool:
        """Whether a vector asked for is the one in the log, but for rounding."""
        return all(
            np.max(np.abs(asked[part] - logged[part]), initial=0.0)
            <= REPLAY_TOLERANCE * np.max(np.abs(logged[part]), initial=0.0)
            for part in self.model.layout.slices.values()
        )

    def _cut_and_rerun(self, number: int) -> Outcome:
        keep, newest = self.store.cut_point(number), self.store.last_good()
        what = f"replay of evaluation {number} asks for another state than the log holds (other software or hardware?)"
        self.estimator.forget()
        self.ahead.clear()
        lost = len(self.store.records) - keep
        if lost > self.store.header.store.checkpoint_every and newest >= 0:  # as where a method makes no checkpoints
            warnings.warn(f"{what}: the method begins anew from evaluation {newest}, the newest", stacklevel=2)
            begun = min(len(self.store.records), self.store.header.start_periods)
            x = self.model.layout.pack(self.store.fields(newest, before=False))
            return self._run_from(len(self.store.records), {"direct_periods": begun, "x": x})
        warnings.warn(f"{what}: the log is cut, the run goes on from evaluation {keep}", stacklevel=2)
        self.store.cut(keep)
        return self.run()


def _kind(request: Evaluate | Tangent) -> dict[str, Any]:
    """What a record says of the request that it is of."""
    if isinstance(request, Tangent):
        return {"steps": None, "spread": False, "tangent": True}
    return {"steps": request.steps, "spread": request.spread, "tangent": False}
