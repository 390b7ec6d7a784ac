"""One run of many ranks: each writes and reads its own part, and the leading one what makes that count.

What is on disk is of all cells, and says nothing of the ranks but by its chunks: a run may be resumed on another number
of them, or on one. An evaluation counts on all ranks or on none: the leading rank, which alone has the `RunStore` open,
writes its record when all have written their chunks.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import zarr

from solvers import StepOperator
from spinup.distributed.chunks import Writer, chunks_to_write, read_block
from spinup.distributed.on_ranks import whole_map
from spinup.distributed.operators import Stretched
from spinup.distributed.ranks import Ranks, together
from spinup.distributed.split import Split
from spinup.distributed.stretches import Stretches, places_of
from spinup.maps import FixedPointMap
from spinup.patch import Patch
from spinup.state import Fields, State
from spinup.store import Header, RunStore
from spinup.store.chunks import Index, chunked
from spinup.store.creation import lay_out, new_run, volumes
from spinup.store.disk import on_disk
from spinup.store.journal import Record
from spinup.store.operators import newest_estimate, newest_target, operator_of, parts_of, read_parts, years_of_operator
from spinup.store.pieces import piece
from spinup.store.run_store import evaluation_arrays, tangent_arrays
from spinup.store.tree import Later, are_vectors, chunk_length, read_tree

T = TypeVar("T")


class SharedStore:
    """A `RunStore` that the leading rank has open, for all of them; every method is to be called by all.

    Before fields and states are asked for, `of` has to say which map they are of.
    """

    def __init__(self, ranks: Ranks, store: RunStore | None) -> None:
        self._ranks, self._store = ranks, store
        told: Any = None if store is None else (store.path, store.header, list(map(_without_files, store.records)))
        self.path: Path
        self.header: Header
        self.path, self.header, self.records = ranks.share(told)
        if store is not None:
            self.header, self.records = store.header, store.records  # which are written from here
        self._model: FixedPointMap
        self._arrays: dict[str, Any] = {}

    def of(self, model: FixedPointMap) -> "SharedStore":
        """The map, of this rank's cells."""
        self._model = model
        return self

    # --- evaluations -----------------------------------------------------------------------------

    def append(self, record: Record, before: Fields, after: Fields | None, state: State | None) -> Record:
        return self._append(record, evaluation_arrays(before, after, state))

    def append_tangent(self, record: Record, at: Fields, direction: Fields, product: Fields | None) -> Record:
        return self._append(record, tangent_arrays(at, direction, product))

    def _append(self, record: Record, blocks: Mapping[str, Any]) -> Record:
        entries = self._lead(lambda store: store.make_room(list(blocks)))
        arrays = together(self._ranks, lambda: {name: self._array(name) for name in entries})
        writer = Writer(self._ranks, self.path)
        for name, array in arrays.items():
            dims = array.metadata.dimension_names[1:]
            chunks = chunks_to_write(self._split, blocks[name], dims, array.chunks[1:])
            writer.write(self.path, array, chunks, entries[name])
        files = writer.done()
        record = self._lead(lambda store: _without_files(store.complete(record, entries, files)))
        if self._store is None:
            self.records.append(record)
        return record

    def _array(self, name: str) -> Any:
        """An array of the run, opened once: its chunks are what they were, whatever its length."""
        if name not in self._arrays:
            with on_disk(self.path):
                self._arrays[name] = zarr.open_array(self.path / name, mode="r+")
        return self._arrays[name]

    def fields(self, number: int, *, before: bool) -> Fields:
        suffix = "_before" if before else ""
        return self._read({v.name: f"{v.name}{suffix}" for v in self._model.layout.variables}, number)

    def tangent(self, number: int, *, direction: bool = False) -> Fields:
        suffix = "_direction" if direction else ""
        return self._read({v.name: f"tangents/{v.name}{suffix}" for v in self._model.layout.variables}, number)

    def state(self, number: int) -> State:
        if number < 0:
            names, plain = self._lead(lambda store: store.start_arrays())
            values = {name: np.array(value) for name, value in plain.items()}
            return values | self._read({name: f"start/{name}" for name in names}, None)
        slots = self._lead(lambda store: store.state_slots(number))
        return self._read({name: f"states/{name}" for name in slots}, next(iter(slots.values())))

    def _read(self, arrays: Mapping[str, str], entry: int | None) -> Fields:
        """This rank's blocks of an entry of these arrays of the run, or of the arrays."""
        return {name: read_block(self._split, self.path / array, entry) for name, array in arrays.items()}

    def last_good(self) -> int:
        return self._lead(lambda store: store.last_good())

    # --- checkpoints of the method ---------------------------------------------------------------

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        vectors = self._vectors(state)
        later = {name: self._later(state[name]) for name in vectors}
        name, files = self._lead(lambda store: store.lay_out_checkpoint({**state, **later}))
        group = self.path / "checkpoints" / name
        arrays = together(self._ranks, lambda: {vector: zarr.open_array(group / vector, mode="r+") for vector in later})
        writer, rank = Writer(self._ranks, self.path), self._ranks.rank
        for vector, array in arrays.items():
            several = later[vector].listed
            for number, x in enumerate(state[vector] if several else [state[vector]]):
                stretch = self._stretches.of(np.asarray(x))
                writer.write(self.path, array, [((rank,), stretch)] * bool(stretch.size), number if several else None)
        files = {**files, **writer.done()}
        self._lead(lambda store: store.complete_checkpoint(name, files))

    def load_checkpoint(self) -> tuple[int, dict[str, Any] | None]:
        size = self._stretches.size

        def told(store: RunStore) -> tuple[int, Any, dict[str, int | None]]:
            """Evaluations, the path of the group and what is in it beside vectors; how many each list of these has."""
            count, group = store.newest_checkpoint()
            if group is None:
                return count, None, {}
            lists = group.attrs["lists"]
            found = {
                name: array.shape[0] if name in lists else None
                for name, array in group.arrays()
                if array.shape[name in lists :] == (size,)
            }
            return count, (store.path / group.path, read_tree(group, without=found)), found

        count, found, vectors = self._lead(told)
        if found is None:
            return count, None
        path, state = found
        for name, number in vectors.items():
            array: Any = zarr.open_array(path / name, mode="r")
            rows = [self._stretches.back(array[(*row, self._stretches.mine)]) for row in _rows(number)]
            state[name] = rows[0] if number is None else rows
        return count, state

    def _vectors(self, state: Mapping[str, Any]) -> list[str]:
        """The names of what is a vector on every rank, or a list of them."""
        mine = np.array([float(are_vectors(value, self._model.layout.size)) for value in state.values()])
        on = self._ranks.total(mine) if mine.size else mine
        return [name for name, count in zip(state, on, strict=True) if count == self._ranks.size]

    def _later(self, value: Any) -> Later:
        """How a vector, or a list of some, is laid out: a chunk is of one vector and one rank."""
        size, length = self._stretches.size, self._stretches.length
        if isinstance(value, (list, tuple)):
            return Later((len(value), size), np.asarray(value[0]).dtype, (1, length), listed=True)
        return Later((size,), np.asarray(value).dtype, (length,))

    # --- operators -------------------------------------------------------------------------------

    def load_operator(self, count: int) -> tuple[StepOperator, float] | None:
        name = f"{count:06d}"
        years = self._lead(lambda store: years_of_operator(store.path, name))
        return None if years is None else (self._operator(name), years)

    def load_estimate_operator(self, count: int) -> tuple[StepOperator, int] | None:
        found = self._lead(lambda store: newest_estimate(store.path, count))
        return None if found is None else (self._operator(found[0]), found[1])

    def load_target(self) -> np.ndarray | None:
        name = self._lead(lambda store: newest_target(store.path, len(store.records)))
        if name is None:
            return None
        array: Any = zarr.open_array(self.path / "operators" / name / "target", mode="r")
        return self._stretches.back(array[self._stretches.mine])

    def _operator(self, name: str) -> StepOperator:
        """This rank's rows of one that is there."""
        plain, parts = read_parts(self.path, name, self._stretched.mine)
        return operator_of(plain, self._stretched.back(parts))

    def save_operator(self, operator: StepOperator, years: float, count: int) -> None:
        self._keep_operator(lambda store: store.make_way(count), operator, years)

    def save_estimate_operator(self, operator: StepOperator, years: float) -> None:
        self._keep_operator(lambda store: store.make_way_beside("estimate"), operator, years)

    def _keep_operator(self, name: Callable[[RunStore], str], operator: StepOperator, years: float) -> None:
        """A piece of it is that of a rank."""
        plain, parts = parts_of(operator)
        own = piece(self._stretched.of(parts))
        told = self._ranks.comm.allgather({part: (len(array), array.dtype) for part, array in own.items()})
        later: dict[str, Later] = {}
        chunks: dict[str, list[tuple[Index, np.ndarray]]] = {}
        for part, array in own.items():
            lengths, dtypes = zip(*(of[part] for of in told), strict=True)
            length = chunk_length(max(lengths))
            later[part] = Later((len(told), max(lengths)), np.result_type(*dtypes), (1, length))
            chunks[part] = [((self._ranks.rank, *index), some[None]) for index, some in chunked(array, (length,))]
        self._keep(name, {**plain, "counts": self._stretched.counts, **later}, chunks, years)

    def save_target(self, target: np.ndarray) -> None:
        stretch = self._stretches.of(target)
        chunks: dict[str, list[tuple[Index, np.ndarray]]] = {
            "target": [((self._ranks.rank,), stretch)] * bool(stretch.size)
        }
        self._keep(lambda store: store.make_way_beside("target"), {"target": self._later(target)}, chunks, 0.0)

    def _keep(
        self,
        name: Callable[[RunStore], str],
        tree: dict[str, Any],
        own: Mapping[str, list[tuple[Index, np.ndarray]]],
        years: float,
    ) -> None:
        """own: of each array that comes `Later`, the chunks that this rank has."""

        def begin(store: RunStore) -> tuple[str, dict[str, list[int]]]:
            found = name(store)
            return found, store.lay_out_kept(found, tree)

        found, files = self._lead(begin)
        group = self.path / "operators" / found
        arrays = together(self._ranks, lambda: {part: zarr.open_array(group / part, mode="r+") for part in own})
        writer = Writer(self._ranks, self.path)
        for part, chunks in own.items():
            writer.write(self.path, arrays[part], chunks, None)
        files = {**files, **writer.done()}
        self._lead(lambda store: store.complete_kept(found, years, files))

    # --- the rest --------------------------------------------------------------------------------

    def save_mean(self, mean: Fields, standard_error: Fields, years: float) -> None:
        dims = {v.name: v.dims for v in self._model.layout.variables}
        both = (mean, standard_error)
        later = [{name: _in_parts(self._split, value, dims[name]) for name, value in of.items()} for of in both]
        self._lead(lambda store: store.lay_out_mean(*later))
        own = {f"mean_state/{name}": (value, dims[name]) for name, value in mean.items()}
        own |= {f"mean_state/{name}_standard_error": (value, dims[name]) for name, value in standard_error.items()}
        _written(self._split, self.path, self.path, own)
        self._lead(lambda store: store.complete_mean(years))

    def repair(self) -> list[str]:
        sentences = self._lead(lambda store: store.repair())
        self._share_records()
        return sentences

    def cut_point(self, count: int) -> int:
        return self._lead(lambda store: store.cut_point(count))

    def cut(self, count: int) -> None:
        self._lead(lambda store: store.cut(count))
        self._share_records()

    def _share_records(self) -> None:
        told = self._lead(lambda store: list(map(_without_files, store.records)))
        self.records = told if self._store is None else self._store.records

    def set_outcome(self, outcome: str) -> None:
        self._lead(lambda store: store.set_outcome(outcome))

    def save_header(self) -> None:
        self._lead(lambda store: store.save_header())

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _split(self) -> Split:
        assert self._model.layout.split is not None
        return self._model.layout.split

    def _lead(self, work: Callable[[RunStore], T]) -> T:
        """What the leading rank's store gives, or raises, on all ranks."""
        return self._ranks.lead(lambda: work(self._opened))

    @property
    def _opened(self) -> RunStore:
        assert self._store is not None
        return self._store

    @cached_property
    def _stretches(self) -> Stretches:
        layout = self._model.layout
        return Stretches(places_of(layout, Patch({}, 0, layout.split)), self._ranks.comm)

    @cached_property
    def _stretched(self) -> Stretched:
        model: Any = self._model
        return Stretched(model.places, self._ranks)


