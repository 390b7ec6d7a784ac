"""A fixed-point map from any Veros setup: stock Veros, one compiled program for a period.

The whole time step is traced once and put in `jax.lax.scan`. Two things stand in its way and are
taken out while it is traced: the `if` on a traced value in `sanity_check` (a blow-up is found at the
end of the period instead, and so is one that stays finite), and the diagnostics, which write files.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from solvers import Border, StepOperator
from solvers.lumping import Cells
from solvers.seasons import of_dates, of_seasons
from spinup.circulation import CGrid, Sparse, chain_of_rows, circulation_balance, layers_of
from spinup.compilation import use_compilation_cache
from spinup.convection import stably_stratified
from spinup.distributed.groups import Groups, unfailing
from spinup.distributed.on_ranks import OnRanks
from spinup.distributed.ranks import several
from spinup.distributed.split import Split, split
from spinup.distributed.veros import cells, decompose
from spinup.distributed.veros_border import border_on_ranks, places_of
from spinup.errors import ModelFailure, UsageError
from spinup.maps import Content, Diagnostic, DiagnosticSpec, checked_control_variates, parted
from spinup.patch import Patch
from spinup.period import Period, parse_period
from spinup.state import Coordinate, Fields, Layout, State, Variable
from spinup.suggest import did_you_mean
from spinup.veros_circulation import GHOST, c_grid, halo_off, interior, no_balance, without_halo
from spinup.veros_diagnostics import FORCING, Over, available, contents, make_diagnose, make_fluxes
from spinup.veros_operator import Coefficients, probes, step_operator, vertical_mixing
from spinup.veros_response import Respond, make_respond
from spinup.veros_setup import setup_class, traceable
from spinup.veros_slopes import NEARLY_NEUTRAL, WITH_SEASONS

GHOST_DIMS = ("xt", "yt", "xu", "yu")
TIMESTEPS = "timesteps"
LARGE = 1e9  # bytes of what does not change, above which it is no constant of the compiled program: of these compiling
# makes several copies. Below, constants are a little faster.
#: By variable the largest value that an ocean can have, far beyond what it has, and its units. A prognostic eddy energy
#: can grow for years while all numbers are finite.
MOST = {"u": (100.0, "m s-1"), "v": (100.0, "m s-1"), "eke": (1e4, "m2 s-2"), "tke": (1e4, "m2 s-2")}
SEASONS = 2  # operators of a year whose forcing has seasons
LEVELS = {"taum1": 0, "tau": 1, "taup1": 2}  # canonical order of the time levels

#: What is known of Veros' tracers beyond their own metadata: CF name, scale of the inner product
#: (the change that counts as one unit), physical limits.
TRACERS: dict[str, dict[str, Any]] = {
    "temp": {"standard_name": "sea_water_conservative_temperature", "scale": 1.0, "bounds": (-3.0, 45.0)},
    "salt": {"standard_name": "sea_water_absolute_salinity", "scale": 1.0, "bounds": (0.0, 50.0)},
}


class VerosMap:
    """T(x) of a Veros setup.

    Parameters
    ----------
    setup : function, class, str or Path
        A function that imports Veros and returns a `VerosSetup` subclass, such a class, the name of an
        installed setup ("acc_basic"), or a setup file.
    period : str or int
        Model time of one evaluation: "1 year", "5 years", "90 days", or a number of steps. A year is
        `days_per_year` days.
    settings : dict, optional
        Veros settings by name, over those of the setup.
    accelerate : sequence of str
        Tracers of the solver's vector; everything else is carried from the last evaluation.
    seasonal : bool
        Whether the forcing goes through a yearly cycle. The period is then to be of whole years.
    restart_file : path, optional
        A Veros restart file to start from instead of the setup's initial conditions.
    diagnostics : dict, optional
        name: (units, long name, function of the full state), scalars computed after every evaluation beside the map's
        own.
    control_variates : sequence of str
        Of these, those that say how the forcing fluctuated in the period that ends with a state, and whose expectation
        is known to be 0: their part of a mean state (`spinup.open_mean`) is taken out of it.

    Raises
    ------
    UsageError
        An unknown setup or setting, a setup that does not import, a period that is no whole number
        of steps, a restart file of another grid, a diagnostic named as one of the map's own.
    """

    def __init__(
        self,
        setup: Any,
        *,
        period: str | int = "1 year",
        settings: dict[str, Any] | None = None,
        accelerate: tuple[str, ...] = ("temp", "salt"),
        restart_file: str | os.PathLike[str] | None = None,
        days_per_year: float = 366.0,
        seasonal: bool = False,
        diagnostics: Mapping[str, DiagnosticSpec] | None = None,
        control_variates: Iterable[str] = (),
    ) -> None:
        cls = setup_class(setup)
        self.name = cls.__name__
        self._ranks = several()
        if self._ranks is None:  # on several ranks a program is for their communicator, which another start has not
            use_compilation_cache()
        self._setup = self._build(cls, settings or {})
        self._template = self._setup.state
        self._markov = [name for name, meta in self._template.var_meta.items() if meta.write_to_restart and meta.active]
        with self._template.variables.unlock():  # in canonical order here, so that `start` needs no copy of them
            for name, value in self._canonical({n: getattr(self._template.variables, n) for n in self._markov}).items():
                setattr(self._template.variables, name, value)
        self._accelerate = self._check_tracers(accelerate)
        self.dt = float(self._template.settings.dt_tracer)
        self.period: Period = parse_period(period, dt=self.dt, days_per_year=days_per_year)
        self.years = self.period.years
        self.cycle_steps = self._cycle() if seasonal else 0
        self._restart_file = restart_file
        self._groups: Groups | None = None
        self._way: tuple[State, State, int] | None = None  # a state, one that it led to, and after how many steps
        self._own_diagnostics, self._own_functions = parted(diagnostics)
        self.control_variates = checked_control_variates(control_variates, self._own_diagnostics)
        self.conserved: tuple[tuple[str, ...], ...] = ()  # every setup has its own sources and sinks

    has_operator = has_steps = carries = True
    members = 1

    # --- what a map is ---------------------------------------------------------------------------

    def start(self) -> State:
        """The setup's initial state (or the restart file's), time levels in canonical order."""
        if self._restart_file is not None:
            return self.read_restart(self._restart_file)
        return {name: getattr(self._template.variables, name) for name in self._markov}

    def prepare(self) -> None:
        """Compile the time loop, so that the first evaluation costs what every other does."""
        _ = self._advance

    def evaluate(self, state: State) -> State:
        """The full state one period later. Raises ModelFailure where it is no ocean's any more (`MOST`)."""
        return self.advance(state, self.period.steps)

    def advance(self, state: State, steps: int, toward: Fields | None = None) -> State:
        """The full state `steps` time steps later; with `toward`, the change of the accelerated variables to these is
        added to the tracers bit by bit, a share a step. Raises ModelFailure as `evaluate` does."""
        import jax.numpy as jnp

        increments = self._no_increments
        if toward is not None:
            now = self.fields(state)
            increments = {n: self._share(jnp.asarray((toward[n] - now[n]) / steps)) for n in self._accelerate}
        begin, done = (state, 0) if toward is not None else self._on_the_way(state, steps)
        out = dict(self._advance(begin, steps - done, increments))
        for name, (most, units) in MOST.items():
            if name in out and not bool((jnp.abs(out[name]) <= most).all()):
                largest = np.abs(np.asarray(out[name])).max()  # NumPy's knows of NaN, XLA's need not
                what = f"{largest:.2g} {units}" if np.isfinite(largest) else "not finite"
                raise ModelFailure(f"{self.name} blew up: {name} is {what} after {steps} steps of {self.dt:g} s")
        return out

    def fields(self, state: State) -> Fields:
        """Accelerated variables on the grid, shape (zt, yt, xt), at the current time level."""
        return _at_tau(state, self._accelerate)

    def replace(self, state: State, fields: Fields) -> State:
        """`state` with other accelerated variables. The change is added at every time level, so a
        field that does not change leaves the state as it was, to the bit."""
        state = dict(state)
        for name in self._accelerate:
            state[name] = self._put(state[name], np.asarray(fields[name]).T)
        return state

    def operator(self, state: State, *, border: bool = False, dates: int = 1) -> StepOperator:
        """The sparse Jacobian of one step of the accelerated tracers (see `veros_operator`); with `border`, the answer
        of the circulation too (see `circulation`).

        Where the forcing has seasons, those of each half of the year that begins at `state`: of its middle, or the
        mean of so many dates spread evenly over it. The way there is not integrated again by an `advance` from the same
        state."""
        if not self.cycle_steps:
            return self._operator_at(state, border=border)
        found, begin, done = [], state, 0
        for number in range(SEASONS * dates):
            at = (2 * number + 1) * self.cycle_steps // (2 * SEASONS * dates)
            begin, done = self.advance(begin, at - done), at
            found.append(self._operator_at(begin, border=border))
        parts = [of_dates(found[number * dates : (number + 1) * dates]) for number in range(SEASONS)]
        self._way = (dict(state), begin, done)
        return of_seasons(parts, self.cycle_steps)

    def _on_the_way(self, state: State, steps: int) -> tuple[State, int]:
        """The state on the way of `steps` from `state` that is known already, and its steps."""
        if self._way is None or self._way[2] > steps:
            return state, 0
        begin, later, done = self._way
        same = all(state[name] is value or np.array_equal(state[name], value) for name, value in begin.items())
        same = self._patch.all(same)
        return (later, done) if same else (state, 0)

    def _operator_at(self, state: State, *, border: bool) -> StepOperator:

        def implicit_of(coefficients: Coefficients) -> Sparse:
            mixing = [vertical_mixing(self._grid, coefficients[name], self.dt) for name in ("K_33", "kappaH")]
            return mixing[0] @ mixing[1]

        found, coefficients = step_operator(
            self.layout, self._responses, implicit_of, state, steps=self.period.steps, patch=self._patch
        )
        found = replace(found, cells=self.cells)
        if not border:
            return found
        if reason := self.no_circulation:
            raise UsageError(f"the balance of the circulation is not known for {self.name}: it has {reason}")
        slopes = {name: coefficients[f"drho_d{name}"] for name in TRACERS}
        # Where water convects, its mean gradient is unstable only as long as mixing undoes what comes of it; carried by
        # the response of the circulation alone it would make single columns grow without bounds.
        stable = stably_stratified(
            _at_tau(state, (*TRACERS, *self._accelerate)), self._grid.mask, self._grid.dzt, slopes
        )
        carried = {name: stable[name] for name in self._accelerate}
        if self._ranks is not None:
            viscosity = coefficients["kappaM"]
            return replace(found, border=border_on_ranks(self._patch, self._grid, viscosity, carried, slopes, self.dt))
        balance = circulation_balance(self._grid, coefficients["kappaM"], carried, slopes)
        layers = layers_of(self._grid, balance.unknowns, len(self._accelerate))
        chain = chain_of_rows(self._grid, layers)
        response = (self.dt * balance.advection).tocsr()
        return replace(found, border=Border(response, balance.source, balance.balance, chain, layers))

    def on_groups(self, groups: Groups) -> None:
        """Have groups of ranks, of which each has the whole grid, share out the perturbed steps of the operator."""
        groups.have(self)
        self._groups = groups

    def respond(self, state: State, perturbations: np.ndarray) -> tuple[np.ndarray, Coefficients]:
        """The change after a step for each of some perturbations, and coefficients; see `step_operator`."""
        return self._respond(state, perturbations)

    def _responses(self, state: State, perturbations: np.ndarray) -> tuple[np.ndarray, Coefficients]:
        """The same, by all groups."""
        if self._groups is None:
            return self.respond(state, perturbations)
        shares = np.array_split(perturbations, self._groups.number)
        found = unfailing(self._groups.each("respond", [(state, share) for share in shares]))
        return np.concatenate([changes for changes, _ in found]), found[0][1]

    @cached_property
    def cells(self) -> Cells:
        """Where the unknowns of the vector are."""
        variables = self.layout.variables
        v = variables[0]
        whole = self._patch.whole(v.shape, v.dims)
        level, row, column = np.unravel_index(self._patch.places(v.shape, v.dims)[v.mask], whole)
        kinds = [level + number * whole[0] for number in range(len(variables))]
        return Cells(
            np.concatenate(kinds),
            np.tile(row, len(variables)),
            np.tile(column, len(variables)),
            np.concatenate([variable.volume[variable.mask] for variable in variables]),
        )

    @cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the unknowns of this rank are in the order of a single process: those of the vector, and those of the
        operator's border; each a number that grows with that order."""
        return places_of(self._patch, self._grid, len(self._accelerate))

    @property
    def no_circulation(self) -> str:
        """Why there is no border to the operator, in words; "" where there is one."""
        return no_balance(self._template.settings)

    @property
    def step_years(self) -> float:
        """Model years of one time step."""
        return self.years / self.period.steps

    @cached_property
    def operator_years(self) -> float:
        """Model years that `operator` costs, of one date of each season."""
        return self.step_years * probes(self.layout, self._patch) * (SEASONS if self.cycle_steps else 1)

    @cached_property
    def layout(self) -> Layout:
        vs = self._template.variables
        mask = interior(vs.maskT) > 0.5
        area = interior(vs.area_t)
        volume = area[None] * np.asarray(vs.dzt)[:, None, None]
        variables = []
        for name in self._accelerate:
            meta = self._template.var_meta[name]
            variables.append(
                Variable(
                    name,
                    ("zt", "yt", "xt"),
                    mask,
                    volume,
                    units=meta.units.replace("deg C", "degC"),
                    long_name=meta.long_description,
                    **TRACERS.get(name, {}),
                )
            )
        return Layout(tuple(variables), self._coords())

    @cached_property
    def contents(self) -> dict[str, Content]:
        """Heat and salt of the tracers that are accelerated."""
        vs, found = self._template.variables, self._contents
        surface = self._over.sum(interior(vs.area_t)[interior(vs.maskT)[-1] > 0.5])
        return {
            v.name: replace(found[v.name], factor=found[v.name].factor * self._over.sum(v.volume[v.mask]) / surface)
            for v in self.layout.variables
            if v.name in found
        }

    @cached_property
    def _contents(self) -> dict[str, Content]:
        """Of every tracer, accelerated or not, by metre of water."""
        settings = self._template.settings
        sources = bool(settings.enable_tempsalt_sources)
        return contents(float(settings.rho_0), self._seconds_per_year, self._forced, sources=sources)

    @property
    def _seconds_per_year(self) -> float:
        return self.dt * self.period.steps / self.years

    @cached_property
    def _forced(self) -> tuple[str, ...]:
        """The tracers with a flux through the surface: `set_forcing` sets it, or it is not 0 everywhere anyway."""
        state, template = self._veros_state({}), self._template.variables
        self._setup.set_forcing(state)
        found = []
        for tracer, (name, _) in FORCING.items():
            set_here = getattr(state.variables, name) is not getattr(template, name)
            if not self._patch.all(not (set_here or np.any(getattr(template, name)))):
                found.append(tracer)
        return tuple(found)

    @cached_property
    def _over(self) -> Over:
        """The whole grid, for sums and the like."""
        if self._ranks is None:
            return Over(0, self._template.settings.ny)
        rows, ny = self._parts[0]["yt"]
        return Over(rows.start, ny, self._ranks.total, self._ranks.largest)

    @cached_property
    def diagnostics(self) -> dict[str, Diagnostic]:
        """Units and long names of what `diagnose` gives. Raises UsageError where one that was given has the name of
        another."""
        there = available(self._template.settings, self._contents)
        if taken := sorted(there.keys() & self._own_diagnostics):
            raise UsageError(f"diagnostics: {taken[0]!r} is one that every VerosMap has; give yours another name")
        return there | self._own_diagnostics

    @property
    def rigid_lid(self) -> bool:
        """Whether the volume of water cannot change: with a streamfunction it cannot."""
        return bool(self._template.settings.enable_streamfunction)

    @cached_property
    def diagnose(self) -> Callable[[State], dict[str, float]]:
        """Energy, tracer content, what changes it, and transports of a full state; see `veros_diagnostics`. And what
        else was given."""
        own = self._own_functions.items()
        variables = self._template.variables
        scalars = make_diagnose(variables, self._template.settings, LEVELS["tau"], self._over)
        fluxes = make_fluxes(variables, self._contents, self._seconds_per_year, self._over)
        return lambda state: (
            scalars(state) | fluxes(self._forcing(state)) | {name: float(of(state)) for name, of in own}
        )

    def dims(self, name: str) -> tuple[str, ...]:
        """Dimensions of a variable of the full state; those with a halo say so."""
        dims = self._template.var_meta[name].dims or ()
        return tuple(f"{d}_halo" if d in GHOST_DIMS else d for d in dims)

    def attrs(self, name: str) -> dict[str, str]:
        """Units and long name of a variable of the full state, as Veros has them."""
        meta = self._template.var_meta[name]
        return {"units": meta.units.replace("deg C", "degC") or "1", "long_name": meta.long_description}

    def describe(self) -> dict[str, Any]:
        """Setup, period and every Veros setting."""
        return {
            "kind": "veros",
            "setup": self.name,
            "steps": self.period.steps,
            "dt_tracer": self.dt,
            "accelerate": list(self._accelerate),
            **({"cycle_steps": self.cycle_steps} if self.cycle_steps else {}),
            **({"control_variates": list(self.control_variates)} if self.control_variates else {}),
            "veros_settings": {name: _plain(value) for name, value in self._template.settings.items()},
        }

    def read_restart(self, path: str | os.PathLike[str]) -> State:
        """The full state in a Veros restart file. Raises UsageError where the file is of another setup."""
        import h5py
        from veros.restart import read_from_h5

        path, state = Path(path), self._template
        if not path.is_file():
            raise UsageError(f"restart file {path} does not exist")
        wanted = {name: state.var_meta[name] for name in self._markov}
        try:
            with h5py.File(path, "r") as file:
                _, values = read_from_h5(state.dimensions, wanted, file, "core", state.settings.enable_cyclic_x)
        except (OSError, KeyError) as error:
            raise UsageError(f"{path} is not a restart file of {self.name}: {error}") from error
        except (ValueError, TypeError) as error:
            raise UsageError(f"restart file {path} has another grid than {self.name}: {error}") from error
        missing = sorted(set(wanted) - set(values))
        if missing:
            raise UsageError(f"restart file {path} lacks {', '.join(missing)}: written with other settings?")
        return dict(self._canonical(values))

    def _cycle(self) -> int:
        """Time steps of a year. Raises UsageError where the period is not of whole years."""
        years = round(self.years)
        if abs(self.years - years) > 1e-9 or not years:
            raise UsageError(f"a seasonal map needs a period of whole years, not {self.years:g}: period='1 year'")
        return self.period.steps // years

    def on_ranks(self) -> Any:
        """The same as a map of all ranks, where there are several, each with a part of the grid."""
        if self._ranks is None:
            return self
        model: Any = self
        return OnRanks(model, self._ranks, *self._parts, steps=True)

    @cached_property
    def _split(self) -> Split:
        """Which rank has which cells."""
        assert self._ranks is not None
        return split(self._ranks, *self._parts)

    @property
    def _parts(self) -> tuple[dict[str, tuple[slice, int]], dict[str, tuple[str, int]]]:
        """The cells of this rank, and the dimensions that have a halo; see `OnRanks`."""
        dims = {dim: (f"{dim[0]}t", 0) for dim in GHOST_DIMS if dim[1] != "t"}
        halos = {f"{dim}_halo": (f"{dim[0]}t", GHOST) for dim in GHOST_DIMS}
        return cells(self._template.settings.nx, self._template.settings.ny), dims | halos

    @cached_property
    def _patch(self) -> Patch:
        """The cells of this rank, with as many around them as the operator and the circulation reach."""
        closed = {"yt": False, "xt": self._cyclic}
        return Patch(closed, GHOST, None if self._ranks is None else self._split)

    # --- building --------------------------------------------------------------------------------

    def _build(self, cls: type, settings: dict[str, Any]) -> Any:
        from veros.settings import SETTINGS

        for name in settings:
            if name not in SETTINGS:
                raise UsageError(f"Veros has no setting {name!r}{did_you_mean(name, SETTINGS)}")
        try:
            decompose(cls, settings, self._ranks)
            setup = cls(override=settings)
            with warnings.catch_warnings():
                # Of Veros' global set-ups with JAX: a user can't mend it, and nothing is lost by it.
                warnings.filterwarnings("ignore", "scatter inputs have incompatible types", FutureWarning)
                setup.setup()
        except UsageError:
            raise
        except Exception as error:  # whatever a user's setup raises is the user's to see
            raise UsageError(f"Veros setup {cls.__name__} failed: {type(error).__name__}: {error}") from error
        setup.state.diagnostics.clear()
        return setup

    def _check_tracers(self, names: tuple[str, ...]) -> tuple[str, ...]:
        grid = ("xt", "yt", "zt", TIMESTEPS)
        possible = [n for n in self._markov if tuple(self._template.var_meta[n].dims or ()) == grid]
        for name in names:
            if name not in possible:
                raise UsageError(
                    f"cannot accelerate {name!r}{did_you_mean(name, possible)}; possible: {', '.join(possible)}"
                )
        return tuple(names)

    def _coords(self) -> dict[str, Coordinate]:
        vs = self._template.variables
        degrees = self._template.settings.coord_degree
        attrs = {
            "xt": {"units": "degrees_east", "standard_name": "longitude", "axis": "X"}
            if degrees
            else {"units": "m", "axis": "X"},
            "yt": {"units": "degrees_north", "standard_name": "latitude", "axis": "Y"}
            if degrees
            else {"units": "m", "axis": "Y"},
            "zt": {"units": "m", "standard_name": "height", "positive": "up", "axis": "Z"},
        }
        values = {"xt": halo_off(vs.xt), "yt": halo_off(vs.yt), "zt": np.asarray(vs.zt)}
        return {name: Coordinate((name,), values[name], attrs[name]) for name in attrs}

    def _veros_state(self, markov: State) -> Any:
        """Veros' own state object with these Markov variables; the template stays as it is."""
        import jax

        leaves, structure = jax.tree_util.tree_flatten(self._template)
        state = jax.tree_util.tree_unflatten(structure, leaves)
        with state.variables.unlock():
            for name, value in markov.items():
                setattr(state.variables, name, value)
        return state

    # --- the compiled period ---------------------------------------------------------------------

    @cached_property
    def _advance(self) -> Any:
        import jax

        template = self._template
        leaves, structure = jax.tree_util.tree_flatten(template)
        fixed = leaves if sum(value.nbytes for value in leaves) > LARGE else None

        def integrate(fixed: Any, markov: State, steps: int, increments: State) -> State:
            if fixed is None:
                return self.integrate(markov, steps, increments)
            self._template = jax.tree_util.tree_unflatten(structure, fixed)
            try:
                return self.integrate(markov, steps, increments)
            finally:
                self._template = template

        compiled = jax.jit(integrate)
        if self._ranks:  # JAX loses the order of messages between ranks where it is compiled ahead of time
            compiled(fixed, self.start(), 0, self._no_increments)
            return partial(compiled, fixed)
        return partial(compiled.lower(fixed, self.start(), self.period.steps, self._no_increments).compile(), fixed)

    def integrate(self, markov: State, steps: int, increments: State) -> State:
        """`steps` time steps of the Markov variables, to be traced, and at each the increments to all time levels of
        tracers, without halo. Time levels end in canonical order."""
        import jax

        def body(_: Any, carry: State) -> State:
            state = self._veros_state(
                {n: v + increments[n][..., None] if n in increments else v for n, v in carry.items()}
            )
            self._setup.step(state)
            return {name: getattr(state.variables, name) for name in carry}

        with traceable():
            markov = jax.lax.fori_loop(0, steps, body, dict(markov))
        return self._canonical(markov)

    @cached_property
    def _forcing(self) -> Any:
        """The fluxes and sources of the tracers that the next step from a full state takes, by Veros' names; compiled.

        They are no part of the Markov state: Veros' step computes them from it first."""
        import jax

        names = [name for pair in FORCING.values() for name in pair if name in self._template.variables]

        @jax.jit
        def forcing(markov: State) -> dict[str, Any]:
            state = self._veros_state(markov)
            self._setup.set_forcing(state)
            return {name: getattr(state.variables, name) for name in names}

        return forcing

    @cached_property
    def _no_increments(self) -> State:
        import jax.numpy as jnp

        return {n: jnp.zeros(self._template.variables.maskT.shape) for n in self._accelerate}

    @cached_property
    def _grid(self) -> CGrid:
        return c_grid(self._template.variables, self._template.settings)

    @cached_property
    def _share(self) -> Any:
        """A field on the grid (nz, ny, nx) as Veros has it: with halo, 0 on land."""
        import jax
        import jax.numpy as jnp
        from veros.core import utilities

        ocean = np.asarray(self._template.variables.maskT) > 0.5  # NumPy's: this may be first called under a trace
        inner = (slice(GHOST, -GHOST), slice(GHOST, -GHOST))

        def share(field: Any) -> Any:
            full = jnp.zeros(ocean.shape).at[inner].set(field.T)
            return jnp.where(ocean, utilities.enforce_boundaries(full, self._cyclic), 0.0)

        return jax.jit(share)

    @property
    def _cyclic(self) -> bool:
        return bool(self._template.settings.enable_cyclic_x)

    @cached_property
    def _respond(self) -> Respond:
        neutral = WITH_SEASONS if self.cycle_steps else NEARLY_NEUTRAL
        return make_respond(self._setup, self._veros_state, self._accelerate, self._share, neutral)

    def _canonical(self, markov: State) -> State:
        """Roll the time levels so that taum1, tau, taup1 are 0, 1, 2."""
        import jax.numpy as jnp

        order = jnp.stack([jnp.asarray(markov[level]) for level in LEVELS])
        out = {}
        for name, value in markov.items():
            dims = self._template.var_meta[name].dims
            rotates = dims is not None and dims[-1] == TIMESTEPS
            out[name] = jnp.take(value, order, axis=-1) if rotates else jnp.asarray(value)
        for level, index in LEVELS.items():
            out[level] = jnp.asarray(index, dtype=out[level].dtype)
        return out

    @cached_property
    def _put(self) -> Any:
        """Replace the interior of a tracer (halo included by the model's own boundary exchange)."""
        import jax
        import jax.numpy as jnp
        from veros.core import utilities

        mask = jnp.asarray(self._template.variables.maskT) > 0.5
        cyclic = self._template.settings.enable_cyclic_x

        def put(old: Any, new: Any) -> Any:
            tau = old[..., LEVELS["tau"]]
            inner = (slice(GHOST, -GHOST), slice(GHOST, -GHOST))
            full = utilities.enforce_boundaries(tau.at[inner].set(new), cyclic)
            full = jnp.where(mask, full, tau)
            moved = old + (full - tau)[..., None]
            return moved.at[..., LEVELS["tau"]].set(full)

        return jax.jit(put)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _at_tau(state: State, names: Iterable[str]) -> Fields:
    """Tracers on the grid, (zt, yt, xt), at the current time level."""
    return {name: np.asarray(without_halo(state[name])[..., LEVELS["tau"]]).T for name in names}
