"""Veros' runtime as a fixed-point map needs it, set when this is imported; and its setups, by name, file or class."""

import contextlib
import importlib
import importlib.util
import inspect
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from spinup.compilation import double_precision, use_compilation_cache
from spinup.distributed.ranks import several
from spinup.errors import UsageError
from spinup.suggest import did_you_mean


def configure_veros() -> None:
    """Set Veros' runtime: JAX, float64, no files. Must come before any `veros.core` import."""
    if several() is None:
        use_compilation_cache()
    double_precision()
    from veros import runtime_settings as rs

    wanted = {
        "backend": "jax",
        "float_type": "float64",
        "linear_solver": "scipy_jax",
        "diskless_mode": True,
        "use_special_tdma": False,  # the compiled extension does not load under JAX 0.10
    }
    if "veros.core" in sys.modules:
        wrong = [f"{k}={getattr(rs, k)!r}" for k, v in wanted.items() if getattr(rs, k) != v]
        if wrong:
            raise UsageError(
                f"Veros was imported with {', '.join(wrong)} before spinup could set it: import spinup first, "
                "or import spinup.veros_map at the top of the setup file"
            )
        return
    for name, value in wanted.items():
        setattr(rs, name, value)
    _quiet_veros()


def _quiet_veros() -> None:
    """Veros logs to stdout at level info, and sends every Python warning there too: it gets stderr, warnings stay."""
    import veros
    from veros.logs import setup_logging

    showwarning = warnings.showwarning
    veros.logger.debug("")  # the first use of the logger sets it up; ours must come after
    setup_logging(loglevel=os.environ.get("VEROS_LOGLEVEL", "warning"), stream_sink=sys.stderr)
    warnings.showwarning = showwarning


configure_veros()


def setup_class(setup: Any) -> type:
    """The VerosSetup subclass meant by `setup`: a class, a function that returns one (called once Veros'
    runtime is set), the name of an installed setup, or a file."""
    from veros import VerosSetup

    if inspect.isfunction(setup):
        setup = setup()
    if inspect.isclass(setup):
        if not issubclass(setup, VerosSetup):
            raise UsageError(f"{setup.__name__} is not a Veros setup: it must subclass veros.VerosSetup")
        return setup
    name = os.fspath(setup)
    module = _import_file(Path(name)) if name.endswith(".py") else _import_installed(name)
    classes = [
        c
        for c in vars(module).values()
        if inspect.isclass(c) and issubclass(c, VerosSetup) and c.__module__ == module.__name__
    ]
    if len(classes) != 1:
        found = ", ".join(c.__name__ for c in classes) or "none"
        raise UsageError(f"{name} must define exactly one subclass of veros.VerosSetup (found: {found})")
    return classes[0]


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"setup file {path} does not exist")
    spec = importlib.util.spec_from_file_location(f"spinup_setup_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"setup file {path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"setup file {path} does not import: {type(error).__name__}: {error}") from error
    return module


def _import_installed(name: str) -> ModuleType:
    import pkgutil

    import veros.setups

    known = [m.name for m in pkgutil.iter_modules(veros.setups.__path__)]
    if name not in known:
        raise UsageError(
            f"no installed Veros setup is called {name!r}{did_you_mean(name, known)}; installed: {', '.join(known)}"
        )
    return importlib.import_module(f"veros.setups.{name}.{name}")


@contextlib.contextmanager
def traceable() -> Iterator[None]:
    """Let `VerosSetup.step` be traced: its sanity check, and whether a surface pressure is the first one, are a Python
    `if` each on a traced value."""
    from veros.core import external, numerics

    check, solve_pressure = numerics.sanity_check, external.solve_pressure

    def solve(state: Any) -> None:
        import jax.numpy as jnp

        vs = state.variables
        step = vs.itt
        vars(vs)["itt"] = 1  # assigned as an attribute it would be traced, too
        solve_pressure(state)
        vars(vs)["itt"] = step
        vs.psi = jnp.where(step == 0, vs.psi[..., vs.taup1, None], vs.psi)  # the first one holds at all time levels

    numerics.sanity_check, external.solve_pressure = lambda state: True, solve
    try:
        yield
    finally:
        numerics.sanity_check, external.solve_pressure = check, solve_pressure
