"""Ctrl-C and SIGTERM: finish the evaluation in flight, then stop."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType


class StopFlag:
    """Whether the user has asked the run to stop."""

    def __init__(self) -> None:
        self.requested = False


@contextlib.contextmanager
def stop_on_signals(notify: Callable[[str], None]) -> Iterator[StopFlag]:
    """Set the flag at the first SIGINT or SIGTERM; a second one ends at once (the evaluation in flight is
    lost, nothing else). Outside the main thread signals are left alone."""
    flag = StopFlag()

    def handle(number: int, frame: FrameType | None) -> None:
        if flag.requested:
            raise KeyboardInterrupt
        flag.requested = True
        notify(f"{signal.Signals(number).name}: finishing the evaluation in flight (again to end at once)")

    previous = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):
                previous[number] = signal.signal(number, handle)
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
