"""LU factors of a sparse matrix in double precision, by UMFPACK where it is installed, else by SuperLU.

UMFPACK (T. A. Davis, ACM Trans. Math. Softw. 30 (2004), 196-199, Algorithm 832) chooses between an order for a nearly
symmetric pattern, as that of water columns is, and one for any; SciPy's SuperLU knows the second only. It comes in the
wheel of kvxopt, the extra [umfpack].
"""

from typing import Any

import numpy as np

from solvers.chain_factors import SingularMatrix, Solve

SINGULAR = "the matrix is exactly singular"


def sparse_factors(matrix: Any) -> Solve:
    """A function b -> x, (n,) each, with matrix x = b for the sparse matrix (n, n). Raises SingularMatrix, which the
    function may raise as well where the matrix is nearly singular."""
    return umfpack_factors(matrix) if has_umfpack() else superlu_factors(matrix)


def has_umfpack() -> bool:
    """Whether UMFPACK is installed and loads."""
    try:
        from kvxopt import umfpack  # noqa: F401
    except ImportError:
        return False
    return True


def umfpack_factors(matrix: Any) -> Solve:
    """`sparse_factors` by UMFPACK."""
    from kvxopt import matrix as dense
    from kvxopt import spmatrix, umfpack
    from scipy.sparse import coo_array

    entries = coo_array(matrix)
    row, column = (dense(index.astype(np.int64)) for index in entries.coords)
    A = spmatrix(dense(entries.data.astype(float)), row, column, entries.shape)
    try:
        factors = umfpack.numeric(A, umfpack.symbolic(A))
    except ArithmeticError as error:
        raise SingularMatrix(SINGULAR) from error

    def solve(b: np.ndarray) -> np.ndarray:
        x = dense(np.asarray(b, float))
        try:
            umfpack.solve(A, factors, x)
        except ArithmeticError as error:
            raise SingularMatrix(SINGULAR) from error
        return np.array(x).ravel()

    return solve


def superlu_factors(matrix: Any) -> Solve:
    """`sparse_factors` by SuperLU."""
    from scipy.sparse import csc_array  # in functions, here and above: importing it takes longer than all the rest
    from scipy.sparse.linalg import splu

    try:
        return splu(csc_array(matrix)).solve
    except RuntimeError as error:
        raise SingularMatrix(SINGULAR if "singular" in str(error) else str(error)) from error
