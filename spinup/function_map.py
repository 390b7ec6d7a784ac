"""A fixed-point map from a function: one period of any model written in NumPy or JAX."""

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from solvers import StepOperator
from solvers.fused import is_jax
from spinup.compilation import Compiled, double_precision, name_of, use_compilation_cache
from spinup.device_layout import DeviceLayout, shardings_of
from spinup.distributed.groups import Groups, unfailing
from spinup.distributed.ranks import within_model
from spinup.distributed.split import Split
from spinup.distributed.stretches import places_of
from spinup.errors import ModelFailure, SpinupError, UsageError
from spinup.given_variables import GivenVariables
from spinup.local_step import Derivative, Differences, Linearised, Shared, StepJacobian
from spinup.maps import Content, DiagnosticSpec, checked_control_variates, parted
from spinup.patch import Patch
from spinup.state import Fields, Layout, State
from spinup.structure import Structure
from spinup.tangent import JaxTangent

T = TypeVar("T")

#: A function that raises one of these met numbers it could not go on with: the model failed, not the program.
NUMERICAL_ERRORS = (ArithmeticError, np.linalg.LinAlgError)


class FunctionMap:
    """T(x) of a function that takes a state and returns it one period later.

    JAX is used where `jit` is set, the start holds a JAX array or the state is nested; only then is it
    imported, and switched to double precision. The state then lies on the device that JAX takes, or on those that the
    start is spread over by `jax.sharding.NamedSharding`, of one mesh for all its arrays; there it stays, and so do the
    vectors of the methods that can (`spinup.methods.ON_DEVICES`).

    Parameters
    ----------
    function : callable
        One period: a state in, the state out, of the same structure, shapes and types. It is handed
        copies (NumPy) or immutable arrays (JAX), so it may write into what it is given.
    start : dict of arrays, array, or any JAX pytree
        The state to start from. Nested structures are flattened to dotted names ("ice.thickness",
        "layers.0"); a bare array is called "x".
    accelerate : names, optional
        Variables of the solver's vector; all floating-point ones if not given. The others are carried.
    years : float
        Model years of one evaluation.
    mask, volume : array or dict of arrays, optional
        True in the ocean; cell volume, in any unit. Of the variables' shape; an array holds for every variable.
        Everywhere, and equal volumes, if not given.
    units, long_names : dict of str, optional
    bounds : (low, high) or dict of those, optional
        Physical limits of a variable; None for a side without any.
    scale : float or dict of floats, optional
        The change that counts as one unit in the inner product, in the variable's units; 1 if not given.
    conserved : tuple of tuples of names
        Groups of variables whose summed content the function conserves: (("po4", "dop"),).
    dims : tuple or dict of tuples of str, optional
        Names of the dimensions; a tuple holds for every variable of that rank.
    coords : dict of Coordinate or arrays, optional
        Coordinates by dimension.
    diagnostics : dict, optional
        name: (units, long name, function of the state), a scalar computed after every evaluation.
    control_variates : sequence of str
        Of these, those that say how the forcing fluctuated in the period that ends with a state, and whose expectation
        is known to be 0: their part of a mean state (`spinup.open_mean`) is taken out of it.
    tendency : callable, optional
        What is known of the function's Jacobian: the state in, out the change of the accelerated variables over a
        period for a unit of each, if it were kept, linearised; sparse, (n, n), in the order of the vector (`layout`).
        An annual mean of a seasonal model will do. It makes the methods `newton` and `ptc` possible, and the estimate
        of the error; it is called with NumPy arrays or JAX's, as the function is.
    step : callable, optional
        In place of `tendency`: the full state in, out the state one time step later, of the same structure. The
        Jacobian is found by perturbing it (`spinup.local_step`), so a cell must answer to cells near it only, or in its
        column. A period need not be made of just these steps: the Jacobian is that of the season that the state and the
        step have.
    steps : int, optional
        How many of these a period has; where `step` is given.
    jvp : callable, optional
        The function's derivative: a state and a change of it in, of the same structure, the change a period later out,
        to first order; what is not accelerated does not change. JAX has it for any function under `jit` that it can
        differentiate. The method `newton` takes it in the place of differences.
    jit : bool
        Compile the function with `jax.jit`.
    name : str, optional
        The function's own name if not given.

    Raises
    ------
    UsageError
        A start that is not finite or out of bounds, a name that is no variable, a mask or volume of
        another shape, a group that cannot be conserved, a `step` without its `steps`, arrays spread over different
        meshes of devices.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        start: Any,
        *,
        accelerate: Iterable[str] | None = None,
        years: float = 1.0,
        mask: Any = None,
        volume: Any = None,
        units: Mapping[str, str] | None = None,
        long_names: Mapping[str, str] | None = None,
        bounds: Any = None,
        scale: Any = None,
        conserved: Iterable[tuple[str, ...]] = (),
        dims: Any = None,
        coords: Mapping[str, Any] | None = None,
        diagnostics: Mapping[str, DiagnosticSpec] | None = None,
        control_variates: Iterable[str] = (),
        tendency: Callable[[Any], Any] | None = None,
        step: Callable[[Any], Any] | None = None,
        steps: int | None = None,
        jvp: Callable[[Any, Any], Any] | None = None,
        jit: bool = False,
        name: str | None = None,
    ) -> None:
        if not years > 0:
            raise UsageError(f"years={years!r}: an evaluation must take a positive number of model years")
        self.years = float(years)
        self._function_name = name_of(function)
        self.name = name or self._function_name
        if jit:
            double_precision()
        self._structure = Structure(start)
        self._jax = jit or any(is_jax(value) for value in self._structure.values.values())
        self._jit = jit
        self._tendency, self._jvp = tendency, jvp
        self._bare_function = function
        self._groups: Groups | None = None
        self._split: Split | None = None
        self._linearised: Linearised
        self._step, self._steps = step, _checked_steps(tendency, step, steps)
        self.has_operator = tendency is not None or step is not None
        if self._jax:
            double_precision()
        self._shardings = shardings_of(self._structure.values) if self._jax else {}
        self._function = Compiled(function) if jit else function
        self._start = {n: self._own(n, value) for n, value in self._structure.values.items()}
        by_option = {"mask": mask, "volume": volume, "bounds": bounds, "scale": scale, "dims": dims}
        self._given = GivenVariables(self._start, accelerate, by_option, units or {}, long_names or {}, coords or {})
        self._accelerate, self._masks = self._given.accelerate, self._given.masks
        self.conserved = self._given.totals(conserved)
        self.diagnostics, self._diagnose = parted(diagnostics)
        self.control_variates = checked_control_variates(control_variates, self.diagnostics)
        self._given.check_start()

    # --- what a map is ---------------------------------------------------------------------------

    def start(self) -> State:
        """The full state to start from, by dotted name."""
        return dict(self._start)

    has_steps = False  # it is a function of a whole period
    members = 1
    cycle_steps = 0
    no_circulation = "no single steps"
    contents: Mapping[str, Content] = MappingProxyType({})
    rigid_lid = False

    @property
    def step_years(self) -> float:
        """Model years of one `step`; 0 where there is none."""
        return self.years / self._steps if self._steps else 0.0

    @property
    def operator_years(self) -> float:
        """Model years that the last `operator` cost, or the first will: those of the steps that were perturbed, for the
        first also those that its stencil is found by. 0 of a `tendency`."""
        if self._step is None:
            return 0.0
        if not self._jacobian.found:
            self._jacobian.find(self._start)
        return self._jacobian.cost * self.step_years

    def advance(self, state: State, steps: int, toward: Fields | None = None) -> State:
        """There are no single steps: raises UsageError."""
        raise UsageError(f"{self.name} is a function of a whole period: it has no single steps")

    def operator(self, state: State, *, border: bool = False) -> StepOperator:
        """What `tendency` says at `state`, as the operator of one step a period long; or that of one `step`.

        Raises UsageError where there is neither, the tendency is of another shape or the step is not local, and
        ModelFailure where the step fails."""
        if self._step is not None:
            return self._operator_of_step(state)
        if self._tendency is None:
            raise UsageError(f"{self.name} says nothing of its Jacobian: give FunctionMap a `tendency` or a `step`")
        number = self._patch.first(self.layout.size)[1]
        matrix = self._together(f"tendency of {self.name}", lambda: self._matrix_of_tendency(state, number))
        return StepOperator(self._patch.rows(matrix), 1)

    def _matrix_of_tendency(self, state: State, number: int) -> Any:
        """The rows of this rank's unknowns; number: of unknowns of all ranks."""
        from scipy.sparse import csr_array

        assert self._tendency is not None
        matrix, own = csr_array(self._tendency(self._nested(state))), self.layout.size
        if matrix.shape != (own, number):
            its = "the vector is" if self._split is None else f"this rank has {own} numbers of a vector that is"
            raise UsageError(f"tendency of {self.name} has shape {matrix.shape}, {its} of {number} numbers")
        if not np.isfinite(matrix.data).all():
            raise UsageError(f"tendency of {self.name} is not finite")
        return matrix

    def _operator_of_step(self, state: State) -> StepOperator:
        if not self._jacobian.found:  # at the start, so that a run that is resumed finds the same
            self._jacobian.find(self._start)
        return StepOperator(self._jacobian.minus_one(self._jacobian(state)), self._steps)

    def split_over(self, split: Split) -> None:
        """Know of the ranks that have the other cells, which what was given exchanges numbers with: the operator is of
        all ranks then, its matrices `solvers.rows.Rows`. A `tendency` gives this rank's rows; its columns are the
        unknowns of all ranks, those of the first rank first."""
        self._split = split

    @property
    def _patch(self) -> Patch:
        return Patch({}, 0, self._split)

    @cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the unknowns of this rank are in the order of a single process, each a number that grows with that
        order; and none of a border."""
        return places_of(self.layout, self._patch), np.empty(0, int)

    def _together(self, who: str, work: Callable[[], T]) -> T:
        """What work by all ranks gives this one. Raises what is wrong on one of them on all: what its author's code
        raises is a UsageError."""
        if self._split is None:
            return work()

        def told() -> T:
            try:
                return work()
            except SpinupError:
                raise
            except Exception as error:
                raise UsageError(f"{who} raised {type(error).__name__}: {error}") from error

        return within_model(self._split.ranks, told)

    @property
    def on_groups(self) -> Callable[[Groups], None] | None:
        """Have groups of ranks, of which each has the map, share out the perturbed steps of the operator; None where
        there is no `step`."""
        return None if self._step is None else self._share

    def _share(self, groups: Groups) -> None:
        groups.have(self)
        self._groups = groups

    def linearise(self, state: State) -> None:
        """Make the derivative of `step` at a state, for `answers`."""
        self._linearised = self._linearise(state)

    def answers(self, directions: np.ndarray) -> np.ndarray:
        """To directions, of the step at the state that it was last linearised at; shapes as in `spinup.local_step`."""
        return self._linearised(directions)

    @cached_property
    def _jacobian(self) -> StepJacobian:
        def linearise(state: State) -> Linearised:
            if self._groups is None:
                return self._linearise(state)
            unfailing(self._groups.each("linearise", [(state,)] * self._groups.number))
            return Shared(self._linearised, self._groups)

        layout = replace(self.layout.host, split=self._split)
        return StepJacobian(layout, linearise, who=f"step of {self.name}", precision=self._precision)

    @property
    def _precision(self) -> float:
        """Of the numbers that are accelerated, relative."""
        return max(float(np.finfo(self._start[name].dtype).eps) for name in self._accelerate)

    @cached_property
    def _linearise(self) -> Callable[[State], Linearised]:
        """A state to the derivative of `step`: by JAX where the function is compiled and it can, or by differences."""
        assert self._step is not None
        layout = replace(self.layout.host, split=self._split)
        who, step, precision = f"step of {self.name}", self._step, self._precision
        whole = self._jit and self._split is None  # what exchanges numbers with other ranks takes one direction
        tangent = JaxTangent(self._by_name(step, who), self._accelerate) if whole else None
        if tangent is not None and not tangent.exists_at(self._start):
            tangent = None
        compiled = Compiled(step) if self._jit else step

        def linearise(state: State) -> Linearised:
            at = {name: self._own(name, state[name]) for name in self._start}
            if tangent is not None:
                return Derivative(layout, tangent, at, precision)

            def after(moved: State) -> Fields:
                found = self._together(who, lambda: self._applied(compiled, who, moved))
                return {n: np.asarray(field) for n, field in self.fields(found).items()}

            return Differences(layout, after, at, precision)

        return linearise

    def _by_name(self, function: Callable[[Any], Any], who: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """A function of the state as one of its values by name."""
        return lambda values: self._structure.flatten_like_start(function(self._structure.nested(values)), who)

    @cached_property
    def has_tangent(self) -> bool:
        """Whether `tangent` is there: given as `jvp`, or JAX's."""
        return self._jvp is not None or (self._jit and self._jax_tangent.exists_at(self._start))

    @cached_property
    def _jax_tangent(self) -> JaxTangent:
        return JaxTangent(self._by_name(self._bare_function, self.name), self._accelerate)

    def tangent(self, state: State, fields: Fields) -> Fields:
        """The change of the accelerated variables a period later for a change `fields` of them at `state`, to first
        order, on the grid. Raises UsageError where there is none, ModelFailure where it fails numerically."""
        if not self.has_tangent:
            raise UsageError(f"{self.name} has no derivative: give FunctionMap a `jvp`, or jit=True")
        changes = {
            name: self._own(name, np.asarray(fields[name], self._start[name].dtype)) for name in self._accelerate
        }
        if self._jvp is None:
            found = self._jax_tangent({n: self._own(n, state[n]) for n in self._start}, changes)
        else:
            still = {n: self._own(n, np.zeros_like(value)) for n, value in self._start.items()}
            try:
                returned = self._jvp(self._nested(state), self._structure.nested(still | changes))
            except NUMERICAL_ERRORS as error:
                raise ModelFailure(f"jvp of {self.name} raised {type(error).__name__}: {error}") from error
            found = self._structure.flatten_like_start(returned, f"jvp of {self.name}")
        return self.fields(found)

    def prepare(self) -> None:
        """Compile the function, if it is to be. Raises UsageError where JAX cannot."""
        if isinstance(self._function, Compiled):
            self._function.prepare(self._nested(self._start))

    def evaluate(self, state: State) -> State:
        """The full state one period later.

        Raises ModelFailure where the function fails numerically or returns values that are not finite,
        and UsageError where it returns something else than a state.
        """
        return self._applied(self._function, self.name, state)

    def _applied(self, function: Callable[[Any], Any], who: str, state: State) -> State:
        """What a function makes of the state, checked."""
        try:
            returned = function(self._nested(state))
        except NUMERICAL_ERRORS as error:
            raise ModelFailure(f"{who} raised {type(error).__name__}: {error}") from error
        out = self._structure.flatten_like_start(returned, who)
        result = {}
        for name, value in out.items():
            self._given.check_returned(name, value, who)
            result[name] = value if is_jax(value) else np.array(value)
        if not self._finite_on_device(result):
            for name in result:
                self._check_finite(name, result[name], who)
        return result

    def fields(self, state: State) -> Fields:
        """Accelerated variables on their grid, in double precision; JAX's where the state is."""
        if self._shardings:
            return {name: self._placed(name, state[name]).astype(np.float64) for name in self._accelerate}
        return {name: np.asarray(state[name], dtype=np.float64) for name in self._accelerate}

    def replace(self, state: State, fields: Fields) -> State:
        """`state` with other accelerated variables in the ocean; land stays as it is."""
        state = dict(state)
        if self._shardings:
            given, own = ({n: self._placed(n, values[n]) for n in self._accelerate} for values in (fields, state))
            return state | self._in_ocean({n: self._sea[n] for n in own}, given, own)
        for name in self._accelerate:
            old = np.asarray(state[name])
            state[name] = self._own(name, np.where(self._masks[name], fields[name], old).astype(old.dtype))
        return state

    def diagnose(self, state: State) -> dict[str, float]:
        """The values of `diagnostics`."""
        return {name: float(function(self._nested(state))) for name, function in self._diagnose.items()}

    def dims(self, name: str) -> tuple[str, ...]:
        """Dimension names of a variable: those given, or name_0, name_1, …"""
        return self._given.dims(name)

    def attrs(self, name: str) -> dict[str, str]:
        """Units and long name of a variable of the full state."""
        return self._given.attrs(name)

    def describe(self) -> dict[str, Any]:
        """Settings that define the map: JSON types only."""
        known = {"tendency": self._tendency, "jvp": self._jvp, "step": self._step}
        return {
            "map": type(self).__name__,
            "function": self._function_name,
            "years": self.years,
            "accelerate": list(self._accelerate),
            "conserved": [list(group) for group in self.conserved],
            "shapes": {name: list(value.shape) for name, value in self._start.items()},
            "types": {name: str(value.dtype) for name, value in self._start.items()},
            "jit": self._jit,
            **({"steps": self._steps} if self._steps else {}),
            **({"control_variates": list(self.control_variates)} if self.control_variates else {}),
            **{what: True for what, given in known.items() if given is not None},
        }

    @property
    def carries(self) -> bool:
        """Whether the state holds more than what is accelerated."""
        return len(self._accelerate) < len(self._start)

    @cached_property
    def layout(self) -> Layout:
        return self._given.layout

    def on_devices(self) -> "FunctionMap | None":
        """The same map whose vectors stay on the devices that the state is on; None where that is the host's memory."""
        if not self._shardings:
            return None
        use_compilation_cache()  # of what is done with vectors: small programs, one for every length of the history
        model = copy(self)
        own = {v.name: self._shardings[v.name] for v in self.layout.variables}
        model.layout = DeviceLayout(self.layout.variables, self.layout.coords, shardings=own)
        return model

    def _check_finite(self, name: str, value: Any, who: str) -> None:
        bad = self._given.not_finite(name, value)
        if bad is not None:
            raise ModelFailure(f"{who} returned a state in which {bad}")

    def _finite_on_device(self, state: State) -> bool:
        """Whether all of it is JAX's and finite in the ocean: one number comes to the host. False says nothing."""
        if not self._shardings or not all(is_jax(value) for value in state.values()):
            return False
        values = {n: self._placed(n, v) for n, v in state.items() if np.issubdtype(v.dtype, np.inexact)}
        return bool(self._all_finite({n: self._sea[n] for n in values}, values))

    # --- to and from the function ----------------------------------------------------------------

    def _own(self, name: str, value: Any) -> Any:
        """An array nobody else writes into: JAX where the function is, NumPy otherwise."""
        if not self._jax:
            return np.array(value)
        import jax.numpy as jnp

        if self._shardings:
            value = self._placed(name, value)
        return jnp.array(value, dtype=value.dtype)  # given a type, it is a strong one: what was compiled still fits

    def _placed(self, name: str, value: Any) -> Any:
        """An array on the devices that the start has its variable on."""
        import jax

        own = value if is_jax(value) else np.array(value)  # JAX may work in the memory of NumPy's arrays
        return jax.device_put(own, self._shardings[name])

    @cached_property
    def _sea(self) -> dict[str, Any]:
        """The masks on the devices; None where there is no land."""
        return {n: None if mask.all() else self._placed(n, mask) for n, mask in self._masks.items()}

    @cached_property
    def _in_ocean(self) -> Callable[[Any, Any, Any], Any]:
        """Fields that are `new` in the ocean and `old` on land, of the type of these."""
        import jax
        import jax.numpy as jnp

        def in_ocean(sea: dict[str, Any], new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
            found = {n: new[n] if sea[n] is None else jnp.where(sea[n], new[n], old[n]) for n in old}
            return {n: value.astype(old[n].dtype) for n, value in found.items()}

        return jax.jit(in_ocean)

    @cached_property
    def _all_finite(self) -> Callable[[Any, Any], Any]:
        """Whether values are finite in the ocean."""
        import jax
        import jax.numpy as jnp

        def all_finite(sea: dict[str, Any], values: dict[str, Any]) -> Any:
            finite = [jnp.isfinite(v) if sea[n] is None else jnp.isfinite(v) | ~sea[n] for n, v in values.items()]
            return jnp.stack([jnp.all(part) for part in finite]).all() if finite else jnp.array(True)

        return jax.jit(all_finite)

    def _nested(self, state: State) -> Any:
        """The structure the function knows, of arrays that it may write into."""
        return self._structure.nested({name: self._own(name, state[name]) for name in self._start})


def _checked_steps(tendency: Any, step: Any, steps: Any) -> int:
    """How many steps a period has; 0 where no step is given. Raises UsageError where what is given does not fit."""
    if step is None:
        if steps is not None:
            raise UsageError(f"steps={steps!r} is how many a period has of the function `step`: give that, too")
        return 0
    if tendency is not None:
        raise UsageError("`tendency` and `step` say the same, the Jacobian of the model: give one of them")
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise UsageError(f"steps={steps!r}: say how many a period has of the function `step`, 1 or more")
    return int(steps)
