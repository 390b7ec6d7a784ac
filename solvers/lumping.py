"""Where unknowns are on a grid, and how they are lumped, level by level, for a multigrid preconditioner.

Cells of 2 x 2 columns that are of the same kind and level are one unknown of the next level, as in A. Bardin, F.
Primeau and K. Lindsay, Ocean Modelling 73 (2014), 45-58, who have two levels; here as many as it takes until few are
left. A coarse matrix is the Galerkin product P^T A P, P piecewise constant: where the rows of A are fluxes, rates times
the size of a cell, it is their sum.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

FEW = 4000  # unknowns that are solved for by LU factors
DEEPEST = 8  # levels
LESS = 0.8  # of the unknowns at most are left from one level to the next, else it is the last


@dataclass(frozen=True, eq=False)
class Cells:
    """kind: (n,) integers, of unknowns that may be lumped if they are the same: variable and level. row, column: (n,)
    integers on the whole grid. size: (n,), of the cells; only ratios count. On several ranks those of each rank."""

    kind: np.ndarray
    row: np.ndarray
    column: np.ndarray
    size: np.ndarray


def lumped_levels(cells: Cells, total: Any) -> Iterator[Any]:
    """The matrices P of each level from the finest on, sparse (own unknowns, own lumped unknowns).

    total: a number of this rank to the sum over ranks; to be called by all.
    """
    from scipy.sparse import csr_array

    at, n = (cells.kind, cells.row, cells.column), total(len(cells.kind))
    for _ in range(DEEPEST):
        if n <= FEW:
            return
        kind, row, column = at
        keys = np.stack([kind, row // 2, column // 2], axis=1)
        coarse, which = np.unique(keys, axis=0, return_inverse=True)
        less = total(len(coarse))
        if less > LESS * n:
            return
        fine = len(kind)
        yield csr_array((np.ones(fine), (np.arange(fine), which.ravel())), shape=(fine, len(coarse)))
        at, n = tuple(coarse.T), less
