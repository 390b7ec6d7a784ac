"""A map of which every rank has a part: the same map, with a layout that knows of the others."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np

from spinup.distributed.ranks import Ranks
from spinup.distributed.split import split
from spinup.maps import FixedPointMap, has_tangent
from spinup.state import Coordinate, Layout


class OnRanks:
    """`model`, a map of this rank's cells, as one of those of all ranks; its function exchanges what cells at the edge
    need, by `ranks.comm`.

    mine : by dimension that is split, the cells of this rank, a slice of the whole, and how many the whole has.
    halos : by dimension of the full state that has a halo, the one without, and its cells at either end.

    steps : whether its time steps and its operator are those of all ranks, too: the operator's matrices are then
        `solvers.rows.Rows`, in the order of `places`.

    A map that has a method `split_over` is told of the others: its `step`, `tendency` and `jvp` are to exchange what
    they need, as its function does. Else it takes whole periods: a time step of the model's own, its tendency or its
    derivative would be of one rank. Raises UsageError where the parts are not the whole.
    """

    def __init__(
        self,
        model: FixedPointMap,
        ranks: Ranks,
        mine: Mapping[str, tuple[slice, int]],
        halos: Mapping[str, tuple[str, int]] | None = None,
        *,
        steps: bool = False,
    ) -> None:
        self._model = model
        self._split = split(ranks, mine, halos)
        told = getattr(model, "split_over", None)
        if told is not None and ranks.size > 1:
            told(self._split)
        self.has_steps = steps
        self.has_operator = steps or (told is not None and model.has_operator)
        self.has_tangent = told is not None and has_tangent(model)
        self.cycle_steps = model.cycle_steps if steps else 0
        self.no_circulation = model.no_circulation if self.has_operator else "no operator on several ranks"

    def __getattr__(self, name: str) -> Any:
        if name == "_model":
            raise AttributeError(name)
        return getattr(self._model, name)

    @cached_property
    def layout(self) -> Layout:
        """That of this rank's cells."""
        own = self._model.layout
        volumes = self._split.ranks.total(np.array([v.volume[v.mask].sum() for v in own.variables]))
        variables = [replace(v, whole=float(volume)) for v, volume in zip(own.variables, volumes, strict=True)]
        return Layout(tuple(variables), own.coords, self._split)

    def describe(self) -> dict[str, Any]:
        """Settings that define the map, whatever the number of ranks."""
        told = self._model.describe()
        if "shapes" in told:
            shapes = told["shapes"].items()
            told = told | {"shapes": {n: list(self._split.shape(tuple(s), self._model.dims(n))) for n, s in shapes}}
        return told


def whole_map(model: FixedPointMap) -> Any:
    """What a store asks of a map, of the cells of all ranks: on the leading one; None on the others."""
    layout = whole_layout(model.layout)
    told = {"diagnostics": model.diagnostics, "contents": model.contents}  # which may be of all ranks: asked by all
    if layout is None:
        return None
    return SimpleNamespace(
        layout=layout,
        years=model.years,
        **told,
        rigid_lid=model.rigid_lid,
        dims=model.dims,
        attrs=model.attrs,
    )


def whole_layout(layout: Layout) -> Layout | None:
    """The layout of the cells of all ranks, on the leading one, masks and volumes of which have no more than their
    shape; None on the others."""
    parts = layout.split
    assert parts is not None
    coords = {name: (c, parts.gather(c.values, c.dims)) for name, c in layout.coords.items()}
    if parts.ranks.rank:
        return None
    variables = []
    for v in layout.variables:
        everywhere = np.broadcast_to(True, parts.shape(v.shape, v.dims))
        variables.append(replace(v, mask=everywhere, volume=everywhere, whole=None))
    return Layout(
        tuple(variables), {n: Coordinate(c.dims, v, c.attrs) for n, (c, v) in coords.items() if v is not None}
    )
