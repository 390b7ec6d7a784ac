"""What the author of a function says of the variables of its state, checked: masks, volumes, bounds, units."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from solvers.fused import is_jax
from spinup.errors import UsageError
from spinup.state import Coordinate, Layout, State, Variable
from spinup.suggest import did_you_mean


class GivenVariables:
    """Parameters as of `FunctionMap`; options: those that may be given for one variable, by name, or for all of them.

    accelerate: the names of what is accelerated. masks: True in the ocean, by variable of the full state.
    Raises UsageError, as its methods do, where something does not fit the start.
    """

    def __init__(
        self,
        start: State,
        accelerate: Iterable[str] | None,
        options: Mapping[str, Any],
        units: Mapping[str, str],
        long_names: Mapping[str, str],
        coords: Mapping[str, Any],
    ) -> None:
        self._start, self._options = start, options
        self.accelerate = self._check_accelerate(accelerate)
        for option, given in {**options, "units": units, "long_names": long_names}.items():
            if isinstance(given, Mapping):
                self._check_names(given, option)
        self._units, self._long_names = dict(units), dict(long_names)
        self._coords = {
            k: c if isinstance(c, Coordinate) else Coordinate((k,), np.asarray(c)) for k, c in coords.items()
        }
        self.masks = {n: self._mask(n) for n in start}

    def dims(self, name: str) -> tuple[str, ...]:
        """Dimension names of a variable: those given, or name_0, name_1, …"""
        given = self._option("dims", name)
        rank = self._start[name].ndim
        if given is not None and (len(given) == rank or isinstance(self._options["dims"], Mapping)):
            return tuple(given)
        return tuple(f"{name}_{i}" for i in range(rank))

    def attrs(self, name: str) -> dict[str, str]:
        """Units and long name of a variable of the full state."""
        return {"units": self._units.get(name, "1"), "long_name": self._long_names.get(name, name)}

    @cached_property
    def layout(self) -> Layout:
        """Of what is accelerated."""
        return Layout(tuple(self._variable(name) for name in self.accelerate), self._coords)

    def _variable(self, name: str) -> Variable:
        scale = self._option("scale", name)
        return Variable(
            name,
            self.dims(name),
            self.masks[name],
            self._volume(name),
            units=self._units.get(name, "1"),
            long_name=self._long_names.get(name, ""),
            scale=1.0 if scale is None else float(scale),
            bounds=self._bounds(name),
            volume_units="1" if self._options["volume"] is None else "m3",
        )

    def _option(self, option: str, name: str) -> Any:
        """What was given for one variable: by name, or for all of them."""
        given = self._options[option]
        return given.get(name) if isinstance(given, Mapping) else given

    def _mask(self, name: str) -> np.ndarray:
        """Ocean cells of any variable. A mask for all applies to a carried variable where it fits."""
        given, shape = self._option("mask", name), self._start[name].shape
        fits = given is not None and np.shape(given) == shape
        if given is None or (not fits and name not in self.accelerate):
            return np.ones(shape, dtype=bool)
        if not fits:
            raise UsageError(self._wrong_shape("mask", name, np.shape(given)))
        mask = np.asarray(given)
        if mask.dtype != bool:
            mask = mask > 0.5
        if not mask.any():
            raise UsageError(f"mask of {name!r} has no ocean cell: it must be True in the ocean")
        return mask

    def _volume(self, name: str) -> np.ndarray:
        given, shape = self._option("volume", name), self._start[name].shape
        if given is None:
            return np.ones(shape)
        if np.shape(given) != shape:
            raise UsageError(self._wrong_shape("volume", name, np.shape(given)))
        volume = np.asarray(given, dtype=np.float64)
        inside = volume[self.masks[name]]
        if not (np.isfinite(inside).all() and (inside > 0).all()):
            raise UsageError(f"volume of {name!r} must be positive in every ocean cell (smallest: {inside.min():g})")
        return volume

    def _bounds(self, name: str) -> tuple[float, float] | None:
        given = self._option("bounds", name)
        if given is None:
            return None
        try:
            low, high = given
        except (TypeError, ValueError):
            raise UsageError(f"bounds of {name!r} are {given!r}: give a pair (low, high), None for no limit") from None
        low, high = -np.inf if low is None else float(low), np.inf if high is None else float(high)
        if not low < high:
            raise UsageError(f"bounds of {name!r} are ({low:g}, {high:g}): the first must be below the second")
        return low, high

    def _check_accelerate(self, names: Iterable[str] | None) -> tuple[str, ...]:
        floating = [n for n, value in self._start.items() if np.issubdtype(value.dtype, np.floating)]
        wanted = floating if names is None else names
        chosen = (wanted,) if isinstance(wanted, str) else tuple(wanted)
        self._check_names(chosen, "accelerate")
        for name in chosen:
            if name not in floating:
                raise UsageError(
                    f"cannot accelerate {name!r}: its type is {self._start[name].dtype}; "
                    "make it floating-point or carry it"
                )
        if len(set(chosen)) < len(chosen):
            raise UsageError(f"accelerate names a variable twice: {', '.join(chosen)}")
        if not chosen:
            raise UsageError("there is nothing to accelerate: the start needs a floating-point variable")
        return chosen

    def _check_names(self, names: Iterable[str], option: str) -> None:
        for name in names:
            if name not in self._start:
                raise UsageError(
                    f"{option}: the state has no variable {name!r}{did_you_mean(name, self._start)}; "
                    f"it has {', '.join(self._start)}"
                )

    def totals(self, groups: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
        """Groups of variables whose summed content is conserved, checked."""
        seen: set[str] = set()
        checked = []
        for group in groups:
            if isinstance(group, str):
                raise UsageError(f"conserved={groups!r} must be groups of names: write (({group!r},),)")
            names = tuple(group)
            self._check_names(names, "conserved")
            for name in names:
                if name not in self.accelerate:
                    raise UsageError(
                        f"conserved: {name!r} is carried; a total can only be kept of accelerated variables"
                    )
                if name in seen:
                    raise UsageError(f"conserved: {name!r} is named twice; a variable belongs to one total")
                seen.add(name)
            units = {self._units.get(name, "1") for name in names}
            if len(units) > 1:
                raise UsageError(f"conserved: {', '.join(names)} cannot be added up, their units are {sorted(units)}")
            checked.append(names)
        return tuple(checked)

    def check_start(self) -> None:
        """Raise UsageError where the start is not finite, or out of bounds, or what was given does not fit it."""
        for name, value in self._start.items():
            rank = len(self.dims(name))
            if rank != value.ndim:
                raise UsageError(f"dims of {name!r} are {self.dims(name)}, but it has {value.ndim} dimensions")
            bad = self.not_finite(name, value)
            if bad is not None:
                raise UsageError(f"start: {bad}; give a finite value, or leave the cell out with `mask`")
        for v in self.layout.variables:
            if not (np.isfinite(v.scale) and v.scale > 0):
                raise UsageError(f"scale of {v.name!r} is {v.scale:g}: it must be positive")
            low, high = v.bounds or (-np.inf, np.inf)
            value = np.asarray(self._start[v.name])
            beyond = v.mask & ~((value >= low) & (value <= high))
            if beyond.any():
                raise UsageError(
                    f"start: {v.name} is {value[beyond][0]:g} at {self._where(v.name, beyond)}, "
                    f"outside its bounds ({low:g}, {high:g}); mend the start or the bounds"
                )

    def check_returned(self, name: str, value: Any, who: str) -> None:
        """Raise UsageError where a variable that a function gave back is of another shape or type than the start's."""
        wanted = self._start[name]
        shape = getattr(value, "shape", None)
        if shape is None:
            value = np.asarray(value)
            shape = value.shape
        if shape != wanted.shape:
            raise UsageError(
                f"{who} returned {name!r} with shape {shape}, it was given {wanted.shape}: "
                "it must leave every shape as it is"
            )
        if value.dtype != wanted.dtype:
            remedy = "make the start of that type, or convert the result"
            if value.dtype == np.float32 and wanted.dtype == np.float64:
                remedy = (
                    "if it is a JAX function, pass jit=True or call jax.config.update('jax_enable_x64', True) "
                    "before any array is made"
                )
            raise UsageError(f"{who} returned {name!r} as {value.dtype}, it was given {wanted.dtype}: {remedy}")

    def not_finite(self, name: str, value: Any) -> str | None:
        """Words for the first ocean cell that is not finite, or None."""
        if not np.issubdtype(value.dtype, np.inexact):
            return None
        if is_jax(value):
            import jax.numpy as jnp

            if bool(jnp.isfinite(value).all()):  # on the device: the whole field need not come to the host
                return None
            value = np.asarray(value)
        bad = self.masks[name] & ~np.isfinite(value)
        if not bad.any():
            return None
        more = f" (first of {int(bad.sum())} values that are not finite)" if bad.sum() > 1 else ""
        return f"{name} is {value[bad][0]} at {self._where(name, bad)}{more}"

    def _where(self, name: str, cells: np.ndarray) -> str:
        index = np.argwhere(cells)[0]
        return ", ".join(f"{d}={i}" for d, i in zip(self.dims(name), index, strict=True)) or "the one value it has"

    def _wrong_shape(self, option: str, name: str, shape: tuple[int, ...]) -> str:
        return (
            f"{option} has shape {shape}, but {name!r} has {self._start[name].shape}: "
            f"give {option}={{{name!r}: …}} of the variable's shape"
        )
