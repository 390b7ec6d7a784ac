"""Keeping totals: what a solver's candidate must hold as much of as the start did.

A combination of iterates whose coefficients sum to one keeps every linear total of the model to
rounding; the projection on bounds that follows it does not. `conserve` does both: it clips to the
bounds, then hands the surplus or deficit to the cells that have room, by the smallest change in the
inner product's norm. Among the states of the start's total, T(conserve(x)) has the same fixed points as
T, so it may be applied to every candidate. A group is a tuple of variables whose contents add up to one
conserved total, e.g. ("po4", "dop").
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from spinup.state import Layout

Groups = Sequence[tuple[str, ...]]

_ROUNDING = 5e-15  # relative to the sum of |volume * x|: a total of millions of cells is not known better than this
_PASSES = 100  # a pass either ends the search or fills cells up; a handful are needed


def totals(layout: Layout, groups: Groups, x: Any) -> tuple[float, ...]:
    """Content of each group, the sum of volume times value over its variables and ocean cells.

    x: (n,), a vector of `layout`. The unit is that of the variables times that of the volume.
    """
    x = np.asarray(x)
    mine = [
        float(sum(np.sum(v.volume[v.mask] * x[layout.slices[v.name]]) for v in layout.variables if v.name in group))
        for group in groups
    ]
    return tuple(float(total) for total in layout.total(mine))


def conserve(layout: Layout, groups: Groups, x: Any, wanted: Sequence[float]) -> np.ndarray:
    """x within its bounds and with the totals `wanted`, one for each group.

    x: (n,). Variables outside the groups are only clipped. Elements change by an equal share of the
    variable's scale (times volume over weight) until they meet a bound. An x that already complies to
    rounding comes back as it is, to the bit. Totals are met to 5e-15 of the sum of |volume * x|.

    Raises ValueError where no state within the bounds has the total wanted.
    """
    y = np.array(x)
    lower, upper = layout.bounds or (np.full(layout.size, -np.inf), np.full(layout.size, np.inf))
    np.clip(y, lower, upper, out=y)
    for group, total in zip(groups, wanted, strict=True):
        where, volume, direction = _elements(layout, group)
        try:
            direction = direction / layout.largest(direction.max(initial=0.0))
            y[where] = _spread(y[where], volume, direction, lower[where], upper[where], total, _sum_over(layout))
        except ValueError as error:
            raise ValueError(f"{' + '.join(group)}: {error}") from None
    return y


def without_totals(layout: Layout, groups: Groups, v: Any) -> np.ndarray:
    """What of a direction v, (n,), changes no total of the groups: each less an equal share of its variables' scale
    (times volume over weight), as `conserve` changes elements."""
    y = np.array(v)
    for group, total in zip(groups, totals(layout, groups, v), strict=True):
        where, volume, direction = _elements(layout, group)
        y[where] -= total / _sum_over(layout)(volume * direction) * direction
    return y


def _elements(layout: Layout, group: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices in the vector of a group's elements, their volumes, and the direction in which a given total is changed
    by the minimiser of sum(change**2 * weight / scale**2)."""
    members = [v for v in layout.variables if v.name in group]
    where = np.concatenate([np.arange(layout.size)[layout.slices[v.name]] for v in members])
    volume = np.concatenate([v.volume[v.mask] for v in members])
    return where, volume, np.concatenate([v.volume[v.mask] / v.weights * v.scale**2 for v in members])


def _sum_over(layout: Layout) -> Callable[[np.ndarray], float]:
    """The sum of what each element, of all ranks, contributes."""
    return lambda parts: float(layout.total([np.sum(parts)])[0])


def _spread(
    y: np.ndarray,
    volume: np.ndarray,
    direction: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    total: float,
    summed: Callable[[np.ndarray], float],
) -> np.ndarray:
    """y, within its bounds, moved along `direction` to the total; each pass fills up the cells that meet a bound."""
    for _ in range(_PASSES):
        missing = total - summed(volume * y)
        if abs(missing) <= _ROUNDING * summed(volume * np.abs(y)):
            return y
        free = (y < upper) if missing > 0 else (y > lower)
        room = summed(volume[free] * direction[free])
        if room == 0:
            break
        y = np.where(free, np.clip(y + missing / room * direction, lower, upper), y)
    missing = total - summed(volume * y)
    if abs(missing) <= 1e-13 * summed(volume * np.abs(y)):
        return y  # what is left over cannot be represented in these cells
    raise ValueError(f"no state within the bounds has the total {total:.17g}, {missing:.3g} is left over")
