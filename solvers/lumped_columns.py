"""The level where 2 x 2 columns are one, of a matrix of unknowns in layers (`layers.py`).

A value is constant on a lumped cell, but for velocities on the faces of cells: those on the faces of lumped cells are
kept, those between are the mean of the two around them, so that the divergence of a lumped cell is spread evenly over
it. Coarse matrices are Galerkin products, with more lateral friction: a western boundary current is as wide as
(A / beta)^(1/3) (W. H. Munk, J. Meteorol. 7 (1950), 79-93), on a model's grid a cell or little more. With the viscosity
A that resolves it there it is lost between cells twice as wide; what acts as it ought to takes 8 A. A Galerkin product
gives half of the factor across the flow by itself.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from solvers.layers import Layers

FRICTION = 4.0  # times that of the Galerkin product; by 8 it takes more iterations, by 1 it fails on the next level


@dataclass(frozen=True, eq=False)
class Staggering:
    """faces: the variables that live on faces of cells; "column" where these are between a column and the next, "row"
    where between a row and the next. of_columns: those of which a column has one value."""

    faces: dict[int, str]
    of_columns: np.ndarray


def staggering(matrix: Any, layers: "Layers") -> Staggering:
    """A constraint, a row of the matrix without a diagonal entry, is of a column, and holds what is on its faces."""
    constraints = np.flatnonzero(matrix.diagonal() == 0)
    held = matrix[constraints].tocoo()
    row, variable = constraints[held.row], layers.variable[held.col]
    faces = {}
    for one in np.unique(variable):
        of = variable == one
        apart = {
            axis: np.count_nonzero(getattr(layers, axis)[row[of]] != getattr(layers, axis)[held.col[of]])
            for axis in ("column", "row")
        }
        faces[int(one)] = max(apart, key=lambda axis: apart[axis])
    return Staggering(faces, np.unique(layers.variable[constraints]))


def lateral_friction(matrix: Any, layers: "Layers", staggered: Staggering) -> Any:
    """The part of the matrix by which velocities act on the same velocity of their layer in other columns, less what
    they lose by it themselves."""
    from scipy.sparse import csr_array, diags_array

    entries = matrix.tocoo()
    row, column = entries.row, entries.col
    of_velocities = np.isin(layers.variable[row], list(staggered.faces)) & (
        layers.variable[row] == layers.variable[column]
    )
    kept = of_velocities & (layers.layer[row] == layers.layer[column]) & (row != column)
    found = csr_array((entries.data[kept], (row[kept], column[kept])), shape=matrix.shape)
    return csr_array(found - diags_array(found.sum(axis=1)))


def lumped(layers: "Layers", staggered: Staggering) -> tuple[Any, "Layers"]:
    """The lumped unknowns' values to those of the unknowns, sparse, and where the lumped ones are, ordered by variable,
    layer, row and column. What a column has one of counts as in the lowest layer."""
    from scipy.sparse import csr_array

    n = len(layers.row)
    row, column = layers.row // 2, layers.column // 2
    rows, columns = row.max() + 2, column.max() + 1  # one row more: nothing lies south of the first
    layer = np.where(np.isin(layers.variable, staggered.of_columns), 0, layers.layer)

    def key(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return ((layers.variable * (layers.layer.max() + 1) + layer) * rows + row % rows) * columns + column % columns

    between = np.zeros(n, bool)
    before = key(row, column)
    for variable, axis in staggered.faces.items():
        of = getattr(layers, axis)
        inside = (layers.variable == variable) & (of % 2 == 0) & (of < of.max())
        between |= inside
        west = key(row, column - 1) if axis == "column" else key(row - 1, column)
        before = np.where(inside, west, before)
    keys, first = np.unique(np.where(between, -1, key(row, column)), return_index=True)
    keys, first = (keys[1:], first[1:]) if between.any() else (keys, first)

    def entries(of: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        there = keys[at] == wanted
        return of[there], at[there]

    every = np.arange(n)
    own, other = entries(every, key(row, column)), entries(every[between], before[between])
    weight = np.concatenate([np.where(between[own[0]], 0.5, 1.0), np.full(len(other[0]), 0.5)])
    places = np.concatenate([own[0], other[0]]), np.concatenate([own[1], other[1]])
    spread = csr_array((weight, places), shape=(n, len(keys)))
    kept = layers.of(first)
    return spread, type(layers)(
        kept.variable, layer[first], kept.row // 2, kept.column // 2, kept.thickness, kept.height
    )
