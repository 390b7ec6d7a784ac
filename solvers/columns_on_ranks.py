"""Where unknowns in layers are, of which every rank has some water columns, and those of its neighbours that it has to
know: level by level, as for `layered_on_ranks.py`.

What all ranks know of the whole grid is whose each column is. Unknowns are numbered through the ranks, on coarser
levels in a rank by variable, layer, row and column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from solvers.layers import Layers, coarsened, found_in, joined
from solvers.lumped_columns import Constraints, Staggering, lumped
from solvers.rows import firsts_of, with_columns

NEAR = 4  # columns, each way, that a row of the matrix, a patch and the patches around them reach over
NOBODY = -1


@dataclass(frozen=True, eq=False)
class Columns:
    """layers: of this rank's unknowns. owner: (rows, columns) of the grid, the rank that has a column, or NOBODY.
    near: (rows, columns), True of those of this rank, here or on a finer level. comm: mpi4py's."""

    layers: Layers
    owner: np.ndarray
    near: np.ndarray
    comm: Any

    @cached_property
    def firsts(self) -> np.ndarray:
        """The number of each rank's first unknown, and how many there are in all, (ranks + 1,)."""
        return firsts_of(self.own, self.comm)

    @property
    def first(self) -> int:
        """The number of this rank's first unknown."""
        return int(self.firsts[self.comm.Get_rank()])

    @property
    def number(self) -> int:
        """Of unknowns on all ranks."""
        return int(self.firsts[-1])

    @property
    def own(self) -> int:
        """Of this rank's."""
        return len(self.layers.row)

    @property
    def last(self) -> dict[str, int]:
        """The last row and column of the grid."""
        return {axis: size - 1 for axis, size in zip(("row", "column"), self.owner.shape, strict=True)}

    @cached_property
    def lumped_owner(self) -> np.ndarray:
        """The rank of 2 x 2 columns: that of the first of them."""
        rows, columns = self.owner.shape
        blocks = np.pad(self.owner, [(0, rows % 2), (0, columns % 2)], constant_values=NOBODY)
        found = np.full((blocks.shape[0] // 2, blocks.shape[1] // 2), NOBODY)
        for row, column in ((1, 1), (1, 0), (0, 1), (0, 0)):
            of = blocks[row::2, column::2]
            found = np.where(of == NOBODY, found, of)
        return found

    def where(self, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rank that has each of some unknowns, and which of its own it is there."""
        rank = np.searchsorted(self.firsts, number, side="right") - 1
        return rank, number - self.firsts[rank]

    @cached_property
    def around(self) -> "Around":
        """This rank's unknowns and those near it. To be called by all ranks."""
        wanted = self.near
        for axis in (0, 1):  # beyond the ends of the grid too: it may close upon itself
            wanted = np.any([np.roll(wanted, shift, axis) for shift in range(-NEAR, NEAR + 1)], axis=0)
        me, size = self.comm.Get_rank(), self.comm.Get_size()
        wanted &= self.owner != me
        ids = np.flatnonzero(wanted)
        asked = self.comm.alltoall([ids[self.owner.ravel()[ids] == rank] for rank in range(size)])
        mine = self.layers.row * self.owner.shape[1] + self.layers.column
        told = [np.flatnonzero(np.isin(mine, columns)) for columns in asked]
        received = self.comm.alltoall([(self.first + of, self.layers.of(of)) for of in told])
        others = np.concatenate([numbers for numbers, _ in received])
        layers = joined([self.layers, *(of for _, of in received)])
        return Around(layers, self.first, len(mine), others, told)

    def fewer(self, group: np.ndarray) -> tuple[Any, "Columns"]:
        """`layers.coarsened` on ranks: the own rows of the spread, its columns the numbers of all unknowns, and the
        columns."""
        spread, _, coarse = coarsened(self.layers, group)
        order = np.lexsort((coarse.column, coarse.row, coarse.layer, coarse.variable))
        found = Columns(coarse.of(order), self.owner, self.near, self.comm)
        spread = spread[:, order]
        return with_columns(spread, found.first + spread.indices, found.number), found

    def wider(self, staggered: Staggering) -> tuple[Any, "Columns"]:
        """`lumped_columns.lumped` in the same way."""
        from scipy.sparse import csr_array

        spread, wide = lumped(self.around.layers, staggered, self.last)
        owner = self.lumped_owner
        own = owner[wide.row, wide.column] == self.comm.Get_rank()
        near = owner == self.comm.Get_rank()
        near[np.nonzero(self.near)[0] // 2, np.nonzero(self.near)[1] // 2] = True
        found = Columns(wide.of(np.flatnonzero(own)), owner, near, self.comm)
        spread = csr_array(spread[: len(self.layers.row)])
        used = np.unique(spread.indices)
        numbers = np.zeros(len(wide.row), dtype=int)
        numbers[used] = found.around.numbers[found_in(wide.of(used), found.around.layers)]
        return with_columns(spread, numbers[spread.indices], found.number), found


@dataclass(frozen=True, eq=False)
class Around:
    """What is known near a rank. layers: of its own unknowns, then of others. first: the number of the first own one.
    own: how many there are. others: the numbers of the rest, ascending. told: which of the own ones each rank knows."""

    layers: Layers
    first: int
    own: int
    others: np.ndarray
    told: list[np.ndarray]

    @cached_property
    def numbers(self) -> np.ndarray:
        """Of all that is known."""
        return np.concatenate([self.first + np.arange(self.own), self.others])

    def index(self, number: np.ndarray) -> np.ndarray:
        """Which of what is known the unknowns are, -1 where they are not."""
        inside = (number >= self.first) & (number < self.first + self.own)
        if not len(self.others):
            return np.where(inside, number - self.first, -1)
        at = np.searchsorted(self.others, number).clip(max=len(self.others) - 1)
        elsewhere = np.where(self.others[at] == number, self.own + at, -1)
        return np.where(inside, number - self.first, elsewhere)

    def local(self, rows: Any) -> Any:
        """Rows of a matrix whose columns are numbers, with columns for what is known."""
        index = self.index(rows.indices)
        if (index < 0).any():
            raise ValueError(f"a row of the matrix has unknowns more than {NEAR} columns away: no layers on ranks")
        return with_columns(rows, index, len(self.layers.row))

    def constraints(self, own: Constraints, comm: Any) -> Constraints:
        """The own constraints and those of the others that are known. To be called by all ranks."""
        constraint, held = own
        numbers = self.numbers[constraint], self.numbers[held]
        received = comm.alltoall([[of[np.isin(constraint, told)] for of in numbers] for told in self.told])
        pairs = [self.index(np.concatenate(of)) for of in zip(*received, strict=True)]
        known = (pairs[0] >= 0) & (pairs[1] >= 0)
        return np.concatenate([constraint, pairs[0][known]]), np.concatenate([held, pairs[1][known]])


def columns_of(layers: Layers, comm: Any) -> Columns:
    """Of a finest level, of this rank's unknowns. To be called by all ranks. ValueError where two have a column."""
    most = np.array([layers.row.max(initial=0), layers.column.max(initial=0)])
    rows, columns = 1 + np.max(comm.allgather(most), axis=0)
    owner = np.full(rows * columns, NOBODY)
    told: Sequence[np.ndarray] = comm.allgather(np.unique(layers.row * columns + layers.column))
    for rank, ids in enumerate(told):
        owner[ids] = rank
    if np.count_nonzero(owner != NOBODY) < sum(map(len, told)):
        raise ValueError("two ranks have unknowns of the same water column")
    owner = owner.reshape(rows, columns)
    return Columns(layers, owner, owner == comm.Get_rank(), comm)
