"""What the driver needs of a model."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeGuard

from solvers import StepOperator
from spinup.errors import UsageError
from spinup.state import Fields, Layout, State
from spinup.suggest import did_you_mean

DiagnosticSpec = tuple[str, str, Callable[[Any], Any]]  # units, long name, function of the state


@dataclass(frozen=True)
class Diagnostic:
    """A scalar of the full state, computed after every evaluation."""

    units: str
    long_name: str


@dataclass(frozen=True)
class Content:
    """What an accelerated variable is the density of, as temperature is of heat.

    factor: of a change of the variable's volume mean, in its units per model year, to that of the content by ocean
    surface and time, in `units`.
    surface: names of the diagnostics of what goes through the surface in a state, in `units`, mean over the ocean's
    surface, positive into the ocean: net, and the parts of it where the ocean gains and where it loses. Empty where the
    map has none. interior: that of the sources within the ocean, "" where the map has none.
    """

    quantity: str
    units: str
    factor: float
    surface: tuple[str, str, str] | tuple[()] = ()
    interior: str = ""


class FixedPointMap(Protocol):
    """T(x): a full state in, the full state one period later out.

    The solver's vector is `layout.pack(fields(state))`. For a candidate x the driver evaluates
    `evaluate(replace(carried, layout.unpack(x)))`, where `carried` is the full state the last
    successful evaluation returned (or the start).
    """

    name: str
    years: float  # model years of one evaluation, of a single member
    members: int  # states that an evaluation integrates, each of which costs model years: more than one of an ensemble
    diagnostics: dict[str, Diagnostic]
    has_operator: bool  # whether it gives the Jacobian of its tendency: that of a time step, or of a whole period
    has_steps: bool  # whether it can take single time steps
    cycle_steps: int  # time steps after which its forcing repeats; 0 where that is steady, or it takes no single steps
    carries: bool  # whether its state holds more than what is accelerated
    no_circulation: str  # why the operator has no border of the circulation, in words; "" where it has
    conserved: tuple[tuple[str, ...], ...]  # groups of variables whose summed content the map conserves
    contents: Mapping[str, Content]  # of the accelerated variables of which it is known
    rigid_lid: bool  # whether its volume of water cannot change

    @property
    def layout(self) -> Layout: ...

    def start(self) -> State:
        """The full state to start from: a dictionary of arrays."""
        ...

    def prepare(self) -> None:
        """What is done once, before the first evaluation: compile, say."""
        ...

    def evaluate(self, state: State) -> State:
        """The full state one period later. Raises ModelFailure; never writes into `state`."""
        ...

    def fields(self, state: State) -> Fields:
        """The accelerated variables on their grid."""
        ...

    def replace(self, state: State, fields: Fields) -> State:
        """`state` with other accelerated variables; unchanged to the bit where they do not change."""
        ...

    def advance(self, state: State, steps: int, toward: Fields | None = None) -> State:
        """The full state `steps` time steps later, only where `has_steps`. With `toward` the change of the
        accelerated variables to these is added bit by bit. Raises ModelFailure; never writes into `state`."""
        ...

    def operator(self, state: State, *, border: bool = False) -> StepOperator:
        """The sparse Jacobian of one time step at `state`, only where `has_operator`; with `border`, the answer of the
        circulation too."""
        ...

    @property
    def step_years(self) -> float:
        """Model years of one time step; only where `has_steps`."""
        ...

    @property
    def operator_years(self) -> float:
        """Model years that `operator` costs, of one date of each season."""
        ...

    def diagnose(self, state: State) -> dict[str, float]:
        """The values of `diagnostics`."""
        ...

    def dims(self, name: str) -> tuple[str, ...]:
        """Dimension names of the full state's variable `name`, for the store."""
        ...

    def attrs(self, name: str) -> dict[str, str]:
        """Units and long name of the full state's variable `name`, for the store."""
        ...

    def describe(self) -> dict[str, Any]:
        """Settings that define the map, for the record: JSON types only."""
        ...


def control_variates(model: FixedPointMap) -> tuple[str, ...]:
    """The map's diagnostics that say how its forcing fluctuated in the period that ends with a state, and whose
    expectation is 0."""
    return tuple(getattr(model, "control_variates", ()))


def parted(
    specs: Mapping[str, DiagnosticSpec] | None,
) -> tuple[dict[str, Diagnostic], dict[str, Callable[[Any], Any]]]:
    """What diagnostics a user gave are called, and the functions that compute them."""
    given = (specs or {}).items()
    return {name: Diagnostic(spec[0], spec[1]) for name, spec in given}, {name: spec[2] for name, spec in given}


def checked_control_variates(names: Iterable[str], diagnostics: Iterable[str]) -> tuple[str, ...]:
    """The names. Raises UsageError where one is no diagnostic of the user's."""
    names, known = tuple(names), list(diagnostics)
    for name in names:
        if name not in known:
            raise UsageError(
                f"control_variates: {name!r} is none of the diagnostics given{did_you_mean(name, known)}; "
                f"given: {', '.join(known) or 'none'}"
            )
    return names


def with_cells(model: FixedPointMap, operator: StepOperator) -> StepOperator:
    """An operator as a run keeps it, which does not say where its unknowns are, as the map made it."""
    return replace(operator, cells=getattr(model, "cells", None))


def template(model: FixedPointMap) -> State:
    """A state of the map's names, shapes and types: its start, where it has none that costs less."""
    return getattr(model, "template", None) or model.start()


class SeasonalMap(FixedPointMap, Protocol):
    """A map whose forcing goes through a cycle of `cycle_steps`."""

    def operator(self, state: State, *, border: bool = False, dates: int = 1) -> StepOperator:
        """The operators of the seasons of the cycle that begins at `state`, each the mean of so many of its dates."""
        ...


def has_seasons(model: FixedPointMap) -> TypeGuard[SeasonalMap]:
    """Whether the map's forcing goes through a cycle."""
    return model.cycle_steps > 0


def operator_of(model: FixedPointMap, state: State, border: bool, dates: int) -> tuple[StepOperator, float]:
    """The map's operator at `state`, of so many dates of each season where there are seasons, and its model years."""
    if has_seasons(model):
        operator = model.operator(state, border=border, dates=dates)
    else:
        operator = model.operator(state, border=border)
    return operator, years_of_operator(model, dates)


def years_of_operator(model: FixedPointMap, dates: int) -> float:
    """Model years that this costs."""
    return model.operator_years * (dates if has_seasons(model) else 1)


NO_TANGENT = (
    "cannot give the derivative of a period: make it a FunctionMap with jit=True or a jvp, or set "
    "newton.products=difference"
)


class TangentMap(FixedPointMap, Protocol):
    """A map that can give the derivative of a period."""

    has_tangent: bool

    def tangent(self, state: State, fields: Fields) -> Fields:
        """The change of the accelerated variables a period later for a change `fields` of them at `state`, to first
        order, on the grid. Raises ModelFailure; never writes into `state`."""
        ...


def has_tangent(model: FixedPointMap) -> TypeGuard[TangentMap]:
    """Whether the map can give the derivative of a period."""
    return bool(getattr(model, "has_tangent", False))
