"""Members of a ring, each rank of a group with an arc of them: `--groups 2` on four ranks is two members at a time.

$SPINUP_TEST_FAIL ("2:3") names a member and its period that blows up, on the last rank of its group only;
$SPINUP_TEST_STEPS a folder where each process notes the periods that it took, and of how many cells.
"""

import os
from pathlib import Path

import numpy as np

import spinup
from spinup.distributed import OnRanks, world

MEMBERS, LON = 4, 24
DECAY = np.linspace(0.02, 0.3, LON)
SOURCE = np.cos(np.linspace(0, 4 * np.pi, LON))


def build():
    ranks = world()
    mine = ranks.part(LON)
    decay, source, last = DECAY[mine], SOURCE[mine], ranks.rank == ranks.size - 1

    def year(state):
        c, comm = state["c"], ranks.comm
        if folder := os.environ.get("SPINUP_TEST_STEPS"):
            with (Path(folder) / str(os.getpid())).open("a") as file:
                file.write(f"{len(c)}\n")
        west = comm.sendrecv(c[-1], (ranks.rank + 1) % ranks.size, source=(ranks.rank - 1) % ranks.size)
        c = c + 0.2 * (np.append(west, c[:-1]) - c) - decay * (c + 0.01 * c**3) + 0.1 * source
        if last and os.environ.get("SPINUP_TEST_FAIL") == f"{int(state['number'])}:{int(state['year'])}":
            c[0] = np.nan
        return state | {"c": c, "year": state["year"] + 1}

    model = spinup.FunctionMap(
        year,
        {"c": np.zeros(mine.stop - mine.start), "number": np.array(0), "year": np.array(0)},
        accelerate=("c",),
        dims={"c": ("lon",)},
        diagnostics={"number": ("1", "number of a member", lambda state: state["number"])},
        step=year,
        steps=1,
        name="ring",
    )
    model = OnRanks(model, ranks, {"lon": (mine, LON)})
    return spinup.Ensemble(model, MEMBERS, lambda m, state: state | {"c": state["c"] + m, "number": np.array(m)})


CASE = spinup.Case("ring-members", "Members of a ring", build, method="ptc", budget=64, tolerance=1e-9)
