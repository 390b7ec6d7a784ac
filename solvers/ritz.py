"""The slowest modes of the linearised map: Ritz values of the inverse of its tendency.

A mode v of the one-step Jacobian J, extended by the balance of what is carried, obeys N (J - I) v = λ v, N the steps of
a period: it changes by exp(λ) in a period. The λ nearest zero are the largest of the inverse, which Arnoldi's method
finds first (R. B. Lehoucq, D. C. Sorensen and C. Yang, ARPACK Users' Guide, SIAM 1998, section 3.2: shift-invert).
"""

import numpy as np

from solvers.error_estimate import LEAST_RATE, tendency_inverse
from solvers.requests import StepOperator

TOLERANCE = 1e-4  # of the eigenvalues, relative


def slowest_rates(operator: StepOperator, count: int = 4) -> np.ndarray:
    """The `count` eigenvalues λ nearest zero, (count,) complex, a period, the least damped first.

    A conjugate pair at the end may come with one of the two only. Raises SingularMatrix, and ArithmeticError where the
    iterations do not converge.
    """
    from scipy.sparse.linalg import (  # in a function: importing it takes longer than all the rest
        ArpackError,
        LinearOperator,
        eigs,
    )

    inverse = tendency_inverse(operator, LEAST_RATE)  # the λ nearest to it: zero may be among them
    n = operator.matrix.shape[0]

    def apply(v: np.ndarray) -> np.ndarray:
        v = np.ravel(v)
        return inverse(v) + v

    start = np.ones(n) + np.cos(np.arange(n))  # the same in every run
    whole = LinearOperator((n, n), matvec=apply, dtype=float)
    try:
        found = eigs(whole, k=count, v0=start, tol=TOLERANCE, return_eigenvectors=False)
    except ArpackError as error:
        raise ArithmeticError(f"the slowest modes were not found: {error}") from error
    rates = 1 / found + LEAST_RATE
    return rates[np.argsort(-rates.real, kind="stable")]
