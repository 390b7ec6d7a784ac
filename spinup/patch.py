"""The cells of a grid with some of their neighbours around them: what a stencil needs, on one rank and on many."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.rows import Rows
from spinup.distributed.split import Split


@dataclass(frozen=True, eq=False)
class Patch:
    """closed: of each dimension in which cells have such neighbours, whether its ends meet. width: how many at either
    end. split: who has which cells, where there are several ranks."""

    closed: Mapping[str, bool]
    width: int
    split: Split | None = None

    def around(self, block: np.ndarray, dims: tuple[str, ...], fill: Any) -> np.ndarray:
        """A block of own cells with those around it, `fill` beyond the ends of the grid."""
        if self.split is not None:
            return self.split.around(block, dims, self.closed, self.width, fill)
        for axis, dim in enumerate(dims):
            if dim not in self.closed:
                continue
            edges = [(self.width, self.width) if a == axis else (0, 0) for a in range(block.ndim)]
            if self.closed[dim]:
                block = np.pad(block, edges, mode="wrap")
            else:
                block = np.pad(block, edges, constant_values=fill)
        return block

    def whole(self, shape: tuple[int, ...], dims: tuple[str, ...]) -> tuple[int, ...]:
        """The shape of the whole grid, of which this rank's block has `shape`."""
        return shape if self.split is None else self.split.shape(shape, dims)

    def mine(self, whole: np.ndarray, dims: tuple[str, ...]) -> np.ndarray:
        """This rank's block of an array that it has the whole of."""
        return whole if self.split is None else self.split.mine(whole, dims)

    def everywhere(self, block: np.ndarray, dims: tuple[str, ...]) -> np.ndarray:
        """The whole of which this rank has a block, on every rank."""
        if self.split is None:
            return block
        whole: Any = self.split.gather(block, dims)
        return self.split.ranks.share(whole)

    def all(self, flag: bool) -> bool:
        """Whether it is so on every rank."""
        return flag if self.split is None else not self.split.ranks.any(not flag)

    def rows(self, own: Any) -> Any:
        """A sparse matrix of this rank's rows."""
        return own if self.split is None else Rows(own, self.split.ranks.comm)

    def first(self, mine: int) -> tuple[int, int]:
        """The number of this rank's first unknown, where it has so many, and how many there are in all."""
        if self.split is None:
            return 0, mine
        counts = self.split.ranks.comm.allgather(mine)
        return sum(counts[: self.split.ranks.rank]), sum(counts)

    def origin(self, shape: tuple[int, ...], dims: tuple[str, ...]) -> tuple[int, ...]:
        """Where in the whole grid this rank's block, of this shape, begins."""
        return tuple(0 for _ in shape) if self.split is None else tuple(s.start or 0 for s in self.split.place(dims))

    def places(self, shape: tuple[int, ...], dims: tuple[str, ...]) -> np.ndarray:
        """The flat index in the whole grid of each own cell, of this shape."""
        whole = self.whole(shape, dims)
        parts = [self.mine(np.arange(n), (dim,)) for n, dim in zip(whole, dims, strict=True)]
        return np.ravel_multi_index(np.ix_(*parts), whole)
