"""How far a state is from the equilibrium it is approaching: the residual seen through the one-step operator.

    e = x - x* ~ P_0^-1 r,   r = T(x) - x

P_s^-1 is the inverse of the tendency, extended by the balance of what is carried (`solvers.tendency`; `solvers.seasons`
where the forcing goes through a cycle); s is 0 here, pseudo-transient continuation has more. Without the balance the
estimate is of the right size where the carried variables would answer, not exact.
"""

from typing import Any

import numpy as np

from solvers.requests import StepOperator
from solvers.seasons import SeasonalInverse
from solvers.tendency import Inverse, inverse_of

LEAST_RATE = 1e-6  # a period, at which a total that is conserved is said to decay: there is no inverse without any


_kept: dict[tuple[StepOperator, float], Inverse] = {}  # the last one


def tendency_inverse(operator: StepOperator, rate: float) -> Inverse:
    """P_s^-1 of an operator, of one with seasons by their product.

    A method and the estimate of a run's error ask for the same inverse of the same residual in turn: it is factorised,
    and solved for at its own rate, once. Raises SingularMatrix."""
    if (operator, rate) not in _kept:
        forget_inverse()  # before, not after: the factors of two operators may not fit
        _kept[operator, rate] = _solved_once(operator, rate)
    return _kept[operator, rate]


def forget_inverse() -> None:
    """Make the next one anew."""
    _kept.clear()


def _solved_once(operator: StepOperator, rate: float) -> Inverse:
    inverse: Inverse = SeasonalInverse(operator, rate) if operator.seasons else inverse_of(operator, rate)
    last: list[Any] = []  # r, steps and P_s^-1 r

    def applied(
        r: np.ndarray,
        *,
        steps: int | None = None,
        rate: float | np.ndarray | None = None,
        tolerance: float | None = None,
    ) -> np.ndarray:
        if rate is not None or tolerance is not None:
            return inverse(r, steps=steps, rate=rate, tolerance=tolerance)
        steps = steps or operator.steps
        if not last or last[1] != steps or operator.inner.any(not np.array_equal(last[0], r)):
            last[:] = r.copy(), steps, inverse(r, steps=steps)
        return last[2].copy()

    return applied


def error_estimate(operator: StepOperator, r: np.ndarray, steps: int) -> np.ndarray:
    """x - x*, (n,), from the residual r of `steps` time steps from x. Raises SingularMatrix."""
    return tendency_inverse(operator, 0.0)(r, steps=steps)
