"""Water columns whose own part of an operator grows, with the columns around them as they are.

No column of an ocean does: mixing takes from its cells what it gives to others, and its neighbours stay. In an operator
of difference quotients one may, where a flux jumps within a thousandth of a kelvin. If it grows by a factor of e within
the time of an implicit step, that is divided by nearly nothing.
"""

from typing import Any

import numpy as np
from scipy.sparse import coo_array

from solvers import StepOperator
from solvers.rows import Rows
from spinup.convection import water_columns
from spinup.state import Layout

GROWTH = 1e-6  # a time step: what rounding of the difference quotients makes is less
AT_ONCE = 2**24  # entries of columns whose eigenvalues are found together


def growing_columns(operator: StepOperator, layout: Layout, first: int = 0) -> np.ndarray:
    """Which columns of the grid, (ny, nx) bool: those of which J - I, their own unknowns against each other, has an
    eigenvalue whose real part is above `GROWTH`.

    first: on several ranks, the number of this rank's first unknown; the columns are its own.
    """
    columns = water_columns(layout)
    number = columns.max(initial=-1) + 1
    order = np.argsort(columns, kind="stable")
    counts = np.bincount(columns, minlength=number)
    within = np.empty_like(columns)
    within[order] = np.arange(len(columns)) - np.repeat(np.cumsum(counts) - counts, counts)
    most = counts.max(initial=0)
    explicit, implicit = (_own(matrix, columns, first) for matrix in (operator.matrix, operator.left))
    largest = np.full(number, -np.inf)
    together = max(1, AT_ONCE // max(1, most**2))
    for begin in range(0, number, together):
        some = range(begin, min(number, begin + together))
        # A column that has fewer cells than others is filled up with some that decay, and answer to nothing.
        blocks = [
            _blocks(matrix, columns, within, some, most, fill) for matrix, fill in ((explicit, -1), (implicit, 1))
        ]
        largest[some.start : some.stop] = np.linalg.eigvals(np.linalg.solve(blocks[1], blocks[0])).real.max(axis=1)
    mask = layout.variables[0].mask
    _, row, column = np.nonzero(mask)
    grid = np.zeros(mask.shape[1:], bool)
    grid[row, column] = largest[columns[: len(row)]] > GROWTH
    return grid


def _own(matrix: Any, columns: np.ndarray, first: int) -> coo_array:
    """The entries that couple unknowns of one column, by this rank's numbers."""
    entries = coo_array(matrix.own if isinstance(matrix, Rows) else matrix)
    row, column = entries.coords[0], entries.coords[1] - first
    mine = (column >= 0) & (column < len(columns))
    mine[mine] = columns[row[mine]] == columns[column[mine]]
    return coo_array((entries.data[mine], (row[mine], column[mine])), shape=(len(columns), len(columns)))


def _blocks(
    matrix: coo_array, columns: np.ndarray, within: np.ndarray, some: range, most: int, fill: float
) -> np.ndarray:
    """The dense parts of some columns, (columns, most, most), with `fill` on the diagonal where a column has ended."""
    row, column = matrix.coords
    mine = (columns[row] >= some.start) & (columns[row] < some.stop)
    row, column = row[mine], column[mine]
    blocks = np.zeros((len(some), most, most))
    np.add.at(blocks, (columns[row] - some.start, within[row], within[column]), matrix.data[mine])
    counts = np.bincount(columns, minlength=some.stop)[some.start : some.stop]
    which, place = np.nonzero(np.arange(most) >= counts[:, None])
    blocks[which, place, place] = fill
    return blocks
