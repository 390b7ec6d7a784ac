"""The unknowns of a vector of which every rank has a part: in the order of a single process, and through ranks."""

from functools import cached_property

import numpy as np

from spinup.errors import UsageError
from spinup.patch import Patch
from spinup.state import Layout


class Numbering:
    """Of a layout whose variables all have the same cells. Without ranks both orders are that of the vector.

    To be made by all ranks. Every rank knows whose each unknown is: arrays here are as large as the whole grid.
    Raises UsageError where the ranks do not have the same cells of all variables.
    """

    def __init__(self, layout: Layout) -> None:
        self.patch = Patch({}, 0, layout.split)
        variables = layout.variables
        shape, dims = variables[0].shape, variables[0].dims
        self.shape = self.patch.whole(shape, dims)
        self.origin = self.patch.origin(shape, dims)
        self.size = layout.size
        self.first, self.number = self.patch.first(layout.size)
        for v in variables[1:]:
            if (self.patch.whole(v.shape, v.dims), self.patch.origin(v.shape, v.dims)) != (self.shape, self.origin):
                raise UsageError(f"{variables[0].name} and {v.name} are split over the ranks in different ways")
        self.cells = self.patch.places(shape, dims).ravel()
        self.masks = [self.patch.everywhere(v.mask, v.dims) for v in variables]
        own = layout.unpack(np.arange(self.first, self.first + layout.size), fill=-1)
        #: of every cell of the whole grid the number through the ranks of its unknown, -1 on land; by variable
        self.numbers = [self.patch.everywhere(own[v.name], v.dims) for v in variables]
        self._order = np.concatenate([n[m] for n, m in zip(self.numbers, self.masks, strict=True)])

    @cached_property
    def ends(self) -> np.ndarray:
        """Where each variable ends in the order of a single process."""
        return np.cumsum([mask.sum() for mask in self.masks])

    def cell(self, number: int) -> tuple[int, np.ndarray]:
        """The variable of an unknown, numbered as by a single process, and its cell of the whole grid."""
        index = int(np.searchsorted(self.ends, number, side="right"))
        before = int(self.ends[index - 1]) if index else 0
        return index, np.argwhere(self.masks[index])[number - before]

    def through_ranks(self, whole: np.ndarray) -> np.ndarray:
        """A vector of all unknowns, in the order of a single process, in that of the ranks."""
        found = np.empty_like(whole)
        found[self._order] = whole
        return found

    def mine(self, whole: np.ndarray) -> np.ndarray:
        """This rank's part of a vector in the order of a single process."""
        return self.through_ranks(whole)[self.first : self.first + self.size]

    def everywhere(self, own: np.ndarray) -> np.ndarray:
        """The vector of which this rank has a part, in the order of a single process, on every rank."""
        split = self.patch.split
        return own if split is None else np.concatenate(split.ranks.comm.allgather(own))[self._order]
