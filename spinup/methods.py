"""The methods by name, with their settings checked and bound to a layout."""

import shlex
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from solvers import (
    Flow,
    Method,
    Stop,
    alternating,
    anderson,
    extended_continuation,
    extrapolation,
    mean_state,
    newton_krylov,
    ngmres,
    picard,
    preconditioned,
    pseudo_transient,
    snes,
    within,
)
from solvers.petsc_factors import is_name, wrong_option
from solvers.requests import Array, Checkpoint, Evaluate, Failure, Outcome
from spinup.auto import after_note, choose, with_direct_fallback
from spinup.by_host import by_host
from spinup.conserve import conserve as conserved_within
from spinup.conserve import totals, without_totals
from spinup.convection import keep_mixed, water_columns
from spinup.errors import UsageError
from spinup.estimate import least_rate
from spinup.maps import NO_TANGENT, FixedPointMap, control_variates, has_tangent
from spinup.suggest import did_you_mean

BOUNDS: Any = Field(True, description="keep candidates within physical bounds")
CONSERVE: Any = Field(True, description="keep the totals that the map conserves")
STALL_AFTER: Any = Field(
    8, ge=1, description="give up where the estimates of so many steps are no smaller than those of as many before"
)
PRECONDITIONED: Any = Field(False, description="use the tendency of the map as preconditioner")
STEP: Any = Field(100.0, gt=0, description="pseudo-time step of the preconditioner, in periods")
SERVES: Any = Field(5, ge=2, description="evaluations for which it serves, before the method begins anew with another")


class MethodSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PicardSettings(MethodSettings):
    """Direct integration has no settings."""


class AndersonSettings(MethodSettings):
    """Settings of Anderson acceleration; see `solvers.anderson`."""

    type: Literal[1, 2] = Field(2, description="2: the least residual; 1: a residual orthogonal to the steps")
    depth: int = Field(5, ge=1, description="differences held (m)")
    mixing: float = Field(1.0, gt=0, description="mixing parameter (β)")
    every: int = Field(1, ge=1, description="periodic mixing: an Anderson step each so many evaluations")
    settled: float | None = Field(
        None, ge=-1, lt=1, description="an Anderson step instead once the residual's cosine with the last is above this"
    )
    condition_limit: float = Field(1e7, gt=1, description="the oldest differences go while the condition is above it")
    tikhonov: float = Field(0.0, ge=0, description="Tikhonov regularisation of the scaled least squares")
    restart_growth: float | None = Field(
        None, gt=1, description="go back to the best state when the residual is this many times the least so far"
    )
    stall_after: int | None = Field(
        None, ge=1, description="give up as stalled after this many evaluations without a new least residual"
    )
    preconditioned: bool = PRECONDITIONED
    step: float = STEP
    serves: int = SERVES
    bounds: bool = BOUNDS
    conserve: bool = CONSERVE


class NgmresSettings(MethodSettings):
    """Settings of nonlinear GMRES; see `solvers.ngmres`."""

    depth: int = Field(30, ge=1, description="differences held")
    mixing: float = Field(1.0, gt=0, description="mixing parameter of the plain step (β)")
    eager: bool = Field(
        False, description="evaluate every plain step before it is combined, not only where a combination was refused"
    )
    select: Literal["difference", "none"] = Field(
        "difference", description="take a combination only where it is good enough; none: take all"
    )
    gamma_a: float = Field(
        2.0, gt=0, description="it is refused where its residual is this many times the least so far"
    )
    epsilon_b: float = Field(
        0.1,
        ge=0,
        description="and where it is nearer to an older state than this share of its distance to the plain step",
    )
    delta_b: float = Field(
        0.9, ge=0, description="but not for that where its residual is below this many times the least so far"
    )
    gamma_c: float = Field(2.0, gt=0, description="it is poor where its residual is this many times the least so far")
    restart_after: int | None = Field(
        2, ge=1, description="begin a new history after this many poor combinations in a row"
    )
    condition_limit: float = Field(1e7, gt=1, description="the oldest differences go while the condition is above it")
    preconditioned: bool = PRECONDITIONED
    step: float = STEP
    serves: int = SERVES
    bounds: bool = BOUNDS
    conserve: bool = CONSERVE


