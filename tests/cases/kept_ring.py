"""A tracer that is mixed around a ring, its total conserved, each rank with an arc of it."""

import numpy as np

import spinup
from spinup.distributed import OnRanks, world
from spinup.function_map import FunctionMap

LON, LEVELS = 48, 3
START = np.random.default_rng(3).uniform(0.9, 1.1, (LON, LEVELS))
MIXING = np.linspace(0.1, 0.45, LEVELS)


def build():
    ranks = world()
    mine = ranks.part(LON)

    def year(state):
        c = state["c"]
        after, before = (ranks.rank + 1) % ranks.size, (ranks.rank - 1) % ranks.size
        west = ranks.comm.sendrecv(c[-1], after, source=before)
        east = ranks.comm.sendrecv(c[0], before, source=after)
        around = np.concatenate([west[None], c, east[None]])
        return {"c": c + MIXING * (around[:-2] - 2 * c + around[2:])}

    model = FunctionMap(
        year, {"c": START[mine]}, bounds={"c": (0.9, 1.1)}, conserved=[("c",)], dims={"c": ("lon", "depth")}
    )
    return OnRanks(model, ranks, {"lon": (mine, LON)})


CASE = spinup.Case(
    name="kept-ring", title="A ring", build=build, method="anderson", settings={"depth": 8}, budget=200, tolerance=1e-6
)
