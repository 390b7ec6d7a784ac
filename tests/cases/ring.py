"""A tracer on a ring of water columns, each rank with an arc of it: advection, diffusion, sources, land, and a carried
scalar that all ranks know. One process, without mpiexec, has the whole ring.

$SPINUP_TEST_FAIL ("9,10") names the evaluations that blow up, on the last rank only; $SPINUP_TEST_BREAK the one in
which the code of the last rank has a mistake; $SPINUP_TEST_DIE that in which it is killed; $SPINUP_TEST_SECONDS makes
an evaluation last that long.
"""

import os
import signal
import time

import numpy as np

import spinup
from spinup.distributed import OnRanks, world
from spinup.function_map import FunctionMap

LON, LEVELS = 48, 3
random = np.random.default_rng(11)
OCEAN = random.uniform(size=(LON, LEVELS)) < 0.85
OCEAN[:, 0] = True
VOLUME = random.uniform(0.5, 2.0, (LON, LEVELS))
SOURCE = random.normal(size=(LON, LEVELS))
DECAY = np.linspace(0.02, 0.3, LON)[:, None] * np.array([1.0, 0.5, 0.25])


def build():
    ranks = world()
    mine = ranks.part(LON)
    ocean, source, decay = OCEAN[mine], SOURCE[mine], DECAY[mine]
    evaluations = iter(range(10**6))
    last = ranks.rank == ranks.size - 1

    def year(state):
        number = next(evaluations)
        time.sleep(float(os.environ.get("SPINUP_TEST_SECONDS", "0")))
        if last and os.environ.get("SPINUP_TEST_DIE") == str(number):
            os.kill(os.getpid(), signal.SIGKILL)
        if last and os.environ.get("SPINUP_TEST_BREAK") == str(number):
            raise KeyError("a mistake")
        c = np.where(ocean, state["c"], 0.0)
        west, east = edges(ranks.comm, c)
        around = np.concatenate([west[None], c, east[None]])
        flow = 0.1 * (around[:-2] - c) + 0.05 * (around[:-2] - 2 * c + around[2:])
        total = ranks.total(np.array([np.sum(c * VOLUME[mine])]))[0] / VOLUME.sum()
        memory = 0.5 * state["memory"] + 0.1 * total
        c = np.where(ocean, c + flow + source - decay * (c - 0.01 * c**2 + memory), state["c"])
        if last and str(number) in os.environ.get("SPINUP_TEST_FAIL", "").split(","):
            c[0, 0] = np.nan
        return {"c": c, "memory": memory}

    model = FunctionMap(
        year,
        {"c": np.where(ocean, 1.0, -99.0), "memory": np.zeros(())},
        accelerate=["c"],
        mask={"c": ocean},
        volume={"c": VOLUME[mine]},
        bounds={"c": (-50.0, 50.0)},
        dims={"c": ("lon", "depth")},
        coords={"lon": np.arange(LON)[mine] * 360 / LON},
        name="ring",
    )
    return OnRanks(model, ranks, {"lon": (mine, LON)})


def edges(comm, c):
    """The columns of the neighbours to the west and to the east."""
    here, size = comm.Get_rank(), comm.Get_size()
    west, east = np.empty(LEVELS), np.empty(LEVELS)
    comm.Sendrecv(np.ascontiguousarray(c[-1]), (here + 1) % size, recvbuf=west, source=(here - 1) % size)
    comm.Sendrecv(np.ascontiguousarray(c[0]), (here - 1) % size, recvbuf=east, source=(here + 1) % size)
    return west, east


CASE = spinup.Case(name="ring", title="A ring of columns", build=build, method="anderson", budget=200, tolerance=1e-8)
