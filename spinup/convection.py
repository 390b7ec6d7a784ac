"""Columns of water: which unknowns they hold, and how deep they are mixed.

Fields are (nz, ny, nx), k upward, the surface last.
"""

from collections.abc import Callable, Mapping

import numpy as np

from solvers.requests import Array
from spinup.state import Layout


def water_columns(layout: Layout) -> np.ndarray:
    """The water column of each unknown of the vector, (n,) integers from 0, the same for all variables."""
    columns = []
    for v in layout.variables:
        _, ny, nx = v.shape
        columns.append(np.broadcast_to(np.arange(ny * nx).reshape(ny, nx), v.shape)[v.mask])
    return np.unique(np.concatenate(columns), return_inverse=True)[1]


def mixed_levels(field: np.ndarray, mask: np.ndarray, neutral: float) -> np.ndarray:
    """How many steps down from the surface differ by less than `neutral` from level to level, (ny, nx) integers."""
    alike = (np.abs(np.diff(field, axis=0)) < neutral) & mask[1:] & mask[:-1]
    return np.cumprod(alike[::-1], axis=0).sum(axis=0)


def mix(field: np.ndarray, volume: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The field with the upper `levels` + 1 cells of each column at their mean, (nz, ny, nx)."""
    nz = len(field)
    upper = (np.arange(nz)[:, None, None] >= nz - 1 - levels) & (levels > 0)
    return averaged(field, volume, upper)


def averaged(field: np.ndarray, volume: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The field with these cells of each column at their mean, (nz, ny, nx)."""
    weight = np.where(where, volume, 0.0)
    total = weight.sum(axis=0)
    mean = (weight * field).sum(axis=0) / np.where(total > 0, total, 1.0)
    return np.where(where, mean, field)


def stably_stratified(
    fields: Mapping[str, np.ndarray],
    mask: np.ndarray,
    thickness: np.ndarray,
    density_slopes: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """The fields with water that lies on lighter water mixed with it, and that with what it then lies on, until none
    does: complete convective adjustment (S. Rahmstorf, Ocean Modelling 101 (1993), 9-11). Content is kept.

    fields: tracers, (nz, ny, nx). thickness: of the cells, to be broadcast to that, m. density_slopes: drho/dtracer of
    those that make density, kg m-3 a unit.
    """
    weight = np.where(mask, np.broadcast_to(thickness, mask.shape), 0.0)
    inside = mask[1:] & mask[:-1]
    joined = np.zeros_like(inside)
    found = dict(fields)
    while True:
        step = np.zeros(inside.shape)
        for name, slope in density_slopes.items():
            step += 0.5 * (slope[1:] + slope[:-1]) * np.diff(found[name], axis=0)
        unstable = inside & ~joined & (step > 0)
        if not unstable.any():
            return found
        joined |= unstable
        found = {name: _pooled(field, weight, joined) for name, field in fields.items()}


def _pooled(field: np.ndarray, weight: np.ndarray, joined: np.ndarray) -> np.ndarray:
    """The field with cells at their mean with all that they are joined to, upward from each of `joined` (nz - 1, ny,
    nx)."""
    total, amount = weight.copy(), weight * field
    for k in range(len(joined)):  # sums over what lies below in the same pool ...
        for sums in (total, amount):
            sums[k + 1] += np.where(joined[k], sums[k], 0.0)
    for k in reversed(range(len(joined))):  # ... and that of the whole pool, from its top down
        for sums in (total, amount):
            sums[k] = np.where(joined[k], sums[k + 1], sums[k])
    return np.where(total > 0, amount / np.where(total > 0, total, 1.0), field)


def convecting(field: np.ndarray, mask: np.ndarray, neutral: float) -> np.ndarray:
    """The `mixed_levels` of columns that are mixed from the surface down, but not to the bottom; 0 of all others."""
    levels = mixed_levels(field, mask, neutral)
    return np.where(levels < mask.sum(axis=0) - 1, levels, 0)


def mix_deeper(field: np.ndarray, volume: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The field with the mixed water of each column and the cell beneath it at their mean; columns of 0 stay."""
    return mix(field, volume, np.where(levels > 0, levels + 1, 0))


def mix_shallower(field: np.ndarray, volume: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The field with the lowest mixed cell of each column and the one beneath it at their mean, so that the mixed water
    ends a level higher; columns of 0 stay."""
    k = np.arange(len(field))[:, None, None]
    lowest = len(field) - 1 - levels
    pair = ((k == lowest) | (k == lowest - 1)) & (levels > 0)
    return averaged(field, volume, pair)


def keep_mixed(layout: Layout, neutral: float) -> Callable[[Array, Array], Array]:
    """(x, candidate) -> candidate: what is mixed from the surface down in x is mixed in the candidate too, so that a
    convecting column goes on to convect. Content is kept. Mixed is where all variables are alike, to `neutral` of their
    scale: water of one temperature may be stratified by its salinity."""
    volumes = {v.name: np.where(v.mask, v.volume, 0) for v in layout.variables}

    def settle(x: Array, candidate: Array) -> Array:
        known = layout.unpack(x)
        levels = np.full(layout.variables[0].shape[1:], np.inf)
        for v in layout.variables:
            mixed = mixed_levels(known[v.name], v.mask, neutral * v.scale)
            to_the_floor = mixed == v.mask.sum(axis=0) - 1  # below it there is nothing that could differ
            levels = np.minimum(levels, np.where(to_the_floor, np.inf, mixed))
        fields = layout.unpack(candidate, fill=0.0)
        return layout.pack({name: mix(fields[name], volume, levels) for name, volume in volumes.items()})

    return settle
