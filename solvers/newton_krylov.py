"""Jacobian-free Newton-Krylov, with the operator of the tendency as its preconditioner.

Source: D. A. Knoll and D. E. Keyes, J. Comput. Phys. 193 (2004), 357-397. The linear systems are solved by flexible
GMRES (`solvers.krylov`) as well as pays: forcing terms of S. C. Eisenstat and H. F. Walker, SIAM J. Sci. Comput. 17
(1996), 16-32, choice 2. Preconditioner of a periodic map: S. Khatiwala, Ocean Model. 23 (2008), 121-129.

    r = T(x) - x,    (J - I - s I) dx = -r,    |what is left| <= eta |r|,    J v ~ (T(x + h v) - T(x)) / h
    P^-1 v = (n A - s I)^-1 v - v,  but what is known of J - I - s I where earlier steps have been (`solvers.recycling`)

Every J v costs an evaluation of T: that of the difference, or the tangent of T where the map has one. The step h of a
difference is small until a Newton step is poor, and then what the noise of T asks for (`solvers.noise`). A is the
operator that the map offers, n A its tendency over a period, linearised (`tendency_inverse`); without one, P^-1 v = -v.
Where T is affine one Newton step is enough, whatever its length.

Differs from the source: no line search, which would reject steps that make the drift larger and the error smaller.
A step after which the map fails is tried again with s = 1 / Δτ, Δτ ever shorter. A last, tiny s is always there: a map
that conserves a total has no other inverse. Directions that change such a total are left out, where they are known:
by 1 / s, rounding would make them the largest of all.

For maps all of whose state is accelerated: what is carried would answer x + h v too, and stay so.

Shapes: x, r, dx are (n,). Δτ is in periods.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from solvers.chain_factors import SingularMatrix
from solvers.error_estimate import LEAST_RATE, tendency_inverse
from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.krylov import Apply, fgmres_flow
from solvers.noise import measure
from solvers.recycling import Known, Learnt, learn
from solvers.requests import (
    Array,
    Checkpoint,
    Evaluate,
    Failure,
    Flow,
    Note,
    Operator,
    Outcome,
    Stop,
    Tangent,
)

GAMMA, POWER = 0.9, 2.0  # of the forcing term eta = GAMMA (|r| / |r before|)^POWER
SAFEGUARD = 0.1  # a forcing term falls to no less than GAMMA (the one before)^POWER while that is above it
FAILURES = 5  # in a row before giving up
FIRST_SHIFT, SHORTEN = 1e-2, 4.0  # s after a failure, and its factor after each other one
DIFFERENCE = 1e-4  # norm of h v as long as it is not measured
POOR = 0.5  # a Newton step is that leaves more than this of r, or whose linear system was not solved


def newton_krylov(
    x: Array,
    *,
    stop: Stop,
    checkpoint: Mapping[str, Any] | None = None,
    inner: InnerProduct = EUCLIDEAN,
    dimension: int = 20,
    forcing: float = 0.03,
    least: float = 1e-4,
    difference: float | None = None,
    tangent: bool = False,
    preconditioned: bool = True,
    recycle: int = 20,
    directions: Callable[[Array], Array] | None = None,
    project: Callable[[Array], Array] | None = None,
) -> Flow:
    """Equilibrium by Newton-Krylov from x, a NumPy vector of shape (n,).

    dimension: largest Krylov dimension of a Newton step.
    forcing: largest forcing term, that of the first step; least: the smallest.
    difference: norm of h v, in the unit of the inner product. None: 1e-4 until a Newton step leaves more than half
        of r, has a linear system that `dimension` does not solve, or has the map fail after it; then measured, once,
        which takes four evaluations more than a difference.
    tangent: whether to ask for J v itself; one that is not finite is taken by a difference.
    preconditioned: whether to ask for the operator.
    recycle: products J v of earlier steps that a step is preconditioned with, too.
    directions: applied to r and to every v: leaves out what T conserves.
    project: applied to every candidate.

    UNSTABLE after 5 failures in a row, or where the map fails at its start.
    """
    saved = {"x": x} if checkpoint is None else checkpoint
    x = np.asarray(saved["x"])
    before, eta = float(saved.get("size", 0.0)), float(saved.get("forcing", forcing))
    shift, failures = LEAST_RATE, 0
    step = saved.get("step", difference)  # None: not measured yet
    solved = bool(saved.get("solved", True))  # the linear system of the last step, as well as asked for
    base: Array = saved.get("base")  # where the last step began
    known = list(zip(saved.get("known", []), saved.get("known_images", []), strict=True))  # v, J v - v, newest first

    while True:
        operator = (yield Operator(x)) if preconditioned else None
        g = yield Evaluate(x)
        if isinstance(g, Failure):
            failures += 1
            if base is None or failures == FAILURES:
                return Outcome.UNSTABLE
            shift = max(FIRST_SHIFT, SHORTEN * shift)
            yield Note(f"the model failed after a Newton step: a shorter one, pseudo-time step {1 / shift:.3g} periods")
            x, base = base, None
            continue
        if stop(x, g):
            return Outcome.CONVERGED
        if base is not None:  # not the state that a failure went back to
            shift, failures = LEAST_RATE, 0
        r = g - x
        size = inner.norm(r)
        if before:
            wanted = GAMMA * (size / before) ** POWER
            if (held := GAMMA * eta**POWER) > SAFEGUARD:
                wanted = max(wanted, held)
            eta = float(np.clip(wanted, least, forcing))
        try:
            precondition = np.negative if operator is None else _where_solved(tendency_inverse(operator, shift))
        except SingularMatrix:
            yield Note("the operator is singular: on without it")
            precondition = np.negative
        learnt = learn([(v, c - shift * v) for v, c in known], inner)
        poor = not solved or 0 < POOR * before < size
        products = _Products(x, g, shift, DIFFERENCE if step is None and not poor else step, tangent, inner)
        dx, left = yield from _newton_step(products, precondition, learnt, directions or _unchanged, eta, dimension)
        if step is None and poor and products.step is not None:
            step = products.step
            if step > DIFFERENCE:  # earlier products are noisier than need be
                known = []
            yield Note(f"the last Newton step was poor: differences of {step:.2g} from now on, for the noise measured")
        known = [*reversed(products.made), *known][:recycle]
        base, before, solved = x, size, left <= eta
        x = x + dx if project is None else project(x + dx)
        pairs = {"known": [v for v, _ in known], "known_images": [c for _, c in known]}
        how = {} if step is None else {"step": step}
        yield Checkpoint({"x": x, "base": base, "size": before, "forcing": eta, "solved": solved, **how, **pairs})


@dataclass
class _Products:
    """(J - I - s I) v at x, by differences or the tangent. g: T(x). Settings as those of `newton_krylov`."""

    x: np.ndarray
    g: np.ndarray
    shift: float
    step: float | None  # norm of h v; None until the first difference measures it
    tangent: bool
    inner: InnerProduct
    made: list[Known] = field(default_factory=list)  # v, J v - v

    def of(self, v: np.ndarray) -> Generator[Any, Any, np.ndarray | None]:
        """(n,); None where the model failed."""
        product = (yield Tangent(self.x, v)) if self.tangent else None
        if product is None or isinstance(product, Failure):
            product = yield from self._difference(v)
        if product is None:
            return None
        self.made.append((v, product - v))
        return product - v - self.shift * v

    def _difference(self, v: np.ndarray) -> Generator[Any, Any, np.ndarray | None]:
        """J v, (n,); None where the model failed."""
        if self.step is None:
            found = yield from measure(self.x, self.g, v, self.inner)
            self.step = DIFFERENCE if found is None else found.step
            if found is not None:
                return found.product
        h = self.step / self.inner.norm(v)
        moved = yield Evaluate(self.x + h * v)
        return None if isinstance(moved, Failure) else (moved - self.g) / h


def _newton_step(
    products: _Products, precondition: Apply, learnt: Learnt, directions: Apply, eta: float, dimension: int
) -> Generator[Any, Any, tuple[np.ndarray, float]]:
    """dx of the header, (n,), and what it leaves of r by the linear model, as a share."""
    b = directions(products.x - products.g)
    krylov = fgmres_flow(
        b,
        lambda v: directions(precondition(v)),
        tolerance=eta,
        dimension=dimension,
        inner=products.inner,
        learnt=learnt,
    )
    try:
        v = next(krylov)
        while True:
            v = krylov.send((yield from products.of(v)))
    except StopIteration as end:
        return end.value


def _where_solved(inverse: Apply) -> Apply:
    """The inverse, and -v of a v that it is too nearly singular for: FGMRES lets it differ from one v to the next."""

    def apply(v: np.ndarray) -> np.ndarray:
        try:
            return inverse(v)
        except SingularMatrix:
            return -v

    return apply


def _unchanged(v: np.ndarray) -> np.ndarray:
    return v
