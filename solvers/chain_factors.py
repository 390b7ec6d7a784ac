"""Factors of a sparse matrix whose unknowns form a chain of links, each coupled to its neighbours only.

A grid is such a chain, row by row: the link is all unknowns of a row of water columns. Block LU down the chain
(G. H. Golub and C. F. Van Loan, Matrix Computations, 4th ed., 4.5.1), pivoting within a link, spends its time in dense
matrix products. They are done in single precision, on a matrix whose rows and columns are scaled to a largest entry of
one (D. Ruiz, Rutherford Appleton Laboratory report RAL-TR-2001-034); `factors.refined` gets the digits back.

With links of b unknowns, L of them: 4 b^3 L operations and b^2 L numbers of 4 bytes, besides what is sparse and, while
factorising, two or three links more.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

SCALINGS = 3  # passes of Ruiz' scaling; each squares the way to one

Solve = Callable[[np.ndarray], np.ndarray]


class SingularMatrix(ValueError):
    """There is nothing to solve with: the matrix is singular to working precision."""


def chain_bytes(chain: np.ndarray) -> int:
    """How many bytes `chain_factors` keeps of its links, dense factors and pivots."""
    links = np.bincount(chain)
    return int((4 * links**2 + 4 * links).sum())


def chain_factors(matrix: Any, chain: np.ndarray) -> Solve:
    """A function b -> x, (n,) each, with matrix x = b nearly, from LU factors of the sparse matrix (n, n) in single
    precision.

    chain: (n,) integers from 0, the link of each unknown. Raises SingularMatrix.
    """
    from scipy.linalg.lapack import sgetrf, sgetrs
    from scipy.sparse import csr_array, diags_array

    left, right = scaling(matrix)
    order = np.argsort(chain, kind="stable")
    ends = np.cumsum(np.bincount(chain))
    links = [slice(int(a), int(b)) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    scaled = (diags_array(left) @ csr_array(matrix) @ diags_array(right)).tocsr()[order][:, order].astype(np.float32)

    factors, below, above = [], [], []
    diagonal = scaled[links[0], links[0]].toarray(order="F")
    for here, after in zip(links, [*links[1:], None], strict=True):
        lu, pivots, info = sgetrf(diagonal, overwrite_a=1)
        if info > 0 or not np.isfinite(lu).all():
            raise SingularMatrix("a link of the chain is singular")
        factors.append((lu, pivots))
        if after is None:
            break
        upper, lower = scaled[here, after].tocsc(), scaled[after, here]
        columns = np.flatnonzero(np.diff(upper.indptr))
        eliminated = sgetrs(lu, pivots, upper[:, columns].toarray(order="F"), overwrite_b=1)[0]
        diagonal = scaled[after, after].toarray(order="F")
        diagonal[:, columns] -= lower @ eliminated
        below.append(lower)
        above.append(upper.tocsr())

    def solve(b: np.ndarray) -> np.ndarray:
        y = (left * b)[order].astype(np.float32)
        parts: list[np.ndarray] = []
        for k, link in enumerate(links):
            known = y[link] - below[k - 1] @ parts[-1] if k else y[link]
            parts.append(sgetrs(*factors[k], known)[0])
        for k in range(len(links) - 2, -1, -1):
            parts[k] = parts[k] - sgetrs(*factors[k], above[k] @ parts[k + 1])[0]
        x = np.empty(len(y))
        x[order] = np.concatenate(parts)
        return right * x

    return solve


def scaling(matrix: Any) -> tuple[np.ndarray, np.ndarray]:
    """Factors of the rows and of the columns, (n,) each, that bring their largest entries near one."""
    from scipy.sparse import csr_array

    n, entries = matrix.shape[0], csr_array(matrix).tocoo()
    rows, columns, size = entries.row, entries.col, abs(entries.data)
    left, right = np.ones(n), np.ones(n)
    for _ in range(SCALINGS):
        now = left[rows] * size * right[columns]
        for factor, index in ((left, rows), (right, columns)):
            largest = np.zeros(n)
            with np.errstate(invalid="ignore"):  # what is not a number is said to be so below
                np.maximum.at(largest, index, now)
            if not (largest > 0).all():
                raise SingularMatrix("a row or a column of the matrix is empty")
            factor /= np.sqrt(largest)
    return left, right
