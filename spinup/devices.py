"""What JAX may run on, and what to say where it cannot."""

import os

from spinup.errors import UsageError

RANKS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_SIZE", "MPI_LOCALNRANKS")


def check_devices() -> None:
    """Raise UsageError where JAX cannot start on the device it was told to use."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts that a platform it was told to use is there
        wanted = os.environ.get("JAX_PLATFORMS", "")
        raise UsageError(
            f"JAX cannot run on JAX_PLATFORMS={wanted!r}: for an NVIDIA GPU install the extra, "
            "pip install 'spinup[gpu]', or unset JAX_PLATFORMS to run on the CPU"
        ) from error


def check_one_process() -> None:
    """Raise UsageError where mpiexec started several copies: each would do the whole run."""
    for name in RANKS:
        if int(os.environ.get(name, "1")) > 1:
            raise UsageError(
                f"{name}={os.environ[name]}: spinup runs in one process; start it without mpiexec "
                "(it uses the cores of this machine by itself)"
            )
