"""How the residual of a direct run ought to decay, by the one-step operator where the run began.

Near an equilibrium a residual r = T(x) - x obeys dr/dt = L r, t in periods, L = N (J - I) extended by the balance of
what is carried (`tendency`). It is followed by implicit Euler steps of a period,

    r_{k+1} = (I - L)^-1 r_k = -z,   (L - 1) z = r_k.

An implicit step damps by 1 / (1 + a) what truly decays by exp(-a): slow modes, which are what is left near an
equilibrium, are right to a² / 2 a period, fast ones vanish either way.
"""

import numpy as np

from solvers.requests import StepOperator
from solvers.tendency import implicit_step


def predicted_residuals(operator: StepOperator, r: np.ndarray, periods: int) -> np.ndarray:
    """The residuals of `periods` periods, (periods, n), the first of which is r, (n,). Raises SingularMatrix."""
    a_period_later = implicit_step(operator, 1.0)
    found = [np.asarray(r, float)]
    for _ in range(periods - 1):
        found.append(a_period_later(found[-1]))
    return np.array(found)
