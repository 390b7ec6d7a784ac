"""Pseudo-transient continuation on an operator extended by the balance of what is carried.

Source: C. T. Kelley and D. E. Keyes, SIAM J. Numer. Anal. 35 (1998), 508-523: implicit Euler steps in a pseudo-time τ
that grow as the state nears the equilibrium. The increment of a step is spread over the relaxation that follows it:
S. C. Bloom et al., Mon. Wea. Rev. 124 (1996), 1256-1271 (incremental analysis update).

In an ocean, x is temperature and salinity, and y, the circulation, answers a change of x within weeks. The one-step
Jacobian J of x at fixed y lacks this answer; a linear balance 0 = C dx + D dy supplies it. One solve a cycle,

    [ n (J - I) - s    n B ] [z]   [r]
    [       C           D  ] [y] = [0],      dx = -(z - r),   s = n / (N Δτ),

with r = T_n(x) - x the residual of n time steps, N steps in a period, B the change of x in a step for a unit of y. The
form z - r does not overflow: it is the inverse of exp(n (J - I)) - I for slow modes, and harmless for fast ones. Then
x + dx is relaxed for some steps, over which dx is spread (see the source), so that what the operator leaves out answers
before the next residual is taken. J is that of the end of the residual: a step stirs up convection, which holds water
that it mixes at the temperature of the surface, and calms down while the residual is taken. From its begin the same
residual asks for half as much in an ocean (30 x 42 x 15, 0.4 K from its equilibrium: 0.2 of the error instead of 0.4).

Differs from the source: Δτ follows the estimate of the error (`error_estimate`), not the residual, which is larger
right after a jump though the error is smaller. After a cycle in which the estimate grew, Δτ is more cautious for a
while; a step after which it grew many times is taken back but for a part. Where a group of unknowns would move too far,
Δτ is shortened for that group alone; an estimate that grew in a few such groups only, for an operator that is nearly
singular there, is no reason to take a step back. Where the map is left alone after each step, how far the groups may
move follows how the residual grew over the steps before: a trust region. A step that would reverse the one before it,
as where something answers that the operator does not know, ends between the two, by Anderson's method with one
difference (D. G. Anderson, J. ACM 12 (1965), 547-560). Near the equilibrium n grows.

Shapes: x, r, dx are (n,). Δτ is in periods.
"""

from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np

from solvers.chain_factors import SingularMatrix
from solvers.error_estimate import Inverse, tendency_inverse
from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.requests import Array, Checkpoint, Evaluate, Failure, Flow, Note, Operator, Outcome, StepOperator, Stop
from solvers.shock import left_alone
from solvers.stall import stalled

FAILURES = 5  # in a row before giving up
SHRINK = 0.25  # of Δτ after a failure
GUARD = 3.0  # an estimate counts as at most so many times the one before
BACK = 3.0  # growth of the estimate for which a step is taken back, all but SHRINK of it
CAUTION, CONFIDENCE = 0.5, 1.5  # factors of the gain after a cycle with a larger, and with a smaller estimate
FORCING = 1e-4  # forcing term of a step: what is left of it is in the next residual
TRIES = 3  # shortenings of Δτ for groups that would move too far
SHORTEN = 8.0  # the factor of each
OUTLIER = 8.0  # norms beyond which an unknown's share of the estimate no longer counts
ALONE = 1e-3  # share of the norm that outliers leave where they are no outliers but all there is
PRECISE = 0.99  # where the norm without outliers has settled
AMPLE = 3.0  # residuals grow in proportion below `near` over this
LONGER = 1.5  # a residual near the equilibrium is so many times as long after an estimate that grew
LARGER = 1.2  # growth of the estimate that is more than its noise
NARROW = 0.2  # share of `reach` that holds where the map begins to be left alone after each step
CALM, WIDER = 1.5, 2.0  # growth of the residual over a step below which the share is so many times as large
STIRRED, NARROWER = 2.5, 0.4  # and above which it is so many times


