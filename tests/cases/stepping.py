"""A tracer on a line, whose step is known and each rank has whole: for the tests of groups of ranks.

$SPINUP_TEST_STEPS names a folder where each process notes the perturbed steps that it took.
"""

import os
from pathlib import Path

import numpy as np

import spinup

N, STEPS = 200, 20
SOURCE = np.cos(np.linspace(0, 4 * np.pi, N))


def step(state):
    c = state["c"]
    flow = np.diff(np.concatenate([c[:1], c, c[-1:]]))
    folder = os.environ.get("SPINUP_TEST_STEPS")
    if folder:
        with (Path(folder) / str(os.getpid())).open("a") as file:
            file.write("step\n")
    return {"c": c + 0.2 * np.diff(flow) + 0.01 * (SOURCE - c - 0.1 * c**3)}


def period(state):
    for _ in range(STEPS):
        c = state["c"]
        flow = np.diff(np.concatenate([c[:1], c, c[-1:]]))
        state = {"c": c + 0.2 * np.diff(flow) + 0.01 * (SOURCE - c - 0.1 * c**3)}
    return state


def build():
    return spinup.FunctionMap(period, {"c": np.zeros(N)}, step=step, steps=STEPS, dims={"c": ("x",)}, name="stepping")


CASE = spinup.Case("stepping", "A line of cells", build, method="ptc", budget=60, tolerance=1e-9)
