import signal
from pathlib import Path

import jax
import pytest
from helpers import LINEAR

import spinup


@pytest.fixture(scope="session")
def linear_run(tmp_path_factory) -> Path:
    """A finished run of the linear case, not to be written into."""
    run = tmp_path_factory.mktemp("linear") / "run"
    spinup.run(LINEAR, out=run, store={"checkpoint_every": 4})
    return run


@pytest.fixture(scope="module", autouse=True)
def compiled_programs():
    """Those of a module are not kept through the next: by the last, gigabytes."""
    yield
    jax.clear_caches()


# A shell's background job ignores Ctrl-C, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
