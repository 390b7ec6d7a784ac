"""Many ranks: the same run as one process makes, whatever their number, and whatever happens to one of them."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import spinup
from spinup.store.view import read_state

HERE = Path(__file__).parent
RING = HERE / "cases" / "ring.py"
PROGRAM = HERE / "cases" / "ring_program.py"
ANEW = ("snes", "newton", "snes-ngmres")  # no checkpoint leads back, or an old one, and rounding makes another replay
STEPPING = ["ptc", "auto", "anderson", "snes", "mean", "newton", "newton-jvp"]
MISSING = "MPI, PETSc and what talks to them are not installed: make distributed"

THERE = all(importlib.util.find_spec(name) for name in ("mpi4py", "petsc4py"))
pytestmark = pytest.mark.skipif(not THERE, reason=MISSING)


def on_ranks(number: int, *command, **environment: str) -> subprocess.CompletedProcess:
    """The command on so many ranks: more than there are cores, and as root, where it has to be."""
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_NUM_THREADS": "1"}
    launcher = ["mpiexec", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1", "-n", str(number)]
    return subprocess.run(
        [*launcher, sys.executable, "-W", "ignore", *map(str, command)],
        env=os.environ | allowed | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def spinup_on(number: int, *arguments, **environment: str) -> subprocess.CompletedProcess:
    return on_ranks(number, "-m", "spinup.cli", *arguments, **environment)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of the runs of every method, by number of ranks."""
    folders = {}
    for number in (1, 2, 4):
        folders[number] = tmp_path_factory.mktemp(f"ranks-{number}")
        done = on_ranks(number, PROGRAM, folders[number])
        assert done.returncode == 0, done.stderr
    return folders


def methods() -> list[str]:
    spec = importlib.util.spec_from_file_location("ring_program", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.METHODS)


@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize("method", methods())
def test_a_method_on_ranks_is_the_method(runs, method, number):
    alone, ranks = (spinup.open(runs[n] / method) for n in (1, number))
    assert ranks.sizes["evaluation"] == alone.sizes["evaluation"]
    assert ranks.attrs["outcome"] == alone.attrs["outcome"]
    size = np.nanmax(np.abs(alone.c.values[-1]))
    np.testing.assert_allclose(ranks.c.values[-1], alone.c.values[-1], rtol=0, atol=1e-9 * size)
    for name in ("drift", "error_estimate", "c_mean", "c_residual"):
        np.testing.assert_allclose(ranks[name].values, alone[name].values, rtol=0.05, atol=1e-9)
    np.testing.assert_array_equal(ranks.c_volume, alone.c_volume)
    np.testing.assert_array_equal(ranks.lon, alone.lon)


@pytest.mark.parametrize("number", [1, 2, 4])
def test_an_operator_of_ranks_is_the_whole_operator(number):
    """Its inverse, extended and with seasons; how it is kept; and what a rank knows of the cells around its own."""
    done = on_ranks(number, HERE / "cases" / "operator_program.py", PYTHONPATH=str(HERE.parent))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_layers_are_made_fewer_on_ranks_where_lu_factors_do_not_fit(number):
    """The inverse is that of one process, by as many iterations on any number of ranks."""
    done = on_ranks(number, HERE / "cases" / "layered_program.py", PYTHONPATH=str(HERE.parent))
    assert done.returncode == 0, done.stderr
    said, _ = done.stdout.splitlines()
    assert said.startswith(
        f"each solve has 8072 unknowns, on {number} ranks; its LU factors, by MUMPS, would take 63 MB"
    )
    assert "24, 16 layers, wider columns, patches and LU factors of 5312 unknowns" in said
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["8", "8"]


@pytest.fixture(scope="module")
def stepping(tmp_path_factory):
    """Folders of the runs of a map whose step, tendency or derivative is known, by number of ranks."""
    folders = {}
    for number in (1, 2, 4):
        folders[number] = tmp_path_factory.mktemp(f"stepping-{number}")
        done = on_ranks(number, HERE / "cases" / "stepping_program.py", folders[number])
        assert done.returncode == 0, done.stderr
    return folders


