"""Which cells of a grid each rank holds, and how the whole comes together on the leading one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from spinup.distributed.ranks import Ranks
from spinup.errors import UsageError

Part = dict[str, tuple[int, int]]  # by dimension: first cell, and the one after the last


@dataclass(frozen=True, eq=False)
class Split:
    """sizes: cells of the whole in each dimension that is split. parts: what each rank holds of them.

    halos: by dimension that is split like another, that other and the cells of a halo at either end. A rank has the
    halo of its part, the whole that of its edge: what ranks have of each other's cells is not kept.
    """

    ranks: Ranks
    sizes: dict[str, int]
    parts: tuple[Part, ...]
    halos: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    def shape(self, shape: tuple[int, ...], dims: tuple[str, ...]) -> tuple[int, ...]:
        """That of the whole of which this rank has a block of this shape."""
        return tuple(self._whole(dim, n) for dim, n in zip(dims, shape, strict=True))

    def has(self, dims: tuple[str, ...]) -> bool:
        """Whether an array of these dimensions is split: of one that is not, the leading rank's is kept."""
        return any(self._is_split(dim) for dim in dims)

    def place(self, dims: tuple[str, ...]) -> tuple[slice, ...]:
        """Where in the whole the block of this rank is."""
        return self._block(self.ranks.rank, dims)

    def own(self, block: Any, dims: tuple[str, ...]) -> Any:
        """The part of a block of this rank that is its own, as `regions` says where it is."""
        return block[self._own(self.ranks.rank, dims)]

    def regions(self, shape: tuple[int, ...], dims: tuple[str, ...]) -> np.ndarray:
        """Which cells of a whole of this shape, which is split, are whose own: the first, and the one after the last,
        (ranks, dimensions, 2). Together they are the whole."""
        found = np.zeros((self.ranks.size, len(dims), 2), int)
        found[:, :, 1] = shape
        for axis, dim in enumerate(dims):
            base, halo = self.halos.get(dim, (dim, 0))
            if base in self.sizes:
                first, last = self._edges[base].T
                found[:, axis, 0] = first + halo * (first > 0)
                found[:, axis, 1] = last + halo + halo * (last == self.sizes[base])
        return found

    def chunks(self, shape: tuple[int, ...], dims: tuple[str, ...]) -> tuple[int, ...]:
        """Of a whole of this shape: chunks such that there are as many along a dimension as parts. Where parts are
        equal, a chunk is of one rank."""
        found = []
        for n, dim in zip(shape, dims, strict=True):
            base = self.halos.get(dim, (dim, 0))[0]
            pieces = len(np.unique(self._edges[base][:, 0])) if base in self.sizes else 1
            found.append(max(1, -(-n // pieces)))
        return tuple(found)

    def mine(self, whole: Any, dims: tuple[str, ...]) -> Any:
        """This rank's block of an array that it has the whole of."""
        return whole[self.place(dims)]

    def gather(self, block: Any, dims: tuple[str, ...]) -> np.ndarray | None:
        """The whole on the leading rank, None on the others. What is split in no dimension is the leading rank's."""
        block, comm = np.asarray(block, order="C"), self.ranks.comm
        if not self.has(dims):
            return block if self.ranks.rank == 0 else None
        if self.ranks.rank:
            comm.Send(block, 0)
            return None
        whole = np.empty(self.shape(block.shape, dims), block.dtype)
        for rank in range(self.ranks.size):
            where, own = self._block(rank, dims), self._own(rank, dims)
            if rank:
                block = np.empty_like(whole[where], order="C")
                comm.Recv(block, rank)
            whole[where][own] = block[own]
        return whole

    def around(
        self, block: np.ndarray, dims: tuple[str, ...], closed: Mapping[str, bool], width: int, fill: Any
    ) -> np.ndarray:
        """This rank's block with so many cells more at the ends of the dimensions that are split, those that others
        have; `fill` beyond the ends of the grid, where these are not closed. One exchange."""
        me = self.ranks.rank

        def shared(holder: int, wanter: int) -> tuple[Any, Any]:
            """Where in the wanter's block, with what is around it, what the holder has of it goes; and where in the
            holder's that is."""
            found = []
            for dim, n in zip(dims, block.shape, strict=True):
                if dim not in self.sizes:
                    found.append((np.arange(n), np.arange(n)))
                    continue
                (first, last), (begin, end) = self.parts[wanter][dim], self.parts[holder][dim]
                cells = np.arange(first - width, last + width)
                cells = cells % self.sizes[dim] if closed[dim] else cells
                there = np.flatnonzero((cells >= begin) & (cells < end))
                found.append((there, cells[there] - begin))
            return np.ix_(*(to for to, _ in found)), np.ix_(*(of for _, of in found))

        others = range(self.ranks.size)
        got = self.ranks.comm.alltoall([block[shared(me, rank)[1]] for rank in others])
        wide = [n + 2 * width if dim in self.sizes else n for dim, n in zip(dims, block.shape, strict=True)]
        found = np.full(wide, fill, block.dtype)
        for rank, values in zip(others, got, strict=True):
            found[shared(rank, me)[0]] = values
        return found

    @cached_property
    def _edges(self) -> dict[str, np.ndarray]:
        """By dimension: the first cell of every rank's part, and the one after the last, (ranks, 2)."""
        return {dim: np.array([part[dim] for part in self.parts]) for dim in self.sizes}

    def _is_split(self, dim: str) -> bool:
        return self.halos.get(dim, (dim, 0))[0] in self.sizes

    def _whole(self, dim: str, n: int) -> int:
        """Cells of the whole in a dimension of which a rank has n."""
        base, halo = self.halos.get(dim, (dim, 0))
        return self.sizes[base] + 2 * halo if base in self.sizes else n

    def _block(self, rank: int, dims: tuple[str, ...]) -> tuple[slice, ...]:
        """Where in the whole a rank's block is, its halo with it."""

        def along(dim: str) -> slice:
            base, halo = self.halos.get(dim, (dim, 0))
            if base not in self.sizes:
                return slice(None)
            first, last = self.parts[rank][base]
            return slice(first, last + 2 * halo)

        return tuple(map(along, dims))

    def _own(self, rank: int, dims: tuple[str, ...]) -> tuple[slice, ...]:
        """Where in a rank's block the cells are that are its own: without the halo, but where that is the whole's."""

        def along(dim: str) -> slice:
            base, halo = self.halos.get(dim, (dim, 0))
            if base not in self.sizes or not halo:
                return slice(None)
            first, last = self.parts[rank][base]
            return slice(halo if first else None, -halo if last < self.sizes[base] else None)

        return tuple(map(along, dims))


def split(
    ranks: Ranks, mine: Mapping[str, tuple[slice, int]], halos: Mapping[str, tuple[str, int]] | None = None
) -> Split:
    """mine: by dimension, the cells of this rank and how many there are in all. halos: as in `Split`.

    Raises UsageError, on all ranks, where these are not as many on every rank, or the parts are not the whole.
    """
    told = ranks.comm.allgather({dim: (part.start, part.stop, size) for dim, (part, size) in mine.items()})
    sizes = {dim: size for dim, (_, size) in mine.items()}
    if any({dim: size for dim, (_, _, size) in of.items()} != sizes for of in told):
        raise UsageError("the ranks are not told of the same grid")
    parts: tuple[Part, ...] = tuple({dim: (a, b) for dim, (a, b, _) in of.items()} for of in told)
    apart = all(
        any(a[dim][1] <= b[dim][0] or b[dim][1] <= a[dim][0] for dim in sizes)
        for i, a in enumerate(parts)
        for b in parts[:i]
    )
    inside = all(0 <= a < b <= sizes[dim] for part in parts for dim, (a, b) in part.items())
    cells = sum(prod(b - a for a, b in part.values()) for part in parts)
    if not (apart and inside and cells == prod(sizes.values())):
        raise UsageError(f"the parts of {', '.join(sizes)} that the ranks hold overlap, or are not the whole: {parts}")
    return Split(ranks, sizes, parts, dict(halos or {}))
