"""What JAX may run on, and what to say where it cannot."""

import os

from spinup.errors import UsageError


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
