"""Whether every method does the same on 1, 2 and 4 ranks: its evaluations, how far its ends are apart, and how far what
it asks for where it is told the same.

    python -m benchmarks.methods_on_ranks                # all of them; results/methods-on-ranks.json
    python -m benchmarks.methods_on_ranks anderson auto  # some, into the same file

The model is that of `cases/acc_coarse.py` on 16 x 20 x 15 cells, which 1, 2 and 4 ranks can have equal parts of, split
by Veros, from rest. Its streamfunction is by PETSc on any number of ranks, and so is every inverse of an operator:
Veros' own solver for one process stops earlier. Every rank has one thread; they may be more than there are cores.

Where T makes much of the last digits, ends say more of T than of a method. So several ranks also replay the run of one:
they are told its evaluations and its operators, and how far the states that they ask for are from its own is measured.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import spinup
from benchmarks.measure import on_ranks
from benchmarks.record import write_rows
from solvers import Evaluate, Tangent
from spinup.driver import Driver

RESULTS = Path(__file__).parent / "results" / "methods-on-ranks.json"
RANKS = (1, 2, 4)
CELLS = {"nx": 16, "ny": 20}
TARGET = 1e-9
MUMPS = "-pc_type lu"  # in one process, too
ALL = {"checkpoint_every": 1000}  # evaluations, so that a replay begins with the first
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


def even_case() -> spinup.Case:
    """The case, with a map that is compiled once."""
    case = spinup.load_case("acc-coarse")
    setup = case.build.__globals__["setup"]  # type: ignore[attr-defined]
    model = spinup.VerosMap(setup, period="1 year", days_per_year=366, accelerate=("temp",), settings=CELLS)
    return replace(case, name="acc-coarse-even", build=lambda: model)


def run(folder: str, *ways: str) -> None:
    """On every rank: one run each, of the same map."""
    case = even_case()
    for way in ways:
        method, settings, budget = WAYS[way]
        out = f"{folder}/{way}"
        spinup.run(case, out=out, method=method, settings=settings, budget=budget, petsc=MUMPS, store=ALL)


def replay(folder: str, one: str, *ways: str) -> None:
    """On every rank: how far what it asks for, told the runs in `one`, is from what these asked for, by way, into
    FOLDER/replayed.json."""
    from mpi4py import MPI

    comm, case, found = MPI.COMM_WORLD, even_case(), {}
    for way in ways:
        copy = Path(folder) / f"{way}-replayed"
        if comm.rank == 0:
            shutil.copytree(Path(one) / way, copy)
        comm.Barrier()
        with listening() as apart:
            spinup.resume(copy, case=case)
        assert len(apart) == spinup.open(copy).sizes["evaluation"]
        found[way] = comm.allreduce(max(apart), MPI.MAX)
    if comm.rank == 0:
        (Path(folder) / "replayed.json").write_text(json.dumps(found))


@contextmanager
def listening() -> Iterator[list[float]]:
    """Meanwhile, a replay says how far what is asked for is from what was, relative to the largest that it was, and
    answers with the residual that the log has: T(x) there, and the difference of both x."""
    apart: list[float] = []

    class Listener(Driver):
        def _same(self, asked: np.ndarray, logged: np.ndarray) -> bool:
            apart.append(float(np.abs(asked - logged).max(initial=0.0) / np.abs(logged).max()))
            return True

        def _replayed(self, request: Evaluate | Tangent, number: int) -> Any:
            reply = super()._replayed(request, number)
            return reply + (request.x - self.model.layout.pack(self.store.fields(number, before=True)))

    module: Any = import_module("spinup.run")
    module.Driver = Listener
    try:
        yield apart
    finally:
        module.Driver = Driver


def compared(way: str, runs: dict[int, Any], replayed: list[float]) -> dict[str, Any]:
    """The row of a method, of its runs by number of ranks.

    `apart`: the largest difference of a temperature of the end from that of one rank, relative to the largest
    temperature; `beyond`: the first evaluation whose state is farther apart than TARGET, None where none is;
    `replayed`: see `replay`.
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
        "replayed": replayed,
    }


def main(arguments: list[str]) -> None:
    if arguments[:1] in (["--run"], ["--replay"]):
        {"--run": run, "--replay": replay}[arguments[0]](*arguments[1:])
        return
    rows = {row["method"]: row for row in json.loads(RESULTS.read_text())["rows"]} if RESULTS.exists() else {}
    ways = arguments or list(WAYS)
    with TemporaryDirectory() as folder:

        def on(ranks: int, *words: str) -> None:
            on_ranks(ranks, "benchmarks.methods_on_ranks", *words, *ways, VEROS_LINEAR_SOLVER="petsc")

        replayed = []
        for ranks in RANKS:
            on(ranks, "--run", f"{folder}/{ranks}")
            if ranks > 1:
                on(ranks, "--replay", f"{folder}/{ranks}", f"{folder}/1")
                replayed.append(json.loads(Path(f"{folder}/{ranks}/replayed.json").read_text()))
        for way in ways:
            runs = {ranks: spinup.open(f"{folder}/{ranks}/{way}").load() for ranks in RANKS}
            rows[way] = compared(way, runs, [found[way] for found in replayed])
            print(json.dumps(rows[way]), flush=True)
    write_rows(RESULTS, [rows[name] for name in WAYS if name in rows])


if __name__ == "__main__":
    main(sys.argv[1:])
