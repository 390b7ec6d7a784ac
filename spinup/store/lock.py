"""One process at a time writes a run. The lock goes with the process, however it ends."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from spinup.errors import RunLocked, StoreError

TRIES = 10  # in 0.2 s


@contextlib.contextmanager
def locked(path: Path, run: Path) -> Iterator[None]:
    """Hold the lock file `path` of `run`. Raises RunLocked where another process holds it."""
    try:
        opened = path.open("a+")
    except OSError as error:
        raise StoreError(f"run {run} cannot be written: {error.strerror}; make it writable, or copy it") from error
    with opened as file:
        if not _taken(file):
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise RunLocked(
                f"run {run} is being written by {owner}: wait for it or stop it; "
                f"`spinup status {run}` and `spinup report {run}` work meanwhile"
            )
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _taken(file: IO[str]) -> bool:
    """Try for a moment: whoever asks for a run's status holds the lock for an instant."""
    for _ in range(TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False


def is_locked(path: Path) -> bool:
    """Whether a process is writing the run now."""
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
