"""What groups of ranks are worth: an evaluation of an ensemble by one process, and by each of several ranks its share.

    python -m benchmarks.groups                # 4 members on 2 ranks by mpiexec; results/groups.json
    mpiexec -n 8 python -m benchmarks.groups --members 8    # one line of JSON, on a cluster

The members are of `cases/acc_coarse.py`, a year each, one thread a rank. Both are timed in turn by the same process,
least of several; the other ranks sleep while it is alone. Beside the wall time is the processor time of the busiest
rank, which does not count what else runs on the machine. `exchange_s` is an evaluation of no steps: members out and
back, with what the map does about them.
"""

import json
import sys
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

import spinup
from benchmarks.measure import on_ranks
from benchmarks.record import write_rows
from spinup.distributed.groups import Groups, divided
from spinup.distributed.ranks import everyone, in_group
from spinup.stopping import StopFlag

RESULTS = Path(__file__).parent / "results" / "groups.json"
CASE, MEMBERS, RANKS, REPEATS = "acc-coarse", 4, 2, 5


class WithClock:
    """A map that also tells how long its process has computed, seconds."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def clock(self) -> float:
        return process_time()


def measured(members: int) -> dict[str, Any] | None:
    """On every rank, each of which is a group; the row on the first."""
    ranks = everyone()
    groups = divided(ranks, 1 if ranks is None else ranks.size)
    if groups is None:
        raise SystemExit("start it on several ranks, mpiexec -n 2")
    with in_group(groups.ranks):
        model = spinup.load_case(CASE).build()
        alone, spread = spinup.Ensemble(model, members), spinup.Ensemble(model, members)
        spread.on_groups(groups)
        groups.have(WithClock(model))
        row = groups.led(
            lambda: {"members": members, "ranks": groups.number, **timed(alone, spread, groups)}, StopFlag(print)
        )
    return row if ranks is not None and ranks.rank == 0 else None


def timed(alone: Any, spread: Any, groups: Groups) -> dict[str, Any]:
    """Seconds, the least of each, and the size of a member."""
    state = alone.template
    spread.prepare()
    ways = {"alone": alone.evaluate, "spread": spread.evaluate, "exchange": lambda state: spread.advance(state, 0)}
    wall: dict[str, list[float]] = {f"{name}_s": [] for name in ways}
    processor: dict[str, list[float]] = {f"{name}_processor_s": [] for name in ways}

    def clocks() -> np.ndarray:
        return np.array(groups.each("clock", [()] * groups.number))

    for repeat in range(REPEATS + 1):
        found = {}
        for name, evaluate in ways.items():
            before, began = clocks(), perf_counter()
            found[name] = evaluate(state)
            elapsed = perf_counter() - began
            if repeat:  # the first compiles
                wall[f"{name}_s"].append(elapsed)
                processor[f"{name}_processor_s"].append(float((clocks() - before).max()))
        for name, value in found["alone"].items():
            np.testing.assert_array_equal(found["spread"][name], value)
    megabytes = sum(np.asarray(value).nbytes for value in state.values()) / alone.members / 1e6
    return {name: min(times) for name, times in (wall | processor).items()} | {"member_mb": megabytes}


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--members"]:
        row = measured(int(arguments[1]))
        if row is not None:
            print(json.dumps(row))
        return
    printed = on_ranks(RANKS, "benchmarks.groups", "--members", str(MEMBERS))
    rows = [json.loads(printed.strip().splitlines()[-1])]
    print(json.dumps(rows))
    write_rows(RESULTS, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
