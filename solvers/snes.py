"""The nonlinear solvers of PETSc (SNES) as methods: Anderson, NGMRES, Newton with a line search or a trust region, ...

    F(y) = W^1/2 (x - T(x)),   y = W^1/2 x,   W: the weights of the inner product

so that PETSc's norms are those of the inner product, and a plain step, y - F(y), is T(x).

PETSc calls for what it needs; a method here yields it. So SNES runs in a thread of its own, which stands still while an
evaluation is made: one of the two threads works at any time. What SNES remembers is within it, so there are no
checkpoints: a run that is resumed is replayed from the method's start.

Source: P. R. Brune, M. G. Knepley, B. F. Smith and X. Tu, Composing scalable nonlinear algebraic solvers, SIAM Rev. 57
(2015), 535-565. Shapes: x is (n,), of this rank.
"""

import threading
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

import numpy as np

from solvers.chain_factors import SingularMatrix
from solvers.error_estimate import LEAST_RATE, tendency_inverse
from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.petsc_factors import options_given
from solvers.requests import Evaluate, Failure, Flow, Note, Operator, Outcome, Stop

UNBOUNDED = 10**8  # iterations and evaluations: who drives it ends it
CONVERGED, GOES_ON = 2, 0  # SNES_CONVERGED_FNORM_ABS, SNES_CONVERGED_ITERATING
NOT_FINITE = (-4, -1)  # SNES_DIVERGED_FNORM_NAN, SNES_DIVERGED_FUNCTION_DOMAIN


def snes(
    x: np.ndarray,
    *,
    stop: Stop,
    checkpoint: Mapping[str, Any] | None = None,
    inner: InnerProduct = EUCLIDEAN,
    comm: Any = None,
    kind: str = "anderson",
    options: str = "",
    preconditioned: bool = False,
    border: bool = False,
) -> Flow:
    """Equilibrium by PETSc's SNES from x, a NumPy vector of shape (n,).

    comm: the MPI communicator (mpi4py's) of the ranks that x is spread over; None: it is whole.
    kind: PETSc's name of the solver: anderson, ngmres, newtonls, newtontr, nrichardson, ...
    options: PETSc's own, "-snes_anderson_m 10 -snes_linesearch_type basic".
    preconditioned: whether the linear systems of a Newton method are preconditioned by the operator, which is asked for
        at every Newton step, with its `border` where that is wanted.

    A failure of the map is told PETSc as a residual that is not finite. STALLED where SNES gives up, UNSTABLE where it
    does for that. ImportError without petsc4py; ValueError where PETSc does not know the kind.
    """
    side = _Side(np.asarray(x, float), inner, comm, kind, options, preconditioned, border)
    thread = threading.Thread(target=side.run, daemon=True)
    thread.start()
    try:
        while True:
            asked = side.asked.get()
            if isinstance(asked, _Ended):
                if asked.error is not None:
                    raise asked.error
                if asked.reason == CONVERGED:
                    return Outcome.CONVERGED
                yield Note(f"PETSc's SNES gave up: {asked.words}")
                return Outcome.UNSTABLE if asked.reason in NOT_FINITE else Outcome.STALLED
            reply = yield asked
            if isinstance(asked, Evaluate) and not isinstance(reply, Failure):
                side.met = stop(asked.x, reply)
            side.replies.put(reply)
    finally:
        side.replies.put(_LEAVE)
        thread.join()


class _Ended:
    """What SNES ended with: its reason, in words too, or an error."""

    def __init__(self, reason: int = 0, words: str = "", error: Exception | None = None) -> None:
        self.reason, self.words, self.error = reason, words, error


class _Left(Exception):
    """The method is wanted no longer."""


_LEAVE = object()


class _Side:
    """PETSc's side of it: asks for evaluations and operators, and waits."""

    def __init__(
        self,
        x: np.ndarray,
        inner: InnerProduct,
        comm: Any,
        kind: str,
        options: str,
        preconditioned: bool,
        border: bool,
    ) -> None:
        self.asked: SimpleQueue[Any] = SimpleQueue()
        self.replies: SimpleQueue[Any] = SimpleQueue()
        self.met = False  # the last evaluation is good enough
        self._x, self._comm, self._kind, self._options = x, comm, kind, options
        self._preconditioned, self._border = preconditioned, border
        self._root = np.ones_like(x) if inner.weights is None else np.sqrt(np.asarray(inner.weights))
        self._inverse: Any = None
        self._left = False

    def run(self) -> None:
        """Solve, and say what it ended with."""
        try:
            ended = self._solve()
        except Exception as error:  # told to whoever drives the method, in its own thread
            ended = _Ended(error=None if self._left else error)
        self.asked.put(ended)

    def _solve(self) -> _Ended:
        from petsc4py import PETSc

        comm = PETSc.COMM_SELF if self._comm is None else self._comm
        y = PETSc.Vec().createWithArray(self._root * self._x, comm=comm)
        solver = PETSc.SNES().create(comm)
        try:
            solver.setType(self._kind)
        except PETSc.Error as error:
            raise ValueError(f"PETSc has no nonlinear solver {self._kind!r}") from error
        solver.setFunction(self._residual, y.duplicate())
        solver.setTolerances(rtol=0.0, atol=0.0, stol=0.0, max_it=UNBOUNDED)
        solver.setMaxFunctionEvaluations(UNBOUNDED)
        solver.setConvergenceTest(lambda *_: CONVERGED if self.met else GOES_ON)
        if self._kind.startswith("newton"):
            solver.setUseMF(True)
            solver.getKSP().setType("fgmres")
            solver.getKSP().getPC().setType("none")
        if self._preconditioned:
            solver.setJacobian(self._linearise, None, PETSc.Mat().createPython([y.sizes, y.sizes], self, comm))
            pc = solver.getKSP().getPC()
            pc.setType("python")
            pc.setPythonContext(self)
        with options_given(self._options, prefix=""):
            solver.setFromOptions()
        solver.solve(None, y)
        reason = solver.getConvergedReason()
        names = {v: n for n, v in vars(PETSc.SNES.ConvergedReason).items() if not n.startswith("_")}
        found = _Ended(reason, names.get(reason, str(reason)).lower().replace("_", " "))
        solver.destroy()
        return found

    def _ask(self, request: Any) -> Any:
        self.asked.put(request)
        reply = self.replies.get()
        if reply is _LEAVE:
            self._left = True
            raise _Left
        return reply

    def _residual(self, _: Any, y: Any, f: Any) -> None:
        x = y.array_r / self._root
        g = self._ask(Evaluate(x))
        f.array[:] = np.nan if isinstance(g, Failure) else self._root * (x - np.asarray(g))

    def _linearise(self, _: Any, y: Any, matrix: Any, __: Any) -> None:
        operator = self._ask(Operator(y.array_r / self._root, self._border))
        try:
            self._inverse = tendency_inverse(operator, LEAST_RATE)
        except SingularMatrix:
            self._inverse = np.negative
        matrix.assemble()

    def apply(self, _: Any, v: Any, found: Any) -> None:
        """PETSc's name for what a preconditioner does: found = W^1/2 (1 - J)^-1 W^-1/2 v, nearly."""
        try:
            found.array[:] = -self._root * self._inverse(v.array_r / self._root)
        except SingularMatrix:
            found.array[:] = v.array_r
