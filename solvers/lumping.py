"""Where unknowns are on a grid, and how they are lumped, level by level, for a multigrid preconditioner.

Cells of 2 x 2 columns that are of the same kind and level are one unknown of the next level, as in A. Bardin, F.
Primeau and K. Lindsay, Ocean Modelling 73 (2014), 45-58, who have two levels; here as many as it takes until few are
left. A coarse matrix is the Galerkin product P^T A P, P piecewise constant: where the rows of A are fluxes, rates times
the size of a cell, it is their sum. Columns of two ranks are lumped as others are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.columns_on_ranks import Columns, columns_of
from solvers.layers import Layers
from solvers.lumped_columns import Staggering

NO_FACES = Staggering({}, np.zeros(0, int))  # all unknowns are of cells
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


Lump = tuple[Any, int]  # a matrix P, of a rank its rows, and how many of the lumped unknowns are the rank's


def lumped_levels(cells: Cells, comm: Any = None) -> Iterator[Lump]:
    """The matrices P of each level from the finest on, sparse (unknowns, lumped unknowns).

    comm: of several ranks, mpi4py's; a rank has the rows of its own unknowns. To be called by all.
    """
    finest: Any = _Unknowns(cells.kind, cells.row, cells.column) if comm is None else _on_ranks(cells, comm)
    for _ in range(DEEPEST):
        if finest.number <= FEW:
            return
        lump, coarse = finest.wider(NO_FACES)
        if coarse.number > LESS * finest.number:
            return
        yield lump, coarse.own
        finest = coarse


@dataclass(frozen=True, eq=False)
class _Unknowns:
    """What `Columns` is of several ranks."""

    kind: np.ndarray
    row: np.ndarray
    column: np.ndarray

    @property
    def number(self) -> int:
        return len(self.kind)

    @property
    def own(self) -> int:
        return self.number

    def wider(self, _: Staggering) -> tuple[Any, "_Unknowns"]:
        from scipy.sparse import csr_array

        keys = np.stack([self.kind, self.row // 2, self.column // 2], axis=1)
        coarse, which = np.unique(keys, axis=0, return_inverse=True)
        shape = self.number, len(coarse)
        return csr_array((np.ones(shape[0]), (np.arange(shape[0]), which.ravel())), shape=shape), _Unknowns(*coarse.T)


def _on_ranks(cells: Cells, comm: Any) -> Columns:
    nothing = np.zeros_like(cells.row)
    return columns_of(Layers(cells.kind, nothing, cells.row, cells.column, nothing, nothing), comm)