def extended_continuation(
    x: Array,
    *,
    stop: Stop,
    checkpoint: Mapping[str, Any] | None = None,
    inner: InnerProduct = EUCLIDEAN,
    residual_steps: int = 20,
    longest_steps: int = 180,
    near: float = 0.0,
    relax_steps: int = 40,
    first: float = 20.0,
    growth: float = 2.0,
    gain: float = 200.0,
    largest: float = 1e5,
    limit: float = np.inf,
    reach: float = np.inf,
    shock: float = 0.94,
    settled: float = 0.0,
    dates: int = 1,
    late_operator: bool = True,
    stall_after: int = 8,
    forcing: float = FORCING,
    groups: np.ndarray | None = None,
    settle: Callable[[Array, Array], Array] | None = None,
    project: Callable[[Array], Array] | None = None,
) -> Flow:
    """Equilibrium by pseudo-transient continuation on the extended operator from x, a NumPy vector of shape (n,).

    residual_steps, longest_steps: time steps of the residual far from the equilibrium, and the most. It is to be the
    tendency of the slow modes, and what comes and goes within weeks weighs the more the smaller they are. At an
    estimate of the error below `near` it is therefore longer by half after an estimate that grew, and takes at least
    near / (3 estimate) times as many steps; never fewer again.
    relax_steps: time steps of the relaxation after a step.
    first: Δτ up to which it is free, in periods, until the map fails after a step; growth: above it, the largest factor
    from one cycle to the next.
    gain: Δτ is at most gain / (estimate of the error), in periods times the unit of the inner product. Half of it holds
    after a larger estimate, one and a half times as much again, up to the whole, after a smaller one.
    largest: where Δτ stops growing.
    limit, reach: the farthest that any unknown of a group may move in a cycle, the less of limit and of reach times the
    estimate of the error. Beyond it Δτ is shortened for its group, and what is still too far is scaled down. Where the
    map is left alone after each step, a fifth of reach holds at first, twice as much after a step over which the
    residual grew less than 1.5-fold, up to the whole, and 0.4 times as much after one over which it grew 2.5-fold.
    groups: (n,) integers from 0, the group of each unknown: in an ocean, its water column. Default: each its own.
    shock: before the first cycle the map is left alone while its residual falls below this share of the one before;
    0: not at all. Once it was left alone, an estimate counts as at most that of `limit` everywhere.
    settled: from the first estimate on that grew, but not so much that its step is taken back, the map is left alone
    before every operator while its residual falls below this share of the one before; 0: not at all.
    dates: where there are seasons, of how many dates of each season an operator is the mean.
    late_operator: the operator is that of the end of the residual; else that of its begin.
    stall_after: cycles whose estimates, in the geometric mean, are to be smaller than those of as many cycles before;
    where they are not, nor the last two than these, nothing is gained any more.
    forcing: the forcing term, what may be left of the linear system of a step, relative.
    settle: (x, candidate) -> candidate, what is known of a state that has come to rest; not asked below `near`, where
    what it does not know would keep the state from its rest.
    project: applied to every candidate.

    A step that ends in a Failure is tried again with a quarter of Δτ; one after which the estimate is more than three
    times as large is taken back but for a quarter, and Δτ is a quarter afterwards, unless the limits of the groups
    hold a step of the same Δτ from there below three times the last one: then it counts as a fifth larger. UNSTABLE
    after 5 failures in a row or where the map fails from a state of its own, STALLED as above.
    """
    fresh = {"x": x, "shocked": 0.0} if shock else {"x": x}
    saved = fresh if checkpoint is None else checkpoint
    x = np.asarray(saved["x"])
    own = np.arange(len(x)) if groups is None else groups

    def alone(x: Array, state: Mapping[str, Any]) -> Generator[Any, Any, tuple[Array, float] | Outcome]:
        """Left alone from x, with the rest of the checkpoint `state`: after a step, or at the start."""
        kept = {name: value for name, value in state.items() if name not in ("x", "shocked", "first")}
        share, over = (settled, "it has settled") if kept else (shock, "the shock of the start is over")
        number = int(kept.get("steps", residual_steps))
        size, first = float(state["shocked"]), float(state.get("first", 0.0))
        return (
            yield from left_alone(
                x, size, stop=stop, share=share, inner=inner, steps=number, over=over, kept=kept, first=first
            )
        )

    after = float(saved.get("first", 0.0))  # norm of the first residual while the map was left alone
    if "shocked" in saved:
        settling = yield from alone(x, saved)
        if isinstance(settling, Outcome):
            return settling
        x, after = settling
        saved = {**saved, "x": x}

    step, last = float(saved.get("step", 0.0)), float(saved.get("estimate", np.inf))
    free = float(saved.get("free", first))  # the most that Δτ may be at once
    history = np.asarray(saved.get("history", np.empty(0)))  # of the estimate, of the last cycles
    share = float(saved.get("share", 1.0))  # of the gain
    # Norm of the residual before the last step, where the map has yet to be left alone after it; share of the reach.
    calm, within = float(saved.get("calm", 0.0)), float(saved.get("within", 1.0))
    if after:
        calm, within = 0.0, share_of_reach(within, calm, after)
    # Within the shock, where it is not left alone, a wild estimate is a reason to be cautious.
    farthest = limit * inner.norm(np.ones_like(x)) if shock else np.inf
    steps = int(saved.get("steps", residual_steps))
    before: Array = saved.get("before")  # the state before the last step, the step, and what the operator asked for
    jump: Array = saved.get("jump")
    asked: Array = saved.get("asked")
    waits = bool(saved.get("waits", False))  # the map is left alone after each step
    waited = bool(saved.get("waited", False))  # and was after the last one

    def limited(inverse: Inverse, r: np.ndarray, pseudo_time: float) -> np.ndarray:
        return limited_step(inverse, r, steps, pseudo_time, own, min(limit, within * reach * last), forcing, inner)

    def survived(
        operator: StepOperator, inverse: Inverse | None, r: np.ndarray, step: float
    ) -> Generator[Evaluate, Any, tuple]:
        """The first step that the map survives: what was asked for, where it leads, what the relaxation makes of it,
        Δτ."""
        wish, candidate, relaxed = x, x, Failure("")
        for _ in range(FAILURES):
            try:
                known = inverse or tendency_inverse(operator, 1 / step)
                wish = limited(known, r, step)
            except SingularMatrix:
                relaxed = Failure("the operator is singular")
            else:
                dx = wish if before is None else without_reversal(wish, asked, x - before, inner)
                candidate = x + dx if settle is None or last < near else settle(x, x + dx)
                candidate = candidate if project is None else project(candidate)
                relaxed = yield Evaluate(candidate, steps=relax_steps, spread=True)
            if not isinstance(relaxed, Failure):
                break
            step *= SHRINK
        return wish, candidate, relaxed, step

    def held(inverse: Inverse, r: np.ndarray, size: float) -> bool:
        """Whether the limits hold a step of the last Δτ below BACK times one of this size."""
        try:
            return inner.norm(limited(inverse, r, step)) <= BACK * size
        except SingularMatrix:
            return False

    def state_with(x: Array) -> dict[str, Any]:
        """The checkpoint of a cycle that ends at x, without its step."""
        return {
            "x": x,
            "step": step,
            "estimate": last,
            "history": history,
            "share": share,
            "steps": steps,
            "free": free,
            "waits": waits,
            "waited": waited,
            "within": within,
            "calm": calm,
        }

    while True:
        if waits and not waited:
            waited = True
            settling = yield from alone(x, state_with(x) | {"shocked": 0.0})
            if isinstance(settling, Outcome):
                return settling
            x, after = settling
            calm, within = 0.0, share_of_reach(within, calm, after)
        waited = False
        if not late_operator:
            operator = yield Operator(x, border=True, dates=dates)
        g = yield Evaluate(x, steps=steps, operator_next=late_operator)
        if isinstance(g, Failure):
            return Outcome.UNSTABLE
        if stop(x, g):
            return Outcome.CONVERGED
        if late_operator:
            operator = yield Operator(g, border=True, dates=dates)
        r = g - x
        inverse = None
        try:
            inverse = tendency_inverse(operator, 0.0)
            found = size_without_outliers(inverse(r, steps=steps), inner)
        except SingularMatrix:
            found = np.inf
        measured = found  # where steps are held it counts as less below

        grown, wild = found > LARGER * last, jump is not None and found > BACK * last
        if wild and inverse is not None and held(inverse, r, inner.norm(jump)):
            yield Note(f"{growth_words(last, found)}, but in few places: their steps are held")
            found, wild = LARGER * last, False
        if settled and grown and not (wild or waits):
            yield Note(f"{growth_words(last, measured)}: after each step the model is left alone until it settles")
            waits = waited = True
            within = NARROW
            state = state_with(g) | {"shocked": inner.norm(r)}
            yield Checkpoint(state)
            inverse = None
            settling = yield from alone(g, state)
            if isinstance(settling, Outcome):
                return settling
            x, _ = settling
            before = jump = None
            continue
        history = np.append(history, min(measured, GUARD * last))[-2 * stall_after :]
        if stalled(history, stall_after):
            return Outcome.STALLED
        if wild:
            yield Note(f"{growth_words(last, found)}: the step is taken back but for a part")
            back = before + SHRINK * jump
            relaxed = yield Evaluate(back, steps=relax_steps, spread=True)
            if isinstance(relaxed, Failure):
                return Outcome.UNSTABLE
            share *= SHRINK
            before = jump = None
        else:
            share = share * CAUTION if grown else min(1.0, share * CONFIDENCE)
            last = min(found, GUARD * last, farthest)
            wanted = min(max(growth * step, free), share * gain / last if 0 < last < np.inf else np.inf, largest)
            asked, candidate, relaxed, step = yield from survived(operator, inverse, r, wanted)
            if isinstance(relaxed, Failure):
                return Outcome.UNSTABLE
            free = min(free, step) if step < wanted else free
            before, jump = (None, None) if waits else (x, candidate - x)
            calm = inner.norm(r) if waits else 0.0

        x, inverse = relaxed, None  # the factors of two operators may not fit
        if last < near:
            longer = max(residual_steps * near / (AMPLE * last), LONGER * steps if grown else 0.0)
            if (wanted_steps := round(min(longer, longest_steps))) > steps:
                steps = wanted_steps
                yield Note(
                    f"near the equilibrium, at an error of {last:.2g}: residuals of {steps} time steps from now on"
                )
        state = state_with(x)
        yield Checkpoint(state if before is None else state | {"before": before, "jump": jump, "asked": asked})


