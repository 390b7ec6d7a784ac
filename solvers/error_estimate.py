"""How far a state is from the equilibrium it is approaching: the residual seen through the one-step operator.

    e = x - x* ~ P_0^-1 r,   r = T(x) - x,   P_0^-1 v = (n (J - I))^-1 v - v

J is the Jacobian of one time step, n the number of steps in r. P_0^-1 is the inverse of exp(n (J - I)) - I in its
simplest form that does not overflow: exact for slow modes, harmless for fast ones. It takes what J knows: where the
circulation would answer too, the estimate is of the right size (measured: see the documentation), not exact.
"""

import numpy as np

from solvers.chain_factors import Solve, sparse_factors
from solvers.requests import StepOperator


def tendency_inverse(operator: StepOperator, steps: int, shift: float = 0.0) -> Solve:
    """v -> (steps (J - I) - shift I)^-1 v - v, (n,) to (n,), by sparse LU. Raises SingularMatrix."""
    left = operator.left
    factors = sparse_factors(steps * operator.matrix - shift * left)

    def apply(v: np.ndarray) -> np.ndarray:
        return factors(left @ v) - v

    return apply


def error_estimate(operator: StepOperator, r: np.ndarray, steps: int) -> np.ndarray:
    """x - x*, (n,), from the residual r of `steps` time steps from x. Raises SingularMatrix."""
    return tendency_inverse(operator, steps)(r)
