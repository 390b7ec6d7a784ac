"""Arrays of a run that all ranks write and read, each the chunks that are its own.

A chunk is written by the rank that has most of it, the first of those that have as much; the others hand it what they
have. In a run made on as many equal parts as there are ranks nobody has anything to hand over; in one made on another
number of ranks, or on one, a chunk may be of several.
"""

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from spinup.distributed.ranks import Ranks, together
from spinup.distributed.split import Split
from spinup.errors import SpinupError, StoreError
from spinup.store.chunks import Index, chunked, write_some
from spinup.store.disk import on_disk
from spinup.store.journal import fingerprints


def chunks_to_write(
    split: Split, block: Any, dims: tuple[str, ...], chunks: tuple[int, ...]
) -> list[tuple[Index, np.ndarray]]:
    """The chunks of the whole that this rank writes, by their indices, from every rank's block. Called by all.

    chunks: the shape of a chunk of the whole. Nothing is sent but the parts of chunks that another rank writes.
    """
    block = np.asarray(block)
    if not split.has(dims):
        return list(chunked(block, chunks)) if split.ranks.rank == 0 else []
    comm, me = split.ranks.comm, split.ranks.rank
    whole, size = np.array(split.shape(block.shape, dims)), np.array(chunks)
    regions, own = split.regions(tuple(whole), dims), split.own(block, dims)

    def within(box: np.ndarray, corner: np.ndarray) -> tuple[slice, ...]:
        return tuple(slice(a, b) for a, b in box - corner[:, None])

    written: list[tuple[Index, np.ndarray]] = []
    sent, awaited = [], []
    for index in product(*(range(a // n, -(-b // n)) for (a, b), n in zip(regions[me], chunks, strict=True))):
        corner = np.array(index) * size
        end = np.minimum(corner + size, whole)
        shared = np.stack([np.maximum(regions[..., 0], corner), np.minimum(regions[..., 1], end)], 2)
        cells = np.prod(np.maximum(shared[..., 1] - shared[..., 0], 0), 1)
        owner, mine = int(np.argmax(cells)), own[within(shared[me], regions[me, :, 0])]
        if owner != me:
            sent.append(comm.Isend(np.array(mine, order="C"), owner))
            continue
        others = [int(rank) for rank in np.flatnonzero(cells) if rank != me]
        if not others:
            written.append((index, mine))
            continue
        chunk = np.empty(end - corner, block.dtype)
        chunk[within(shared[me], corner)] = mine
        written.append((index, chunk))
        awaited += [(rank, chunk[within(shared[rank], corner)]) for rank in others]
    for rank, place in awaited:  # in the order of chunks, in which that rank sends them
        part = np.empty(place.shape, block.dtype)
        comm.Recv(part, rank)
        place[...] = part
    for request in sent:
        request.Wait()
    return written


class Writer:
    """What this rank writes of the run at `path`. Where that fails it goes on taking part in what all do, until `done`
    tells them."""

    def __init__(self, ranks: Ranks, path: Path) -> None:
        self._ranks, self._path = ranks, path
        self._files: dict[str, list[int]] = {}
        self._wrong: SpinupError | None = None

    def write(self, folder: Path, array: Any, chunks: Iterable[tuple[Index, np.ndarray]], number: int | None) -> None:
        """Some chunks of an array of the run that is in `folder` now, or of its entry `number`."""
        if self._wrong is not None:
            return
        try:
            with on_disk(self._path):
                self._files |= fingerprints(folder, write_some(array, chunks, number, sync=True))
        except SpinupError as error:
            self._wrong = error
        except OSError as error:
            self._wrong = StoreError(f"run {self._path} cannot be written by rank {self._ranks.rank}: {error}")

    def done(self) -> dict[str, list[int]]:
        """The fingerprints of what all ranks wrote, on the leading one. Raises on all what went wrong on one."""

        def checked() -> None:
            if self._wrong is not None:
                raise self._wrong

        together(self._ranks, checked)
        return {file: mark for files in self._ranks.comm.gather(self._files) or [] for file, mark in files.items()}


def read_block(split: Split, path: Path, number: int | None = None) -> np.ndarray:
    """This rank's block, halo and all, of the array at `path`, or of its entry `number`, whatever its chunks."""
    array: Any = zarr.open_array(path, mode="r")  # anew: the leading rank may have made it longer
    first = () if number is None else (number,)
    dims = (array.metadata.dimension_names or ())[len(first) :]  # None where there are none
    return np.array(array[(*first, *split.place(dims))], order="C")
