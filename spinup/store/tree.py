"""A dictionary of arrays, numbers and strings as a zarr group, and back to the bit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from scipy.sparse import csr_array

from spinup.store.chunks import CODECS, write_chunks


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
            if isinstance(value, (list, tuple)):
                lists.append(name)
            array = np.asarray(value)
            target = group.create_array(
                name,
                shape=array.shape,
                chunks=tuple(max(1, n) for n in array.shape),
                dtype=array.dtype,
                compressors=CODECS,
                dimension_names=dims[name] if dims else None,
                attributes=dict(attrs[name]) if attrs else None,
            )
            write_chunks(target, array)
    floats = [name for name, value in tree.items() if isinstance(value, float)]
    group.attrs.update({"values": plain, "floats": floats, "lists": lists})


def read_tree(group: Any) -> dict[str, Any]:
    """What `write_tree` was given; arrays as NumPy's."""
    tree: dict[str, Any] = dict(group.attrs["values"])
    for name in group.attrs["floats"]:
        tree[name] = float.fromhex(tree[name])
    for name, array in group.arrays():
        tree[name] = np.asarray(array[...])
    for name in group.attrs["lists"]:
        tree[name] = list(tree[name])
    return tree


def tree_files(root: Path, group: zarr.Group) -> list[Path]:
    """Every file of the group, metadata too."""
    return sorted(p for p in (root / group.path).rglob("*") if p.is_file())


def sparse_tree(matrices: Mapping[str, Any]) -> dict[str, Any]:
    """Sparse matrices by name as arrays of a tree, one behind the other: few large arrays are written faster."""
    rows = [csr_array(matrix) for matrix in matrices.values()]
    joined = {part: np.concatenate([getattr(m, part) for m in rows]) for part in ("data", "indices", "indptr")}
    return joined | {"names": " ".join(matrices), "shapes": np.array([m.shape for m in rows])}


def read_sparse(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The matrices that `sparse_tree` was given. Raises KeyError where there are none."""
    found, entry, row = {}, 0, 0
    for name, shape in zip(tree["names"].split(), tree["shapes"], strict=True):
        starts = tree["indptr"][row : row + shape[0] + 1]
        entries = slice(entry, entry + int(starts[-1]))
        parts = tree["data"][entries], tree["indices"][entries], starts
        found[name] = csr_array(parts, shape=tuple(int(n) for n in shape))
        entry, row = entries.stop, row + len(starts)
    return found
