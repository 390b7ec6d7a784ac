"""Ranks in groups, each with the whole of a map: what is independent, members of an ensemble say, is spread over them.

The first group makes the run as it would alone, with the same numbers to the bit; the others wait for their shares of
the work. All that comes of it goes through the ranks of the first group.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from spinup.distributed.ranks import Ranks, portable, within_model
from spinup.errors import UsageError
from spinup.stopping import StopFlag

POLL = 0.001  # seconds

T = TypeVar("T")


class Groups:
    """ranks: those of this process's group. across: those that have the same place in each group, which the one of the
    first group leads. Every method is to be called by all of a group."""

    def __init__(self, ranks: Ranks, across: Ranks) -> None:
        from mpi4py.util import pkl5

        self.ranks = ranks
        self._number, self._leads = across.size, across.rank == 0
        self._comm = pkl5.Intracomm(across.comm)  # arrays as they are, of any size
        self._model: Any = None
        self._flag: StopFlag | None = None

    @property
    def number(self) -> int:
        """How many groups there are."""
        return self._number

    def words(self, members: int) -> str:
        """What is on the groups."""
        of = "one rank" if self.ranks.size == 1 else f"{self.ranks.size} ranks"
        what = f"{members} members" if members > 1 else "perturbed steps of the operator"
        return f"{what} on {self._number} groups of {of}"

    def have(self, model: Any) -> None:
        """The map of every group, whose methods `each` calls."""
        self._model = model

    def each(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What a method of the map gives for each of the arguments, in their order, as `attempted` says, up to the
        first that raises. To be called by the first group; every group takes an equal share."""
        ends = [number * len(arguments) // self._number for number in range(self._number + 1)]
        shares = [arguments[begin:end] for begin, end in pairwise(ends)]
        for number in range(1, self._number):
            self._comm.send((method, _on_host(shares[number])), number)
        found = attempted(self._model, method, shares[0], self.ranks)
        for number in range(1, self._number):
            values, stop = self._received(number)
            found += values
            if stop and self._flag is not None:
                self._flag.requested = True
        return found

    def led(self, work: Callable[[], T], flag: StopFlag) -> T:
        """What work by the first group gives, or raises, on all ranks; the others do what it asks of them meanwhile,
        and tell it where they were asked to stop. flag: whether this process was, which is what work goes by."""
        self._flag = flag
        if self._leads:
            return self._ended(work)
        while True:
            method, given = self._received(0)
            if method is None:
                if isinstance(given, BaseException):
                    raise given
                end: T = given
                return end
            found = attempted(self._model, method, given, self.ranks)
            answer = [portable(v) if isinstance(v, Exception) else _on_host(v) for v in found]
            self._comm.send((answer, flag.requested), 0)

    def _received(self, number: int) -> Any:
        """What comes from a group; MPI would wait for it by asking all the time, on a core that others can use."""
        while not self._comm.iprobe(source=number):
            time.sleep(POLL)
        return self._comm.recv(source=number)

    def _ended(self, work: Callable[[], T]) -> T:
        """What work by the first group gives, or raises; the others are told that it is over."""
        end: Any = None
        try:
            end = work()
            return end
        except BaseException as error:
            end = portable(error)
            raise
        finally:
            for number in range(1, self._number):
                self._comm.send((None, end), number)


def unfailing(found: list[Any]) -> list[Any]:
    """What was `attempted`, where nothing was raised. Raises what was."""
    for value in found:
        if isinstance(value, Exception):
            raise value
    return found


def led(groups: Groups | None, work: Callable[[], T], flag: StopFlag) -> T:
    """`Groups.led`, where there are several groups."""
    return work() if groups is None else groups.led(work, flag)


def attempted(model: Any, method: str, arguments: Sequence[tuple[Any, ...]], ranks: Ranks | None = None) -> list[Any]:
    """What a method of a map gives for each of the arguments; the first exception that it raises is the last of these.
    ranks: that have a part of the map each, and ask for the same."""
    found: list[Any] = []
    for some in arguments:
        try:
            found.append(within_model(ranks, partial(getattr(model, method), *some)))
        except Exception as error:  # whatever a model raises
            return [*found, error]
    return found


def divided(everyone: Ranks | None, number: int) -> Groups | None:
    """All ranks in so many groups of as many neighbours; None where there is one. Raises UsageError where that cannot
    be."""
    size = 1 if everyone is None else everyone.size
    if number < 1 or size % number:
        what = "1 rank" if size == 1 else f"{size} ranks"
        raise UsageError(f"{what} cannot be divided into {number} equal groups: start a multiple of {number}")
    if everyone is None or number == 1:
        return None
    of_group = size // number
    comm, rank = everyone.comm, everyone.rank
    return Groups(Ranks(comm.Split(rank // of_group, rank)), Ranks(comm.Split(rank % of_group, rank)))


def _on_host(value: Any) -> Any:
    """Arrays of JAX as NumPy's, in dictionaries, tuples and lists, too."""
    if isinstance(value, dict):
        return {name: _on_host(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_host(part) for part in value)
    return np.asarray(value) if hasattr(value, "__array__") else value
