"""The processes that `mpiexec` started, and what they tell each other."""

import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from spinup.errors import USAGE, SpinupError, UsageError

COUNTS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_SIZE", "MPI_LOCALNRANKS")  # what launchers set

PATIENCE = 20.0  # seconds that a rank whose model failed waits for the others, beside what that usually takes

T = TypeVar("T")


@dataclass(eq=False)
class Ranks:
    """All ranks of an MPI communicator (mpi4py's). Every method is to be called by all of them."""

    comm: Any
    longest: float = 0.0  # seconds that a model took `within_model`, this one's part of it

    @property
    def rank(self) -> int:
        """This one's number; 0 leads: it alone prints, and says what of a run counts."""
        return self.comm.Get_rank()

    @property
    def size(self) -> int:
        return self.comm.Get_size()

    def total(self, mine: np.ndarray) -> np.ndarray:
        """The sum over ranks of a float64 array, the same bits on each. One reduction."""
        found = np.empty_like(mine)
        self.comm.Allreduce(mine, found)
        return found

    def largest(self, mine: float) -> float:
        """The largest of the ranks' numbers."""
        return max(self.comm.allgather(float(mine)))

    def any(self, flag: bool) -> bool:
        """Whether it is so on any of them."""
        return bool(self.total(np.array([float(flag)]))[0])

    def first(self, words: str | None, patience: float) -> str | None:
        """The words of the first rank that has any.

        Where the others do not come to hear them within so many seconds, since they wait for this one in the model, all
        ranks are ended, and the words are printed.
        """
        met, until = self.comm.Ibarrier(), time.monotonic() + patience
        if words is None:
            met.Wait()
        while not met.Test():
            if time.monotonic() > until:
                print(f"spinup: {words} (on rank {self.rank}; the others wait for it)", file=sys.stderr, flush=True)
                self.comm.Abort(USAGE)
            time.sleep(0.01)
        return next((w for w in self.comm.allgather(words) if w is not None), None)

    def share(self, value: T) -> T:
        """That of the leading rank."""
        return self.comm.bcast(value)

    def lead(self, work: Callable[[], T]) -> T:
        """What work by the leading rank alone gives, or raises, on all of them."""
        found: Any = None
        if self.rank == 0:
            try:
                found = True, work()
            except SpinupError as error:
                found = False, error
        done, value = self.share(found)
        if not done:
            raise value
        return value

    def part(self, cells: int) -> slice:
        """This rank's share of so many cells of a dimension, as even as it goes.

        Raises UsageError where there are fewer cells than ranks.
        """
        if cells < self.size:
            raise UsageError(f"{cells} cells are too few for {self.size} ranks: start fewer")
        return slice(self.rank * cells // self.size, (self.rank + 1) * cells // self.size)


def started() -> int:
    """How many processes a launcher says that it started."""
    return max(int(os.environ.get(name, "1")) for name in COUNTS)


def everyone() -> Ranks | None:
    """All processes, where there is more than one. Raises UsageError where mpi4py does not work."""
    return _all() if started() > 1 else None


_group: ContextVar[Ranks | None] = ContextVar("group", default=None)


@contextmanager
def in_group(group: Ranks) -> Iterator[None]:
    """Meanwhile, `world` and `several` are of this group of ranks: a map that is built then is one of theirs."""
    before = _group.set(group)
    try:
        yield
    finally:
        _group.reset(before)


def several() -> Ranks | None:
    """The processes that a map is split over, where there is more than one: all, or those of this one's group. Raises
    UsageError where mpi4py does not work."""
    group = _group.get()
    if group is None:
        return everyone()
    return group if group.size > 1 else None


def together(ranks: Ranks | None, work: Callable[[], T]) -> T:
    """What work by every rank gives this one. Raises what is wrong on one of them on all."""
    if ranks is None:
        return work()
    found, wrong = _tried(work, SpinupError)
    _raise_any(ranks, wrong)
    return found


def within_model(ranks: Ranks | None, work: Callable[[], T]) -> T:
    """The same of a model, whose ranks may wait for each other in it (see `Ranks.first`): whatever one of them raises
    is raised on all."""
    if ranks is None or ranks.size == 1:
        return work()
    began = time.monotonic()
    found, wrong = _tried(work, Exception)
    words = str(wrong) if isinstance(wrong, SpinupError) else f"{type(wrong).__name__}: {wrong}"
    ranks.first(None if wrong is None else words, PATIENCE + ranks.longest)
    ranks.longest = max(ranks.longest, time.monotonic() - began)
    _raise_any(ranks, None if wrong is None else portable(wrong))
    return found


def _tried(work: Callable[[], T], kind: type[Exception]) -> tuple[Any, Exception | None]:
    """What work gives, or what it raises of this kind."""
    try:
        return work(), None
    except kind as error:
        return None, error


def _raise_any(ranks: Ranks, wrong: BaseException | None) -> None:
    for any_wrong in ranks.comm.allgather(wrong):
        if any_wrong is not None:
            raise any_wrong


def portable(error: BaseException) -> BaseException:
    """The exception, with where it was raised, as one that can be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # one of the user's own kinds
        error = RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
    error.add_note("".join(traceback.format_tb(error.__traceback__)))
    return error


def world() -> Ranks:
    """The processes that a map is split over: all that `mpiexec` started, or those of this one's group where these are
    in groups (`spinup run --groups`). Raises UsageError where mpi4py does not work."""
    return _group.get() or _all()


def _all() -> Ranks:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise UsageError(
            f"several ranks need mpi4py and MPI ({error}): `spinup doctor` says how to get them"
        ) from error
    return Ranks(MPI.COMM_WORLD)
