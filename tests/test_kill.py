"""kill -9 at random instants: nothing is lost, nothing is done twice, the end is the same to the bit."""

import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers import LINEAR, NEWTON, PRECONDITIONED, assert_same_numbers

import spinup
from spinup.store.journal import read_journal

KILLS = {LINEAR: 100, NEWTON: 30, PRECONDITIONED: 30}  # by case


def _run_or_resume(case: Path, run: Path, calls: Path | None, seconds: float) -> None:
    """In a process of its own."""
    if calls is not None:
        os.environ["SPINUP_TEST_CALLS"] = str(calls)
    os.environ["SPINUP_TEST_SECONDS"] = str(seconds)
    if (run / "log" / "start.json").exists():
        spinup.resume(run)
    else:
        spinup.run(case, out=run, store={"checkpoint_every": 4})


def _start(context, case: Path, run: Path, calls: Path | None = None, seconds: float = 0.0):
    process = context.Process(target=_run_or_resume, args=(case, run, calls, seconds))
    process.start()
    return process


@pytest.fixture(scope="module")
def processes():
    """Processes that start in milliseconds: a server imports spinup once and forks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["spinup", "spinup.function_map"])
    return context


@pytest.fixture(scope="module", params=KILLS, ids=["evaluations", "derivatives", "operators"])
def case(request) -> Path:
    return request.param


@pytest.fixture(scope="module")
def undisturbed(processes, case, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    process = _start(processes, case, run)
    process.join(120)
    assert process.exitcode == 0
    return run


def test_kill_at_random_instants(processes, case, undisturbed, tmp_path):
    rng = np.random.default_rng(2026)
    kills = runs = 0
    while kills < KILLS[case]:
        run, calls = tmp_path / f"run-{runs}", tmp_path / f"calls-{runs}"
        runs += 1
        killed_here = 0
        while True:
            process = _start(processes, case, run, calls, seconds=0.005)
            time.sleep(rng.uniform(0.05, 0.9))
            process.kill()
            process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            killed_here += 1
            if kills + killed_here >= KILLS[case]:
                process = _start(processes, case, run, calls)
                process.join(120)
                assert process.exitcode == 0
                break
        kills += killed_here
        assert_same_numbers(undisturbed, run)
        evaluations = len(read_journal(run)[0])
        times_called = Counter(calls.read_text().split())
        assert len(times_called) == evaluations
        assert sum(times_called.values()) - evaluations <= killed_here  # only the evaluation in flight
    print(f"{kills} kills over {runs} runs")
