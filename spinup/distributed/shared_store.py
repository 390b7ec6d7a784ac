"""One run of many ranks: the leading one writes, the others hand it their parts and are handed theirs.

What is on disk is of all cells, and says nothing of the ranks: a run may be resumed on another number of them, or on
one. An evaluation counts on all ranks or on none.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from solvers import StepOperator
from spinup.distributed.on_ranks import gathered, scattered, whole_layout, whole_map
from spinup.distributed.operators import Places, gathered_operator, scattered_operator
from spinup.distributed.ranks import Ranks
from spinup.distributed.split import Split
from spinup.maps import FixedPointMap
from spinup.state import Fields, Layout, State
from spinup.store import Header, RunStore
from spinup.store.journal import Record

T = TypeVar("T")
N = TypeVar("N", float, int)


class SharedStore:
    """A `RunStore` that the leading rank has open, for all of them; every method is to be called by all.

    Before fields and states are asked for, `of` has to say which map they are of.
    """

    def __init__(self, ranks: Ranks, store: RunStore | None) -> None:
        self._ranks, self._store = ranks, store
        told: Any = None if store is None else (store.path, store.header, store.records)
        self.path: Path
        self.header: Header
        self.path, self.header, self.records = ranks.share(told)
        if store is not None:
            self.header = store.header  # which is written from here
        self._model: FixedPointMap
        self._whole: Layout | None

    def of(self, model: FixedPointMap, whole: Layout | None) -> "SharedStore":
        """The map, of this rank's cells, and on the leading rank the layout of all cells (`whole_layout`)."""
        self._model, self._whole = model, whole
        return self

    # --- evaluations -----------------------------------------------------------------------------

    def append(self, record: Record, before: Fields, after: Fields | None, state: State | None) -> Record:
        whole_before, whole_after = self._gathered(before), None if after is None else self._gathered(after)
        whole_state = None if state is None else gathered(self._split, self._model, state)
        return self._appended(lambda store: store.append(record, whole_before, whole_after, whole_state))

    def append_tangent(self, record: Record, at: Fields, direction: Fields, product: Fields | None) -> Record:
        fields = self._gathered(at), self._gathered(direction)
        whole = None if product is None else self._gathered(product)
        return self._appended(lambda store: store.append_tangent(record, *fields, whole))

    def _appended(self, append: Callable[[RunStore], Record]) -> Record:
        record = self._lead(append)
        if self._store is None:
            self.records.append(record)
        else:
            self.records = self._store.records
        return record

    def fields(self, number: int, *, before: bool) -> Fields:
        return self._scattered(self._on_leader(lambda store: store.fields(number, before=before)))

    def tangent(self, number: int, *, direction: bool = False) -> Fields:
        return self._scattered(self._on_leader(lambda store: store.tangent(number, direction=direction)))

    def state(self, number: int) -> State:
        return scattered(self._split, self._model, self._on_leader(lambda store: store.state(number)))

    def last_good(self) -> int:
        return self._lead(lambda store: store.last_good())

    # --- checkpoints of the method ---------------------------------------------------------------

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        vectors = self._vectors(state)
        whole = {n: _each(self._gathered_vector, v) if n in vectors else v for n, v in state.items()}
        self._lead(lambda store: store.save_checkpoint(whole))

    def load_checkpoint(self) -> tuple[int, dict[str, Any] | None]:
        found = self._on_leader(lambda store: store.load_checkpoint())
        told: tuple[int, dict[str, Any] | None] = (0, None)
        if found is not None and self._whole is not None and found[1] is not None:
            size = self._whole.size
            told = found[0], {n: _Vectors.of(v) if _are_vectors(v, size) else v for n, v in found[1].items()}
        count, state = self._ranks.share(told)
        if state is None:
            return count, None
        for name, value in state.items():
            if isinstance(value, _Vectors):
                whole = value.listed(found[1][name]) if found and found[1] else [None] * value.number
                parts = [self._scattered_vector(v) for v in whole]
                state[name] = parts if value.several else parts[0]
        return count, state

    def _vectors(self, state: Mapping[str, Any]) -> set[str]:
        """The names of what is a vector on every rank, or a list of them."""
        mine = np.array([float(_are_vectors(value, self._model.layout.size)) for value in state.values()])
        on = self._ranks.total(mine) if mine.size else mine
        return {name for name, count in zip(state, on, strict=True) if count == self._ranks.size}

    # --- operators -------------------------------------------------------------------------------

    def load_operator(self, count: int) -> tuple[StepOperator, float] | None:
        return self._scattered_operator(lambda store: store.load_operator(count))

    def load_estimate_operator(self, count: int) -> tuple[StepOperator, int] | None:
        return self._scattered_operator(lambda store: store.load_estimate_operator(count))

    def load_target(self) -> np.ndarray | None:
        found = self._on_leader(lambda store: store.load_target())
        return self._scattered_vector(found) if self._ranks.share(found is not None) else None

    def save_operator(self, operator: StepOperator, years: float, count: int) -> None:
        whole: Any = gathered_operator(operator, self._places, self._ranks)
        self._lead(lambda store: store.save_operator(whole, years, count))

    def save_estimate_operator(self, operator: StepOperator, years: float) -> None:
        whole: Any = gathered_operator(operator, self._places, self._ranks)
        self._lead(lambda store: store.save_estimate_operator(whole, years))

    def save_target(self, target: np.ndarray) -> None:
        whole: Any = self._gathered_vector(target)
        self._lead(lambda store: store.save_target(whole))

    # --- the rest --------------------------------------------------------------------------------

    def save_mean(self, mean: Fields, standard_error: Fields, years: float) -> None:
        whole = self._gathered(mean), self._gathered(standard_error)
        self._lead(lambda store: store.save_mean(*whole, years))

    def repair(self) -> list[str]:
        sentences = self._lead(lambda store: store.repair())
        self.records = self._lead(lambda store: store.records)
        return sentences

    def cut_point(self, count: int) -> int:
        return self._lead(lambda store: store.cut_point(count))

    def cut(self, count: int) -> None:
        self._lead(lambda store: store.cut(count))
        self.records = self._lead(lambda store: store.records)

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

    def _on_leader(self, work: Callable[[RunStore], T]) -> T | None:
        """The same on the leading rank only, None on the others; what it raises is raised on all."""
        found: list[T] = []
        self._lead(lambda store: found.append(work(store)))
        return found[0] if found else None

    @property
    def _opened(self) -> RunStore:
        assert self._store is not None
        return self._store

    def _gathered(self, fields: Fields) -> Fields:
        dims = {v.name: v.dims for v in self._model.layout.variables}
        return {name: self._split.gather(value, dims[name]) for name, value in fields.items()}

    def _scattered(self, fields: Fields | None) -> Fields:
        return {
            v.name: self._split.scatter(None if fields is None else fields[v.name], v.dims)
            for v in self._model.layout.variables
        }

    @property
    def _places(self) -> Places:
        model: Any = self._model
        return model.places

    def _scattered_operator(
        self, load: Callable[[RunStore], tuple[StepOperator, N] | None]
    ) -> tuple[StepOperator, N] | None:
        """This rank's rows of the operator that the leading rank's store has, and the number it comes with."""
        found = self._on_leader(load)
        told: Any = None if found is None else (found[1],)
        number = self._ranks.share(told)
        if number is None:
            return None
        whole = None if found is None else found[0]
        return scattered_operator(whole, self._places, self._ranks), number[0]

    def _gathered_vector(self, x: np.ndarray) -> np.ndarray | None:
        fields = self._gathered(self._model.layout.unpack(x, fill=0))
        return None if self._whole is None else self._whole.pack(fields)

    def _scattered_vector(self, x: np.ndarray | None) -> np.ndarray:
        return self._model.layout.pack(self._scattered(None if self._whole is None else self._whole.unpack(x, fill=0)))


