"""The methods by name, with their settings checked and bound to a layout."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from solvers import Flow, Method, Stop, anderson, picard, pseudo_transient, within
from solvers.requests import Array, Checkpoint, Evaluate, Failure, Outcome
from spinup.conserve import conserve as conserved_within
from spinup.conserve import totals
from spinup.errors import UsageError
from spinup.maps import FixedPointMap
from spinup.suggest import did_you_mean


class MethodSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PicardSettings(MethodSettings):
    """Direct integration has no settings."""


class AndersonSettings(MethodSettings):
    """Settings of Anderson acceleration; see `solvers.anderson`."""

    depth: int = Field(5, ge=1, description="differences held (m)")
    mixing: float = Field(1.0, gt=0, description="mixing parameter (β)")
    every: int = Field(1, ge=1, description="periodic mixing: an Anderson step each so many evaluations")
    condition_limit: float = Field(1e7, gt=1, description="the oldest differences go while the condition is above it")
    tikhonov: float = Field(0.0, ge=0, description="Tikhonov regularisation of the scaled least squares")
    restart_growth: float | None = Field(
        None, gt=1, description="go back to the best state when the residual is this many times the least so far"
    )
    stall_after: int | None = Field(
        None, ge=1, description="give up as stalled after this many evaluations without a new least residual"
    )
    bounds: bool = Field(True, description="keep candidates within physical bounds")
    conserve: bool = Field(True, description="keep the totals that the map conserves")


class PtcSettings(MethodSettings):
    """Settings of pseudo-transient continuation; see `solvers.pseudo_transient`."""

    first: float = Field(20.0, gt=0, description="first pseudo-time step, in periods")
    growth: float = Field(1.3, ge=1, description="factor by which the pseudo-time step grows")
    largest: float = Field(1e4, gt=0, description="largest pseudo-time step, in periods")
    depth: int = Field(6, ge=0, description="secants held")
    cut: float = Field(0.05, ge=0, lt=1, description="singular values of the secants below this share are left out")
    bounds: bool = Field(True, description="keep candidates within physical bounds")
    conserve: bool = Field(True, description="keep the totals that the map conserves")


METHODS: dict[str, type[MethodSettings]] = {"picard": PicardSettings, "anderson": AndersonSettings, "ptc": PtcSettings}


def check_method(name: str) -> None:
    """Raise UsageError for an unknown method."""
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}{did_you_mean(name, METHODS)}; known: {', '.join(METHODS)}")


def check_settings(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of `method`, defaults filled in. Raises UsageError naming the wrong one."""
    check_method(method)
    return validated(METHODS[method], settings, method).model_dump()


def validated(model: type[BaseModel], settings: Mapping[str, Any], owner: str) -> Any:
    """`settings` as a `model`. Raises UsageError naming the wrong one, `owner` before it."""
    for name in settings:
        if name not in model.model_fields:
            known = ", ".join(f"{owner}.{n}" for n in model.model_fields) or "none"
            raise UsageError(f"unknown setting {owner}.{name}{did_you_mean(name, model.model_fields)}; known: {known}")
    try:
        return model.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{owner}.{name} = {first['input']!r}: {first['msg'].lower()}") from error


def check_capability(method: str, model: FixedPointMap) -> None:
    """Raise UsageError where the method asks for what the map does not have."""
    if method == "ptc" and not model.has_operator:
        raise UsageError(
            f"method 'ptc' needs a map that can take a single time step, {model.name} cannot: use anderson"
        )


def bind(method: str, settings: Mapping[str, Any], model: FixedPointMap, x0: Array) -> Method:
    """The method as the driver starts it from x0."""
    if method == "picard":
        return picard
    options = dict(settings)
    project = _projection(model, x0, bounds=options.pop("bounds"), conserve=options.pop("conserve"))
    algorithm: Callable[..., Flow] = anderson if method == "anderson" else pseudo_transient
    return partial(algorithm, inner=model.layout.inner, project=project, **options)


def _projection(model: FixedPointMap, x0: Array, *, bounds: bool, conserve: bool) -> Callable[[Array], Array] | None:
    """What keeps a candidate physical: its bounds, and the totals of x0."""
    layout = model.layout
    if conserve and model.conserved:
        wanted = totals(layout, model.conserved, x0)
        return lambda x: conserved_within(layout if bounds else layout.unbounded, model.conserved, x, wanted)
    if bounds and layout.bounds is not None:
        return within(*layout.bounds)
    return None


def after_direct(periods: int, method: Method) -> Callable[..., Flow]:
    """The method, after `periods` direct periods. Its checkpoints say which part they belong to."""

    def flow(x: Array, *, stop: Stop, checkpoint: Mapping[str, Any] | None = None) -> Flow:
        done = 0
        if checkpoint is not None and "direct_periods" not in checkpoint:
            return (yield from method(x, stop=stop, checkpoint=checkpoint))
        if checkpoint is not None:
            x, done = checkpoint["x"], checkpoint["direct_periods"]
        for number in range(done, periods):
            g = yield Evaluate(x)
            if isinstance(g, Failure):
                return Outcome.UNSTABLE
            if stop(x, g):
                return Outcome.CONVERGED
            x = g
            yield Checkpoint({"direct_periods": number + 1, "x": x})
        return (yield from method(x, stop=stop))

    return flow
