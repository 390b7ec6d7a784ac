"""Fields that are known after every evaluation, on ranks that each have a block of the grid: T(x) = x + 1.

Beside the accelerated `c` there are a field with a halo, of which ranks have nonsense of each other's cells, one that
is split along x alone, and what is not split. $SPINUP_TEST_FULL ("3") names the evaluation in which the disk of the
last rank is full, $SPINUP_TEST_DIE that in which it is killed between two chunks. Where $SPINUP_TEST_WRITTEN names a
folder, each rank lists there what it writes of evaluations and checkpoints, and nothing may be gathered meanwhile.
"""

import errno
import os
import signal
from pathlib import Path

import numpy as np

import spinup
from spinup.distributed import OnRanks, chunks, world
from spinup.distributed.split import Split
from spinup.function_map import FunctionMap

NZ, NY, NX, HALO = 3, 8, 10, 2
random = np.random.default_rng(5)
OCEAN = random.uniform(size=(NZ, NY, NX)) < 0.8
START = {
    "c": random.normal(size=(NZ, NY, NX)),
    "u": random.normal(size=(NY + 2 * HALO, NX + 2 * HALO)),
    "s": random.normal(size=NX),
    "w": random.normal(size=NZ),
    "m": random.normal(size=()),
}
DIMS = {"c": ("z", "y", "x"), "u": ("y_halo", "x_halo"), "s": ("x",), "w": ("z",), "m": ()}


def after(periods: int) -> dict[str, np.ndarray]:
    """The full state of all cells after so many periods."""
    return {name: np.where(OCEAN, v + periods, v) if name == "c" else v + periods for name, v in START.items()}


def parts(ranks) -> dict[str, tuple[slice, int]]:
    """Quarters on four ranks, else stripes, which are not equal on three."""
    if ranks.size == 4:
        y, x = divmod(ranks.rank, 2)
        return {"y": (slice(4 * y, 4 * y + 4), NY), "x": (slice(5 * x, 5 * x + 5), NX)}
    return {"x": (ranks.part(NX), NX), "y": (slice(0, NY), NY)}


def build():
    ranks = world()
    mine = parts(ranks)
    of = {dim: part for dim, (part, _) in mine.items()}
    of |= {f"{dim}_halo": slice(part.start, part.stop + 2 * HALO) for dim, part in of.items()}
    start = {name: v[tuple(of.get(dim, slice(None)) for dim in DIMS[name])] for name, v in START.items()}
    ocean = OCEAN[:, of["y"], of["x"]]

    def year(state):
        u = np.full_like(state["u"], -7.0)
        split.own(u, DIMS["u"])[...] = split.own(state["u"], DIMS["u"]) + 1
        rest = {name: state[name] + 1 for name in ("s", "w", "m")}
        return {"c": np.where(ocean, state["c"] + 1, state["c"]), "u": u, **rest}

    model = FunctionMap(year, start, accelerate=["c"], mask={"c": ocean}, dims=DIMS, name="blocks")
    found = OnRanks(model, ranks, mine, {f"{dim}_halo": (dim, HALO) for dim in "xy"})
    split = found.layout.split
    spoil_disk(ranks)
    return found


def spoil_disk(ranks) -> None:
    real, last = chunks.write_some, ranks.rank == ranks.size - 1
    full, dies, told = (os.environ.get(f"SPINUP_TEST_{what}") for what in ("FULL", "DIE", "WRITTEN"))

    def write(array, parts, number=None, *, sync):
        parts = list(parts)
        kept = "start" not in array.store.root.parts
        if last and str(number) in (full, dies) and kept and parts:
            real(array, parts[:1], number)
            if str(number) == dies:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.ENOSPC, "No space left on device")
        files = real(array, parts, number, sync=sync)
        if told and kept:
            Split.gather = None
            with (Path(told) / f"{ranks.size}-{ranks.rank}").open("a") as to:
                to.writelines(f"{file}\n" for file in files)
        return files

    chunks.write_some = write


CASE = spinup.Case(name="blocks", title="Blocks", build=build, method="picard", budget=5, tolerance=1e-12)