class ExtrapolationSettings(MethodSettings):
    """Settings of vector extrapolation; see `solvers.extrapolation`."""

    kind: Literal["mpe", "rre", "dmd"] = Field(
        "mpe", description="minimal polynomial, reduced rank or dynamic mode extrapolation"
    )
    dimension: int = Field(10, ge=1, description="degree of the polynomial, or number of modes (k)")
    wait: int = Field(5, ge=0, description="evaluations before each window, in which fast modes decay")
    growth: float = Field(
        100.0, gt=0, description="go back to the direct run where a jump makes the residual this many times larger"
    )
    bounds: bool = BOUNDS
    conserve: bool = CONSERVE


class PtcSettings(MethodSettings):
    """Settings of pseudo-transient continuation; see `solvers.pseudo_transient`."""

    first: float = Field(20.0, gt=0, description="first pseudo-time step, in periods")
    growth: float = Field(1.3, ge=1, description="factor by which the pseudo-time step grows")
    largest: float = Field(1e4, gt=0, description="largest pseudo-time step, in periods")
    depth: int = Field(6, ge=0, description="secants held")
    cut: float = Field(0.05, ge=0, lt=1, description="singular values of the secants below this share are left out")
    shock: float = Field(
        0.7, ge=0, le=1, description="first integrate while the residual falls below this share, period by period"
    )
    stall_after: int = STALL_AFTER
    bounds: bool = BOUNDS
    conserve: bool = CONSERVE


class NewtonSettings(MethodSettings):
    """Settings of Newton-Krylov; see `solvers.newton_krylov`."""

    dimension: int = Field(20, ge=1, description="largest Krylov dimension of a Newton step")
    forcing: float = Field(0.03, gt=0, lt=1, description="largest forcing term: what may be left of the linear system")
    least: float = Field(1e-4, gt=0, lt=1, description="smallest forcing term")
    products: Literal["auto", "tangent", "difference"] = Field(
        "auto", description="how derivatives along a direction are had; auto: by the tangent where the map has one"
    )
    difference: float | None = Field(
        None,
        gt=0,
        description="size of the difference that a derivative is taken by; null: as the noise of the map asks",
    )
    preconditioned: bool = Field(True, description="use the tendency of the map, where it gives one")
    recycle: int = Field(20, ge=0, description="derivatives of earlier Newton steps that help to solve the next")
    bounds: bool = BOUNDS
    conserve: bool = CONSERVE


class ExtendedSettings(MethodSettings):
    """Settings of pseudo-transient continuation on the extended operator; see `solvers.extended`."""

    residual_days: float = Field(20.0, gt=0, description="model days that the residual is taken over")
    longest_days: float = Field(180.0, gt=0, description="model days of the longest residual, near the equilibrium")
    near: float = Field(
        0.15, ge=0, description="error estimate below which it is near: residuals are longer after one that grew, in K"
    )
    relax_days: float = Field(40.0, gt=0, description="model days of relaxation after a step")
    first: float = Field(40.0, gt=0, description="pseudo-time step up to which it is free to grow, in model years")
    gain: float = Field(200.0, gt=0, description="pseudo-time step times error estimate, in model years times K")
    growth: float = Field(2.0, ge=1, description="largest factor by which the pseudo-time step grows")
    limit: float = Field(5.0, gt=0, description="the farthest a cell may move in a step, in K")
    reach: float = Field(
        15.0,
        gt=0,
        description="the farthest a cell may move in a step, in error estimates; a fifth of it, more or less as "
        "steps turn out, where the model is left alone after each",
    )
    shock: float = Field(0.94, ge=0, le=1, description="first integrate while the residual falls below this share")
    settled: float = Field(
        0.0,
        ge=0,
        le=1,
        description="after each step, once an estimate grew, integrate while the residual falls below this share",
    )
    dates: int = Field(1, ge=1, description="with seasons, dates of each half of the year whose mean an operator is")
    late_operator: bool = Field(True, description="the operator is that of the end of the residual, not of its begin")
    neutral: float = Field(
        0.05, ge=0, description="far from the equilibrium a column is mixed where levels differ by less, in K; 0: never"
    )
    forcing: float = Field(1e-4, gt=0, lt=1, description="forcing term: what may be left of the system of a step")
    stall_after: int = STALL_AFTER
    bounds: bool = BOUNDS
    conserve: bool = CONSERVE


class SnesSettings(MethodSettings):
    """Settings of PETSc's nonlinear solvers; see `solvers.snes`."""

    kind: str = Field("anderson", description="PETSc's name of the solver: anderson, ngmres, newtonls, newtontr, …")
    options: str = Field("", description='PETSc\'s own options, "-snes_anderson_m 10"; also --petsc')
    preconditioned: bool = Field(
        False, description="precondition the linear systems of a Newton method by the tendency of the map"
    )