@dataclass(frozen=True)
class _Vectors:
    """In place of a vector, or of a list of some."""

    number: int
    several: bool

    @classmethod
    def of(cls, value: Any) -> "_Vectors":
        several = isinstance(value, (list, tuple))
        return cls(len(value) if several else 1, several)

    def listed(self, value: Any) -> list[np.ndarray]:
        return list(value) if self.several else [value]


def _are_vectors(value: Any, size: int | None) -> bool:
    """Whether a value of a checkpoint is a vector of this size, or a list of some."""
    some = value if isinstance(value, (list, tuple)) else [value]
    return bool(some) and all(np.shape(v) == (size,) for v in some)


def _each(function: Callable[[Any], Any], value: Any) -> Any:
    """The function of a vector, or of each of a list."""
    return [function(v) for v in value] if isinstance(value, (list, tuple)) else function(value)


def of_map(model: FixedPointMap, store: RunStore | SharedStore) -> RunStore | SharedStore:
    """A store that all ranks have, as the ranks of a map have it: where these are in groups, the first group only."""
    if isinstance(store, RunStore):
        return store
    parts = model.layout.split
    if parts is None:
        return store._opened
    return SharedStore(parts.ranks, store._store).of(model, whole_layout(model.layout))


@contextlib.contextmanager
def created(path: Path, header: Header, model: FixedPointMap, start: State) -> Iterator[RunStore | SharedStore]:
    """`RunStore.create`, by the leading rank where there are several."""
    parts = model.layout.split
    if parts is None:
        with RunStore.create(path, header, model, start) as alone:
            yield alone
        return
    whole, first = whole_map(model), gathered(parts, model, start)
    with _led(parts.ranks, lambda: RunStore.create(path, header, whole, first)) as store:
        yield store.of(model, None if whole is None else whole.layout)


@contextlib.contextmanager
def resumed(path: Path, ranks: Ranks | None) -> Iterator[RunStore | SharedStore]:
    """`RunStore.resume`, by the leading rank where there are several."""
    if ranks is None:
        with RunStore.resume(path) as alone:
            yield alone
        return
    with _led(ranks, lambda: RunStore.resume(path)) as store:
        yield store


@contextlib.contextmanager
def _led(ranks: Ranks, opening: Callable[[], contextlib.AbstractContextManager[RunStore]]) -> Iterator[SharedStore]:
    """The store that the leading rank opens."""
    with contextlib.ExitStack() as stack:
        opened: list[RunStore] = []

        def enter() -> None:
            opened.append(stack.enter_context(opening()))

        ranks.lead(enter)
        yield SharedStore(ranks, opened[0] if opened else None)
