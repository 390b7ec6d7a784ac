"""The same inverse where the forcing goes through a cycle: a product of the seasons' propagators.

    J_c ~ S_D ... S_2 S_1,    S_d:  (M_d - h A_d) x - h B_d y = M_d v,   C_d x + D_d y = 0,   S_d v = x
    e = (J_c - I - s c / N)^-1 (c / n) r,      r of n steps, c steps in the cycle, N in a period, h = c / D in a season

M_d, A_d = M_d (J_d - I) and the border are those of the middle of a season, or means of some of its dates, taken in one
step of implicit Euler (see `solvers.tendency`). On one date water convects that does not on another, and a mode that
is nearly neutral grows by the one and decays by the other.

The system is solved by flexible GMRES; the inverse of the mean operator precedes it, roughly, which takes three or four
iterations. The mean alone will not do: water that is mixed to the surface in winter only would be restored there all
the year, and the distance come out at half.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from solvers.chain_factors import SingularMatrix
from solvers.krylov import answered, fgmres_flow
from solvers.requests import BORDER_MATRICES, StepOperator
from solvers.tendency import implicit_step, inverse_of

TOLERANCE, DIMENSION = 1e-2, 40  # of the outer iterations: implicit Euler over a season is no better
ROUGHLY = 0.1  # of the mean's solve before each: half the solves of 1e-4, for an outer iteration more at most
DATES = 3  # of a season that tell what it does, where modes are nearly neutral
SEASON_TOLERANCE = 1e-5  # of the solve of a season


def of_seasons(seasons: Sequence[StepOperator], cycle_steps: int) -> StepOperator:
    """The operator of a cycle of `cycle_steps` time steps from those of its parts, equally long and in their order."""
    first, borders = seasons[0], [part.border for part in seasons]
    border = None
    if first.border is not None:
        border = replace(
            first.border,
            **{name: _mean([getattr(b, name) for b in borders]) for name in BORDER_MATRICES},
        )
    implicit = _mean([part.left for part in seasons])
    return StepOperator(
        _mean([part.matrix for part in seasons]),
        first.steps,
        implicit,
        border,
        tuple(seasons),
        cycle_steps,
        first.cells,
    )


def of_dates(dates: Sequence[StepOperator]) -> StepOperator:
    """The operator of a season, the mean of those of some of its dates."""
    return dates[0] if len(dates) == 1 else replace(of_seasons(dates, 0), seasons=())


class SeasonalInverse:
    """e of the header for any r. rate: s of the mean's factors. Raises SingularMatrix."""

    def __init__(self, operator: StepOperator, rate: float = 0.0) -> None:
        self._operator, self._rate = operator, rate
        self._mean = inverse_of(operator, rate)
        seasons_a_period = operator.steps * len(operator.seasons) / operator.cycle_steps
        self._seasons = [implicit_step(part, seasons_a_period, SEASON_TOLERANCE) for part in operator.seasons]

    def __call__(
        self,
        r: np.ndarray,
        *,
        steps: int | None = None,
        rate: float | np.ndarray | None = None,
        tolerance: float | None = None,
    ) -> np.ndarray:
        """e, (n,). steps: n of the header, by default a period's. rate: s, or one for each unknown, (n,); by default
        that of the factors. tolerance: what may be left of r, relative, but no less than TOLERANCE. Raises
        SingularMatrix."""
        allowed = max(tolerance or TOLERANCE, TOLERANCE)
        steps, cycle = steps or self._operator.steps, self._operator.cycle_steps
        shift = (self._rate if rate is None else rate) * (cycle / self._operator.steps)

        def apply(v: np.ndarray) -> np.ndarray:
            later = v
            for season in self._seasons:
                later = season(later)
            return later - v - shift * v

        def precondition(v: np.ndarray) -> np.ndarray:
            return self._mean(v, steps=cycle, rate=rate, tolerance=ROUGHLY)

        flow = fgmres_flow(
            r * (cycle / steps), precondition, tolerance=allowed, dimension=DIMENSION, inner=self._operator.inner
        )
        e, left = answered(flow, apply)
        if not left <= allowed:
            raise SingularMatrix("the iterations over the seasons did not get there")
        return e


def _mean(matrices: Sequence[Any]) -> Any:
    return sum(matrices[1:], matrices[0]) / len(matrices)
