"""The inverse of the tendency, extended by the balance of what is carried: a sparse solve.

    P_s^-1 r = z - r,   [ N (J - I) - s    N B ] [z]   [N / n r]
                        [       C           D  ] [y] = [   0   ]

J is the Jacobian of one time step, N the number of steps in a period, n that in r, s a rate of decay a period. The
border is the balance 0 = C dx + D dy of what is carried and answers x at once, where the operator has one. The form
z - r does not overflow: it is the inverse of exp(n (J - I)) - I for slow modes, and harmless for fast ones.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from solvers.any_rate import AnyRate
from solvers.chain_factors import SingularMatrix
from solvers.factors import REFINEMENT, Factors, factorise, memory_sentence, refined
from solvers.layers import Layers
from solvers.lumping import Cells
from solvers.petsc_factors import row_scale
from solvers.ranks_inverse import LINEAR_TOLERANCE, RanksInverse, ranks_sentence
from solvers.requests import StepOperator
from solvers.rows import Rows

Inverse = Callable[..., np.ndarray]  # as TendencyInverse is called


class TendencyInverse(AnyRate):
    """P_s^-1 of the header, factorised at one rate s and applied at any. tolerance: of the linear solve.

    Another rate than that of the factors is solved for by Krylov iterations that they precondition, or where these do
    not get there by factors of its own; the last of these are kept. Raises SingularMatrix.
    """

    def __init__(self, operator: StepOperator, rate: float = 0.0, tolerance: float = LINEAR_TOLERANCE) -> None:
        self._operator, self._tolerance = operator, tolerance
        self._left = operator.left
        self._own = self._matrix_at(rate)
        self._factors = self._factorised(self._own)
        self._rows = row_scale(self._own)

    def __call__(
        self,
        r: np.ndarray,
        *,
        steps: int | None = None,
        rate: float | np.ndarray | None = None,
        tolerance: float | None = None,
    ) -> np.ndarray:
        """P_s^-1 r, (n,), of a residual of `steps` steps, by default a period's. rate: s, or one for each unknown,
        (n,); by default that of the factors. tolerance: by default that of the inverse. Raises SingularMatrix."""
        tolerance = tolerance or self._tolerance
        n = len(r)
        right = self._left @ (r * (self._operator.steps / (steps or self._operator.steps)))
        right = np.concatenate([right, np.zeros(self._own.shape[0] - n)])
        z: np.ndarray | None
        if rate is not None:
            z = self._at_another(rate, right, tolerance)
        elif self._factors.exact:
            z = self._factors(right)
        else:
            z = self._solved(self._own, self._factors, right, tolerance)
        if z is None or not np.isfinite(z).all():
            approximate = self._factors.dimension > REFINEMENT
            raise SingularMatrix(
                "the iterations did not get there" if approximate else "the operator is nearly singular"
            )
        return z[:n] - r

    def _matrix_at(self, rate: float | np.ndarray) -> Any:
        return extended_matrix(self._operator, rate)

    def _factorised(self, matrix: Any) -> Factors:
        return factorise(matrix, *what_is_lumped(self._operator))

    def _solved(self, matrix: Any, factors: Factors, right: np.ndarray, tolerance: float) -> np.ndarray | None:
        return refined(matrix, factors, right, tolerance, self._rows)


def extended_matrix(operator: StepOperator, rate: float | np.ndarray = 0.0) -> Any:
    """The sparse matrix of the header, (n + m, n + m); without a border (n, n). rate: s, or one for each unknown of
    x, (n,)."""
    from scipy.sparse import block_array, csr_array, diags_array

    rates = np.broadcast_to(np.asarray(rate, float), operator.matrix.shape[:1])
    matrix = operator.steps * operator.matrix - operator.left @ diags_array(rates)
    if (border := operator.border) is not None:
        matrix = block_array([[matrix, operator.steps * border.response], [border.source, border.balance]])
    return csr_array(matrix)


def what_is_lumped(operator: StepOperator) -> tuple[np.ndarray | None, Layers | None, Cells | None]:
    """The chain and the layers of the extended matrix, or the cells of one without border, where they are known."""
    if operator.border is None:
        return None, None, operator.cells
    return operator.border.chain, operator.border.layers, None


def memory_needed(operator: StepOperator) -> str:
    """The memory that the inverse of an operator takes, and how it is had, in a sentence for the user's log."""
    if isinstance(operator.matrix, Rows):
        return ranks_sentence(operator)
    shifted = extended_matrix(operator, 1.0)  # any rate: it has the entries of all that will be factorised
    seasons = f", for each of {len(operator.seasons)} seasons and their mean" if operator.seasons else ""
    try:
        return memory_sentence(shifted, *what_is_lumped(operator)) + seasons
    except SingularMatrix as error:
        return f"the operator has no LU factors: {error}"


def inverse_of(operator: StepOperator, rate: float = 0.0, tolerance: float = LINEAR_TOLERANCE) -> Inverse:
    """P_s^-1 of an operator, where several ranks have its rows by PETSc. Raises SingularMatrix, as it does itself."""
    if isinstance(operator.matrix, Rows):
        return RanksInverse(operator, rate, tolerance)
    return TendencyInverse(operator, rate, tolerance)


def implicit_step(
    operator: StepOperator, rate: float, tolerance: float = LINEAR_TOLERANCE
) -> Callable[[np.ndarray], np.ndarray]:
    """v -> (1 - L / rate)^-1 v, (n,) each: a step of implicit Euler over 1 / rate periods, L = N (J - I) extended by
    the balance. tolerance: of the linear solve. Raises SingularMatrix, as the function does."""
    inverse = inverse_of(operator, rate, tolerance)
    return lambda v: -rate * (inverse(v) + v)
