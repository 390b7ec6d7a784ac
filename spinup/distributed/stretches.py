"""Unknowns of which every rank has some, as the run has them: in the order of a single process, each rank a stretch."""

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from solvers.rows import firsts_of, sparse_rows
from spinup.patch import Patch
from spinup.state import Layout


def places_of(layout: Layout, patch: Patch) -> np.ndarray:
    """Numbers that grow with the order that the unknowns of a rank's layout have in the vector of a single process."""
    found, before = [], 0
    for v in layout.variables:
        found.append(before + patch.places(v.shape, v.dims)[v.mask])
        before += int(np.prod(patch.whole(v.shape, v.dims)))
    return np.concatenate(found)


class Stretches:
    """Stretch r of all unknowns, all of one length but for the last, is what rank r writes and reads of them.

    places: of this rank's unknowns, increasing (see `places_of`). comm: a communicator of mpi4py.

    Every method is to be called by all ranks. None learns of more unknowns than it has, or than are in its stretch.
    """

    def __init__(self, places: np.ndarray, comm: Any) -> None:
        self._comm = comm
        rank, ranks = comm.Get_rank(), comm.Get_size()
        self._own, self.size = _positions(places, comm)
        self._firsts = firsts_of(len(self._own), comm)
        self.length = max(1, -(-self.size // ranks))
        self._ends = np.minimum(self.length * np.arange(ranks + 1), self.size)
        self.mine = slice(int(self._ends[rank]), int(self._ends[rank + 1]))
        sent = np.diff(np.searchsorted(self._own, self._ends))
        self._counts = sent, np.array(comm.alltoall(list(sent)))  # of unknowns sent to, and got from, each
        self._places = self._exchanged(self._own, *self._counts) - self.mine.start

    @property
    def lengths(self) -> np.ndarray:
        """That of every rank's, (ranks,)."""
        return np.diff(self._ends)

    def of(self, x: np.ndarray) -> np.ndarray:
        """This rank's stretch of a vector of which it has the elements x of its own unknowns."""
        got = self._exchanged(np.ascontiguousarray(x), *self._counts)
        stretch = np.empty(self.mine.stop - self.mine.start, got.dtype)
        stretch[self._places] = got
        return stretch

    def back(self, stretch: np.ndarray) -> np.ndarray:
        """The elements of this rank's unknowns, of a vector of which it has a stretch."""
        return self._exchanged(stretch[self._places], *reversed(self._counts))

    def rows_of(self, own: Any) -> csr_array:
        """This rank's stretch of the rows of a sparse matrix of which it has those of its own unknowns."""
        return csr_array(self._moved(csr_array(own), *self._counts)[np.argsort(self._places)])

    def rows_back(self, stretch: Any) -> csr_array:
        """The rows of this rank's unknowns, of a sparse matrix of which it has a stretch."""
        return csr_array(self._moved(csr_array(csr_array(stretch)[self._places]), *reversed(self._counts)))

    def positions(self, numbers: np.ndarray) -> np.ndarray:
        """Where unknowns of any rank, numbered through the ranks, are in the order of a single process."""
        return self._asked(numbers, self._firsts, self._own)

    def numbers(self, positions: np.ndarray) -> np.ndarray:
        """The numbers through the ranks of unknowns that are there in the order of a single process."""
        first = self._firsts[self._comm.Get_rank()]
        return self._asked(positions, self._ends, self.of(first + np.arange(len(self._own))))

    def _moved(self, rows: csr_array, sent: np.ndarray, got: np.ndarray) -> Any:
        """Rows that go to the ranks in their order, so many to each, and those that come from them."""
        lengths = self._exchanged(np.diff(rows.indptr), sent, got)
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        entries = [
            np.diff(ends[np.concatenate([[0], np.cumsum(of)])]) for ends, of in ((rows.indptr, sent), (starts, got))
        ]
        data, indices = (self._exchanged(part, *entries) for part in (rows.data, rows.indices))
        return sparse_rows(data, indices, starts, rows.shape[1])

    def _asked(self, wanted: np.ndarray, firsts: np.ndarray, known: np.ndarray) -> np.ndarray:
        """What is known of each of the wanted, by the rank that has it: those from its first on."""
        each, places = np.unique(wanted, return_inverse=True)
        asked = self._comm.alltoall(np.split(each, np.searchsorted(each, firsts[1:-1])))
        told = self._comm.alltoall([known[of - firsts[self._comm.Get_rank()]] for of in asked])
        return np.concatenate(told)[places]

    def _exchanged(self, values: np.ndarray, sent: np.ndarray, got: np.ndarray) -> np.ndarray:
        found = np.empty(got.sum(), values.dtype)
        self._comm.Alltoallv([values, sent], [found, got])
        return found


def _positions(places: np.ndarray, comm: Any) -> tuple[np.ndarray, int]:
    """Where this rank's unknowns are in the order of a single process, and how many there are: each rank counts those
    of a stretch of the places."""
    ranks = comm.Get_size()
    end = 1 + max(comm.allgather(int(places.max(initial=0))))
    told = comm.alltoall(np.split(places, np.searchsorted(places, end * np.arange(1, ranks) // ranks)))
    known, there = np.unique(np.concatenate(told), return_inverse=True)
    firsts = firsts_of(len(known), comm)
    numbers = firsts[comm.Get_rank()] + there
    back = comm.alltoall(np.split(numbers, np.cumsum([len(part) for part in told])[:-1]))
    return np.concatenate(back), int(firsts[-1])
