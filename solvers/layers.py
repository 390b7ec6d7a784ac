"""Where the unknowns of a matrix are, in layers; and levels of fewer layers (see `layered_multigrid.py`).

Two layers next to each other are one of the next level where together they are no thicker than two of the finest are
in the mean, on the level after that eight, so that a level's layers come to be alike (semicoarsening: W. A. Mulder, J.
Comput. Phys. 83 (1989), 303-323).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

LEVELS = 2  # with fewer layers; more only where the last does not fit: each costs iterations
ENOUGH = 60_000  # unknowns: a first one of no more is the last, its factors are a matter of seconds
LESS = 0.9  # of the unknowns at most are left from one level to the next
ROUNDING = 1e-9  # of thicknesses


@dataclass(frozen=True, eq=False)
class Layers:
    """Where unknowns are: variable, layer (upward), row and column, (n,) integers from 0; thickness of the layer there
    and height of its centre, (n,), in the same unit. A variable without layers is in layer 0."""

    variable: np.ndarray
    layer: np.ndarray
    row: np.ndarray
    column: np.ndarray
    thickness: np.ndarray
    height: np.ndarray

    def of(self, which: np.ndarray) -> "Layers":
        """Those of some unknowns."""
        return Layers(*(getattr(self, field.name)[which] for field in fields(self)))


def joined(parts: Sequence[Layers]) -> Layers:
    """Those of some unknowns and of others after them."""
    return Layers(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Layers)))


def found_in(wanted: Layers, among: Layers) -> np.ndarray:
    """Which of some unknowns those wanted are, by variable, layer, row and column. ValueError where one is none."""
    both = joined([wanted, among])
    places = np.stack([both.variable, both.layer, both.row, both.column])
    keys = np.ravel_multi_index(places, places.max(axis=1, initial=0) + 1)
    wanted_keys, keys = keys[: len(wanted.row)], keys[len(wanted.row) :]
    order = np.argsort(keys)
    found = order[np.searchsorted(keys[order], wanted_keys).clip(max=len(keys) - 1)]
    if (keys[found] != wanted_keys).any():
        raise ValueError("an unknown of a coarser level is not among those that are known")
    return found


def links_along(layers: Layers, axis: str) -> np.ndarray:
    """The link of each unknown, (n,), in a chain (see `chain_factors`) of the grid's rows or columns.

    axis: "row" or "column".
    """
    return np.unique(getattr(layers, axis), return_inverse=True)[1]


@dataclass(frozen=True, eq=False)
class Level:
    """A level with fewer layers than another.

    group: of each layer of the finer one. members: for each of its unknowns one of the finest level that is part of it.
    layers: where its unknowns are.
    """

    group: np.ndarray
    members: np.ndarray
    layers: Layers


def coarser_levels(
    layers: Layers,
    fits: Callable[[np.ndarray], bool],
    *,
    total: Callable[[int], int] = int,
    most: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> list[Level]:
    """The levels from the second finest on. fits: of the `members` of a level, whether its LU factors fit.

    Where every rank has some columns: total, most: the sum of a number over ranks, and the largest of each number of a
    list, of any length.
    """
    found: list[Level] = []
    members, depth = np.arange(len(layers.layer)), most(thickest(layers))
    limit, number = depth.sum() / len(depth) / 2, total(len(members))

    def is_enough() -> bool:
        return len(found) >= (1 if number <= ENOUGH else LEVELS) and fits(members)

    while not is_enough() and len(depth) > 1:
        limit *= 4
        group = paired(depth, limit)
        _, first, coarse = coarsened(layers, group)
        if (fewer := total(len(first))) <= LESS * number:
            depth = np.bincount(group, depth)
            members, layers, number = members[first], coarse, fewer
            found.append(Level(group, members, layers))
        elif limit >= depth.sum():  # all layers are in pairs, and hardly any unknowns are
            break
    return found


def thickest(layers: Layers) -> np.ndarray:
    """The thickness of each layer where it is thickest."""
    depth = np.zeros(layers.layer.max(initial=-1) + 1)
    np.maximum.at(depth, layers.layer, layers.thickness)
    return depth


def paired(depth: np.ndarray, limit: float) -> np.ndarray:
    """The group of each layer, integers from 0 upward: pairs from the top that are no thicker than `limit`, else the
    layer alone."""
    group, k = np.zeros(len(depth), dtype=int), len(depth) - 1
    while k > 0:
        together = depth[k] + depth[k - 1] <= limit * (1 + ROUNDING)
        k -= 2 if together else 1
        group[k + 1] = 1  # where the group below it ends
    group[0] = 0
    return np.cumsum(group)


def coarsened(layers: Layers, group: np.ndarray) -> tuple[Any, np.ndarray, Layers]:
    """`spread` of the level where layers are groups, an unknown that is part of each of its unknowns, and their places.

    Beyond the centres of the lowest and the highest group of a column values are those of the nearest.
    """
    from scipy.sparse import csr_array

    n, groups = len(layers.layer), group.max() + 1
    places = np.stack([layers.variable, layers.row, layers.column])
    column = np.ravel_multi_index(places, places.max(axis=1, initial=0) + 1)
    key = column * (groups + 1) + group[layers.layer]  # one more: the neighbours of one column's are not another's
    keys, first, own = np.unique(key, return_index=True, return_inverse=True)
    thickness = np.bincount(own, layers.thickness)
    height = np.bincount(own, layers.thickness * layers.height) / thickness

    neighbour = key + np.where(layers.height >= height[own], 1, -1)
    other = np.searchsorted(keys, neighbour).clip(max=len(keys) - 1)
    between = keys[other] == neighbour
    other = np.where(between, other, own)
    distance = np.where(between, height[other] - height[own], 1.0)
    weight = np.where(between, (layers.height - height[own]) / distance, 0.0)
    every = np.arange(n)
    entries = np.concatenate([1 - weight, weight]), (np.concatenate([every, every]), np.concatenate([own, other]))
    spread = csr_array(entries, shape=(n, len(keys)))
    spread.eliminate_zeros()
    coarse = layers.of(first)
    return spread, first, Layers(coarse.variable, group[coarse.layer], coarse.row, coarse.column, thickness, height)