def _without_files(record: Record) -> Record:
    """What all ranks need to know of a record: not the chunks of all of them."""
    return {key: value for key, value in record.items() if key != "files"}


def _rows(number: int | None) -> list[tuple[int, ...]]:
    """The first indices of so many vectors in an array of theirs; of one alone in its own."""
    return [()] if number is None else [(row,) for row in range(number)]


def of_map(model: FixedPointMap, store: RunStore | SharedStore) -> RunStore | SharedStore:
    """A store that all ranks have, as the ranks of a map have it: where these are in groups, the first group only."""
    if isinstance(store, RunStore):
        return store
    parts = model.layout.split
    if parts is None:
        return store._opened
    return SharedStore(parts.ranks, store._store).of(model)


@contextlib.contextmanager
def created(path: Path, header: Header, model: FixedPointMap, start: State) -> Iterator[RunStore | SharedStore]:
    """`RunStore.create`; on several ranks each writes its part of the start."""
    parts = model.layout.split
    if parts is None or parts.ranks.size == 1:
        with RunStore.create(path, header, model, start) as alone:
            yield alone
        return
    ranks = parts.ranks
    with contextlib.ExitStack() as opened:
        folder, files = _laid_out(opened, path, header, model, start)
        volume = volumes(model.layout)
        _written(parts, path, folder, {f"{v.name}_volume": (volume[v.name], v.dims) for v in model.layout.variables})
        files |= _written(parts, path, folder, {f"start/{n}": (value, model.dims(n)) for n, value in start.items()})
        del volume
        stores: list[RunStore] = []
        ranks.lead(lambda: stores.append(RunStore.placed(path, folder, header, files)))
        yield SharedStore(ranks, stores[0] if stores else None).of(model)


