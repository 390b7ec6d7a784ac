"""Whether every method does the same on 1, 2 and 4 ranks: its evaluations, and how far its ends are apart.

    python -m benchmarks.methods_on_ranks                # all of them; results/methods-on-ranks.json
    python -m benchmarks.methods_on_ranks anderson auto  # some, into the same file

The model is that of `cases/acc_coarse.py` on 16 x 20 x 15 cells, which 1, 2 and 4 ranks can have equal parts of, split
by Veros, from rest. Its streamfunction is by PETSc on any number of ranks, and so is every inverse of an operator:
Veros' own solver for one process stops earlier. Every rank has one thread; they may be more than there are cores.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import spinup
from benchmarks.measure import on_ranks
from benchmarks.record import write_rows

RESULTS = Path(__file__).parent / "results" / "methods-on-ranks.json"
RANKS = (1, 2, 4)
CELLS = {"nx": 16, "ny": 20}
TARGET = 1e-9
MUMPS = "-pc_type lu"  # in one process, too
WAYS: dict[str, tuple[str, dict[str, Any], str]] = {  # method, settings, model years
    "picard": ("picard", {}, "12 years"),
    "anderson": ("anderson", {}, "12 years"),
    "anderson-preconditioned": ("anderson", {"preconditioned": True}, "12 years"),
    "ngmres": ("ngmres", {}, "12 years"),
    "extrapolation": ("extrapolation", {"dimension": 4, "wait": 1}, "12 years"),
    "ptc": ("ptc", {}, "12 years"),
    "extended": ("extended", {}, "6 years"),
    "snes-anderson": ("snes", {"kind": "anderson"}, "12 years"),
    "snes-ngmres": ("snes", {"kind": "ngmres"}, "12 years"),
    "snes-newtonls": ("snes", {"kind": "newtonls", "preconditioned": True}, "12 years"),
    "mean": ("mean", {}, "12 years"),
    "auto": ("auto", {}, "6 years"),
}


def run(folder: str, *ways: str) -> None:
    """On every rank: one run each, of the same map, which is compiled once."""
    case = spinup.load_case("acc-coarse")
    setup = case.build.__globals__["setup"]  # type: ignore[attr-defined]
    model = spinup.VerosMap(setup, period="1 year", days_per_year=366, accelerate=("temp",), settings=CELLS)
    case = replace(case, name="acc-coarse-even", build=lambda: model)
    for way in ways:
        method, settings, budget = WAYS[way]
        out = f"{folder}/{way}"
        spinup.run(case, out=out, method=method, settings=settings, budget=budget, petsc=MUMPS)


def compared(way: str, runs: dict[int, Any]) -> dict[str, Any]:
    """The row of a method, of its runs by number of ranks.

    `apart`: the largest difference of a temperature of the end from that of one rank, relative to the largest
    temperature; `beyond`: the first evaluation whose state is farther apart than TARGET, None where none is.
    """
    states = {ranks: found.temp.values for ranks, found in runs.items()}
    largest = np.nanmax(np.abs(states[1]))
    common = min(len(values) for values in states.values())

    def apart(ranks: int, k: int) -> float:
        return float(np.nanmax(np.abs(states[ranks][k] - states[1][k]), initial=0.0) / largest)

    others = [ranks for ranks in runs if ranks != 1]
    far = [k for k in range(common) if max(apart(ranks, k) for ranks in others) > TARGET]
    return {
        "method": way,
        "evaluations": [found.sizes["evaluation"] for found in runs.values()],
        "model_years": [float(found.evaluation_years.sum()) for found in runs.values()],
        "apart": [apart(ranks, -1) for ranks in others],
        "beyond": far[0] if far else None,
    }


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--run"]:
        run(*arguments[1:])
        return
    rows = {row["method"]: row for row in json.loads(RESULTS.read_text())["rows"]} if RESULTS.exists() else {}
    ways = arguments or list(WAYS)
    with TemporaryDirectory() as folder:
        for ranks in RANKS:
            words = "--run", f"{folder}/{ranks}", *ways
            on_ranks(ranks, "benchmarks.methods_on_ranks", *words, VEROS_LINEAR_SOLVER="petsc")
        for way in ways:
            rows[way] = compared(way, {ranks: spinup.open(f"{folder}/{ranks}/{way}").load() for ranks in RANKS})
            print(json.dumps(rows[way]), flush=True)
    write_rows(RESULTS, [rows[name] for name in WAYS if name in rows])


if __name__ == "__main__":
    main(sys.argv[1:])
