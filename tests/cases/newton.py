"""A cheap non-linear map for the tests of runs by Newton-Krylov: its derivative is given.

The variables of the environment are those of tests/cases/linear.py; a derivative is written down as a call, too.
"""

import os
import time
import zlib
from pathlib import Path

import numpy as np

import spinup
from spinup.function_map import FunctionMap

N = 60
RATES = np.linspace(0.1, 0.98, N)
BASIS = np.linalg.qr(np.random.default_rng(7).standard_normal((N, N)))[0]
MATRIX = BASIS @ np.diag(RATES) @ BASIS.T
SOURCE = np.linspace(-0.02, 0.02, N)


def called(*arrays):
    if calls := os.environ.get("SPINUP_TEST_CALLS"):
        with Path(calls).open("a") as file:
            file.write(f"{zlib.crc32(b''.join(a.tobytes() for a in arrays))}\n")
    time.sleep(float(os.environ.get("SPINUP_TEST_SECONDS", "0")))


def step(state):
    called(state["c"])
    return {"c": MATRIX @ np.sin(state["c"]) + SOURCE}


def derivative(state, change):
    called(state["c"], change["c"])
    return {"c": MATRIX @ (np.cos(state["c"]) * change["c"])}


def build():
    return FunctionMap(step, {"c": np.ones(N)}, jvp=derivative, name="sines")


CASE = spinup.Case(
    name="newton",
    title="Non-linear map with a derivative",
    build=build,
    method="newton",
    settings={"preconditioned": False, "dimension": 12},
    start_periods=2,
    budget=200,
    tolerance=1e-10,
)
