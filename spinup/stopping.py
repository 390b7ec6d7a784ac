"""Ctrl-C, SIGTERM, or a wall-time limit that is near: finish the evaluation in flight, then stop."""

import contextlib
import re
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

from spinup.errors import UsageError

_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")  # days-hours:minutes:seconds; of two parts Slurm means others
_UNITS = {"second": 1.0, "s": 1.0, "minute": 60.0, "min": 60.0, "hour": 3600.0, "h": 3600.0, "day": 86400.0}
_WORDS = re.compile(r"(\d+\.?\d*|\.\d+)\s*([a-z]+)")
RESERVE, WRITING = 1.5, 5.0  # of the longest evaluation so far, and seconds: what is kept for one more and for the end


class StopFlag:
    """Whether the run is to stop: the user has asked for it, or `limit` seconds after its begin are nearly over."""

    def __init__(self, notify: Callable[[str], None], limit: float | None = None) -> None:
        self.requested = False
        self._notify, self._limit = notify, limit
        self._began = self._checked = time.monotonic()
        self._longest = 0.0

    def due(self) -> bool:
        """To be asked before every evaluation: whether there is to be another."""
        now = time.monotonic()
        self._longest, self._checked = max(self._longest, now - self._checked), now
        needed = RESERVE * self._longest + WRITING
        if not self.requested and self._limit is not None and now - self._began + needed > self._limit:
            self.requested = True
            self._notify(f"the wall-time limit of {self._limit:g} s is near: an evaluation may take {needed:.0f} s")
        return self.requested


def parse_wall_time(text: str | float | None) -> float | None:
    """Seconds of "01:30:00", "1-12:00:00", "90 minutes", "1.5 h" or a number of them. Raises UsageError."""
    if text is None:
        return None
    words = str(text).strip().lower()
    seconds = 0.0
    with contextlib.suppress(ValueError):
        seconds = float(words)
    if clock := _CLOCK.fullmatch(words):
        days, hours, minutes, rest = (int(part or 0) for part in clock.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    elif found := _WORDS.fullmatch(words):
        unit = found[2] if found[2] in _UNITS else found[2].removesuffix("s")
        seconds = float(found[1]) * _UNITS.get(unit, 0.0)
    if not 0 < seconds < float("inf"):
        raise UsageError(f"wall_time = {text!r} is no time: write it like 01:30:00, '90 minutes' or '1.5 hours'")
    return seconds


@contextlib.contextmanager
def stop_on_signals(notify: Callable[[str], None], limit: float | None = None) -> Iterator[StopFlag]:
    """Set the flag at the first SIGINT or SIGTERM; a second one ends at once (the evaluation in flight is
    lost, nothing else). Outside the main thread signals are left alone. limit: of wall time, seconds."""
    flag = StopFlag(notify, limit)

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
