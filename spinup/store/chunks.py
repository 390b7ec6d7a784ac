"""Chunks, compressed with a checksum, and written as zarr writes them but without its event loop: that takes ten times
as long as the disk, and an evaluation writes dozens."""

from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import Zstd
from zarr.codecs import Crc32cCodec, ZstdCodec

LEVEL = 1  # of compression
CODECS = [ZstdCodec(level=LEVEL), Crc32cCodec()]  # of every array of a run


def write_chunk(folder: Path, array: Any, number: int, values: Any) -> list[Path]:
    """Write entry `number` of the first dimension of the zarr array in `folder`, whose chunks hold one such entry each
    and are made with `CODECS`. Returns the file, none where an entry has no values."""
    content = np.asarray(values, array.dtype.newbyteorder("<"), order="C")
    if content.shape != array.shape[1:]:
        raise ValueError(f"{folder}: an entry has shape {array.shape[1:]}, not {content.shape}")
    if content.size == 0:
        return []
    encoded = bytes(Zstd(level=LEVEL).encode(content))
    file = folder / array.metadata.encode_chunk_key((number, *(0 for _ in content.shape)))
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".partial")
    try:
        temporary.write_bytes(encoded + google_crc32c.value(encoded).to_bytes(4, "little"))
        temporary.replace(file)  # whole or not at all: a reader may be looking
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return [file]
