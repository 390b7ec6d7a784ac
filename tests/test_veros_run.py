"""The main job on the real ocean, by the default method: kill -9 five times, in the middle of steps, operators and
solves; resume, and end the same to the bit."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from helpers import assert_same_numbers

from spinup.store.journal import read_journal

ARGUMENTS = [
    "--budget",
    "3.4 years",
    "--tolerance",
    "1e-6 K",
    "--set",
    "store.checkpoint_every=4",
]
KILLS = 5


def start(run: Path, count: Path) -> subprocess.Popen:
    """The run or its resumption; $count gets a line at the begin of every evaluation."""
    script = (
        "import hashlib, numpy as np, spinup.veros_map as m\n"
        "advance = m.VerosMap.advance\n"
        "def counted(self, state, steps, toward=None):\n"
        "    state_id = hashlib.sha256(np.asarray(state['temp']).tobytes()).hexdigest()\n"
        f"    print(state_id, steps, file=open({str(count)!r}, 'a'))\n"
        "    return advance(self, state, steps, toward)\n"
        "m.VerosMap.advance = counted\n"
        "from spinup.cli import main\n"
        "main()\n"
    )
    command = ["resume", str(run)] if run.exists() else ["run", "acc-coarse", *ARGUMENTS, "--out", str(run)]
    return subprocess.Popen(
        [sys.executable, "-c", script, *command], stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    )


def test_kill_and_resume_a_real_ocean(tmp_path):
    whole, counted_whole = tmp_path / "whole", tmp_path / "count-whole"
    assert start(whole, counted_whole).wait(600) == 0
    run, count = tmp_path / "run", tmp_path / "count"
    rng = np.random.default_rng(5)
    for kill in range(KILLS):
        process = start(run, count)
        done = 3 * kill
        while not (run / "log").exists() or len(list((run / "log").glob("0*.json"))) <= done:
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 1.5))
        process.kill()
        process.wait()
    assert start(run, count).wait(600) == 0

    assert_same_numbers(whole, run)
    evaluations, calls = len(read_journal(run)[0]), count.read_text().splitlines()
    assert len(set(calls)) == evaluations == len(counted_whole.read_text().splitlines()) > 16
    assert len(calls) - evaluations <= KILLS
