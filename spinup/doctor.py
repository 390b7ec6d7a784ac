"""What is installed, what works, and how to mend what does not."""

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from solvers.blas import CORES

UNKNOWN_PROCESSOR = {"Prescott", "Core2", "generic"}  # what OpenBLAS takes those for that it does not know


@dataclass(frozen=True)
class Check:
    """One finding; `mend` is empty where there is nothing to mend."""

    what: str
    ok: bool
    found: str
    mend: str = ""
    optional: bool = False


def examine() -> list[Check]:
    """All checks, in the order a newcomer needs them."""
    return [
        _python(),
        *(_package(name) for name in ("numpy", "scipy", "jax", "veros", "xarray", "zarr")),
        _tried("JAX in double precision", _jax_float64, "pip install --upgrade jax"),
        _tried("a Veros setup imports", _veros, "pip install 'veros>=1.7,<1.8'"),
        _tried("a store can be written", _store, "free space, or set TMPDIR to a folder that can be written"),
        _cases(),
        *_distributed(),
        _extra("extra [umfpack]", ("kvxopt.umfpack",), "pip install 'spinup[umfpack]' (faster sparse LU factors; GPL)"),
        _gpu(),
        _compiler_cache(),
    ]


def _python() -> Check:
    found = ".".join(str(n) for n in sys.version_info[:3])
    return Check(
        "Python", sys.version_info >= (3, 11), found, "" if sys.version_info >= (3, 11) else "use Python 3.11 or newer"
    )


def _package(name: str) -> Check:
    try:
        importlib.import_module(name)
        return Check(name, True, version(name))
    except (ImportError, PackageNotFoundError) as error:
        return Check(name, False, str(error), f"pip install {name}")


def _tried(what: str, test: Callable[[], str], mend: str) -> Check:
    try:
        return Check(what, True, test())
    except Exception as error:  # whatever goes wrong is the finding
        return Check(what, False, f"{type(error).__name__}: {error}", mend)


def _jax_float64() -> str:
    import jax

    jax.config.update("jax_enable_x64", True)
    value = jax.numpy.asarray(1.0) + 1e-15
    if float(value) == 1.0:
        raise RuntimeError("float64 is not in use")
    return f"on {jax.default_backend()}"


def _veros() -> str:
    from spinup.veros_setup import setup_class

    return setup_class("acc_basic").__name__


def _store() -> str:
    import numpy as np
    import zarr

    with tempfile.TemporaryDirectory() as folder:
        array = zarr.create_array(folder, shape=(3,), dtype="f8")
        array[:] = np.arange(3.0)
        if not np.array_equal(zarr.open_array(folder)[:], np.arange(3.0)):
            raise RuntimeError("what was read is not what was written")
        free = shutil.disk_usage(folder).free
    return f"{free / 1e9:.0f} GB free for temporary files"


def _cases() -> Check:
    from spinup.case import known_cases

    names = list(known_cases())
    return Check(
        "cases", bool(names), ", ".join(names) or "none", "" if names else "set SPINUP_CASES to a folder of case files"
    )


def _extra(name: str, modules: tuple[str, ...], mend: str) -> Check:
    missing = []
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # an MPI library that does not load raises RuntimeError
            missing.append(f"{module}: {error}")
    return Check(name, not missing, "; ".join(missing) or "works", mend if missing else "", optional=True)


def _distributed() -> list[Check]:
    """What many ranks need: each part by itself, for they are installed by different hands."""
    from spinup.distributed.petsc import NoPETSc, find
    from spinup.distributed.stack import HOW

    build = "make distributed, or in an environment of your own: python -m spinup.distributed.stack"
    try:
        petsc, found, mend = (there := find()), str(there or "not found"), "" if there else HOW
    except NoPETSc as error:
        petsc, found, mend = None, str(error), HOW
    mpiexec = shutil.which("mpiexec")
    checks = [
        Check("MPI", mpiexec is not None, mpiexec or "no mpiexec in PATH", "" if mpiexec else HOW, optional=True),
        Check("PETSc", petsc is not None, found, mend, optional=True),
        _extra("mpi4py", ("mpi4py.MPI",), build),
        _extra("mpi4jax", ("mpi4jax",), build),
        _extra("petsc4py", ("petsc4py.PETSc",), build),
    ]
    if petsc and checks[-1].ok and not petsc.fits(made := version("petsc4py")):
        checks[-1] = Check("petsc4py", False, f"{made} was made for another PETSc than {petsc}", build, optional=True)
    if checks[-1].ok:  # and so loaded
        from threadpoolctl import threadpool_info

        checks.append(petsc_blas(threadpool_info()))
    return checks


def petsc_blas(loaded: list[dict[str, Any]]) -> Check:
    """The BLAS below MUMPS, and whose instructions it uses: one that is older than the processor may not know it.

    loaded: the libraries, as `threadpoolctl.threadpool_info` has them.
    """
    what, of_wheels = "PETSc's BLAS", ".libs"  # NumPy and SciPy bring their own, in folders of such names
    known = [of for of in loaded if of["user_api"] == "blas" and of_wheels not in of["filepath"]]
    if not known:
        slow = "neither OpenBLAS, BLIS nor MKL: LU factors take some four times as long"
        return Check(what, False, slow, "apt-get install libopenblas0-serial, or your system's", optional=True)
    found = " ".join(str(known[0][name]) for name in ("internal_api", "version", "architecture") if known[0].get(name))
    taken_for_another = known[0].get("architecture") in UNKNOWN_PROCESSOR
    mend = f"export OPENBLAS_CORETYPE={' or '.join(CORES)}: as it is, LU factors take up to three times as long"
    return Check(what, not taken_for_another, found, mend if taken_for_another else "", optional=True)


def _gpu() -> Check:
    import jax

    try:
        gpus = [d for d in jax.devices() if d.platform == "gpu"]
    except (RuntimeError, AssertionError):  # a platform it was told to use is not there
        gpus = []
    if gpus:
        return Check("extra [gpu]", True, str(gpus[0]), optional=True)
    return Check(
        "extra [gpu]", False, "JAX sees no GPU", "with an NVIDIA card: pip install 'spinup[gpu]'", optional=True
    )


def _compiler_cache() -> Check:
    from spinup.compilation import cache_folder

    folder = cache_folder()
    writable = os.access(next(p for p in (folder, *folder.parents) if p.exists()), os.W_OK)
    return Check(
        "compilation cache",
        writable,
        str(folder),
        "" if writable else "set SPINUP_CACHE to a folder that can be written",
        optional=True,
    )
