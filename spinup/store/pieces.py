"""Sparse matrices in pieces, one behind the other: in a piece is a stretch of the rows of all of them, that of a rank.

Rows and columns are unknowns of one of two kinds, those of an operator's vector and those of its border (KINDS). On
disk are `counts`, the unknowns of either kind in a piece, (pieces, 2), and with a row for each piece, filled up to the
longest of them: the entries `data` and `indices` (columns in the whole) of its matrices in turn, `indptr`, where each
of their rows begins in these, and of every array of numbers the piece's, those of the vector and those of the border.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from solvers.rows import sparse_rows

#: Of the rows and of the columns of a matrix, by the first word of its name.
KINDS = {"matrix": (0, 0), "implicit": (0, 0), "response": (0, 1), "source": (1, 0), "balance": (1, 1)}

Wanted = tuple[slice, slice]  # of the unknowns of either kind


@dataclass(frozen=True, eq=False)
class Parts:
    """matrices: by name. numbers: by name, one for each unknown of the vector and one for each of the border."""

    matrices: Mapping[str, Any]
    numbers: Mapping[str, tuple[np.ndarray, np.ndarray]]

    def rows(self, wanted: Wanted) -> "Parts":
        """Some rows of all matrices, and their numbers."""
        numbers = {name: (pair[0][wanted[0]], pair[1][wanted[1]]) for name, pair in self.numbers.items()}
        return Parts({name: matrix[wanted[kinds(name)[0]]] for name, matrix in self.matrices.items()}, numbers)


def kinds(name: str) -> tuple[int, int]:
    """Of what kind the rows and the columns of a matrix are, by its name."""
    return KINDS[name.split("_")[0]]


def piece(parts: Parts) -> dict[str, np.ndarray]:
    """What a run has of one."""
    matrices = [csr_array(matrix) for matrix in parts.matrices.values()]
    lengths = np.concatenate([np.diff(matrix.indptr) for matrix in matrices])
    found = {
        "data": np.concatenate([matrix.data for matrix in matrices]),
        "indices": np.concatenate([matrix.indices for matrix in matrices]),
        "indptr": np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
    }
    return found | {name: np.concatenate(pair) for name, pair in parts.numbers.items()}


def read_pieces(group: Any, names: list[str], wanted: Wanted | None = None) -> Parts:
    """The matrices of these names and whatever numbers are in a zarr group: of the wanted rows, or all of them."""
    counts = group["counts"][...]
    firsts = np.concatenate([[[0, 0]], np.cumsum(counts, axis=0)])
    wanted = wanted or (slice(0, int(firsts[-1, 0])), slice(0, int(firsts[-1, 1])))
    bounds = np.array([(part.start, part.stop) for part in wanted])
    others = sorted({name for name, _ in group.arrays()} - {"counts", "data", "indices", "indptr"})
    rows: dict[str, list[Any]] = {name: [] for name in names}
    numbers: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {name: ([], []) for name in others}
    for number, (first, count) in enumerate(zip(firsts, counts, strict=False)):
        begin, end = (bounds - first[:, None]).clip(0, count[:, None]).T
        if (begin == end).all():
            continue
        row = 0
        for name in names:
            kind, of = kinds(name)
            some = slice(row + int(begin[kind]), row + int(end[kind]))
            rows[name].append(_rows(group, number, some, int(firsts[-1, of])))
            row += int(count[kind])
        for name in others:
            for kind, before in enumerate((0, int(count[0]))):
                numbers[name][kind].append(group[name][number, before + int(begin[kind]) : before + int(end[kind])])
    matrices = {name: _stacked(some, int(firsts[-1, kinds(name)[1]])) for name, some in rows.items()}
    joined = {name: (_joined(pair[0]), _joined(pair[1])) for name, pair in numbers.items()}
    return Parts(matrices, joined)


def _rows(group: Any, number: int, some: slice, columns: int) -> Any:
    """These rows of a piece."""
    starts = group["indptr"][number, some.start : some.stop + 1]
    entries = slice(int(starts[0]), int(starts[-1]))
    data, indices = (group[name][number, entries] for name in ("data", "indices"))
    return sparse_rows(data, indices, starts - starts[0], columns)


def _stacked(some: list[Any], columns: int) -> Any:
    """Rows one behind the other, entries in the order they have: that decides how sums are rounded."""
    if len(some) == 1:
        return some[0]
    lengths = _joined([np.diff(rows.indptr) for rows in some])
    data, indices = (_joined([getattr(rows, part) for rows in some]) for part in ("data", "indices"))
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return sparse_rows(data, indices, starts, columns)


def _joined(some: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(some) if some else np.empty(0, int)