class MeanSettings(MethodSettings):
    """Settings of direct integration for the mean state; see `solvers.averaging`."""

    periods: int = Field(24, ge=4, description="periods after which the mean of a state at the noise floor is final")


class AutoSettings(MethodSettings):
    """`auto` chooses by itself: it has no settings."""


METHODS: dict[str, type[MethodSettings]] = {
    "picard": PicardSettings,
    "anderson": AndersonSettings,
    "ngmres": NgmresSettings,
    "extrapolation": ExtrapolationSettings,
    "ptc": PtcSettings,
    "newton": NewtonSettings,
    "extended": ExtendedSettings,
    "snes": SnesSettings,
    "mean": MeanSettings,
    "auto": AutoSettings,
    "auto-keep-basin": AutoSettings,
}


ON_DEVICES = ("picard", "anderson", "ngmres", "extrapolation")  # all they do with vectors JAX can do where these are
PRECONDITIONABLE = ("anderson", "ngmres")  # by `solvers.preconditioned`


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


def check_capability(method: str, settings: Mapping[str, Any], model: FixedPointMap) -> None:
    """Raise UsageError where the method asks for what the map does not have."""
    if method == "ptc" and not model.has_operator:
        raise UsageError(
            f"method 'ptc' needs a map that gives its tendency or takes single time steps, {model.name} does "
            "neither: use auto"
        )
    if method == "snes":
        _check_snes(settings["kind"])
    if method in (*PRECONDITIONABLE, "snes") and settings["preconditioned"] and not model.has_operator:
        raise UsageError(
            f"{method}.preconditioned=true needs a map that gives its tendency or takes single time steps, "
            f"{model.name} does neither: leave it out"
        )
    if method == "newton" and model.carries:
        raise UsageError(
            f"method 'newton' needs a map all of whose state is accelerated, {model.name} carries other variables, "
            "which would follow each trial state: use auto"
        )
    if method == "extended" and not model.has_steps:
        raise UsageError(
            f"method 'extended' needs a map that can take a single time step, {model.name} cannot: use auto"
        )
    if method == "extended" and model.no_circulation:
        raise UsageError(
            f"method 'extended' needs the balance of the circulation, which is not known for {model.name}: "
            f"it has {model.no_circulation}; use ptc"
        )


def petsc_for(what: str) -> Any:
    """petsc4py's PETSc. Raises UsageError where it is not there, for what it is needed."""
    try:
        from petsc4py import PETSc
    except (ImportError, RuntimeError) as error:
        raise UsageError(
            f"{what} PETSc's, which is not there ({error}): make distributed, or see `spinup doctor`"
        ) from error
    return PETSc


def checked_options(petsc: str) -> str:
    """PETSc's options for linear solves with operators. Raises UsageError where PETSc is not there, or where they do
    not begin with the name of one."""
    if petsc.strip():
        petsc_for("these options are")
        try:
            words = shlex.split(petsc)
        except ValueError as error:
            raise UsageError(f"PETSc's options {petsc!r}: {error}") from error
        if not is_name(words[0]):
            raise UsageError(f'PETSc\'s options {petsc!r} begin with no name, such as "-pc_type gamg" does')
        if wrong := wrong_option(petsc):
            raise UsageError(f"PETSc's options {petsc!r}: {wrong}")
    return petsc


def _check_snes(kind: str) -> None:
    """Raise UsageError where PETSc is not there, or has no such solver."""
    PETSc = petsc_for("method 'snes' is")
    kinds = [value for name, value in vars(PETSc.SNES.Type).items() if not name.startswith("_")]
    if kind not in kinds:
        raise UsageError(f"snes.kind = {kind!r} is unknown{did_you_mean(kind, kinds)}; known: {', '.join(kinds)}")


def on_devices(method: str, settings: Mapping[str, Any], model: FixedPointMap) -> FixedPointMap:
    """The map with vectors that stay on JAX's devices, where it has such and the method does nothing with a vector that
    JAX cannot do there; otherwise the map as it is."""
    if method.startswith("auto"):
        method, _, settings = choose(model, keep_basin=method == "auto-keep-basin")
    made = getattr(model, "on_devices", None)
    if made is None or method not in ON_DEVICES or settings.get("preconditioned"):
        return model
    found: FixedPointMap | None = made()
    return model if found is None else found


