"""What can go wrong, by whose fault.

SpinupError
├── UsageError     the user asked for something that cannot be done; says how to mend it
└── StoreError     a run on disk cannot be used as it is
    ├── RunLocked      another process has it open
    └── StoreFull      the disk is full; what was computed is safe

A model that blows up is not an exception here: it is a reply (`solvers.Failure`).
Maps raise `ModelFailure` to say so.
"""

USAGE, STORE = 2, 4  # what the process exits with after a UsageError, or a mistake in a case, and after a StoreError


class SpinupError(Exception):
    """Base of every error that names its cause and its cure."""


class UsageError(SpinupError):
    """A request that cannot be carried out; the message says what to change."""


class StoreError(SpinupError):
    """A run on disk that cannot be used as it is."""


class RunLocked(StoreError):
    """Another process is working on the run."""


class StoreFull(StoreError):
    """No space left to write; nothing already written is lost."""


class ModelFailure(Exception):
    """The model did not come back with a usable state (raised by maps, caught by the driver)."""
