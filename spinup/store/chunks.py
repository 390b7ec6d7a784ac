"""Chunks, compressed with a checksum, and written as zarr writes them but without its event loop: that takes ten times
as long as the disk, and an evaluation writes dozens."""

import os
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import Zstd
from zarr.codecs import Crc32cCodec, ZstdCodec

from spinup.store.journal import written_whole

LEVEL = 1  # of compression
CODECS = [ZstdCodec(level=LEVEL), Crc32cCodec()]  # of every array of a run

Index = tuple[int, ...]  # of a chunk in the grid of chunks


def write_chunks(array: Any, values: Any, number: int | None = None) -> list[Path]:
    """Write a zarr array on disk, or entry `number` of its first dimension, where each entry has chunks of its own. The
    array is made with `CODECS`. Returns the files, none where there are no values."""
    content = np.asarray(values)
    shape = array.shape if number is None else array.shape[1:]
    if content.shape != shape:
        raise ValueError(f"{array.store_path}: what is written has shape {content.shape}, its place {shape}")
    chunks = array.chunks if number is None else array.chunks[1:]
    return write_some(array, chunked(content, chunks), number)


def chunked(content: np.ndarray, chunks: tuple[int, ...]) -> Iterator[tuple[Index, np.ndarray]]:
    """The chunks of an array of which there is anything, by their indices: those at its end may be smaller."""
    for index in product(*(range(-(-n // c)) for n, c in zip(content.shape, chunks, strict=True))):
        yield index, content[tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, chunks, strict=True))]


def write_some(
    array: Any, chunks: Iterable[tuple[Index, np.ndarray]], number: int | None = None, *, sync: bool = False
) -> list[Path]:
    """Write these chunks of a zarr array, or of its entry `number`; sync: when this returns the disk has them. Returns
    their files."""
    files = []
    shape = array.chunks if number is None else array.chunks[1:]
    first = () if number is None else (number,)
    for index, values in chunks:
        file = array.store.root / array.path / array.metadata.encode_chunk_key((*first, *index))
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(file) as to:
            to.write(_encoded(_filled(array, values, shape)))
            if sync:
                to.flush()
                os.fsync(to.fileno())
        files.append(file)
    return files


def _filled(array: Any, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A chunk as it is on disk: of the full shape, whatever of it is within the array."""
    dtype = array.dtype.newbyteorder("<")
    if values.shape == shape:
        return np.asarray(values, dtype, order="C")
    full = np.full(shape, array.fill_value, dtype)
    full[tuple(slice(n) for n in values.shape)] = values
    return full


def _encoded(content: np.ndarray) -> bytes:
    encoded = bytes(Zstd(level=LEVEL).encode(content))
    return encoded + google_crc32c.value(encoded).to_bytes(4, "little")
