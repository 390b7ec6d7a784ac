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
the finest level also between the corrections: that saves a fourth of the iterations there, hardly any on others. A row
without a diagonal entry is a constraint, as the divergence is on velocities under a rigid lid. A patch takes in all
unknowns that its constraints hold, also of its neighbours: without them it would be nearly singular (S. P. Vanka,
J. Comput. Phys. 65 (1986), 138-158).

The patches' inverses grow with the number of columns only. A level with fewer layers has half to two thirds of the
unknowns of the one before, one of wider columns a fourth.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.chain_factors import SingularMatrix, Solve
from solvers.layers import LESS, Layers, Level, coarsened
from solvers.lumped_columns import FRICTION, Staggering, held_by_constraints, lateral_friction, lumped, staggering
from solvers.petsc_factors import row_scale

SMALL = 5000  # unknowns of lumped columns that are factorised
WIDTH = 2  # columns of a patch each way
LARGEST = 10.0  # what a correction may change the residual by, in units of it; beyond, only as much as makes it least
SINGLE, INDEX = 4, 4  # bytes of a number in single precision, and of where it is in a sparse matrix
TINY = float(np.finfo(np.float32).tiny)


def layered_factors(
    matrix: Any, layers: Layers, levels: list[Level], factorise: Callable[[Any, Layers], Solve]
) -> Solve:
    """A function b -> x, (n,) each, with matrix x = b roughly, for the sparse matrix (n, n): a V-cycle. Not linear
    where a correction is cut short.

    levels: as of `coarser_levels`. factorise: of a coarse matrix, and where its unknowns are. Raises SingularMatrix.
    """
    from scipy.sparse import csr_array

    matrix = csr_array(matrix)
    staggered = staggering(matrix, layers)
    whole = _System(matrix, lateral_friction(matrix, layers, staggered), layers, layers.thickness)
    groups = [level.group for level in levels]

    def coarsest(system: _System) -> Solve:
        return factorise(system.matrix, system.layers)

    return _inverse(whole, groups, coarsest, staggered, finest=True).solve


@dataclass(frozen=True, eq=False)
class _System:
    """A matrix, the lateral friction in it, where its unknowns are, and what its rows are summed up by, (n,)."""

    matrix: Any
    friction: Any
    layers: Layers
    weights: np.ndarray

    def onto(self, spread: Any, layers: Layers, friction: float = 1.0) -> "_System":
        """The Galerkin product with what takes its unknowns to these, its lateral friction so many times as much."""
        from scipy.sparse import csr_array, diags_array

        gather = csr_array(spread.T @ diags_array(self.weights))
        lateral = csr_array(gather @ self.friction @ spread)
        matrix = csr_array(gather @ self.matrix @ spread + (friction - 1) * lateral)
        return _System(matrix, friction * lateral, layers, np.ones(len(layers.row)))


@dataclass(frozen=True, eq=False)
class _Inverse:
    """An approximate inverse of a level, where its unknowns are, and that of the level with fewer layers, if any."""

    solve: Solve
    layers: Layers
    fewer: "_Inverse | None" = None


def _inverse(
    system: _System,
    groups: list[np.ndarray],
    factorise: Callable[[_System], Solve],
    staggered: Staggering,
    shared: _Inverse | None = None,
    *,
    finest: bool = False,
) -> _Inverse:
    """groups: of the layers, for each level with fewer. shared: the level of lumped columns, where it is known.
    finest: whether the level is; it has patches between its corrections as well."""
    if not groups:
        return _Inverse(factorise(system), system.layers)
    wider, wide = lumped(system.layers, staggered)
    if shared is None:
        below = system.onto(wider, wide, FRICTION)
        small = len(wide.row) <= SMALL or len(wide.row) > LESS * len(system.layers.row)
        shared = _Inverse(factorise(below), wide) if small else _inverse(below, groups, factorise, staggered)
    thicker, _, thick = coarsened(system.layers, groups[0])
    fewer = _inverse(system.onto(thicker, thick), groups[1:], factorise, staggered, shared.fewer)
    corrections = [(thicker, fewer.solve), (wider[:, _order(wide, shared.layers)], shared.solve)]
    return _Inverse(_cycle(system, corrections, between=finest), system.layers, fewer)


def _order(layers: Layers, wanted: Layers) -> np.ndarray:
    """Which of some unknowns are those wanted, one after the other."""
    keys = [np.lexsort((of.column, of.row, of.layer, of.variable)) for of in (layers, wanted)]
    found = np.empty(len(keys[1]), dtype=int)
    found[keys[1]] = keys[0]
    return found


