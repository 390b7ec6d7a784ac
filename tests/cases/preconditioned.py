"""A cheap non-linear map for the tests of runs by a preconditioned method: it gives its tendency, but roughly.

The variables of the environment are those of tests/cases/linear.py; the tendency takes as long as a period.
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
TENDENCY = 0.8 * BASIS @ np.diag(np.log(RATES)) @ BASIS.T
SOURCE = np.linspace(-0.02, 0.02, N)


def step(state):
    if calls := os.environ.get("SPINUP_TEST_CALLS"):
        with Path(calls).open("a") as file:
            file.write(f"{zlib.crc32(state['c'].tobytes())}\n")
    time.sleep(float(os.environ.get("SPINUP_TEST_SECONDS", "0")))
    return {"c": MATRIX @ np.sin(state["c"]) + SOURCE}


def tendency(state):
    time.sleep(float(os.environ.get("SPINUP_TEST_SECONDS", "0")))
    return TENDENCY * np.cos(state["c"])


def build():
    return FunctionMap(step, {"c": np.ones(N)}, tendency=tendency, name="sines")


CASE = spinup.Case(
    name="preconditioned",
    title="Non-linear map with a rough tendency",
    build=build,
    method="anderson",
    settings={"preconditioned": True, "serves": 7},
    start_periods=2,
    budget=200,
    tolerance=1e-10,
)
