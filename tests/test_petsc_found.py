"""Which PETSc is found, and which petsc4py fits it."""

import pytest

from spinup.distributed.petsc import NoPETSc, find


def installed(folder, version, *, complex_numbers=False):
    (folder / "include").mkdir(parents=True)
    parts = zip(("MAJOR", "MINOR", "SUBMINOR"), version.split("."), strict=True)
    lines = [f"#define PETSC_VERSION_{part}    {number}" for part, number in parts]
    (folder / "include" / "petscversion.h").write_text("\n".join(lines))
    (folder / "include" / "petscconf.h").write_text("#define PETSC_USE_COMPLEX 1" if complex_numbers else "")
    return folder


def test_the_newest_of_debian(tmp_path):
    installed(tmp_path / "petsc3.9" / "x86_64-linux-gnu-real", "3.9.4")
    newest = installed(tmp_path / "petsc3.22" / "x86_64-linux-gnu-real", "3.22.5")
    installed(tmp_path / "petsc3.23" / "x86_64-linux-gnu-complex", "3.23.1", complex_numbers=True)
    found = find({}, tmp_path)
    assert (found.folder, found.version, found.arch) == (newest, (3, 22, 5), "")
    assert found.requirement == "petsc4py==3.22.*"
    assert found.cython == "cython>=3"
    assert found.fits("3.22.1")
    assert not found.fits("3.2.2")


def test_that_of_petsc_dir_comes_first(tmp_path):
    installed(tmp_path / "debian" / "petsc3.22" / "x86_64-linux-gnu-real", "3.22.5")
    own = installed(tmp_path / "own", "3.18.5")
    found = find({"PETSC_DIR": str(own), "PETSC_ARCH": "arch", "CONDA_PREFIX": str(tmp_path)}, tmp_path / "debian")
    assert found.environment == {"PETSC_DIR": str(own), "PETSC_ARCH": "arch"}
    assert found.cython == "cython<3"


def test_that_of_conda(tmp_path):
    prefix = installed(tmp_path / "conda", "3.21.0")
    assert find({"CONDA_PREFIX": str(prefix)}, tmp_path).folder == prefix


def test_none(tmp_path):
    assert find({}, tmp_path) is None
    assert find({"CONDA_PREFIX": str(tmp_path)}, tmp_path) is None


def test_a_petsc_dir_without_petsc_is_named(tmp_path):
    with pytest.raises(NoPETSc, match=r"PETSC_DIR is .*, which has no include/petscversion\.h: set it"):
        find({"PETSC_DIR": str(tmp_path)}, tmp_path)


def test_complex_numbers_are_refused(tmp_path):
    own = installed(tmp_path / "own", "3.18.5", complex_numbers=True)
    with pytest.raises(NoPETSc, match="is of complex numbers"):
        find({"PETSC_DIR": str(own)}, tmp_path)
