"""Functions compiled by JAX, in double precision, and its persistent cache: a model is compiled once per machine, not
once per run."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spinup.devices import check_devices
from spinup.errors import UsageError


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


def double_precision() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    check_devices()


class Compiled:
    """A function under `jax.jit`; `prepare` compiles it ahead of the first call."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        import jax

        self._name = name_of(function)
        self._jitted = jax.jit(function)
        self._call: Callable[[Any], Any] = self._jitted

    def prepare(self, state: Any) -> None:
        self._call = self._told(lambda: self._jitted.lower(state).compile())

    def __call__(self, state: Any) -> Any:
        return self._told(lambda: self._call(state))

    def _told(self, attempt: Callable[[], Any]) -> Any:
        import jax

        try:
            return attempt()
        except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
            raise UsageError(
                f"{self._name} cannot be compiled by JAX: write it with jax.numpy, or pass jit=False "
                f"({str(error).splitlines()[0]})"
            ) from error


def name_of(function: Any) -> str:
    inner = getattr(function, "func", function)  # functools.partial
    name = getattr(inner, "__name__", type(inner).__name__)
    return "function" if name == "<lambda>" else name