def _cycle(system: _System, corrections: list[tuple[Any, Solve]], *, between: bool) -> Solve:
    """Patches there, corrections by coarser levels one after the other, patches back; between: between those as well.

    The residual is kept up to date throughout, all in single precision: it is read from memory that the time goes into.
    """
    from scipy.sparse import csc_array, csr_array, diags_array

    scale = row_scale(system.matrix)
    scaled = csr_array(diags_array(scale) @ system.matrix)
    parts = [(part, _inverses(scaled[part][:, part], patch)) for part, patch in patches(scaled, system.layers)]
    matrix = scaled.astype(np.float32)
    columns = csc_array(matrix)
    colours = [(part, csc_array(columns[:, part]), solve) for part, solve in parts]
    corrections = [(csr_array(spread, dtype=np.float32), coarse) for spread, coarse in corrections]
    weights = (system.weights / scale).astype(np.float32)

    def smooth(x: np.ndarray, rest: np.ndarray, *, back: bool) -> None:
        for part, own, solve in reversed(colours) if back else colours:
            step = solve(rest[part])
            x[part] += step
            rest -= own @ step

    def solve(b: np.ndarray) -> np.ndarray:
        rest, back = (scale * b).astype(np.float32), False
        x = np.zeros_like(rest)
        smooth(x, rest, back=back)
        for number, (spread, coarse) in enumerate(corrections):
            if between and number > 0:
                back = not back
                smooth(x, rest, back=back)
            step = spread @ coarse(spread.T @ (weights * rest)).astype(np.float32)
            change = matrix @ step
            changed = change @ change
            length = 1 if changed <= LARGEST**2 * (rest @ rest) else change @ rest / changed
            x += length * step
            rest -= length * change
        smooth(x, rest, back=not back)
        return x

    return solve


def patches(matrix: Any, layers: Layers) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each colour its unknowns, and the patch of each, in the order of the patches.

    Raises ValueError where a constraint holds unknowns that are not of its own columns or those next to them.
    """
    n, across = len(layers.row), layers.column.max() // WIDTH + 1
    patch = layers.row // WIDTH * across + layers.column // WIDTH
    constraint, held = held_by_constraints(matrix)
    pairs = np.unique(np.concatenate([patch * n + np.arange(n), patch[constraint] * n + held]))
    patch, unknown = np.divmod(pairs, n)
    row, column = np.divmod(patch, across)
    # On a grid that closes upon itself an odd number of patches takes a third colour: the last touches the first.
    parity = np.where((column == across - 1) & (across % 2 == 1), 2, column % 2)
    colour = 3 * (row % 2) + parity
    found = []
    for one in np.unique(colour):
        part = unknown[colour == one]
        if len(np.unique(part)) < len(part):
            raise ValueError(
                "a constraint holds unknowns beyond the columns next to its own: no patches of 2 x 2 columns"
            )
        found.append((part, patch[colour == one]))
    return found


def layered_bytes(matrix: Any, layers: Layers, levels: list[Level], coarsest: float) -> float:
    """About how many bytes all levels take; coarsest: the factors of the level with the fewest layers."""
    from scipy.sparse import csr_array

    found = patches(csr_array(matrix), layers)
    inverses = SINGLE * sum(float((np.unique(patch, return_counts=True)[1] ** 2.0).sum()) for _, patch in found)
    overlap = sum(len(part) for part, _ in found) / len(layers.layer)
    entries = (1 + overlap) * (SINGLE + INDEX) * matrix.nnz  # of the matrix, and of each colour's columns
    counts = np.array([len(layers.layer), *(len(level.members) for level in levels[:-1])])
    shares = counts / counts[0]
    lumped_too = 4 / 3  # 1 + 1/4 + 1/16 + ...
    return lumped_too * (coarsest + inverses * float((shares**2).sum()) + entries * float(shares.sum()))


def _inverses(matrix: Any, patch: np.ndarray) -> Solve:
    """A solve, in single precision, of the unknowns of one colour, each patch as if the others were not there.

    By the inverses of the patches: their LU factors are nearly as full, and take longer to apply than to read.
    """
    from scipy.linalg.lapack import sgetrf, sgetri

    block = matrix.tocoo()
    inside = patch[block.row] == patch[block.col]
    row, column, entry = block.row[inside], block.col[inside], block.data[inside]
    first = np.concatenate([[0], np.flatnonzero(np.diff(patch)) + 1, [len(patch)]])
    cuts = np.searchsorted(row, first)
    found = []
    for a, b, some in zip(first, first[1:], map(slice, cuts, cuts[1:]), strict=False):
        dense = np.zeros((b - a, b - a), dtype=np.float32)
        dense[row[some] - a, column[some] - a] = entry[some]
        scale = 1 / np.abs(dense).max(axis=0).clip(TINY)
        lu, pivots, info = sgetrf(dense * scale, overwrite_a=True)
        if info > 0:
            raise SingularMatrix("a patch of columns is singular")
        inverse, _ = sgetri(lu, pivots, overwrite_lu=True)  # in half the time of numpy.linalg.inv
        found.append((slice(a, b), scale[:, None] * inverse))

    def solve(b: np.ndarray) -> np.ndarray:
        x = np.empty_like(b)
        for of, inverse in found:
            np.dot(inverse, b[of], out=x[of])
        return x

    return solve
