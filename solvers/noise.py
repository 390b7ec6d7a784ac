"""How noisy a function is along a direction, and the step of a difference quotient that this allows.

Source: J. J. Moré and S. M. Wild, Estimating computational noise, SIAM J. Sci. Comput. 33 (2011), 1292-1314; the step:
the same, Estimating derivatives of noisy simulations, ACM Trans. Math. Softw. 38 (2012), 19.

    s_k² = (k!)² / (2k)!  mean_i ‖D^k F_i‖²,   F_i = F(x + i d v),   ‖v‖ = 1
    h = 8^¼ sqrt(noise / ‖F''‖),  where (h ‖F''‖ / 2)² + 2 noise² / h² is least, the squared error of a difference

s_k falls with k while the function itself is in the differences, and stays where they are nothing but noise. The
noise may be deterministic, rounding or a solver's tolerance say, but must change within d.

Differs from the source:
1. F is a vector, and noise and F'' are norms: with those the error above is that of a vector, too. Each difference is
   then a mean over many components, so that a table of four values does where a scalar function wants seven: with
   100 components all of 60 estimates were within a factor of 4, with 10 all but one, with 1 half of them. Four values
   cannot tell noise below d³ ‖D³F‖ from F, and give that.
2. A change of sign in a column of the table is <D^k F_i, D^k F_{i+1}> < 0, summed.
3. F'' is taken from one pair x ± a v, a = noise^¼ in the unit of the inner product; where the noise hides it, what it
   could be is taken for it, and the step is about a. That pair gives a central difference for nothing.
4. The step is no smaller than what x + h v can hold, and no larger than the unit of the inner product.

Shapes: x, v, F are (n,). Noise in the unit of the inner product.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import comb, sqrt

import numpy as np

from solvers.inner import InnerProduct
from solvers.requests import Array, Evaluate, Failure

VALUES = 4  # of the table, the one at x included
SPACING = 1e-4  # d in the unit of the inner product: above the rounding of a state in single precision
ALIKE = 4.0  # s_k within this factor are of noise; Moré & Wild 2011, section 5
LARGEST = 1.0  # step in the unit of the inner product
EPS, TINY = float(np.finfo(float).eps), float(np.finfo(float).tiny)


@dataclass(frozen=True, eq=False)
class Measured:
    """noise: of F, at least its rounding. step: h of the header. product: F'(x) v for the v given, (n,)."""

    noise: float
    step: float
    product: Array


def measure(x: Array, g: Array, v: Array, inner: InnerProduct) -> Generator[Evaluate, Array | Failure, Measured | None]:
    """The noise of F about x along v, by five evaluations; g = F(x). None where one of them fails."""
    size = inner.norm(v)

    def at(distance: float) -> Evaluate:
        return Evaluate(x + distance / size * v)

    values = [g]
    for i in range(1, VALUES):
        value = yield at(i * SPACING)
        if isinstance(value, Failure):
            return None
        values.append(value)
    noise = max(noise_level(values, inner), EPS * inner.norm(g), TINY)
    a = min(noise**0.25, LARGEST)
    ahead = yield at(a)
    behind = ahead if isinstance(ahead, Failure) else (yield at(-a))
    if isinstance(behind, Failure):
        return None
    curvature = max(inner.norm(ahead - 2 * g + behind), noise) / a**2
    step = max(forward_step(noise, curvature), sqrt(EPS) * inner.norm(x))
    return Measured(noise, min(step, LARGEST), (ahead - behind) * (size / (2 * a)))


def forward_step(noise: float, curvature: float) -> float:
    """h of the header. curvature: ‖F''‖ > 0."""
    return 8**0.25 * sqrt(noise / curvature)


def noise_level(values: Sequence[Array], inner: InnerProduct) -> float:
    """Noise in F at three or more points that are equally far apart: s_k of the first column that looks like noise.

    Where none does, s_k of the last: the noise is no larger, unless F varies more within d than over several of them.
    """
    levels, turning = [], []
    column = list(values)
    for k in range(1, len(values)):
        column = [b - a for a, b in pairwise(column)]
        squares = [inner.dot(d, d) for d in column]
        levels.append(sqrt(sum(squares) / len(column) / comb(2 * k, k)))
        turning.append(sum(inner.dot(a, b) for a, b in pairwise(column)) < 0)
    for k in range(len(levels) - 1):
        if turning[k] and max(levels[k : k + 2]) <= ALIKE * min(levels[k : k + 2]):
            return levels[k]
    return levels[-1]
