"""Laying out an empty run: every array of it, and the start state."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from spinup.errors import UsageError
from spinup.maps import FixedPointMap
from spinup.state import Layout, State
from spinup.store.chunks import CODECS
from spinup.store.columns import column_attrs
from spinup.store.disk import on_disk
from spinup.store.header import FORMAT, Header
from spinup.store.journal import fingerprints
from spinup.store.lock import locked
from spinup.store.tree import Later, laid_out, tree_files, write_tree

Chunks = Callable[[tuple[int, ...], tuple[str, ...]], tuple[int, ...]]  # of an array of a shape and of dimensions


def one_chunk(shape: tuple[int, ...], dims: tuple[str, ...]) -> tuple[int, ...]:
    return shape


def volumes(layout: Layout) -> dict[str, np.ndarray]:
    """The volume of each cell by accelerated variable, 0 on land."""
    return {v.name: np.where(v.mask, v.volume, 0.0) for v in layout.variables}


def lay_out(
    path: Path,
    header: Header,
    model: FixedPointMap,
    start: State,
    volume: Mapping[str, Any],
    chunks: Chunks = one_chunk,
) -> dict[str, list[int]]:
    """Make the empty store and its start state; volume: see `volumes`; chunks: of an entry of the accelerated
    variables. What is `Later` of start and volume is left to others. Returns the fingerprints of the start state's
    files."""
    layout = model.layout
    group = zarr.create_group(
        path,
        attributes={
            "Conventions": "CF-1.11",
            "title": header.title,
            "spinup_format": FORMAT,
            "header": header.model_dump_json(),
            "variables": [v.name for v in layout.variables],
            "diagnostics": list(model.diagnostics),
            "contents": json.dumps({name: asdict(content) for name, content in model.contents.items()}),
            "rigid_lid": int(model.rigid_lid),  # netCDF has neither dictionaries nor truth values
            "outcome": "",
        },
    )
    for name, c in layout.coords.items():
        put(group, name, c.values, c.dims, c.attrs)
    for v in layout.variables:
        attrs: dict[str, Any] = {"units": v.units, "long_name": v.long_name} | (
            {"standard_name": v.standard_name} if v.standard_name else {}
        )
        put(
            group,
            f"{v.name}_volume",
            volume[v.name],
            v.dims,
            {"units": v.volume_units, "long_name": f"cell volume of {v.name}, 0 on land"},
        )
        for key, words in (
            (v.name, "after the evaluation"),
            (f"{v.name}_before", "before the evaluation"),
            (f"tangents/{v.name}", "derivative of T(x)"),
            (f"tangents/{v.name}_direction", "direction of the derivative"),
        ):
            group.create_array(
                key,
                shape=(0, *v.shape),
                chunks=(1, *chunks(v.shape, v.dims)),
                dtype="f8",
                fill_value=np.nan,
                compressors=CODECS,
                dimension_names=("evaluation", *v.dims),
                attributes=attrs | {"long_name": f"{v.long_name or v.name} {words}"},
            )
    for name, attrs in column_attrs(layout, model.diagnostics, model.years).items():
        create_column(group, name, attrs)
    group.create_group("log")
    group.create_group("checkpoints")
    group.create_group("operators")
    states = group.create_group("states", attributes={"variables": list(start)})
    first = group.create_group("start")
    write_tree(first, start, {n: model.dims(n) for n in start}, {n: model.attrs(n) for n in start})
    for name, value in start.items():
        like = laid_out(value)
        states.create_array(
            name,
            shape=(0, *like.shape),
            chunks=(1, *like.chunks),
            dtype=like.dtype,
            compressors=CODECS,
            dimension_names=("slot", *model.dims(name)),
            attributes=dict(model.attrs(name)),
        )
    return fingerprints(path, tree_files(path, first))


def create_column(group: Any, name: str, attrs: Mapping[str, str]) -> None:
    """An empty column of numbers by evaluation."""
    dtype = {"evaluation": "i8", "failed": "i1", "direct": "i1", "spread": "i1", "tangent": "i1"}.get(name, "f8")
    group.create_array(
        name,
        shape=(0,),
        chunks=(4096,),
        dtype=dtype,
        fill_value=np.nan if dtype == "f8" else 0,
        compressors=CODECS,
        dimension_names=("evaluation",),
        attributes=dict(attrs),
    )


def put(group: Any, name: str, values: Any, dims: tuple[str, ...], attrs: dict[str, Any]) -> None:
    """An array of the group with these values, in one chunk, in place of an earlier one; or for what comes `Later`."""
    if name in group:
        if not isinstance(values, Later):
            group[name][...] = values
        return
    like = laid_out(values)
    array = group.create_array(
        name,
        shape=like.shape,
        chunks=like.chunks,
        dtype=like.dtype,
        compressors=CODECS,
        dimension_names=dims,
        attributes=attrs,
    )
    if not isinstance(values, Later):
        array[...] = np.asarray(values)


RESERVED = ("start", "states", "checkpoints", "operators", "tangents", "mean_state", "log", "zarr.json")


def check_names(model: FixedPointMap) -> None:
    """Raise UsageError where names in the store would clash, or a coordinate has another length than its dimension."""
    layout = model.layout
    sizes = {d: n for v in layout.variables for d, n in zip(v.dims, v.shape, strict=True)}
    names = [*layout.coords, *column_attrs(layout, {}, model.years), *model.diagnostics]
    for v in layout.variables:
        names += [v.name, f"{v.name}_before", f"{v.name}_volume"]
    for name in names:
        if name in RESERVED or "/" in name or names.count(name) > 1:
            raise UsageError(f"the name {name!r} is taken, or cannot be used, in a run: give it another")
    for name, c in layout.coords.items():
        if np.shape(c.values) != tuple(sizes.get(d, -1) for d in c.dims) and set(c.dims) <= set(sizes):
            wanted = tuple(sizes[d] for d in c.dims)
            raise UsageError(f"coordinate {name} has shape {np.shape(c.values)}, its dimensions have {wanted}")


def occupied(path: Path) -> str:
    if (path / "zarr.json").is_file():
        return f"{path} is already a run: `spinup resume {path}` goes on with it, or choose another --out"
    return f"{path} exists and is not empty: choose another --out"


@contextlib.contextmanager
def new_run(path: Path) -> Iterator[Path]:
    """The folder in which the run that is to be at `path` is laid out, locked. Raises UsageError where something is
    there or it can't be written."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(occupied(path))
    with new_folder(path) as folder, locked(folder / "log" / "lock", path), on_disk(path):
        yield folder


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` to lay the run out in; gone again unless it was renamed to `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        folder.chmod(0o755)
        (folder / "log").mkdir()
    except OSError as error:
        raise UsageError(f"cannot write the run to {path}: {error.strerror}; choose another --out") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
