"""Which cells of a grid may be perturbed at once: the colouring of a stencil.

The stencil of a step says where the cells are that a cell answers to. Cells that no cell answers to at once share a
colour, so that one perturbed step for each colour gives every column of the step's Jacobian: A. R. Curtis, M. J. D.
Powell, J. K. Reid, J. Inst. Maths Applics 13 (1974), 117-119. On a grid the colours make up a lattice.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count, product
from math import prod

import numpy as np

TRIES = 20_000  # strides that are tried for the fewest colours: half a second

Offset = tuple[int, ...]  # from a cell to another, a number for each dimension


@dataclass(frozen=True)
class Stencil:
    """Where the cells are, from a cell, that it answers to in a step, on a grid of `shape`.

    offsets: in every dimension, without duplicates; 0 in those that are `full`.
    cyclic: for each dimension whether its ends meet. full: whether a cell may answer to all cells along it, as to its
    column in an implicit step.
    """

    shape: tuple[int, ...]
    offsets: tuple[Offset, ...]
    cyclic: tuple[bool, ...]
    full: tuple[bool, ...]

    @cached_property
    def lattice(self) -> tuple[int, Offset]:
        """A number of colours p, and strides: the colour of a cell is their product with its indices, modulo p, apart
        from seams and the dimensions that are full. They are the fewest for which the cells of the stencil all have
        different ones, also around the cyclic dimensions where that does not take more than a seam would; or those of a
        box around the stencil, where fewer are not soon found."""
        least, closed = len(self.offsets), tuple(n if c else 0 for n, c in zip(self.shape, self.cyclic, strict=True))
        if any(n < 2 * w for n, w in zip(self.shape, self._seams, strict=True)):  # no room for a seam
            found = _lattice(self.offsets, closed, count(least), count())
            assert found is not None  # numbers do not end
            return found
        spans = [int(w) + 1 for w in np.ptp(_table(self.offsets, len(self.shape)), axis=0)]
        box = prod(spans), tuple(prod(spans[:axis]) for axis in range(len(spans)))
        open_ = _lattice(self.offsets, (0,) * len(closed), range(least, box[0]), iter(range(TRIES))) or box
        numbers = range(open_[0], open_[0] * 2 ** sum(self.cyclic) + 1)
        return (any(closed) and _lattice(self.offsets, closed, numbers, iter(range(TRIES)))) or open_

    @cached_property
    def _seams(self) -> Offset:
        """The width of the seam of a cyclic dimension on which the lattice need not close: no cell answers to two cells
        this far apart, or more; 0 of others."""
        spans = np.ptp(_table(self.offsets, len(self.shape)), axis=0)
        return tuple(int(w) if c else 0 for w, c in zip(spans, self.cyclic, strict=True))

    @cached_property
    def colours(self) -> np.ndarray:
        """The colour of every cell, integers from 0, of the grid's shape: no cell answers to two of one colour."""
        p, strides = self.lattice
        found, number = np.zeros(self.shape, dtype=int), p
        for stride, index in zip(strides, np.indices(self.shape), strict=True):
            found += stride * index
        found %= p
        for axis, (n, index) in enumerate(zip(self.shape, np.indices(self.shape), strict=True)):
            if self.full[axis]:
                found, number = found + number * index, number * n
            elif self.cyclic[axis] and strides[axis] * n % p:
                found, number = found + number * (index >= n - self._seams[axis]), number * 2
        # With land or a narrow grid some do not occur.
        return np.unique(found, return_inverse=True)[1].reshape(self.shape)

    @cached_property
    def number(self) -> int:
        """How many colours there are."""
        return int(self.colours.max()) + 1

    def sources(self) -> Iterator[np.ndarray]:
        """One after another the cells that cells answer to: for each cell of the flat grid the flat index of one, -1
        where there is none. No two of these are the same."""
        if not self.shape:
            yield np.zeros(1, dtype=int)
            return
        cells, edges = np.indices(self.shape).reshape(len(self.shape), -1), np.array(self.shape, dtype=int)[:, None]
        around, full = np.array(self.cyclic, dtype=bool)[:, None], np.array(self.full, dtype=bool)[:, None]
        along = [range(n) if f else range(1) for n, f in zip(self.shape, self.full, strict=True)]
        for offset, place in product(self.offsets, product(*along)):
            at = np.where(full, np.array(place, dtype=int)[:, None], cells + np.array(offset, dtype=int)[:, None])
            at = np.where(around, at % edges, at)
            inside = ((at >= 0) & (at < edges)).all(axis=0)
            yield np.where(inside, np.ravel_multi_index(tuple(np.where(inside, at, 0)), self.shape), -1)


def stencil_of(shape: tuple[int, ...], seen: Iterable[Offset]) -> Stencil:
    """The smallest stencil that holds what was seen: offsets from a cell to one it answers to, as far as the grid is
    wide. A dimension that these span is cyclic where they lie within half of it around its ends; full where not."""
    raw = _table(sorted({*seen, (0,) * len(shape)}), len(shape))
    cyclic, full = [], []
    for axis, n in enumerate(shape):
        spans = np.ptp(raw[:, axis]) + 1 >= n
        wrapped = wrap(raw[:, axis], n)
        cyclic.append(bool(n > 1 and spans and 2 * np.ptp(wrapped) <= n))  # with room for a seam
        full.append(bool(n > 1 and spans and not cyclic[-1]))
        if cyclic[-1]:
            raw[:, axis] = wrapped
    raw[:, full] = 0
    offsets = tuple(sorted({tuple(int(o) for o in offset) for offset in raw}))
    return Stencil(tuple(shape), offsets, tuple(cyclic), tuple(full))


def _table(offsets: Collection[Offset], width: int) -> np.ndarray:
    return np.array(offsets, dtype=int).reshape(len(offsets), width)


def wrap(offsets: np.ndarray, n: int) -> np.ndarray:
    """Offsets around a cyclic dimension of n cells, the shorter way."""
    return (offsets + n // 2) % n - n // 2


def _lattice(
    offsets: tuple[Offset, ...], closed: Offset, numbers: Iterable[int], tries: Iterator[int]
) -> tuple[int, Offset] | None:
    """The first of the numbers of colours for which strides are found in as many tries, and these.

    closed: for each dimension the cells around it, 0 where the lattice need not close."""
    array = _table(offsets, len(closed))
    for p in numbers:
        strides = _strides(array, closed, p, (), tries)
        if strides is not None:
            return p, strides
    return None


def _strides(offsets: np.ndarray, closed: Offset, p: int, chosen: Offset, tries: Iterator[int]) -> Offset | None:
    """The first strides, in the order of numbers, that begin with those chosen and give all offsets another colour."""
    axis = len(chosen)
    if axis == len(closed):
        return chosen
    known = offsets[~offsets[:, axis + 1 :].any(axis=1), : axis + 1]  # whose colour does not hang on later strides
    # Multiplied by a number that has no divisor in common with p, strides are as good: the first need but be a divisor.
    candidates = range(p) if any(chosen) else [0, *(d for d in range(1, p) if p % d == 0)]
    for stride in candidates:
        if closed[axis] * stride % p or next(tries, None) is None:
            continue
        if len(np.unique(known @ (*chosen, stride) % p)) < len(known):
            continue
        found = _strides(offsets, closed, p, (*chosen, stride), tries)
        if found is not None:
            return found
    return None
