"""The methods by name, with their settings checked and bound to a layout."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from solvers import Flow, Method, Stop, anderson, picard
from solvers.requests import Array, Checkpoint, Evaluate, Failure, Outcome
from spinup.errors import UsageError
from spinup.state import Layout
from spinup.suggest import did_you_mean


class MethodSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PicardSettings(MethodSettings):
    """Direct integration has no settings."""


class AndersonSettings(MethodSettings):
    """Settings of Anderson acceleration; see `solvers.anderson`."""

    depth: int = Field(10, ge=1, description="differences kept (m)")
    mixing: float = Field(1.0, gt=0, description="mixing parameter (beta)")
    every: int = Field(1, ge=1, description="periodic mixing: accelerate every n-th evaluation only")
    condition_limit: float = Field(1e8, gt=1, description="oldest differences are dropped above this condition number")
    tikhonov: float = Field(0.0, ge=0, description="relative Tikhonov regularisation of the least squares")
    restart_growth: float | None = Field(
        None, gt=1, description="roll back when the residual exceeds the best by this factor"
    )
    project: Literal["bounds", "none"] = Field("bounds", description="keep candidates within physical bounds")


METHODS: dict[str, type[MethodSettings]] = {"picard": PicardSettings, "anderson": AndersonSettings}


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


def bind(method: str, settings: Mapping[str, Any], layout: Layout) -> Method:
    """The method as the driver starts it."""
    if method == "picard":
        return picard
    options = dict(settings)
    bounds = layout.bounds if options.pop("project") == "bounds" else None
    return partial(anderson, inner=layout.inner, bounds=bounds, **options)


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
