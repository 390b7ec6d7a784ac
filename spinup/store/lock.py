"""One process at a time writes a run. The lock goes with the process, however it ends."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from spinup.errors import RunLocked


@contextlib.contextmanager
def locked(path: Path, run: Path) -> Iterator[None]:
    """Hold the lock file `path` of `run`. Raises RunLocked where another process holds it."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise RunLocked(
                f"run {run} is being written by {owner}: wait for it or stop it; "
                f"`spinup status {run}` and `spinup report {run}` work meanwhile"
            ) from None
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


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
