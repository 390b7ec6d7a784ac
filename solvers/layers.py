"""An approximate inverse of a sparse matrix of unknowns in layers: multigrid that coarsens the vertical alone.

Two layers next to each other are one of the next level where together they are no thicker than so many layers are in
the mean, so that a level's layers come to be alike (semicoarsening: W. A. Mulder, J. Comput. Phys. 83 (1989), 303-323).
An unknown is interpolated linearly between the centres of its column; residuals are summed by the transpose, times
thickness; coarse matrices are Galerkin products. The coarsest is factorised. Columns are never lumped: in an ocean
boundary currents are as narrow as a cell, and what acts at a distance, barotropic flow and the first baroclinic modes,
is of few layers. What is of many acts nearby, and is left to the smoother.

The smoother solves patches of 2 x 2 columns one after the other, there and back (multiplicative Schwarz: B. Smith,
P. Bjorstad and W. Gropp, Domain Decomposition, Cambridge University Press 1996), patches of one colour at once. A row
without a diagonal entry is a constraint, as the divergence is on velocities under a rigid lid. A patch takes in all
unknowns that its constraints hold, also of its neighbours: without them it would be nearly singular (S. P. Vanka,
J. Comput. Phys. 65 (1986), 138-158).

The patches' factors grow with the number of columns only. A level has some two thirds of the unknowns of the one before
and half of the memory of its LU factors.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from solvers.chain_factors import SingularMatrix, Solve
from solvers.petsc_factors import row_scale

LEVELS = 1  # coarser than the finest; more where the coarsest does not fit: each costs iterations
WIDTH = 2  # columns of a patch each way
LESS = 0.9  # of the unknowns at most are left from one level to the next
ROUNDING = 1e-9  # of thicknesses
SINGLE = 6  # bytes of an entry of SuperLU's factors in single precision, indices included


@dataclass(frozen=True, eq=False)
class Layers:
    """Where unknowns are: variable, layer (upward), row and column, (n,) integers from 0; thickness of the layer there
    and height of its centre, (n,), in the same unit. A variable without layers is in layer 0."""

    variable: np.ndarray
    layer: np.ndarray
    row: np.ndarray
    column: np.ndarray
    thickness: np.ndarray
    height: np.ndarray

    def of(self, which: np.ndarray) -> "Layers":
        """Those of some unknowns."""
        return Layers(*(getattr(self, field.name)[which] for field in fields(self)))


@dataclass(frozen=True, eq=False)
class Level:
    """A level coarser than another.

    spread: its unknowns to those of the finer one, sparse. members: for each of its unknowns one of the finest level
    that is part of it. layers: where its unknowns are.
    """

    spread: Any
    members: np.ndarray
    layers: Layers


def coarser_levels(layers: Layers, fits: Callable[[np.ndarray], bool]) -> list[Level]:
    """The levels from the second finest on. fits: of the `members` of a level, whether its LU factors fit."""
    found: list[Level] = []
    members, depth = np.arange(len(layers.layer)), thickest(layers)
    limit = depth.sum() / len(depth)
    while (len(found) < LEVELS or not fits(members)) and limit < 2 * depth.sum():
        limit *= 2
        group = paired(depth, limit)
        spread, first, coarse = coarsened(layers, group)
        if len(first) > LESS * len(members):
            continue
        depth = np.bincount(group, depth)
        members, layers = members[first], coarse
        found.append(Level(spread, members, layers))
    return found


def thickest(layers: Layers) -> np.ndarray:
    """The thickness of each layer where it is thickest."""
    depth = np.zeros(layers.layer.max() + 1)
    np.maximum.at(depth, layers.layer, layers.thickness)
    return depth


def paired(depth: np.ndarray, limit: float) -> np.ndarray:
    """The group of each layer, integers from 0 upward: pairs from the top that are no thicker than `limit`, else the
    layer alone."""
    group, k = np.zeros(len(depth), dtype=int), len(depth) - 1
    while k > 0:
        together = depth[k] + depth[k - 1] <= limit * (1 + ROUNDING)
        k -= 2 if together else 1
        group[k + 1] = 1  # where the group below it ends
    group[0] = 0
    return np.cumsum(group)


def coarsened(layers: Layers, group: np.ndarray) -> tuple[Any, np.ndarray, Layers]:
    """`spread` of the level where layers are groups, an unknown that is part of each of its unknowns, and their places.

    Beyond the centres of the lowest and the highest group of a column values are those of the nearest.
    """
    from scipy.sparse import csr_array

    n, groups = len(layers.layer), group.max() + 1
    places = np.stack([layers.variable, layers.row, layers.column])
    column = np.ravel_multi_index(places, places.max(axis=1) + 1)
    key = column * (groups + 1) + group[layers.layer]  # one more: the neighbours of one column's are not another's
    keys, first, own = np.unique(key, return_index=True, return_inverse=True)
    thickness = np.bincount(own, layers.thickness)
    height = np.bincount(own, layers.thickness * layers.height) / thickness

    neighbour = key + np.where(layers.height >= height[own], 1, -1)
    other = np.searchsorted(keys, neighbour).clip(max=len(keys) - 1)
    between = keys[other] == neighbour
    other = np.where(between, other, own)
    distance = np.where(between, height[other] - height[own], 1.0)
    weight = np.where(between, (layers.height - height[own]) / distance, 0.0)
    every = np.arange(n)
    entries = np.concatenate([1 - weight, weight]), (np.concatenate([every, every]), np.concatenate([own, other]))
    spread = csr_array(entries, shape=(n, len(keys)))
    spread.eliminate_zeros()
    coarse = layers.of(first)
    return spread, first, Layers(coarse.variable, group[coarse.layer], coarse.row, coarse.column, thickness, height)


def layered_factors(matrix: Any, layers: Layers, levels: list[Level], factorise: Callable[[Any], Solve]) -> Solve:
    """A function b -> x, (n,) each, with matrix x = b roughly, for the sparse matrix (n, n): a V-cycle.

    levels: as of `coarser_levels`. factorise: of the coarsest matrix. Raises SingularMatrix.
    """
    from scipy.sparse import csr_array, diags_array

    matrix = csr_array(matrix)
    if not levels:
        return factorise(matrix)
    spread = levels[0].spread
    gather = csr_array(spread.T @ diags_array(layers.thickness))
    coarse = layered_factors(csr_array(gather @ matrix @ spread), levels[0].layers, levels[1:], factorise)
    scale = row_scale(matrix)
    scaled = csr_array(diags_array(scale) @ matrix)
    colours = []
    for part, patch in patches(scaled, layers):
        rows = scaled[part]
        colours.append((part, rows, _factors(rows[:, part], patch)))

    def smooth(x: np.ndarray, b: np.ndarray, *, back: bool) -> None:
        for part, rows, solve in reversed(colours) if back else colours:
            x[part] += solve((b[part] - rows @ x).astype(np.float32))

    def solve(b: np.ndarray) -> np.ndarray:
        b, x = scale * b, np.zeros(len(b))
        smooth(x, b, back=False)
        x += spread @ coarse(gather @ ((b - scaled @ x) / scale))
        smooth(x, b, back=True)
        return x

    return solve


def patches(matrix: Any, layers: Layers) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each colour its unknowns, and the patch of each, in the order of the patches.

    Raises ValueError where a constraint holds unknowns that are not of its own columns or those next to them.
    """
    n, across = len(layers.row), layers.column.max() // WIDTH + 1
    patch = layers.row // WIDTH * across + layers.column // WIDTH
    constraints = np.flatnonzero(matrix.diagonal() == 0)
    held = matrix[constraints].tocoo()
    pairs = np.unique(np.concatenate([patch * n + np.arange(n), patch[constraints][held.row] * n + held.col]))
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


def patch_bytes(matrix: Any, layers: Layers, levels: list[Level]) -> float:
    """About how many bytes the patches' factors take, of all levels but the coarsest."""
    from scipy.sparse import csr_array

    found = patches(csr_array(matrix), layers)
    finest = sum(float((np.unique(patch, return_counts=True)[1] ** 2.0).sum()) for _, patch in found)
    counts = np.array([len(layers.layer), *(len(level.members) for level in levels[:-1])])
    return SINGLE * finest * float(((counts / counts[0]) ** 2).sum())


def _factors(matrix: Any, patch: np.ndarray) -> Solve:
    """A solve, in single precision, of the unknowns of one colour, each patch as if the others were not there."""
    from scipy.sparse import csc_array
    from scipy.sparse.linalg import splu

    block = matrix.tocoo()
    inside = patch[block.row] == patch[block.col]
    entries = block.data[inside].astype(np.float32), (block.row[inside], block.col[inside])
    try:
        return splu(csc_array(entries, shape=block.shape)).solve
    except RuntimeError as error:
        raise SingularMatrix("a patch of columns is singular") from error
