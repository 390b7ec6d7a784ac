"""JAX's persistent compilation cache: a model is compiled once per machine, not once per run."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """$SPINUP_CACHE, or spinup/ in the user's cache folder."""
    if own := os.environ.get("SPINUP_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spinup"


def use_compilation_cache() -> None:
    """Turn the cache on, unless the user has set one up."""
    import jax

    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
        # A model's set-up is made of hundreds of small programs: together they take longer than the large ones.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
