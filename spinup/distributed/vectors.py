"""Vectors of which every rank has its cells' elements, as the run has them: in the order of a single process, each rank
a stretch."""

import numpy as np

from spinup.distributed.split import Split
from spinup.patch import Patch
from spinup.state import Layout


class Stretches:
    """Stretch r of the whole vector, all of one length but for the last, is what rank r writes and reads of it.

    Every method is to be called by all ranks.
    """

    def __init__(self, layout: Layout) -> None:
        assert layout.split is not None
        self._comm = layout.split.ranks.comm
        positions, self.size = _positions(layout, layout.split)
        rank, ranks = layout.split.ranks.rank, layout.split.ranks.size
        self.length = max(1, -(-self.size // ranks))
        self.mine = slice(min(rank * self.length, self.size), min((rank + 1) * self.length, self.size))
        counts = np.diff(np.searchsorted(positions, self.length * np.arange(ranks + 1)))
        self._counts = counts, np.array(self._comm.alltoall(list(counts)))  # of elements sent to, and got from, each
        self._places = self._exchanged(positions, *self._counts) - self.mine.start

    def of(self, x: np.ndarray) -> np.ndarray:
        """This rank's stretch of the whole of which it has the elements x of its cells."""
        got = self._exchanged(np.ascontiguousarray(x), *self._counts)
        stretch = np.empty(self.mine.stop - self.mine.start, got.dtype)
        stretch[self._places] = got
        return stretch

    def back(self, stretch: np.ndarray) -> np.ndarray:
        """The elements of this rank's cells, of the whole of which it has a stretch."""
        return self._exchanged(stretch[self._places], *reversed(self._counts))

    def gather(self, x: np.ndarray) -> np.ndarray | None:
        """The whole on the leading rank, None on the others."""
        parts = self._comm.gather(self.of(x))
        return None if parts is None else np.concatenate(parts)

    def scatter(self, whole: np.ndarray | None) -> np.ndarray:
        """The elements of this rank's cells, of the whole that the leading rank has."""
        ends = self.length * np.arange(1, self._comm.Get_size())
        return self.back(self._comm.scatter(None if whole is None else np.split(whole, ends)))

    def _exchanged(self, values: np.ndarray, sent: np.ndarray, got: np.ndarray) -> np.ndarray:
        found = np.empty(got.sum(), values.dtype)
        self._comm.Alltoallv([values, sent], [found, got])
        return found


def _positions(layout: Layout, split: Split) -> tuple[np.ndarray, int]:
    """Where in the whole vector the elements of this rank are, increasing, and how long that is. No rank learns of more
    cells than it has: each counts those of a stretch of the grid."""
    comm, ranks = split.ranks.comm, split.ranks.size
    patch, cells, end = Patch({}, 0, split), [], 0
    for v in layout.variables:
        cells.append(end + patch.places(v.shape, v.dims)[v.mask])
        end += int(np.prod(patch.whole(v.shape, v.dims)))
    mine = np.concatenate(cells)
    edges = np.searchsorted(mine, end * np.arange(1, ranks) // ranks)
    told = comm.alltoall(np.split(mine, edges))
    known, places = np.unique(np.concatenate(told), return_inverse=True)
    counts = comm.allgather(len(known))
    numbers = sum(counts[: split.ranks.rank]) + places
    back = comm.alltoall(np.split(numbers, np.cumsum([len(part) for part in told])[:-1]))
    return np.concatenate(back), sum(counts)
