"""A cheap map for the tests of the run: linear, of known spectrum, in NumPy, that writes down every call.

$SPINUP_TEST_CALLS names a file that gets a line (a checksum of the state) at the begin of every evaluation;
$SPINUP_TEST_SECONDS makes an evaluation last that long; $SPINUP_TEST_FAIL ("9,10") names the calls that blow up.
"""

import os
import time
import zlib
from pathlib import Path

import numpy as np

import spinup
from spinup.function_map import FunctionMap

N = 60
RATES = np.linspace(0.1, 0.98, N)  # eigenvalues of T
rng = np.random.default_rng(7)
BASIS = np.linalg.qr(rng.standard_normal((N, N)))[0]
MATRIX = BASIS @ np.diag(RATES) @ BASIS.T
ANSWER = rng.standard_normal(N)


def step(state):
    calls = os.environ.get("SPINUP_TEST_CALLS")
    if calls:
        with Path(calls).open("a") as file:
            file.write(f"{zlib.crc32(state['c'].tobytes() + state['memory'].tobytes())}\n")
    time.sleep(float(os.environ.get("SPINUP_TEST_SECONDS", "0")))
    if calls and str(Path(calls).read_text().count("\n") - 1) in os.environ.get("SPINUP_TEST_FAIL", "").split(","):
        raise FloatingPointError("blew up on purpose")
    c = ANSWER + MATRIX @ (state["c"] - ANSWER) + 1e-3 * state["memory"]
    return {"c": c, "memory": 0.5 * state["memory"] + 1e-3 * (c.mean() - ANSWER.mean())}


def build():
    start = {"c": np.zeros(N), "memory": np.ones(())}
    return FunctionMap(step, start, accelerate=("c",), name="linear")


CASE = spinup.Case(
    name="linear",
    title="Linear map of known spectrum",
    build=build,
    method="anderson",
    settings={"depth": 10},
    start_periods=3,
    budget=60,
    tolerance=1e-7,
)
