"""Two tracers on a ring of water columns, each rank with an arc of it, and what is known of them: a step, a tendency
or a derivative, which exchange numbers with the neighbours as a period does.

$SPINUP_TEST_KNOWN: step (default), tendency or jvp. $SPINUP_TEST_BREAK: in which perturbed step the code of the last
rank has a mistake. Without `parted` the ring is whole, for one process.
"""

import os

import numpy as np
from scipy.sparse import csr_array, lil_array

import spinup
from spinup.distributed import OnRanks, world

LON, LEVELS, STEPS = 32, 3, 12
random = np.random.default_rng(5)
OCEAN = random.uniform(size=(LON, LEVELS)) < 0.85
OCEAN[:, 0] = True
SOURCE = random.normal(size=(LON, LEVELS))
DECAY = random.uniform(0.002, 0.02, (LON, LEVELS))


def build(*, parted=True):
    ranks = world() if parted else None
    mine = ranks.part(LON) if ranks else slice(0, LON)
    ocean, source, decay = OCEAN[mine], SOURCE[mine], DECAY[mine]
    last = ranks is not None and ranks.rank == ranks.size - 1
    broken, steps = int(os.environ.get("SPINUP_TEST_BREAK", "-1")), iter(range(10**6))

    def edges(c):
        """The columns of the neighbours to the west and to the east, of c (n, levels)."""
        if ranks is None:
            return c[-1], c[0]
        comm, here, size = ranks.comm, ranks.rank, ranks.size
        west = comm.sendrecv(c[-1], (here + 1) % size, source=(here - 1) % size)
        return west, comm.sendrecv(c[0], (here - 1) % size, source=(here + 1) % size)

    def flow(c):
        c = np.where(ocean, c, 0.0)
        west, east = edges(c)
        around = np.concatenate([west[None], c, east[None]])
        down = np.pad(c, ((0, 0), (1, 0)), mode="edge")[:, :-1]
        return 0.1 * (around[:-2] - c) + 0.05 * (around[:-2] - 2 * c + around[2:]) + 0.05 * (down - c)

    def step(state):
        a, b = state["a"], state["b"]
        return {
            "a": np.where(ocean, a + flow(a) + 0.02 * source - decay * (a + 0.1 * a**3), a),
            "b": np.where(ocean, b + flow(b) + decay * (a - b), b),
        }

    def counted(state):
        if next(steps) == broken and last:
            raise KeyError("a mistake")
        return step(state)

    def derivative(state, change):
        a, b = (np.where(ocean, change[name], 0.0) for name in "ab")
        now = state["a"]
        for _ in range(STEPS):
            a, b, now = (
                np.where(ocean, a + flow(a) - decay * (1 + 0.3 * now**2) * a, 0.0),
                np.where(ocean, b + flow(b) + decay * (a - b), 0.0),
                step({"a": now, "b": now})["a"],
            )
        return {"a": a, "b": b}

    def period(state):
        for _ in range(STEPS):
            state = step(state)
        return state

    known = os.environ.get("SPINUP_TEST_KNOWN", "step")
    given = {
        "step": {"step": counted, "steps": STEPS},
        "tendency": {"tendency": lambda state: tendency(ranks, mine, state)},
        "jvp": {"jvp": derivative},
    }[known]
    model = spinup.FunctionMap(
        period,
        {"a": np.where(ocean, 0.5, -99.0), "b": np.zeros(ocean.shape)},
        mask=ocean,
        dims=("lon", "depth"),
        scale={"b": 3.0},
        name="stepping-ring",
        **given,
    )
    return OnRanks(model, ranks, {"lon": (mine, LON)}) if parted else model


def tendency(ranks, mine, state):
    """Of the steps of a period: this rank's rows, columns numbered through the ranks."""
    parts = [mine] if ranks is None else ranks.comm.allgather(mine)
    numbers, first = np.full((2, LON, LEVELS), -1), 0
    starts = []
    for part in parts:
        starts.append(first)
        for own in numbers[:, part]:  # of a, then of b
            own[OCEAN[part]] = np.arange(first, first + OCEAN[part].sum())
            first += int(OCEAN[part].sum())
    number = {tuple(cell): int(numbers[tuple(cell)]) for cell in np.argwhere(numbers >= 0)}
    matrix = lil_array((first,) * 2)
    for (index, i, k), row in number.items():
        west, east, above = (index, (i - 1) % LON, k), (index, (i + 1) % LON, k), (index, i, max(k - 1, 0))
        matrix[row, row] -= 0.1 + 0.1 + 0.05
        for there, weight in ((west, 0.15), (east, 0.05), (above, 0.05)):
            if there in number:
                matrix[row, number[there]] += weight
        matrix[row, row] -= DECAY[i, k]
        if index == 1:
            matrix[row, number[(0, i, k)]] += DECAY[i, k]
    here = 0 if ranks is None else ranks.rank
    return STEPS * csr_array(matrix)[starts[here] : [*starts, first][here + 1]]


CASE = spinup.Case("stepping-ring", "A ring of columns", build, method="ptc", budget=60, tolerance=1e-9)
