"""A sparse matrix of which every rank has some rows.

The unknowns are numbered through the ranks, those of the first rank first: a rank's rows are its own unknowns, columns
are anybody's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.inner import InnerProduct


@dataclass(frozen=True, eq=False)
class Rows:
    """own: the rows of this rank, a sparse array (own rows, columns of all ranks). comm: a communicator of mpi4py.

    It is multiplied and added to as sparse arrays are, rows by rows.
    """

    own: Any
    comm: Any

    @property
    def shape(self) -> tuple[int, int]:
        """That of this rank's rows."""
        return self.own.shape

    @property
    def nnz(self) -> int:
        """The entries of this rank."""
        return self.own.nnz

    @property
    def inner(self) -> InnerProduct:
        """The Euclidean inner product of vectors of which every rank has its part, as it has rows."""
        return InnerProduct(reduce=self.total)

    def total(self, mine: np.ndarray) -> np.ndarray:
        """The sum over ranks of a float64 array, the same bits on each."""
        found = np.empty_like(mine)
        self.comm.Allreduce(mine, found)
        return found

    def firsts(self, mine: int) -> np.ndarray:
        """The number of the first unknown of each rank, and after the last how many there are, where this one has so
        many: (ranks + 1,)."""
        return firsts_of(mine, self.comm)

    def identity(self) -> "Rows":
        """The rows of I, of a matrix that is square."""
        from scipy.sparse import eye_array

        rows, columns = self.shape
        return Rows(eye_array(rows, columns, k=int(self.firsts(rows)[self.comm.Get_rank()]), format="csr"), self.comm)

    def _made(self, work: Callable[[Any], Any]) -> "Rows":
        return Rows(work(self.own), self.comm)

    def __add__(self, other: "Rows") -> "Rows":
        return self._made(lambda own: own + other.own)

    def __sub__(self, other: "Rows") -> "Rows":
        return self._made(lambda own: own - other.own)

    def __mul__(self, factor: float) -> "Rows":
        return self._made(lambda own: own * factor)

    __rmul__ = __mul__

    def __truediv__(self, factor: float) -> "Rows":
        return self._made(lambda own: own / factor)


def firsts_of(mine: int, comm: Any) -> np.ndarray:
    """As `Rows.firsts`."""
    return np.concatenate([[0], np.cumsum(comm.allgather(mine))])


def with_columns(rows: Any, columns: np.ndarray, number: int) -> Any:
    """The rows of a sparse matrix with other columns, one for each entry, of so many."""
    return sparse_rows(rows.data, columns, rows.indptr, number)


def sparse_rows(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, columns: int) -> Any:
    """A sparse array of rows of so many columns, whose indices are no longer than they need be: SciPy would take the
    longest that it is given."""
    from scipy.sparse import csr_array

    kind = np.int32 if max(columns, len(data)) <= np.iinfo(np.int32).max else np.int64
    parts = data, indices.astype(kind, copy=False), indptr.astype(kind, copy=False)
    return csr_array(parts, shape=(len(indptr) - 1, columns))
