"""The default: the fastest method that the map allows, and direct integration where it no longer gets nearer."""

from collections.abc import Mapping
from typing import Any

from solvers import Flow, Method, Note, Outcome, Stop, picard
from solvers.error_estimate import LEAST_RATE
from solvers.relay import relay
from solvers.requests import Array
from solvers.seasons import DATES
from spinup.maps import FixedPointMap

#: Settings of the extended method that stay on the direct run's way: the model is left alone for the first years, the
#: steps are shorter, the relaxation longer. Measured on the coarse ACC, from rest and years 10, 30 and 100.
KEEP_BASIN: dict[str, Any] = {"gain": 100.0, "residual_days": 30.0, "relax_days": 90.0, "limit": 3.0, "shock": 0.978}

#: Of seasonal maps: residuals of whole years are few and dear, and hold less of what comes and goes: the steps may be
#: longer. Measured on the coarse ACC with seasons, from rest and year 10. An ocean may take years to answer a step,
#: and until then its operators disagree: it is left alone once an estimate grew. Measured on the 4 degree global ocean.
SEASONAL: dict[str, Any] = {"first": 200.0, "gain": 500.0, "settled": 0.9}

#: Of these, where several tracers make up the density: what one adds the other may take away, and such modes, we
#: suppose, are those that grow on one date and decay on another. Measured on the same ocean; with temperature alone, on
#: the coarse ACC with seasons, all dates agree.
COMPENSATED: dict[str, Any] = SEASONAL | {"dates": DATES}

#: Of Anderson acceleration: many differences, and given up for a while where ten evaluations brought nothing: under
#: noise, which it takes for slow modes, it is then no slower than direct integration.
UNKNOWN: dict[str, Any] = {"depth": 20, "stall_after": 10}

#: The same where other variables are carried, which answer a jump by and by. Measured on the coarse ACC without its
#: operator: as good as an Anderson step every fifth year after ten direct ones, without knowing either number.
CARRYING: dict[str, Any] = {"depth": 20, "settled": 0.9, "stall_after": 20}


#: Of Anderson acceleration on the map that its tendency preconditions, at the rate at which the error is estimated, so
#: that one factorisation serves both. Measured on the tracer cases, with the tendency right and 0.4 and 3 times as
#: fast, on bent and kinked diffusion, and under noise.
BY_TENDENCY: dict[str, Any] = {
    "depth": 20,
    "stall_after": 15,
    "preconditioned": True,
    "step": 1 / LEAST_RATE,
}


def choose(model: FixedPointMap, *, keep_basin: bool = False) -> tuple[str, str, dict[str, Any]]:
    """The method for this map; why, in a sentence; and its settings, where they are not the usual ones."""
    if not model.has_operator and model.carries:
        return (
            "anderson",
            f"{model.name} takes whole periods only and carries other variables: Anderson acceleration, each step once "
            "the residual has settled after the one before",
            CARRYING,
        )
    if not model.has_operator:
        return (
            "anderson",
            f"{model.name} takes whole periods only: Anderson acceleration, which needs nothing else",
            UNKNOWN,
        )
    if not model.carries:
        return (
            "anderson",
            f"{model.name} gives the Jacobian of its tendency and carries nothing else: Anderson acceleration, "
            "preconditioned by it",
            BY_TENDENCY,
        )
    if not model.has_steps:
        return (
            "ptc",
            f"{model.name} gives the Jacobian of its tendency and carries other variables: continuation with "
            "secants for those",
            {},
        )
    if reason := model.no_circulation:
        return "ptc", f"pseudo-transient continuation with secants: the circulation of {model.name} has {reason}", {}
    seasonal = COMPENSATED if len(model.layout.variables) > 1 else SEASONAL
    own = KEEP_BASIN if keep_basin else seasonal if model.cycle_steps else {}
    return (
        "extended",
        f"{model.name} can take single steps and its circulation has a linear balance: implicit steps on both together",
        own,
    )


def after_note(why: str, method: Method) -> Method:
    """The method, which says first why it is the one."""

    def flow(x: Array, *, stop: Stop, checkpoint: Mapping[str, Any] | None = None) -> Flow:
        if checkpoint is None:
            yield Note(why)
        return (yield from method(x, stop=stop, checkpoint=checkpoint))

    return flow


def with_direct_fallback(method: Method, why: str, average: Method = picard) -> Method:
    """`method`; where it stalls or the model fails for good, direct integration from the last state it reached. Where
    it stalls, which may be for a variability of the model's own, that is done by `average`."""

    def flow(x: Array, *, stop: Stop, checkpoint: Mapping[str, Any] | None = None) -> Flow:
        fallbacks = {"direct_since": picard, "average_since": average}
        since = next((mark for mark in fallbacks if checkpoint is not None and mark in checkpoint), None)
        if since is None:
            yield Note(why)
            reached: list[Array] = []

            def reach(x: Array, g: Array) -> None:
                reached[:] = [g]

            outcome = yield from relay(method(x, stop=stop, checkpoint=checkpoint), seen=reach)
            if outcome is Outcome.CONVERGED or not reached:
                return outcome
            x, checkpoint = reached[-1], None
            stalled = outcome is Outcome.STALLED
            since = "average_since" if stalled else "direct_since"
            words = "no longer gets nearer" if stalled else "failed again and again"
            purpose = ", for the mean that it wanders about" if since == "average_since" else ""
            yield Note(f"it {words}: on by direct integration{purpose}")
        return (yield from relay(fallbacks[since](x, stop=stop, checkpoint=checkpoint), mark=lambda: {since: True}))

    return flow