@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize("method", STEPPING)
def test_what_is_known_of_a_map_that_is_split_serves(stepping, method, number):
    alone, ranks = (spinup.open(stepping[n] / method) for n in (1, number))
    assert ranks.sizes["evaluation"] == alone.sizes["evaluation"]
    assert ranks.attrs["outcome"] == alone.attrs["outcome"] == ("budget" if method == "mean" else "converged")
    for name in ("a", "b"):
        np.testing.assert_allclose(ranks[name].values[-1], alone[name].values[-1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(ranks.error_estimate.values, alone.error_estimate.values, rtol=1e-3, atol=1e-12)


@pytest.fixture(scope="module")
def gone_on(tmp_path_factory):
    """Folders of runs that two ranks began and three went on with, by program."""
    folders = {}
    for program in ("ring_program.py", "stepping_program.py"):
        folders[program] = tmp_path_factory.mktemp(f"gone-on-{program}")
        for number, stage in ((2, "--begin"), (3, "--resume")):
            done = on_ranks(number, HERE / "cases" / program, stage, folders[program])
            assert done.returncode == 0, done.stderr
    return folders


@pytest.mark.parametrize("method", STEPPING)
def test_a_run_with_an_operator_goes_on_on_another_number_of_ranks(stepping, gone_on, method):
    whole, resumed = spinup.open(stepping[1] / method), spinup.open(gone_on["stepping_program.py"] / method)
    assert resumed.attrs["outcome"] == whole.attrs["outcome"]
    assert resumed.sizes["evaluation"] == whole.sizes["evaluation"] or method in ANEW
    apart = 1e-8 if method in ANEW else 1e-9
    np.testing.assert_allclose(resumed.a.values[-1], whole.a.values[-1], rtol=0, atol=apart)


@pytest.mark.parametrize("method", methods())
def test_every_method_goes_on_on_another_number_of_ranks(runs, gone_on, method):
    whole, resumed = spinup.open(runs[1] / method), spinup.open(gone_on["ring_program.py"] / method)
    assert resumed.attrs["outcome"] == whole.attrs["outcome"]
    assert resumed.sizes["evaluation"] == whole.sizes["evaluation"] or method in ANEW
    np.testing.assert_allclose(resumed.c.values[-1], whole.c.values[-1], rtol=0, atol=1e-8)


def test_a_mistake_in_a_perturbed_step_on_one_rank_ends_all(tmp_path):
    run = tmp_path / "run"
    done = spinup_on(2, "run", HERE / "cases" / "stepping_ring.py", "--out", run, SPINUP_TEST_BREAK="3")
    assert done.returncode == 2
    assert done.stderr.count("step of stepping-ring raised KeyError: 'a mistake'") == 1


@pytest.mark.parametrize("number", [1, 3])
def test_a_run_goes_on_on_another_number_of_ranks(runs, tmp_path, number):
    run = tmp_path / "run"
    method = ("--method", "anderson", "--set", "anderson.depth=10", "--tolerance", "1e-10")
    done = spinup_on(2, "run", RING, "--out", run, "--budget", "17", *method)
    assert done.returncode == 0, done.stderr
    done = spinup_on(number, "resume", run, "--budget", "150")
    assert done.returncode == 0, done.stderr
    whole, resumed = spinup.open(runs[1] / "anderson"), spinup.open(run)
    assert resumed.sizes["evaluation"] == whole.sizes["evaluation"]
    np.testing.assert_allclose(resumed.c.values[-1], whole.c.values[-1], rtol=0, atol=1e-8)
    assert (read_state(run)["memory"] - read_state(runs[1] / "anderson")["memory"]) == pytest.approx(0, abs=1e-9)


def test_a_run_starts_from_the_end_of_another(runs, tmp_path):
    run = tmp_path / "run"
    done = spinup_on(2, "run", RING, "--out", run, "--start", runs[4] / "anderson", "--budget", "2", "-m", "picard")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(spinup.open(run).c_before.values[0], spinup.open(runs[4] / "anderson").c.values[-1])


def test_where_the_model_fails_on_one_rank_it_has_failed_on_all(tmp_path):
    run = tmp_path / "run"
    done = spinup_on(2, "run", RING, "--out", run, "--tolerance", "1e-10", SPINUP_TEST_FAIL="8,9")
    assert done.returncode == 0, done.stderr
    found = spinup.open(run)
    assert found.failed.values.nonzero()[0].tolist() == [8, 9]
    assert found.attrs["outcome"] == "converged"


def test_a_mistake_in_the_case_on_one_rank_ends_all(tmp_path):
    run = tmp_path / "run"
    done = spinup_on(2, "run", RING, "--out", run, SPINUP_TEST_BREAK="5")
    assert done.returncode == 2
    assert done.stderr.count("evaluation 5: ring raised KeyError: 'a mistake'; the evaluations before it are safe") == 1
    assert spinup.open(run).sizes["evaluation"] == 5


def test_a_rank_whose_model_fails_waits_as_long_as_the_model_takes():
    done = on_ranks(2, HERE / "cases" / "slow_ranks.py", "known")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["rank 0: no salt left", "rank 1: no salt left"]
    done = on_ranks(2, HERE / "cases" / "slow_ranks.py", "unknown")
    assert done.returncode == 2
    assert "no salt left (on rank 0; the others wait for it)" in done.stderr


def test_one_rank_that_is_killed_ends_all_and_the_run_goes_on(runs, tmp_path):
    run, began = tmp_path / "run", time.monotonic()
    method = ("--method", "anderson", "--set", "anderson.depth=10", "--tolerance", "1e-10", "--budget", "150")
    done = spinup_on(2, "run", RING, "--out", run, *method, SPINUP_TEST_DIE="7")
    assert done.returncode not in (0, 2)
    assert time.monotonic() - began < 60
    assert 5 <= spinup.open(run).sizes["evaluation"] <= 7
    done = spinup_on(2, "resume", run)
    assert done.returncode == 0, done.stderr
    whole, resumed = spinup.open(runs[2] / "anderson"), spinup.open(run)
    np.testing.assert_array_equal(resumed.c.values, whole.c.values)


def test_a_map_for_one_process_is_refused(tmp_path):
    done = spinup_on(2, "run", HERE / "cases" / "linear.py", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert done.stderr.count("linear is a map for one process, and mpiexec started 2: start it without mpiexec") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [1, 3])
def test_a_total_is_kept_on_ranks(tmp_path, number):
    run = tmp_path / "run"
    done = spinup_on(number, "run", HERE / "cases" / "kept_ring.py", "--out", run)
    assert done.returncode == 0, done.stderr
    found = spinup.open(run)
    before = (found.c_before * found.c_volume).sum(("lon", "depth")).values
    np.testing.assert_allclose(before, before[0], rtol=1e-13)
    assert found.attrs["outcome"] == "converged"


def test_bounds_and_total_on_ranks(tmp_path):
    """What is beyond a bound on one rank is made up for by the cells of all."""
    program = f"""
import numpy as np, spinup
from spinup.conserve import conserve, totals
layout = spinup.load_case({str(HERE / "cases" / "kept_ring.py")!r}).build().layout
ranks = layout.split.ranks
x = np.linspace(0.95, 1.02, 48 * 3)[ranks.rank * 144 // ranks.size : (ranks.rank + 1) * 144 // ranks.size]
y = conserve(layout, [("c",)], 1 + 3 * (x - 1), totals(layout, [("c",)], x))
parts = ranks.comm.gather(y)
if ranks.rank == 0:
    np.save({str(tmp_path)!r} + f"/{{ranks.size}}.npy", np.concatenate(parts))
"""
    for number in (1, 3):
        done = on_ranks(number, "-c", program)
        assert done.returncode == 0, done.stderr
    alone, split = (np.load(tmp_path / f"{number}.npy") for number in (1, 3))
    np.testing.assert_allclose(split, alone, rtol=1e-14)
    assert split.sum() == pytest.approx(np.linspace(0.95, 1.02, 144).sum(), rel=1e-14)
    assert 0.9 <= split.min() < split.max() <= 1.1
