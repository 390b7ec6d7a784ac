"""The operator of which every rank has rows, and the whole of it, as a run keeps it, on the leading one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array, vstack

from solvers import Border, StepOperator
from solvers.layers import Layers, joined, links_along
from solvers.requests import BORDER_MATRICES
from solvers.rows import Rows
from solvers.seasons import of_seasons
from spinup.distributed.ranks import Ranks

THERE = "on the leading rank"  # in the place of a matrix

Places = tuple[np.ndarray, np.ndarray]  # of the unknowns of the vector and of the border: see `VerosMap.places`


def gathered_operator(operator: StepOperator, places: Places, ranks: Ranks) -> StepOperator | None:
    """The whole of an operator of `Rows`, in the order of a single process, on the leading rank; None on the others."""
    orders = [np.argsort(np.concatenate(ranks.comm.allgather(own))) for own in places]

    def whole(matrix: Rows, rows: int, columns: int) -> Any:
        parts = ranks.comm.gather(matrix.own)
        return None if parts is None else csr_array(csr_array(vstack(parts))[orders[rows]][:, orders[columns]])

    counts = ranks.comm.allgather(len(places[0]))

    def whole_layers(mine: Layers) -> Any:
        told = ranks.comm.gather(mine)
        if told is None:
            return None
        vector = joined([part.of(np.arange(n)) for part, n in zip(told, counts, strict=True)])
        border = joined([part.of(np.arange(n, len(part.row))) for part, n in zip(told, counts, strict=True)])
        return joined([vector.of(orders[0]), border.of(orders[1])])

    found = _each(operator, whole, whole_layers)
    return _chained(found) if ranks.rank == 0 else None


def scattered_operator(whole: StepOperator | None, places: Places, ranks: Ranks) -> StepOperator:
    """This rank's rows of the whole that the leading rank has."""
    gathered = [ranks.comm.allgather(own) for own in places]
    positions = [np.argsort(np.argsort(np.concatenate(parts))) for parts in gathered]
    ends = [np.cumsum([0, *map(len, parts)]) for parts in gathered]
    like: Any = None if whole is None else _each(whole, lambda *_: THERE, lambda _: THERE)
    shell = ranks.share(like)

    def part(matrix: Any, rows: int, columns: int) -> Rows:
        parts = None
        if not isinstance(matrix, str):
            moved = csr_array(matrix)[positions[rows]][:, positions[columns]]
            parts = [moved[a:b] for a, b in zip(ends[rows][:-1], ends[rows][1:], strict=True)]
        return Rows(ranks.comm.scatter(parts), ranks.comm)

    def part_of_layers(layers: Any) -> Layers:
        parts = None
        if not isinstance(layers, str):
            n = len(positions[0])
            vector, border = layers.of(positions[0]), layers.of(n + positions[1])
            places = [np.split(np.arange(end[-1]), end[1:-1]) for end in ends]
            parts = [joined([vector.of(x), border.of(y)]) for x, y in zip(*places, strict=True)]
        return ranks.comm.scatter(parts)

    return _each(whole or shell, part, part_of_layers)


def _chained(operator: StepOperator) -> StepOperator:
    """With the chain of the grid's rows, which never closes upon itself, where it is known what is in which row."""
    if operator.border is None or operator.border.layers is None:
        return operator
    border = replace(operator.border, chain=links_along(operator.border.layers, "row"))
    return replace(operator, border=border, seasons=tuple(map(_chained, operator.seasons)))


def _each(
    operator: StepOperator, of: Callable[[Any, int, int], Any], of_layers: Callable[[Layers], Any]
) -> StepOperator:
    """The operator whose matrices are made by `of` of each of these and what its rows and columns are, 0 the unknowns
    of the vector and 1 those of the border, and its layers by `of_layers`. A chain is known in one process only."""
    if operator.seasons:
        parts = [_each(season, of, of_layers) for season in operator.seasons]
        if parts[0].matrix is None or isinstance(parts[0].matrix, str):
            return replace(parts[0], seasons=tuple(parts), cycle_steps=operator.cycle_steps)
        return of_seasons(parts, operator.cycle_steps)
    border = None
    if operator.border is not None:
        kinds = {"response": (0, 1), "source": (1, 0), "balance": (1, 1)}
        matrices = {n: of(getattr(operator.border, n), *kinds[n]) for n in BORDER_MATRICES}
        layers = None if operator.border.layers is None else of_layers(operator.border.layers)
        border = Border(**matrices, chain=None, layers=layers)
    implicit = None if operator.implicit is None else of(operator.implicit, 0, 0)
    return StepOperator(of(operator.matrix, 0, 0), operator.steps, implicit, border)
