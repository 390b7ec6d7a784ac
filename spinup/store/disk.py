"""What a disk says, in words that help."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from spinup.errors import StoreError, StoreFull


@contextlib.contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Say plainly that the disk of the run at `path` is full, or that it can't be written."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(
                f"no space left on the disk of {path}: free some, then `spinup resume {path}`; "
                "every evaluation written so far is safe"
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise StoreError(f"run {path} cannot be written: {error.strerror}; make it writable, or copy it") from error
        raise
