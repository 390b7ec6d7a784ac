"""The level where 2 x 2 columns are one, of a matrix of unknowns in layers (`layered_multigrid.py`).

A value is constant on a lumped cell, but for velocities on the faces of cells: those on the faces of lumped cells are
kept, those between are the mean of the two around them, so that the divergence of a lumped cell is spread evenly over
it. Coarse matrices are Galerkin products, with more lateral friction: a western boundary current is as wide as
(A / beta)^(1/3) (W. H. Munk, J. Meteorol. 7 (1950), 79-93), on a model's grid a cell or little more. With the viscosity
A that resolves it there it is lost between cells twice as wide, which take 8 A. Across a lumped cell, on which values
are constant, a Galerkin product gives 2 A by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from solvers.layers import Layers

AXES = ("column", "row")
FRICTION = 4.0  # times that of the Galerkin product; by 8 it takes more iterations, by 1 it fails on the next level


Constraints = tuple[np.ndarray, np.ndarray]  # as `held_by_constraints` has them


@dataclass(frozen=True, eq=False)
class Staggering:
    """faces: the variables that live on faces of cells; "column" where these are between a column and the next, "row"
    where between a row and the next. of_columns: those of which a column has one value."""

    faces: dict[int, str]
    of_columns: np.ndarray


def staggering(constraints: Constraints, layers: Layers) -> Staggering:
    """What lives where, as the constraints say: each is of a column, and holds what is on the faces around it."""
    return what_is_staggered([tallies(constraints, layers)])


# The variables that are constraints; of those that are held how often columns differ, and rows.
Tallies = tuple[np.ndarray, dict[int, np.ndarray]]


def tallies(constraints: Constraints, layers: Layers) -> Tallies:
    """What some of the constraints say."""
    constraint, held = constraints
    faces = {}
    for variable in np.unique(layers.variable[held]):
        of = layers.variable[held] == variable
        faces[int(variable)] = np.array(
            [np.count_nonzero(at[constraint[of]] != at[held[of]]) for at in (getattr(layers, axis) for axis in AXES)]
        )
    return np.unique(layers.variable[constraint]), faces


def what_is_staggered(told: Sequence[Tallies]) -> Staggering:
    """What all of them say."""
    variables = sorted({variable for _, faces in told for variable in faces})
    counts = {variable: sum(faces.get(variable, np.zeros(2)) for _, faces in told) for variable in variables}
    faces = {variable: AXES[int(np.argmax(count))] for variable, count in counts.items()}
    return Staggering(faces, np.unique(np.concatenate([of for of, _ in told])))


def held_by_constraints(matrix: Any) -> Constraints:
    """The constraints, rows of the matrix without a diagonal entry, and an unknown that each holds, pair by pair."""
    constraints = np.flatnonzero(matrix.diagonal() == 0)
    held = matrix[constraints].tocoo()
    return constraints[held.row], held.col


def lateral_friction(matrix: Any, layers: Layers, staggered: Staggering) -> Any:
    """The part of the matrix by which velocities act on the same velocity of their layer in other columns, less what
    they lose by it themselves. The first rows of a matrix will do, with all of its columns."""
    from scipy.sparse import csr_array, diags_array

    entries = matrix.tocoo()
    row, column, variable = entries.row, entries.col, layers.variable
    kept = np.isin(variable[row], list(staggered.faces)) & (variable[row] == variable[column])
    kept &= (layers.layer[row] == layers.layer[column]) & (row != column)
    found = csr_array((entries.data[kept], (row[kept], column[kept])), shape=matrix.shape)
    return csr_array(found - diags_array(found.sum(axis=1), shape=matrix.shape))


def lumped(layers: Layers, staggered: Staggering, last: Mapping[str, int] | None = None) -> tuple[Any, Layers]:
    """The lumped unknowns' values to those of the unknowns, sparse, and where the lumped ones are, ordered by variable,
    layer, row and column. What a column has one of counts as in the lowest layer.

    last: the last "row" and "column" of the grid, where the unknowns are of some of its columns. What lumped columns
    have is right then where all of theirs are known.
    """
    from scipy.sparse import csr_array

    last = last or {axis: int(getattr(layers, axis).max()) for axis in AXES}
    n = len(layers.row)
    row, column = layers.row // 2, layers.column // 2
    rows, columns = last["row"] // 2 + 2, last["column"] // 2 + 1  # one row more: nothing lies south of the first
    layer = np.where(np.isin(layers.variable, staggered.of_columns), 0, layers.layer)

    def key(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return (
            (layers.variable * (layers.layer.max(initial=0) + 1) + layer) * rows + row % rows
        ) * columns + column % columns

    between = np.zeros(n, bool)
    own = key(row, column)
    before = own
    for variable, axis in staggered.faces.items():
        of = getattr(layers, axis)
        inside = (layers.variable == variable) & (of % 2 == 0) & (of < last[axis])
        between |= inside
        west = key(row, column - 1) if axis == "column" else key(row - 1, column)
        before = np.where(inside, west, before)
    plain, every = np.flatnonzero(~between), np.arange(n)
    keys, first = np.unique(own[plain], return_index=True)

    def entries(of: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        known = keys[at] == wanted
        return of[known], at[known]

    here, there = entries(every, own), entries(every[between], before[between])
    weight = np.concatenate([np.where(between[here[0]], 0.5, 1.0), np.full(len(there[0]), 0.5)])
    places = np.concatenate([here[0], there[0]]), np.concatenate([here[1], there[1]])
    spread = csr_array((weight, places), shape=(n, len(keys)))
    first = plain[first]
    return spread, replace(layers.of(first), layer=layer[first], row=row[first], column=column[first])
