"""A run that starts itself on many ranks."""

import os
import subprocess
import sys

import pytest
from test_ranks import MISSING, RING, THERE

import spinup
from spinup.distributed.launcher import _without_option, launcher_command
from spinup.errors import UsageError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("mpiexec:4", ["mpiexec", "-n", "4"]),
        ("slurm:64", ["srun", "-n", "64"]),
        ("local", []),
        (f"{sys.executable} -m some", [sys.executable, "-m", "some"]),
    ],
)
def test_what_stands_for_a_command(given, words):
    assert launcher_command(given) == words


@pytest.mark.parametrize("given", ["mpiexec:", "slurm:0", "slurm:many"])
def test_a_launcher_needs_a_number(given):
    with pytest.raises(UsageError, match="needs a number of ranks"):
        launcher_command(given)


@pytest.mark.parametrize("given", ["nosuchlauncher -n 4", "", "pbs:4"])
def test_an_unknown_launcher_is_named(given):
    with pytest.raises(UsageError, match=r"there is no launcher .*mpiexec:4, slurm:4, local"):
        launcher_command(given)


def test_the_option_is_not_passed_on():
    words = ["run", "case.py", "--launcher", "mpiexec -n 2", "--out", "x"]
    assert _without_option(words) == ["run", "case.py", "--out", "x"]
    assert _without_option(["run", "--launcher=local", "case.py"]) == ["run", "case.py"]


@pytest.mark.skipif(not THERE, reason=MISSING)
def test_a_run_starts_itself_on_ranks_and_resumes_so(tmp_path):
    launcher = "mpiexec --oversubscribe --mca mpi_yield_when_idle 1 -n 2"
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_NUM_THREADS": "1"}
    for command in (
        ("run", RING, "--out", tmp_path / "run", "--budget", "3"),
        ("resume", tmp_path / "run", "--budget", "5"),
    ):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "spinup.cli", *map(str, command), "--launcher", launcher],
            env=os.environ | allowed,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
    assert spinup.open(tmp_path / "run").sizes["evaluation"] == 5
