"""A run whose vectors lie on JAX's devices, written while the devices go on computing.

What an evaluation gave is handed over as it lies there. It is brought to the host and written by a thread, while the
method makes its step and the model is integrated on. One evaluation at most is on its way:

- An evaluation counts once its record is on disk, as always, and records are written in their order.
- The answer of an evaluation is passed on to the method once all evaluations before it are on disk.
- So what a kill can cost is the evaluation in flight and the one before it. A resumed run replays the rest and asks for
  these again; the method and the map being what they were, it is the same request.
- A run that ends by itself, is stopped or fails has everything on disk.
- What goes wrong while writing is raised at the next evaluation, or at the end.

Only a copy from the device is made in the thread, no computation: those of two threads may lock each other where they
need several devices.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from spinup.device_layout import DeviceLayout
from spinup.state import Fields, State
from spinup.store.journal import Record
from spinup.store.run_store import RunStore
from spinup.store.tree import are_vectors

KEPT = "on_devices"  # names in a checkpoint, of vectors and lists of them; of a run made by NumPy it has none


class WrittenBehind:
    """A `RunStore` for a `DeviceLayout`: a context manager, at whose end everything is written.

    Whatever else a store does waits for what is on its way.
    """

    def __init__(self, store: RunStore, layout: DeviceLayout) -> None:
        self._store, self._layout = store, layout
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._written: list[Future[Any]] = []  # what is on its way
        self.header, self.path = store.header, store.path
        self.records = list(store.records)  # with the one on its way

    def __enter__(self) -> "WrittenBehind":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.shutdown()
        if kind is None:
            self.settle()

    def __getattr__(self, name: str) -> Any:
        """What the store has, once all is written."""
        self.settle()
        return getattr(self._store, name)

    def settle(self) -> None:
        """Wait until all is written. Raises what went wrong."""
        written, self._written = self._written, []
        try:
            for job in written:
                job.result()
        finally:
            self.records = list(self._store.records)

    def append(self, record: Record, before: Any, after: Any | None, state: State | None) -> Record:
        """Have an evaluation written, once the one before is; before, after: vectors on the devices."""
        self.settle()
        record = {**record, "evaluation": len(self.records), "slot": None}  # the slot is not known yet, nor needed
        self.records.append(record)
        start_copies(before, after, state)

        def write() -> None:
            self._store.append(record, self._fields(before), None if after is None else self._fields(after), state)

        self._written.append(self._writer.submit(write))
        return record

    def _fields(self, x: Any) -> Fields:
        return self._layout.host.unpack(self._layout.on_host(x))

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Have the method's state as of now written, after the evaluations so far."""
        count = len(self.records)
        vectors = {name: value for name, value in state.items() if _is_vector(value)}
        start_copies(vectors)

        def write() -> None:
            if len(self._store.records) < count:
                return  # an evaluation that it has seen could not be written, which `settle` tells
            whole = {name: _each(self._layout.on_host, value) for name, value in vectors.items()}
            self._store.save_checkpoint({**state, **whole, KEPT: " ".join(vectors)})

        self._written.append(self._writer.submit(write))

    def load_checkpoint(self) -> tuple[int, dict[str, Any] | None]:
        """As `RunStore.load_checkpoint`; vectors are on the devices again, also of a run that had them on the host."""
        self.settle()
        count, state = self._store.load_checkpoint()
        if state is None:
            return count, None
        kept = state.pop(KEPT, None)
        names = [n for n, v in state.items() if are_vectors(v, self._layout.size)] if kept is None else kept.split()
        return count, state | {name: _each(self._layout.placed, state[name]) for name in names}

    def cut(self, count: int) -> None:
        """Forget evaluations from `count` on."""
        self.settle()
        self._store.cut(count)
        self.settle()


def start_copies(*trees: Any) -> None:
    """Start to bring what of these is JAX's to the host; nothing waits for it."""
    import jax

    for value in jax.tree_util.tree_leaves(trees):
        if isinstance(value, jax.Array):
            value.copy_to_host_async()


def _is_vector(value: Any) -> bool:
    """Whether it is JAX's, or a list of such."""
    import jax

    return bool(value) and isinstance(value[0], jax.Array) if isinstance(value, list) else isinstance(value, jax.Array)


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    return [change(v) for v in value] if isinstance(value, list) else change(value)
