"""Time and memory of an operator's linear systems on ranks, each of which has a part of the ocean.

    python -m benchmarks.algebra_on_ranks                      # half an hour; results/algebra-on-ranks.json
    python -m benchmarks.algebra_on_ranks 124x60 layers        # some rows; others that are kept stay
    mpiexec -n 64 python -m benchmarks.algebra_on_ranks --row 214x104 layers    # one line of JSON, on a cluster

Operators and systems are those of `benchmarks.algebra`. The ocean is cut from north to south, into as many parts as
there are ranks. Memory is of each rank, the most that any has: `held` with factors and the matrix, `peak` while they
are made. Seconds are the most of any.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.algebra import RATE, TOLERANCE, memory_now, process_mb, some_residual
from benchmarks.basin import basin
from benchmarks.measure import on_ranks
from benchmarks.record import write_rows
from solvers import StepOperator
from solvers.layered_on_ranks import LayeredFactors
from solvers.lumping import Cells
from solvers.memory import usable
from solvers.petsc_factors import PetscFactors
from solvers.ranks_inverse import Extended
from spinup.distributed.operators import scattered_operator
from spinup.distributed.ranks import Ranks, world

RESULTS = Path(__file__).parent / "results" / "algebra-on-ranks.json"
CHOICES = {  # of which operator, on which grids
    "levels": ("tracer", ("124x60", "214x104", "392x190")),
    "mumps": ("extended", ("40x19", "68x33", "124x60")),
    "layers": ("extended", ("40x19", "68x33", "124x60")),
}
RANKS = (1, 2)


def measured(ranks: Ranks, grid: str, choice: str) -> dict[str, Any]:
    """One row, by all ranks."""
    kind, _ = CHOICES[choice]
    operator, r = part_of_basin(ranks, grid, border=kind == "extended")
    extended = Extended(operator)
    own, other = (extended.at(rate) for rate in (RATE, 0.0))
    right = extended.right(r)
    before = memory_now()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is from here
    began = _together(ranks)
    factors = made(extended, own, choice)
    row: dict[str, Any] = {"operator": kind, "grid": grid, "choice": choice, "ranks": ranks.size}
    row |= {"unknowns": extended.number}
    row |= {"setup_s": ranks.largest(perf_counter() - began)}
    row |= {"peak_mb": ranks.largest(process_mb("VmHWM") - before), "held_mb": ranks.largest(memory_now() - before)}
    for name, matrix in (("own", own), ("other", other)):
        began = _together(ranks)
        x = factors.solve(matrix, right, TOLERANCE)
        row |= {f"{name}_s": ranks.largest(perf_counter() - began)}
        row |= {f"{name}_iterations": None if x is None else factors.iterations}
    return row


def part_of_basin(ranks: Ranks, grid: str, *, border: bool) -> tuple[StepOperator, np.ndarray]:
    """This rank's rows of the operator, and of a residual; the leading rank alone has had the whole."""
    nx, ny = map(int, grid.split("x"))
    told: Any = None
    whole = None
    if ranks.rank == 0:
        whole = basin(nx, ny, border=border)
        known: Any = whole.cells if whole.border is None else whole.border.layers
        told = known.column * ranks.size // nx, some_residual(whole), whole.cells
    owner, r, cells = ranks.share(told)
    places = np.flatnonzero(owner[: len(r)] == ranks.rank), np.flatnonzero(owner[len(r) :] == ranks.rank)
    own = Cells(*(of[places[0]] for of in (cells.kind, cells.row, cells.column, cells.size)))
    return replace(scattered_operator(whole, places, ranks), cells=own), r[places[0]]


def made(extended: Extended, own: Any, choice: str) -> PetscFactors | LayeredFactors:
    """The factors of a choice, whether or not it is the one that this size would have."""
    if choice != "layers":
        return PetscFactors(own, extended.comm, extended.levels)
    return LayeredFactors(own, extended.comm, extended.layers, extended.levels_of_layers(usable()), extended.scale)


def _together(ranks: Ranks) -> float:
    ranks.comm.Barrier()
    return perf_counter()


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--row"]:
        ranks = world()
        row = measured(ranks, *arguments[1:])
        if ranks.rank == 0:
            print(json.dumps(row))
        return
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    for choice, (_, grids) in CHOICES.items():
        for grid in grids:
            for number in RANKS:
                if any(wanted not in (grid, choice, str(number)) for wanted in arguments):
                    continue
                printed = on_ranks(number, "benchmarks.algebra_on_ranks", "--row", grid, choice)
                row = json.loads(printed.strip().splitlines()[-1])
                print(json.dumps(row), flush=True)
                key = grid, choice, number
                rows = [*(r for r in rows if (r["grid"], r["choice"], r["ranks"]) != key), row]
                write_rows(RESULTS, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
