"""Chunks, compressed with a checksum, and written as zarr writes them but without its event loop: that takes ten times
as long as the disk, and an evaluation writes dozens."""

from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import Zstd
from zarr.codecs import Crc32cCodec, ZstdCodec

from spinup.store.journal import written_whole

LEVEL = 1  # of compression
CODECS = [ZstdCodec(level=LEVEL), Crc32cCodec()]  # of every array of a run


def write_chunk(array: Any, values: Any, number: int | None = None) -> list[Path]:
    """Write a zarr array on disk, which is one chunk, or entry `number` of its first dimension, where each entry is a
    chunk of its own. The array is made with `CODECS`. Returns the file, none where there are no values."""
    content = np.asarray(values, array.dtype.newbyteorder("<"), order="C")
    shape = array.shape if number is None else array.shape[1:]
    if content.shape != shape:
        raise ValueError(f"{array.store_path}: what is written has shape {content.shape}, its place {shape}")
    if content.size == 0:
        return []
    encoded = bytes(Zstd(level=LEVEL).encode(content))
    first = () if number is None else (number,)
    file = array.store.root / array.path / array.metadata.encode_chunk_key((*first, *(0 for _ in shape)))
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(file) as to:
        to.write(encoded + google_crc32c.value(encoded).to_bytes(4, "little"))
    return [file]
