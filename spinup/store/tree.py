"""A dictionary of arrays, numbers and strings as a zarr group, and back to the bit."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from spinup.store.chunks import CODECS, write_chunks

LONGEST = 2**22  # elements of a chunk along one dimension


@dataclass(frozen=True)
class Later:
    """In place of an array, or of a list of some (`listed`), that others write once it is laid out."""

    shape: tuple[int, ...]
    dtype: Any
    chunks: tuple[int, ...]
    listed: bool = False


def write_tree(
    group: zarr.Group,
    tree: Mapping[str, Any],
    dims: Mapping[str, tuple[str, ...]] | None = None,
    attrs: Mapping[str, dict[str, str]] | None = None,
) -> None:
    """Arrays and lists of equal arrays become zarr arrays; numbers, strings and None attributes."""
    plain: dict[str, Any] = {}
    lists: list[str] = []
    for name, value in tree.items():
        if value is None or isinstance(value, (bool, int, str)):
            plain[name] = value
        elif isinstance(value, float):
            plain[name] = value.hex()  # JSON has neither NaN nor, for every reader, the last bit
        else:
            array = value if isinstance(value, Later) else np.asarray(value)
            like = laid_out(array)
            if like.listed or isinstance(value, (list, tuple)):
                lists.append(name)
            target = group.create_array(
                name,
                shape=like.shape,
                chunks=like.chunks,
                dtype=like.dtype,
                compressors=CODECS,
                dimension_names=dims[name] if dims else None,
                attributes=dict(attrs[name]) if attrs else None,
            )
            if not isinstance(array, Later):
                write_chunks(target, array)
    floats = [name for name, value in tree.items() if isinstance(value, float)]
    group.attrs.update({"values": plain, "floats": floats, "lists": lists})


def laid_out(value: Any) -> Later:
    """How an array is laid out: where it does not say, as one chunk, or several of which each can be read alone."""
    if isinstance(value, Later):
        return value
    array = np.asarray(value)
    return Later(array.shape, array.dtype, tuple(map(chunk_length, array.shape)))


def chunk_length(n: int) -> int:
    """Of a chunk along a dimension of n elements."""
    return min(max(1, n), LONGEST)


def are_vectors(value: Any, size: int) -> bool:
    """Whether a value is a vector of this size, or a list of some."""
    some = value if isinstance(value, (list, tuple)) else [value]
    return bool(some) and all(np.shape(v) == (size,) for v in some)


def read_tree(group: Any, without: Collection[str] = ()) -> dict[str, Any]:
    """What `write_tree` was given, but for these arrays; arrays as NumPy's."""
    tree: dict[str, Any] = dict(group.attrs["values"])
    for name in group.attrs["floats"]:
        tree[name] = float.fromhex(tree[name])
    for name, array in group.arrays():
        if name not in without:
            tree[name] = np.asarray(array[...])
    for name in group.attrs["lists"]:
        if name not in without:
            tree[name] = list(tree[name])
    return tree


def tree_files(root: Path, group: zarr.Group) -> list[Path]:
    """Every file of the group, metadata too."""
    return sorted(p for p in (root / group.path).rglob("*") if p.is_file())
