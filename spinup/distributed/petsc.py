"""Which PETSc there is, and which petsc4py fits it. Nothing here imports either."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEBIAN = Path("/usr/lib/petscdir")  # petscX.Y/<architecture>-real: of Debian's and Ubuntu's packages
HEADER = Path("include", "petscversion.h")


class NoPETSc(Exception):
    """There is none where one was said to be."""


@dataclass(frozen=True)
class PETSc:
    """An installed PETSc: PETSC_DIR, PETSC_ARCH ("" for one installed by its prefix), its version."""

    folder: Path
    arch: str
    version: tuple[int, int, int]

    @property
    def requirement(self) -> str:
        """The petsc4py that fits, for pip: versions are the same but for the last number."""
        return "petsc4py=={}.{}.*".format(*self.version)

    @property
    def cython(self) -> str:
        """The Cython that this petsc4py is built with, for pip."""
        return "cython>=3" if self.version >= (3, 20, 0) else "cython<3"

    @property
    def environment(self) -> dict[str, str]:
        """What petsc4py is built with, and what it is run with if PETSc has moved since."""
        return {"PETSC_DIR": str(self.folder), "PETSC_ARCH": self.arch}

    def fits(self, petsc4py: str) -> bool:
        """Whether a petsc4py of this version was made for it."""
        return petsc4py.split(".")[:2] == [str(n) for n in self.version[:2]]

    def __str__(self) -> str:
        return "PETSc {}.{}.{} at {}".format(*self.version, self.folder)


def find(environment: Mapping[str, str] = os.environ, debian: Path = DEBIAN) -> PETSc | None:
    """The PETSc of PETSC_DIR, else of the conda environment, else the newest of Debian's packages; None without any.

    Raises NoPETSc where PETSC_DIR holds none, or one of complex numbers.
    """
    arch = environment.get("PETSC_ARCH", "")
    if folder := environment.get("PETSC_DIR"):
        found = _at(Path(folder), arch)
        if found is None:
            raise NoPETSc(f"PETSC_DIR is {folder}, which has no {HEADER}: set it to where PETSc is, or unset it")
        if _is_complex(found):
            raise NoPETSc(f"{found} is of complex numbers: set PETSC_DIR and PETSC_ARCH to one of real numbers")
        return found
    if (prefix := environment.get("CONDA_PREFIX")) and (found := _at(Path(prefix), "")) and not _is_complex(found):
        return found
    there = [found for folder in debian.glob("petsc[0-9]*/*-real") if (found := _at(folder, ""))]
    return max(there, key=lambda petsc: petsc.version, default=None)


def _at(folder: Path, arch: str) -> PETSc | None:
    """The PETSc in a folder, if one is there."""
    try:
        text = (folder / HEADER).read_text()
    except OSError:
        return None
    numbers = [re.search(rf"#define\s+PETSC_VERSION_{part}\s+(\d+)", text) for part in ("MAJOR", "MINOR", "SUBMINOR")]
    major, minor, last = (int(number[1]) if number else 0 for number in numbers)
    return PETSc(folder, arch, (major, minor, last))


def _is_complex(petsc: PETSc) -> bool:
    """Whether its numbers are complex."""
    try:
        text = (petsc.folder / petsc.arch / "include" / "petscconf.h").read_text()
    except OSError:
        return False
    return "#define PETSC_USE_COMPLEX" in text
