"""Groups of ranks that share out the members of an ensemble: the run of one process, to the bit."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_same_numbers
from test_ranks import MISSING, RING, THERE, spinup_on

import spinup
from spinup.distributed.groups import attempted, divided
from spinup.errors import UsageError

MEMBERS = Path(__file__).parent / "cases" / "members.py"
STEPPING = MEMBERS.with_name("stepping.py")
RING_MEMBERS = MEMBERS.with_name("ring_members.py")
SMALL_ACC = MEMBERS.with_name("small_acc_members.py")

on_ranks_only = pytest.mark.skipif(not THERE, reason=MISSING)


def on_one(*arguments, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "spinup.cli", *map(str, arguments)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    run = tmp_path_factory.mktemp("alone") / "run"
    spinup.run(MEMBERS, out=run)
    return run


@pytest.fixture(scope="module")
def split_members(tmp_path_factory):
    run = tmp_path_factory.mktemp("split") / "run"
    spinup.run(RING_MEMBERS, out=run)
    return run


@on_ranks_only
@pytest.mark.parametrize("number", [2, 3])
def test_members_on_ranks_are_the_run_of_one_process_to_the_bit(alone, tmp_path, number):
    run = tmp_path / "run"
    done = spinup_on(number, "run", MEMBERS, "--out", run)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"4 members on {number} groups of one rank") == 1
    assert spinup.open(run).sizes["evaluation"] == 20
    assert_same_numbers(alone, run)
    for name, value in spinup.open_state(alone).data_vars.items():
        np.testing.assert_array_equal(spinup.open_state(run)[name], value)


@on_ranks_only
@pytest.mark.parametrize(("begun", "ended"), [(2, 1), (1, 3), (4, 2)])
def test_a_run_goes_on_on_another_number_of_ranks(alone, tmp_path, begun, ended):
    run = tmp_path / "run"
    for number, words in ((begun, ("run", MEMBERS, "--out", run, "--budget", "28")), (ended, ("resume", run))):
        more = ("--budget", "80") if words[0] == "resume" else ()
        done = on_one(*words, *more) if number == 1 else spinup_on(number, *words, *more)
        assert done.returncode == 0, done.stderr
    assert_same_numbers(alone, run)


@on_ranks_only
def test_a_member_that_fails_on_any_rank_is_named_as_on_one_process(tmp_path):
    runs = tmp_path / "one", tmp_path / "two"
    for run, start in zip(runs, (on_one, lambda *words, **more: spinup_on(2, *words, **more)), strict=True):
        done = start("run", MEMBERS, "--out", run, SPINUP_TEST_FAIL="3:4,1:4,2:4")  # and again from the state before
        assert done.returncode == 3, done.stderr
        assert "failed: member 1: noisy raised FloatingPointError: blew up on purpose" in done.stdout
    assert_same_numbers(*runs)
    assert spinup.open(runs[1]).failed.values.nonzero()[0].tolist()[0] == 4


@on_ranks_only
def test_a_mistake_in_the_code_of_a_member_ends_all(tmp_path):
    run = tmp_path / "run"
    done = spinup_on(2, "run", MEMBERS, "--out", run, SPINUP_TEST_BREAK="3:5")
    assert done.returncode == 2
    assert done.stderr.count("evaluation 5: noisy ensemble raised KeyError: 'a mistake'; the evaluations before") == 1
    assert spinup.open(run).sizes["evaluation"] == 5


@on_ranks_only
def test_what_the_first_rank_refuses_ends_all(alone, tmp_path):
    done = spinup_on(2, "run", MEMBERS, "--out", tmp_path / "run", "--budget", "3")
    assert done.returncode == 2
    assert done.stderr.count("a budget of 3 model years is less than one evaluation, 4: raise it") == 1
    done = spinup_on(2, "resume", alone, "--budget", "3")
    assert done.returncode == 2
    assert done.stderr.count("a budget of 3 model years is below the 80 already done") == 1


@on_ranks_only
def test_a_rank_that_is_killed_ends_all_and_the_run_goes_on(alone, tmp_path):
    run, began = tmp_path / "run", time.monotonic()
    done = spinup_on(2, "run", MEMBERS, "--out", run, SPINUP_TEST_DIE="3:6")
    assert done.returncode not in (0, 2)
    assert time.monotonic() - began < 60
    done = spinup_on(2, "resume", run)
    assert done.returncode == 0, done.stderr
    assert_same_numbers(alone, run)


@on_ranks_only
def test_a_signal_to_any_rank_stops_the_run(alone, tmp_path):
    run = tmp_path / "run"
    done = spinup_on(2, "run", MEMBERS, "--out", run, SPINUP_TEST_TERM="3:6")  # a member of the second rank
    assert done.returncode == 5, done.stderr
    assert spinup.open(run).sizes["evaluation"] == 7
    done = spinup_on(2, "resume", run)
    assert done.returncode == 0, done.stderr
    assert_same_numbers(alone, run)


@on_ranks_only
@pytest.mark.parametrize(
    ("ranks", "words", "message"),
    [
        (5, (MEMBERS,), "4 members are too few for 5 groups of ranks: --groups 4, or fewer ranks"),
        (3, (MEMBERS, "--groups", "2"), "3 ranks cannot be divided into 2 equal groups: start a multiple of 2"),
        (2, (RING, "--groups", "2"), "--groups 2: ring is no ensemble, whose members they would share out"),
        (4, (MEMBERS, "--groups", "2"), "noisy ensemble is whole on every rank: give --groups 4, or split it"),
        (2, (MEMBERS, "--groups", "1"), "noisy ensemble is a map for one process, and mpiexec started 2"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(tmp_path, ranks, words, message):
    done = spinup_on(ranks, "run", *words, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert done.stderr.count(message) == 1
    assert not (tmp_path / "run").exists()


def test_groups_need_ranks(tmp_path):
    with pytest.raises(UsageError, match="1 rank cannot be divided into 2 equal groups: start a multiple of 2"):
        spinup.run(MEMBERS, out=tmp_path / "run", groups=2)
    assert divided(None, 1) is None


def test_the_first_that_raises_is_the_last_that_is_tried():
    tried = []

    class Model:
        def root(self, x):
            tried.append(x)
            if x < 0:
                raise ArithmeticError(x)
            return x**0.5

    found = attempted(Model(), "root", [(4,), (-1,), (9,)])
    assert found[0] == 2
    assert isinstance(found[1], ArithmeticError)
    assert tried == [4, -1]


@on_ranks_only
@pytest.mark.parametrize(("ranks", "groups"), [(2, 1), (4, 2), (2, 2)])
def test_members_that_are_split_are_the_run_of_one_process(split_members, tmp_path, ranks, groups):
    run, steps = tmp_path / "run", tmp_path / "steps"
    steps.mkdir()
    more = ("--groups", groups) if groups > 1 else ()
    done = spinup_on(ranks, "run", RING_MEMBERS, "--out", run, *more, SPINUP_TEST_STEPS=str(steps))
    assert done.returncode == 0, done.stderr
    alone, found = spinup.open(split_members), spinup.open(run)
    assert found.sizes["evaluation"] == alone.sizes["evaluation"] == 11
    np.testing.assert_allclose(found.c.values, alone.c.values, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.number.values, alone.number.values)
    taken = [(len(lines), *set(lines)) for lines in (file.read_text().split() for file in steps.iterdir())]
    assert len(taken) == ranks
    assert {int(cells) for _, cells in taken} == {24 * groups // ranks}
    assert max(number for number, _ in taken) < 1.2 * min(number for number, _ in taken)  # each did its share


@on_ranks_only
def test_a_run_of_split_members_goes_on_on_other_groups(tmp_path):
    run = tmp_path / "run"
    spinup.run(RING_MEMBERS, out=tmp_path / "alone", method="anderson")
    done = spinup_on(4, "run", RING_MEMBERS, "--out", run, "--budget", "29", "--groups", "2", "-m", "anderson")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("4 members on 2 groups of 2 ranks") == 1
    done = spinup_on(3, "resume", run, "--budget", "64")
    assert done.returncode == 0, done.stderr
    alone, found = spinup.open(tmp_path / "alone"), spinup.open(run)
    assert found.sizes["evaluation"] == alone.sizes["evaluation"]
    np.testing.assert_allclose(found.c.values, alone.c.values, rtol=0, atol=1e-8)


@on_ranks_only
def test_a_split_member_that_fails_on_one_rank_has_failed_on_all(tmp_path):
    run = tmp_path / "run"
    failing = {"SPINUP_TEST_FAIL": "3:4"}
    done = spinup_on(4, "run", RING_MEMBERS, "--out", run, "-m", "picard", "--groups", "2", **failing)
    assert done.returncode == 3, done.stderr
    assert "failed: member 3: ring returned a state in which c is nan at lon=0" in done.stdout


@on_ranks_only
def test_members_of_veros_on_a_rank_each_are_the_run_of_one_process(tmp_path):
    """The model is whole on each: Veros splits its grid over the ranks of a group only."""
    spinup.run(SMALL_ACC, out=tmp_path / "one")
    done = spinup_on(2, "run", SMALL_ACC, "--out", tmp_path / "two", "--groups", "2")
    assert done.returncode == 0, done.stderr
    assert spinup.open(tmp_path / "two").sizes["evaluation"] == 3
    assert_same_numbers(tmp_path / "one", tmp_path / "two")
    done = spinup_on(4, "run", SMALL_ACC, "--out", tmp_path / "four", "--groups", "2")
    assert done.returncode == 0, done.stderr
    assert "2 members on 2 groups of 2 ranks" in done.stdout
    one, four = spinup.open(tmp_path / "one"), spinup.open(tmp_path / "four")
    # In the third the model makes 0.003 K of a difference of 1e-9 K, in one process too.
    np.testing.assert_allclose(four.temp.values[:2], one.temp.values[:2], rtol=0, atol=1e-7)


@on_ranks_only
@pytest.mark.parametrize("number", [2, 3])
def test_perturbed_steps_of_the_operator_are_shared_out(tmp_path, number):
    folders = [tmp_path / name for name in ("steps-1", "steps-2")]
    for folder in folders:
        folder.mkdir()
    done = on_one("run", STEPPING, "--out", tmp_path / "one", SPINUP_TEST_STEPS=str(folders[0]))
    assert done.returncode == 0, done.stderr
    done = spinup_on(number, "run", STEPPING, "--out", tmp_path / "many", SPINUP_TEST_STEPS=str(folders[1]))
    assert done.returncode == 0, done.stderr
    assert f"perturbed steps of the operator on {number} groups of one rank" in done.stdout
    assert_same_numbers(tmp_path / "one", tmp_path / "many")
    alone, shares = ([len(file.read_text().split()) for file in folder.iterdir()] for folder in folders)
    assert len(alone) == 1
    assert len(shares) == number
    assert max(shares) < alone[0]
