"""An approximate inverse of a sparse matrix of unknowns in layers: multigrid with fewer layers, and with wider columns.

A level has fewer layers than the one before (`layers.py`). An unknown is interpolated linearly between the centres of
its column; residuals are summed by the transpose, times thickness; coarse matrices are Galerkin products. On a second
coarse level, of all layers, 2 x 2 columns are one (`lumped_columns.py`), and so on from both (multiple semicoarsening:
W. A. Mulder, J. Comput. Phys. 83 (1989), 303-323). What acts at a distance, barotropic flow and the first baroclinic
modes, needs few layers, but boundary currents as narrow as a cell; modes of many layers are wide in the horizontal;
what is neither is left to the smoother. The level with both is one, whichever way it is come by. Those with the fewest
layers are factorised, and those of columns so wide that few unknowns are left.

A coarse matrix may be nearly singular by chance, where a growing mode of the finer one decays on it. Its correction is
huge; so one that changes the residual by many times what it is goes only as far as the residual falls.

The smoother solves patches of 2 x 2 columns one after the other, there and back (multiplicative Schwarz: B. Smith,
P. Bjorstad and W. Gropp, Domain Decomposition, Cambridge University Press 1996), patches of one colour at once. On
the finest level also between the corrections: that saves a fourth of the iterations there, hardly any on others.
What a patch holds: `patches.py`.

The patches' inverses grow with the number of columns only. A level with fewer layers has half to two thirds of the
unknowns of the one before, one of wider columns a fourth.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from solvers.chain_factors import Solve
from solvers.layers import LESS, Layers, Level, coarsened, found_in
from solvers.lumped_columns import (
    FRICTION,
    Staggering,
    held_by_constraints,
    lateral_friction,
    lumped,
    staggering,
)
from solvers.patches import patch_inverses, patches
from solvers.petsc_factors import row_scale

SMALL = 5000  # unknowns of lumped columns that are factorised
LARGEST = 10.0  # what a correction may change the residual by, in units of it; beyond, only as much as makes it least
SINGLE, INDEX = 4, 4  # bytes of a number in single precision, and of where it is in a sparse matrix
ITERATIVE = "iterations instead, which take longer"  # than LU factors, in the user's log


def layered_factors(
    matrix: Any, layers: Layers, levels: list[Level], factorise: Callable[[Any, Layers], Solve]
) -> Solve:
    """A function b -> x, (n,) each, with matrix x = b roughly, for the sparse matrix (n, n): a V-cycle. Not linear
    where a correction is cut short.

    levels: as of `coarser_levels`. factorise: of a coarse matrix, and where its unknowns are. Raises SingularMatrix.
    """
    from scipy.sparse import csr_array

    matrix = csr_array(matrix)
    staggered = staggering(held_by_constraints(matrix), layers)
    whole = _InOneProcess(matrix, lateral_friction(matrix, layers, staggered), layers, layers.thickness, factorise)
    return v_cycle(whole, [level.group for level in levels], staggered)


C = TypeVar("C")  # what a system keeps of a coarser level


class System(Protocol[C]):
    """A matrix, the lateral friction in it, and where its unknowns are."""

    def fewer(self, group: np.ndarray) -> C:
        """The level where layers are groups, for each layer its own."""

    def wider(self, staggered: Staggering) -> C:
        """The level where 2 x 2 columns are one."""

    def is_small(self, wider: C) -> bool:
        """Whether a level of wider columns is to be factorised."""

    def onto(self, coarser: C, friction: float = 1.0) -> Self:
        """The Galerkin product, its lateral friction so many times as much."""

    def factorised(self) -> Solve:
        """An inverse of the matrix."""

    def parts(self) -> "Parts":
        """What a cycle on it is made of."""

    def between(self, coarser: C, layers: Layers) -> "Between":
        """The way there and back to a coarser level; layers: of that level, as its own system has them."""

    @property
    def layers(self) -> Layers: ...


@dataclass(frozen=True, eq=False)
class Between:
    """down: the residual to the right side of a coarser level. up: its solution to a correction."""

    down: Callable[[np.ndarray], np.ndarray]
    up: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Parts:
    """scale: of the rows, (n,); the residual is scaled. colours: for each a function of the solution and the residual,
    which solves its patches and brings both up to date. product: with the scaled matrix. dot: an inner product."""

    scale: np.ndarray
    colours: list[Callable[[np.ndarray, np.ndarray], None]]
    product: Callable[[np.ndarray], np.ndarray]
    dot: Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True, eq=False)
class _InOneProcess:
    """A `System`; weights: what its rows are summed up by, (n,). inverse_of: of a coarse matrix, and its layers."""

    matrix: Any
    friction: Any
    layers: Layers
    weights: np.ndarray
    inverse_of: Callable[[Any, Layers], Solve]

    def fewer(self, group: np.ndarray) -> "_Coarser":
        spread, _, layers = coarsened(self.layers, group)
        return spread, layers

    def wider(self, staggered: Staggering) -> "_Coarser":
        return lumped(self.layers, staggered)

    def is_small(self, wider: "_Coarser") -> bool:
        return is_small(len(wider[1].row), len(self.layers.row))

    def onto(self, coarser: "_Coarser", friction: float = 1.0) -> "_InOneProcess":
        from scipy.sparse import csr_array, diags_array

        spread, layers = coarser
        gather = csr_array(spread.T @ diags_array(self.weights))
        lateral = csr_array(gather @ self.friction @ spread)
        matrix = csr_array(gather @ self.matrix @ spread + (friction - 1) * lateral)
        return replace(
            self, matrix=matrix, friction=friction * lateral, layers=layers, weights=np.ones(len(layers.row))
        )

    def factorised(self) -> Solve:
        return self.inverse_of(self.matrix, self.layers)

    def parts(self) -> Parts:
        from scipy.sparse import csc_array, csr_array, diags_array

        scale = row_scale(self.matrix)
        scaled = csr_array(diags_array(scale) @ self.matrix)
        found = patches(held_by_constraints(scaled), self.layers)
        inverses = [(part, patch_inverses(scaled[part][:, part], patch)) for part, patch in found.values()]
        matrix = scaled.astype(np.float32)
        columns = csc_array(matrix)

        def colour(part: np.ndarray, solve: Solve) -> Callable[[np.ndarray, np.ndarray], None]:
            own = csc_array(columns[:, part])

            def smooth(x: np.ndarray, rest: np.ndarray) -> None:
                step = solve(rest[part])
                x[part] += step
                rest -= own @ step

            return smooth

        return Parts(scale, [colour(*one) for one in inverses], lambda x: matrix @ x, np.dot)

    def between(self, coarser: "_Coarser", layers: Layers) -> Between:
        from scipy.sparse import csr_array

        spread, places = coarser
        spread = csr_array(spread[:, found_in(layers, places)], dtype=np.float32)
        weights = (self.weights / row_scale(self.matrix)).astype(np.float32)
        return Between(lambda rest: spread.T @ (weights * rest), lambda x: spread @ x.astype(np.float32))


_Coarser = tuple[Any, Layers]  # `spread` of a level, and where its unknowns are


def is_small(lumped: int, unknowns: int) -> bool:
    """Whether so many lumped ones of so many unknowns are few enough to be factorised, or hardly fewer."""
    return lumped <= SMALL or lumped > LESS * unknowns


def v_cycle(system: System, groups: list[np.ndarray], staggered: Staggering) -> Solve:
    """An approximate inverse of the finest matrix. groups: of the layers, for each level with fewer."""
    return _inverse(system, groups, staggered, finest=True).solve


@dataclass(frozen=True, eq=False)
class _Inverse:
    """An approximate inverse of a level, where its unknowns are, and that of the level with fewer layers, if any."""

    solve: Solve
    layers: Layers
    fewer: "_Inverse | None" = None


def _inverse(
    system: System,
    groups: list[np.ndarray],
    staggered: Staggering,
    shared: _Inverse | None = None,
    *,
    finest: bool = False,
) -> _Inverse:
    """shared: the level of lumped columns, where it is known. finest: whether the level is; it has patches between its
    corrections as well."""
    if not groups:
        return _Inverse(system.factorised(), system.layers)
    wider = system.wider(staggered)
    if shared is None:
        shared = _inverse(system.onto(wider, FRICTION), [] if system.is_small(wider) else groups, staggered)
    thicker = system.fewer(groups[0])
    fewer = _inverse(system.onto(thicker), groups[1:], staggered, shared.fewer)
    corrections = [(system.between(way, on.layers), on.solve) for way, on in ((thicker, fewer), (wider, shared))]
    return _Inverse(_cycle(system.parts(), corrections, between=finest), system.layers, fewer)


def _cycle(parts: Parts, corrections: list[tuple[Between, Solve]], *, between: bool) -> Solve:
    """Patches there, corrections by coarser levels one after the other, patches back; between: between those as well.

    The residual is kept up to date throughout, all in single precision: it is read from memory that the time goes into.
    """

    def smooth(x: np.ndarray, rest: np.ndarray, *, back: bool) -> None:
        for colour in reversed(parts.colours) if back else parts.colours:
            colour(x, rest)

    def solve(b: np.ndarray) -> np.ndarray:
        rest, back = (parts.scale * b).astype(np.float32), False
        x = np.zeros_like(rest)
        smooth(x, rest, back=back)
        for number, (way, coarse) in enumerate(corrections):
            if between and number > 0:
                back = not back
                smooth(x, rest, back=back)
            step = way.up(coarse(way.down(rest)))
            change = parts.product(step)
            changed = parts.dot(change, change)
            length = 1 if changed <= LARGEST**2 * parts.dot(rest, rest) else parts.dot(change, rest) / changed
            x += length * step
            rest -= length * change
        smooth(x, rest, back=not back)
        return x

    return solve


def layered_bytes(matrix: Any, layers: Layers, levels: list[Level], coarsest: float) -> float:
    """About how many bytes all levels take; coarsest: the factors of the level with the fewest layers."""
    from scipy.sparse import csr_array

    found = patches(held_by_constraints(csr_array(matrix)), layers)
    inverses = SINGLE * sum(
        float((np.unique(patch, return_counts=True)[1] ** 2.0).sum()) for _, patch in found.values()
    )
    overlap = sum(len(part) for part, _ in found.values()) / len(layers.layer)
    entries = (1 + overlap) * (SINGLE + INDEX) * matrix.nnz  # of the matrix, and of each colour's columns
    counts = np.array([len(layers.layer), *(len(level.members) for level in levels[:-1])])
    shares = counts / counts[0]
    lumped_too = 4 / 3  # 1 + 1/4 + 1/16 + ...
    return lumped_too * (coarsest + inverses * float((shares**2).sum()) + entries * float(shares.sum()))


def layers_in_words(levels: list[Level], coarsest: int) -> str:
    """What is done with these levels, the last of so many unknowns, for the user's log."""
    counts = [len(levels[0].group), *(1 + int(level.group.max()) for level in levels)]
    return (
        f"{ITERATIVE}, with {', '.join(map(str, counts))} layers, wider columns, patches and LU factors of "
        f"{coarsest} unknowns"
    )