def bind(method: str, settings: Mapping[str, Any], model: FixedPointMap, x0: Array) -> Method:
    """The method as the driver starts it from x0."""
    if method == "picard":
        return picard
    if method.startswith("auto"):
        chosen, why, own = choose(model, keep_basin=method == "auto-keep-basin")
        algorithm = bind(chosen, check_settings(chosen, own), model, x0)
        if chosen == "anderson":
            inner = model.layout.inner
            return after_note(why, partial(alternating, method=algorithm, direct=_averaging(model), inner=inner))
        return with_direct_fallback(algorithm, why, _averaging(model))
    if method == "mean":
        return partial(_averaging(model), **settings)
    if method == "snes":
        parts = model.layout.split
        comm = None if parts is None else parts.ranks.comm
        return partial(snes, inner=model.layout.inner, comm=comm, border=not model.no_circulation, **settings)
    options = dict(settings)
    options["project"] = _projection(model, x0, bounds=options.pop("bounds"), conserve=options.pop("conserve"))
    if method == "extended":
        return partial(extended_continuation, **_in_periods(options, model))
    if method == "newton":
        options["preconditioned"] = options["preconditioned"] and model.has_operator
        options["directions"] = partial(without_totals, model.layout, model.conserved) if model.conserved else None
        options["tangent"] = _by_tangent(options.pop("products"), model)
    algorithms: dict[str, Callable[..., Flow]] = {
        "anderson": anderson,
        "ngmres": ngmres,
        "extrapolation": extrapolation,
        "ptc": pseudo_transient,
        "newton": newton_krylov,
    }
    if method == "ptc":
        options["rate"] = least_rate(model.conserved, has_steps=model.has_steps)
    how = _preconditioning(options, model) if method in PRECONDITIONABLE else None
    inner = model.layout.inner
    algorithm = partial(algorithms[method], inner=inner, **options)
    return algorithm if how is None else partial(preconditioned, method=algorithm, inner=inner, **how)


def _preconditioning(options: dict[str, Any], model: FixedPointMap) -> dict[str, Any] | None:
    """The settings of `solvers.preconditioned`, taken out of a method's; None where it is not to be preconditioned."""
    wanted, how = options.pop("preconditioned"), {name: options.pop(name) for name in ("step", "serves")}
    if not wanted:
        return None
    return how | {"stall_after": options.pop("stall_after", None), "border": not model.no_circulation}


def _by_tangent(products: str, model: FixedPointMap) -> bool:
    """Whether derivatives are the map's own. Raises UsageError where they are to be and it has none."""
    if products == "tangent" and not has_tangent(model):
        raise UsageError(f"newton.products=tangent: {model.name} {NO_TANGENT}")
    return products != "difference" and has_tangent(model)


def _averaging(model: FixedPointMap) -> Callable[..., Flow]:
    """The search for the mean state of this map."""
    if not model.has_operator:
        layout = model.layout
        return by_host(partial(mean_state, inner=layout.host.inner, operator=False), layout)
    rate = least_rate(model.conserved, has_steps=model.has_steps)
    controls, border = len(control_variates(model)), not model.no_circulation
    return partial(mean_state, inner=model.layout.inner, border=border, rate=rate, controls=controls)


def _in_periods(settings: dict[str, Any], model: FixedPointMap) -> dict[str, Any]:
    """The settings of the extended method, in time steps and periods of this map."""
    options = dict(settings)
    steps_a_day = 1 / (365.25 * model.step_years)
    for name in ("residual", "longest", "relax"):
        options[f"{name}_steps"] = max(3, round(options.pop(f"{name}_days") * steps_a_day))
    for name in ("first", "gain"):
        options[name] /= model.years
    if model.cycle_steps:  # what the seasons do within a cycle says nothing of the way to go
        options |= {"residual_steps": model.cycle_steps, "longest_steps": model.cycle_steps, "shock": 0.0}
        options["late_operator"] = False  # its seasons are those that the residual goes through
    if neutral := options.pop("neutral"):
        options["settle"] = keep_mixed(model.layout, neutral)
    return options | {"inner": model.layout.inner, "groups": water_columns(model.layout)}


def _projection(model: FixedPointMap, x0: Array, *, bounds: bool, conserve: bool) -> Callable[[Array], Array] | None:
    """What keeps a candidate physical: its bounds, and the totals of x0."""
    layout = model.layout
    if conserve and model.conserved:
        whole = layout.host if bounds else layout.host.unbounded
        wanted = totals(whole, model.conserved, layout.on_host(x0))
        return lambda x: layout.placed(conserved_within(whole, model.conserved, layout.on_host(x), wanted))
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