def _laid_out(
    opened: contextlib.ExitStack, path: Path, header: Header, model: FixedPointMap, start: State
) -> tuple[Path, dict[str, list[int]]]:
    """The folder of a new run without volumes and start state, and the fingerprints of what is there of the latter; the
    leading rank has it locked until `opened` ends."""
    parts, whole = model.layout.split, whole_map(model)
    dims = {v.name: v.dims for v in model.layout.variables}
    assert parts is not None

    def begin() -> tuple[Path, dict[str, list[int]]]:
        folder = opened.enter_context(new_run(path))
        first = {name: _in_parts(parts, value, model.dims(name)) for name, value in start.items()}
        volume = {name: _in_parts(parts, value, dims[name]) for name, value in volumes(model.layout).items()}
        with on_disk(path):
            return folder, lay_out(folder, header, whole, first, volume, parts.chunks)

    return parts.ranks.lead(begin)


def _in_parts(parts: Split, block: Any, dims: tuple[str, ...]) -> Later:
    """How an array is laid out of which ranks have such blocks."""
    block = np.asarray(block)
    shape = parts.shape(block.shape, dims)
    return Later(shape, block.dtype, parts.chunks(shape, dims))


def _written(
    parts: Split, path: Path, folder: Path, blocks: Mapping[str, tuple[Any, tuple[str, ...]]]
) -> dict[str, list[int]]:
    """Write arrays that are laid out in `folder`, by their names, from every rank's blocks and their dimensions.
    Returns, on the leading rank, the fingerprints of all files."""
    arrays = together(parts.ranks, lambda: {name: zarr.open_array(folder / name, mode="r+") for name in blocks})
    writer = Writer(parts.ranks, path)
    for name, array in arrays.items():
        writer.write(folder, array, chunks_to_write(parts, *blocks[name], array.chunks), None)
    return writer.done()


@contextlib.contextmanager
def resumed(path: Path, ranks: Ranks | None) -> Iterator[RunStore | SharedStore]:
    """`RunStore.resume`, by the leading rank where there are several."""
    if ranks is None:
        with RunStore.resume(path) as alone:
            yield alone
        return
    with contextlib.ExitStack() as opened:
        stores: list[RunStore] = []
        ranks.lead(lambda: stores.append(opened.enter_context(RunStore.resume(path))))
        yield SharedStore(ranks, stores[0] if stores else None)