def share_of_reach(share: float, before: float, after: float) -> float:
    """The share of `reach` that holds next, from the norms of the residual before and after a step; 0: of none. A step
    that sets off what its operator does not know, convection, say, may take years to be undone."""
    if 0 < before < after / STIRRED:
        return NARROWER * share
    return min(1.0, WIDER * share) if 0 < after <= CALM * before else share


def growth_words(last: float, found: float) -> str:
    """That the estimate grew, for the log."""
    return f"the error estimate grew from {last:.3g} to {found:.3g}"


def without_reversal(dx: np.ndarray, last: np.ndarray, moved: np.ndarray, inner: InnerProduct) -> np.ndarray:
    """The step for dx, (n,), that is asked for after `last` was asked for and the state has `moved`: dx itself, unless
    it goes against the last one. Then it leads to the mean of both ends at which dx is least, were it linear."""
    if inner.dot(dx, last) >= 0:
        return dx
    change = dx - last
    return dx - inner.dot(dx, change) / inner.dot(change, change) * (moved + change)


def size_without_outliers(v: np.ndarray, inner: InnerProduct) -> float:
    """The norm of v where no unknown counts as more than OUTLIER times the norm itself; that of all of v where next to
    nothing would be left."""
    whole = size = inner.norm(v)
    if not np.isfinite(whole):
        return np.inf
    while (less := inner.norm(np.clip(v, -OUTLIER * size, OUTLIER * size))) < PRECISE * size:
        size = less
        if size < ALONE * whole:
            return whole
    return size


def limited_step(
    inverse: Inverse,
    r: np.ndarray,
    steps: int,
    pseudo_time: float,
    groups: np.ndarray,
    limit: float,
    forcing: float = FORCING,
    inner: InnerProduct = EUCLIDEAN,
) -> np.ndarray:
    """dx of the header, (n,), no unknown of which moves farther than `limit`. Raises SingularMatrix."""
    rates = np.full(len(r), 1 / pseudo_time)
    for _ in range(TRIES + 1):
        dx = -inverse(r, steps=steps, rate=rates, tolerance=forcing)
        farthest = np.zeros(groups.max() + 1)
        np.maximum.at(farthest, groups, np.abs(dx))
        far = farthest > limit
        if not inner.any(bool(far.any())):
            return dx
        rates[far[groups]] *= SHORTEN
    return dx * np.minimum(1, limit / np.maximum(farthest, limit))[groups]
