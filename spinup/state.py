"""What a state is: named variables, which of them are accelerated, and one flat vector.

A model's full state is a dictionary of arrays, as the model keeps them. Of these a few are
*accelerated*: they make up the vector the solver works on. All others are *carried*: they come from
the last evaluation. The `Layout` knows the accelerated ones on their grid; land is never in the vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from solvers import InnerProduct
from spinup.errors import ModelFailure, UsageError

if TYPE_CHECKING:
    from spinup.distributed.split import Split

T = TypeVar("T")

State = dict[str, Any]
Fields = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Variable:
    """One accelerated variable.

    mask and volume have the variable's shape; the mask is True in the ocean. `scale` is the change
    that counts as one unit in the inner product (in `units`); `bounds` are the physical limits a
    solver's candidate is projected on. `whole` is the volume of the ocean cells of all ranks, where
    this one holds a part of them.
    """

    name: str
    dims: tuple[str, ...]
    mask: np.ndarray
    volume: np.ndarray
    units: str = "1"
    long_name: str = ""
    standard_name: str | None = None
    scale: float = 1.0
    bounds: tuple[float, float] | None = None
    volume_units: str = "m3"
    whole: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.mask.shape

    @cached_property
    def size(self) -> int:
        """Number of ocean cells."""
        return int(self.mask.sum())

    @cached_property
    def weights(self) -> np.ndarray:
        """Volume fraction of each ocean cell, (size,)."""
        volume = self.volume[self.mask]
        return volume / (volume.sum() if self.whole is None else self.whole)


@dataclass(frozen=True, eq=False)
class Coordinate:
    """A coordinate of the grid: its dimensions, values and CF attributes."""

    dims: tuple[str, ...]
    values: np.ndarray
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Layout:
    """How the accelerated variables make up one vector of shape (n,).

    With `split` all this is of the cells of one rank; norms, rms, means and what is agreed upon are of all ranks.
    """

    variables: tuple[Variable, ...]
    coords: dict[str, Coordinate] = field(default_factory=dict)
    split: "Split | None" = None

    @cached_property
    def size(self) -> int:
        return sum(v.size for v in self.variables)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each variable lies in the vector."""
        ends = np.cumsum([v.size for v in self.variables])
        return {v.name: slice(int(e) - v.size, int(e)) for v, e in zip(self.variables, ends, strict=True)}

    def pack(self, fields: Mapping[str, Any]) -> np.ndarray:
        """Fields on the grid to the vector (n,). Raises ValueError where a shape is wrong."""
        parts = []
        for v in self.variables:
            values = np.asarray(fields[v.name])
            if values.shape != v.shape:
                raise ValueError(f"{v.name} has shape {values.shape}, expected {v.shape}")
            parts.append(values[v.mask])
        return np.concatenate(parts)

    def unpack(self, x: Any, fill: float = np.nan) -> Fields:
        """The vector (n,) to fields on the grid, `fill` on land."""
        x = np.asarray(x)
        fields = {}
        for v in self.variables:
            fields[v.name] = np.full(v.shape, fill, dtype=x.dtype)
            fields[v.name][v.mask] = x[self.slices[v.name]]
        return fields

    @property
    def host(self) -> "Layout":
        """That of the same vector as NumPy's."""
        return self

    def on_host(self, x: Any) -> np.ndarray:
        """The vector as NumPy's, (n,): what a run keeps."""
        return np.asarray(x)

    def placed(self, x: Any) -> Any:
        """A vector that a run kept, (n,), where the method's are."""
        return x

    def logged(self, x: Any) -> Any:
        """What the store is given of the vector x: its fields."""
        return self.unpack(x)

    @cached_property
    def inner(self) -> InnerProduct:
        """Volume-weighted inner product: its norm is the rms over variables and ocean, each
        variable in units of its scale."""
        weights = [v.weights / (v.scale**2 * len(self.variables)) for v in self.variables]
        return InnerProduct(np.concatenate(weights), None if self.split is None else self.split.ranks.total)

    def rms(self, x: Any) -> dict[str, float]:
        """Volume-weighted rms of each variable of the vector x, in the variable's units."""
        x = np.asarray(x)
        squares = self.total([np.sum(v.weights * x[self.slices[v.name]] ** 2) for v in self.variables])
        return {v.name: float(np.sqrt(square)) for v, square in zip(self.variables, squares, strict=True)}

    def means(self, x: Any) -> dict[str, float]:
        """Volume mean of each variable of the vector x, in the variable's units."""
        x = np.asarray(x)
        means = self.total([np.sum(v.weights * x[self.slices[v.name]]) for v in self.variables])
        return {v.name: float(mean) for v, mean in zip(self.variables, means, strict=True)}

    def total(self, mine: Sequence[float]) -> np.ndarray:
        """Sums over the cells of this rank to those over all cells: one reduction."""
        sums = np.array(mine, dtype=float)
        return sums if self.split is None else self.split.ranks.total(sums)

    def largest(self, mine: float) -> float:
        """The largest of the ranks' numbers."""
        return mine if self.split is None else self.split.ranks.largest(mine)

    def largest_of(self, mine: np.ndarray) -> np.ndarray:
        """The largest of the ranks' numbers, of each in an array."""
        return mine if self.split is None else np.max(self.split.ranks.comm.allgather(mine), axis=0)

    def union(self, mine: set[T]) -> set[T]:
        """Of the ranks' sets."""
        return mine if self.split is None else set().union(*self.split.ranks.comm.allgather(mine))

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        return flag if self.split is None else self.split.ranks.any(flag)

    def first(self, words: str | None, patience: float) -> str | None:
        """The words of the first rank that has any; see `Ranks.first`."""
        return words if self.split is None else self.split.ranks.first(words, patience)

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Lower and upper bound of every element, (n,) each; None where no variable has any."""
        if all(v.bounds is None for v in self.variables):
            return None
        lower, upper = np.full(self.size, -np.inf), np.full(self.size, np.inf)
        for v in self.variables:
            if v.bounds is not None:
                lower[self.slices[v.name]], upper[self.slices[v.name]] = v.bounds
        return lower, upper

    @property
    def unbounded(self) -> "Layout":
        """The same without bounds."""
        return replace(self, variables=tuple(replace(v, bounds=None) for v in self.variables))

    def check_start(self, fields: Mapping[str, Any]) -> None:
        """Raise UsageError where a start state has another shape than the grid, or holds NaN or Inf."""
        try:
            self.check_finite(self.pack(fields))
        except ValueError as error:
            raise UsageError(f"start state: {error}") from error
        except ModelFailure as error:
            raise UsageError(f"start state: {error}: mend it or start from another state") from error

    def check_finite(self, x: np.ndarray) -> None:
        """Raise ModelFailure naming the first element of x that is not finite."""
        bad = np.flatnonzero(~np.isfinite(x))
        if bad.size == 0:
            return
        for v in self.variables:
            part = self.slices[v.name]
            if part.start <= bad[0] < part.stop:
                cell = np.argwhere(v.mask)[bad[0] - part.start]
                where = ", ".join(f"{dim}={i}" for dim, i in zip(v.dims, cell, strict=True))
                raise ModelFailure(
                    f"{v.name} is {x[bad[0]]} at {where} (first of {bad.size} values that are not finite)"
                )
