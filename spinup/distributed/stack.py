"""Install what many ranks need, beside this package: `make distributed`, or `python -m spinup.distributed.stack`.

PETSc and MPI are the system's: Debian's packages, a module's, conda's. petsc4py is built here against that PETSc, in
the version that fits it; mpi4py comes as a wheel that finds the MPI library; mpi4jax is built with its compiler.
"""

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from spinup.distributed.petsc import NoPETSc, PETSc, find

# Without OpenBLAS PETSc has the reference BLAS, and MUMPS takes five times as long; ranks need no threads of it.
DEBIAN_PACKAGES = ("libpetsc-real-dev", "libopenblas0-serial", "openmpi-bin", "libopenmpi-dev", "gcc", "g++")
HOW = (
    "on Debian and Ubuntu: sudo apt-get install --no-install-recommends " + " ".join(DEBIAN_PACKAGES) + "; on a "
    "cluster: module load its PETSc, or set PETSC_DIR to where it is (and PETSC_ARCH, if it has one); with conda: "
    "conda install -c conda-forge petsc openmpi; then again"
)


def main() -> int:
    """Install; the exit code."""
    try:
        petsc = find() or _from_debian()
        if petsc is None:
            print(f"no PETSc was found. {HOW}", file=sys.stderr)
            return 1
        if shutil.which("mpicc") is None:
            print(f"{petsc}, but no mpicc: the compiler of the MPI library that it uses. {HOW}", file=sys.stderr)
            return 1
        print(petsc, flush=True)
        _petsc4py(petsc)
        _mpi4py()
        _pip("mpi4jax>=0.7", environment={"CUDA_PATH": "/dev"} if shutil.which("nvidia-smi") is None else {})
    except NoPETSc as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"this failed, see above: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 1
    print("installed; `spinup doctor` shows what works")
    return 0


def _from_debian() -> PETSc | None:
    """Debian's PETSc, installed where that can be done; None elsewhere."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return None
    print("installing " + ", ".join(DEBIAN_PACKAGES), flush=True)
    for command in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *DEBIAN_PACKAGES]):
        subprocess.run(
            ["apt-get", *command], env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, check=True, stdout=sys.stderr
        )
    return find()


def _petsc4py(petsc: PETSc) -> None:
    """petsc4py of the version that fits, built against this PETSc; minutes, unless it is there."""
    try:
        if petsc.fits(version("petsc4py")):
            return
    except PackageNotFoundError:
        pass
    print(f"building {petsc.requirement}: minutes", flush=True)
    _pip("setuptools<81", "wheel", "numpy", petsc.cython)  # its set-up script, and what that imports
    _pip("--no-build-isolation", petsc.requirement, environment=petsc.environment)


def _mpi4py() -> None:
    """mpi4py's wheel; where that does not find the MPI library, built with its compiler."""
    _pip("mpi4py>=4.0")
    if subprocess.run([sys.executable, "-c", "from mpi4py import MPI"], capture_output=True, check=False).returncode:
        _pip("--force-reinstall", "--no-deps", "--no-binary", "mpi4py", "mpi4py>=4.0")


def _pip(*arguments: str, environment: dict[str, str] | None = None) -> None:
    """Install by pip into the environment of this Python, at the versions of the constraints file, where one is set
    (PIP_CONSTRAINT)."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, env=os.environ | (environment or {}), check=True)


if __name__ == "__main__":
    raise SystemExit(main())
