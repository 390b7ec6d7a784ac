"""Feed a generator from a map, and log every answer before it is passed on."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers import Checkpoint, Evaluate, Failure, Flow, Mean, Note, Operator, Outcome, StepOperator, Stop
from spinup.errors import ModelFailure, SpinupError, UsageError
from spinup.estimate import ErrorEstimator
from spinup.maps import FixedPointMap
from spinup.state import State
from spinup.stopping import StopFlag
from spinup.store import RunStore
from spinup.store.journal import Record

REPLAY_TOLERANCE = 1e-10  # of the variable's largest value; a replayed request that differs by more is another request


@dataclass(frozen=True)
class Driver:
    """One run: a map, a store, a budget.

    start_flow makes the generator, from the start (None) or from a checkpoint's state; stop is what it is to ask.
    good_enough says of the records up to an evaluation whether the run has converged with it.
    """

    model: FixedPointMap
    store: RunStore
    start_flow: Callable[[dict[str, Any] | None, Stop], Flow]
    good_enough: Callable[[list[Record]], bool]
    budget_years: float
    flag: StopFlag
    progress: Callable[[dict[str, Any]], None]
    note: Callable[[str], None]
    estimator: ErrorEstimator

    def run(self) -> Outcome:
        """Go on until the method ends, the budget is spent or the user stops it. What the store already
        holds is replayed: nothing is evaluated twice."""
        logged, checkpoint = self.store.load_checkpoint()
        flow = self.start_flow(checkpoint, lambda x, g: self.good_enough(self.store.records[:logged]))
        carried = self.store.state(self.store.last_good())
        extra = 0.0  # model years spent on operators since the last evaluation
        try:
            request = next(flow)
            while True:
                reply: Any = None
                match request:
                    case Evaluate() if logged < len(self.store.records):
                        reply = self._replayed(request, logged)
                        if reply is None:
                            return self._cut_and_rerun(logged)
                        logged, extra = logged + 1, 0.0
                    case Evaluate():
                        if self.flag.requested:
                            return Outcome.STOPPED
                        if self._spent(extra + self._years(request)):
                            return Outcome.BUDGET
                        reply, carried = self._evaluate(request, carried, extra)
                        logged, extra = logged + 1, 0.0
                    case Operator(x, border):
                        kept = self.store.load_operator(logged)
                        if kept is None and self.flag.requested:
                            return Outcome.STOPPED
                        if kept is None and self._spent(self.model.operator_years + self._last_years()):
                            return Outcome.BUDGET
                        reply, extra = kept or self._operator(x, carried, border=border)
                        self.estimator.use(reply, logged)
                    case Mean(x, error, count) if logged == len(self.store.records):
                        unpack = self.model.layout.unpack
                        self.store.save_mean(unpack(x), unpack(error), count * self.model.years)
                    case Note(text) if logged == len(self.store.records):
                        self.note(text)
                    case Checkpoint(state) if self._due(logged):
                        self.store.save_checkpoint(state)
                request = flow.send(reply)
        except StopIteration as end:
            return end.value
        finally:
            flow.close()

    def _done(self) -> float:
        return self.store.records[-1]["model_years"] if self.store.records else 0.0

    def _last_years(self) -> float:
        """Model years of the last evaluation, which the next will be like; a period before the first."""
        return self.store.records[-1]["years"] if self.store.records else self.model.years

    def _years(self, request: Evaluate) -> float:
        return self.model.years if request.steps is None else request.steps * self.model.step_years

    def _spent(self, years: float) -> bool:
        return self._done() + years > self.budget_years * (1 + 1e-12)

    def _operator(self, x: Any, carried: State, *, border: bool) -> tuple[StepOperator, float]:
        """The one-step operator at x on top of the carried state, and its model years; kept before it is passed on."""
        operator = self.model.operator(self._at(x, carried), border=border)
        self.store.save_operator(operator, self.model.operator_years)
        return operator, self.model.operator_years

    def _due(self, logged: int) -> bool:
        return logged == len(self.store.records) and logged % self.store.header.store.checkpoint_every == 0

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
        before = layout.unpack(x)
        began = time.perf_counter()
        failure = g = after = None
        try:
            after = self._advanced(request, carried)
            g = layout.pack(self.model.fields(after))
            layout.check_finite(g)
        except ModelFailure as error:
            failure, g, after = str(error), None, None
        except SpinupError:
            raise
        except Exception as error:
            raise UsageError(
                f"evaluation {number}: {self.model.name} raised {type(error).__name__}: {error}; "
                f"the evaluations before it are safe: start the mended case from them, --start {self.store.path}"
            ) from error
        wall = time.perf_counter() - began
        record: dict[str, Any] = {
            "phase": self._phase(),
            "failure": failure,
            "steps": request.steps,
            "spread": request.spread,
            "years": years,
            "model_years": self._done() + extra + years,
            "wall_seconds": wall,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "drift": None,
            "residual": None,
            "error": None,
            "estimate_years": 0.0,
            "mean": None,
            "diagnostics": None,
        }
        if g is None or after is None:
            record = self.store.append(record, before, None, None)
            self.progress(record)
            return Failure(failure or "the model failed"), carried
        if not request.spread:
            record["estimate_years"] = self.estimator.prepare(after, number)
            residual = g - np.asarray(x)
            record |= {
                "drift": layout.inner.norm(residual) / years,
                "residual": {name: rms * (self.model.years / years) for name, rms in layout.rms(residual).items()},
                "error": self.estimator.estimate(residual, request, self.store.records),
            }
        record |= {
            "mean": layout.means(g),
            "diagnostics": self._diagnose(after),
        }
        self.progress(self.store.append(record, before, layout.unpack(g), after))
        return g, after

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

    def _replayed(self, request: Evaluate, number: int) -> Any:
        """The logged reply to evaluation `number`, or None where the request is not the logged one."""
        layout, x, record = self.model.layout, request.x, self.store.records[number]
        if (record.get("steps"), record.get("spread", False)) != (request.steps, request.spread):
            return None
        logged = layout.pack(self.store.fields(number, before=True))
        for part in layout.slices.values():
            largest = np.max(np.abs(logged[part]), initial=0.0)
            if not np.max(np.abs(np.asarray(x)[part] - logged[part]), initial=0.0) <= REPLAY_TOLERANCE * largest:
                return None
        failure = record["failure"]
        if failure is not None:
            return Failure(failure)
        return layout.pack(self.store.fields(number, before=False))

    def _cut_and_rerun(self, number: int) -> Outcome:
        keep = self.store.cut_point(number)
        warnings.warn(
            f"replay of evaluation {number} asks for another state than the log holds (other software or hardware?): "
            f"the log is cut, the run goes on from evaluation {keep}",
            stacklevel=2,
        )
        self.store.cut(keep)
        return self.run()
