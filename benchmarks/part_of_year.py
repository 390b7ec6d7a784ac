"""Time and memory of a part of a model year, and of the year at that pace.

    spinup fetch-forcing global-1deg --synthetic forcing; export SPINUP_FORCING=forcing
    python -m benchmarks.part_of_year global-1deg 8                  # steps; results/part-of-year.json
    mpiexec -n 2 python -m benchmarks.part_of_year global-1deg 8     # the same on ranks: a row of its own

Steps are taken twice: what is reported is the second time. The peak of memory is that of the whole process, its
compilation in it; on ranks that of the largest.
"""

import json
import resource
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import spinup
from benchmarks.record import write_rows
from spinup.distributed.ranks import several

RESULTS = Path(__file__).parent / "results" / "part-of-year.json"


def measured(case: str, steps: int) -> dict[str, Any]:
    """One row."""
    began = perf_counter()
    ranks = several()
    model = spinup.load_case(case).build()
    state = model.start()
    model.advance(state, steps)
    ready = perf_counter()
    model.advance(state, steps)
    seconds = perf_counter() - ready
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    unknowns = model.layout.size
    if ranks is not None:
        seconds, peak = ranks.largest(seconds), int(ranks.largest(peak))
        unknowns = sum(ranks.comm.allgather(unknowns))
    return {
        "case": case,
        "ranks": 1 if ranks is None else ranks.size,
        "unknowns": unknowns,
        "state_bytes_a_rank": sum(int(value.nbytes) for value in state.values()),
        "steps": steps,
        "steps_a_year": round(1 / model.step_years),
        "step_s": seconds / steps,
        "year_hours": seconds / steps / model.step_years / 3600,
        "set_up_s": ready - began,
        "peak_bytes_a_rank": peak,
    }


def main(case: str, steps: str) -> None:
    row = measured(case, int(steps))
    ranks = several()
    if ranks is not None and ranks.rank:
        return
    print(json.dumps(row), flush=True)
    before = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    key = row["case"], row["ranks"]
    rows = sorted([*(r for r in before if (r["case"], r["ranks"]) != key), row], key=lambda r: (r["case"], r["ranks"]))
    write_rows(RESULTS, rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
