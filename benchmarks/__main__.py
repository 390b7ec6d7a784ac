"""Model years to a true error, of every method and of other libraries', on the same map from the same starts.

    python -m benchmarks acc-coarse                  # an hour or two; the direct run is kept, and goes on where it was
    python -m benchmarks acc-coarse --short          # minutes: is the harness alive?
    python -m benchmarks acc-coarse --methods scipy.optimize.broyden1 aa.type2 --results runs/peers   # some, elsewhere

Direct integration is run first, to its own equilibrium where there is time for it (2500 years), at least to the last
start; where its folder is gone, and some of it was kept in benchmarks/results, its end is taken from there. Then every
method starts from rest and from years of the direct run. A state's error is its distance to the equilibrium that the
run itself ends in, found by integrating its end directly, and by `auto` where that end is still on its way:
an end that is 1 K away may move by a tenth of that in 40 years. For `auto-keep-basin` it is that to the end of
the direct run. Where a run gives a mean state, that is compared with the mean of 1000 direct years from its end, and
so are its estimates of the error.
Solvers of other libraries: benchmarks/peers.py; those that are not installed are left out. Results:
benchmarks/results/CASE.json, in which rows of other methods and starts stay as they are, and as a page, CASE.html,
beside it. The tracer cases, whose equilibria are known: benchmarks/tracers.py.
"""

import argparse
import contextlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import spinup
from benchmarks import tracers
from benchmarks.measure import installed, searched, years_until_below
from benchmarks.peers import PEERS
from benchmarks.record import record
from solvers import Outcome
from solvers.blocking import add_block, no_blocks, standard_error
from spinup.provenance import git_state
from spinup.report.thinned import THINNED, open_thinned, thinned
from spinup.run import Progress
from spinup.store.view import read_state

RESULTS = Path(__file__).parent / "results"
LEVELS = {"temp": ("K", (1.0, 0.3, 0.1, 0.05, 0.01)), "salt": ("psu", (0.2, 0.05, 0.02, 0.01))}
STABLE = 0.005  # K that the end of a run may move when it is integrated on, to count as an equilibrium
KNOWN = 0.001  # K; smaller true errors are not known well: ends still move by 1e-5 to 5e-5 K in 40 years
ARRIVED = 0.05  # K of estimated error: above it the direct run is at no equilibrium yet
TIGHT = "0.004 K"
#: Newton-Krylov is not for these cases: other variables would follow each of its trial states.
METHODS: dict[str, dict[str, Any]] = {
    "auto": {"method": "auto", "tolerance": TIGHT},
    "auto-keep-basin": {"method": "auto-keep-basin", "budget": 13, "tolerance": TIGHT},
    "ptc": {"method": "ptc", "budget": 60, "tolerance": 1e-9},
    "anderson": {"method": "anderson", "budget": 100, "tolerance": 1e-9, "settings": {"depth": 20, "every": 5}},
    "anderson-type-1": {
        "method": "anderson",
        "budget": 100,
        "tolerance": 1e-9,
        "settings": {"type": 1, "depth": 20, "every": 5},
    },
    "anderson-preconditioned": {
        "method": "anderson",
        "budget": 60,
        "tolerance": 1e-9,
        "settings": {"depth": 20, "preconditioned": True},
    },
    "extrapolation": {"method": "extrapolation", "budget": 100, "tolerance": 1e-9},
    "ngmres": {"method": "ngmres", "budget": 100, "tolerance": 1e-9},
    "ngmres-preconditioned": {
        "method": "ngmres",
        "budget": 60,
        "tolerance": 1e-9,
        "settings": {"depth": 20, "preconditioned": True},
    },
}
PEER_YEARS = 60
SETTLE_YEARS = 20
KEPT = 90  # evaluations of the direct run, for reports to show other runs next to


def directly(case: spinup.Case, out: Path, years: int) -> Any:
    """Direct integration at `out` for so many years, begun or gone on with where it is not there yet."""
    options = {"budget": years, "tolerance": 1e-12}
    if not out.exists():
        spinup.run(case, out=out, method="picard", store={"fields_every": 1}, start_periods=0, **options)
    elif spinup.open(out, verify=False).sizes["evaluation"] < years:
        spinup.resume(out, **options)
    return spinup.open(out, verify=False)


class Clock(Progress):
    """Wall time, s, until each evaluation of a run was on disk."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.seconds: list[float] = []

    def now(self) -> float:
        return time.perf_counter() - self._began

    def evaluated(self, record: dict[str, Any]) -> None:
        self.seconds.append(self.now())


class Bench:
    """A case's map, its direct run, and the distances between states.

    kept: the file with some evaluations of a direct run, which serves where there is no whole one in `folder`.
    """

    def __init__(self, case: str, folder: Path, years: int, continued: int, mean_years: int, kept: Path) -> None:
        self.case = spinup.load_case(case)
        self.continued = continued
        self.mean_years = mean_years
        self.model = self.case.build()
        self.layout = self.model.layout
        self.folder = folder
        direct = folder / f"{case}-direct"
        ends = open_thinned(kept) if kept.exists() and not direct.exists() else None
        self.whole = ends is None or ends.model_years[-1] < years
        self.direct = directly(self.case, direct, years) if self.whole else ends
        self.header = json.loads(self.direct.attrs["header"])
        self.end = self.vector(self.direct, -1)
        self.arrived = bool(self.direct.error_estimate.values[-1] < ARRIVED)
        self._starts: dict[int, dict[str, Any]] = {0: self.model.start()}

    def vector(self, run: Any, number: int, suffix: str = "") -> np.ndarray:
        return self.layout.pack({v.name: run[v.name + suffix].values[number] for v in self.layout.variables})

    def distance(self, a: np.ndarray, b: np.ndarray) -> float:
        return self.layout.inner.norm(a - b)

    def start(self, year: int) -> dict[str, Any]:
        """The state of direct integration after `year` years."""
        if year not in self._starts:
            nearest = max(y for y in self._starts if y < year)
            self._starts[year] = self.integrated(self._starts[nearest], year - nearest)
        return self._starts[year]

    def phases(self, run: Any) -> np.ndarray:
        """Time steps into the forcing's cycle before every evaluation of a run, and after the last."""
        steps = np.rint(run.evaluation_years.values / self.model.step_years).astype(int)
        return np.concatenate([[0], np.cumsum(steps)]) % (self.model.cycle_steps or 1)

    def along(self, state: dict[str, Any], phases: np.ndarray) -> dict[int, np.ndarray]:
        """The vectors along a cycle from `state`, which is at the last of these phases, by phase."""
        cycle, found = self.model.cycle_steps or 1, {}
        last = at = int(phases[-1])
        for phase in sorted({int(p) for p in phases}, key=lambda p: (p - last) % cycle):
            if phase != at:
                state, at = self.model.advance(state, (phase - at) % cycle), phase
            found[phase] = self.layout.pack(self.model.fields(state))
        return found

    def years_to(self, years: list[float], states: list[np.ndarray], ends: list[np.ndarray]) -> dict[str, float | None]:
        """Model years to each level of each variable's distance to the end at that phase of the cycle."""
        apart = [self.layout.rms(x - end) for x, end in zip(states, ends, strict=True)]
        return {
            f"{level:g} {unit}": years_until_below(years, [distance[name] for distance in apart], level)
            for name, (unit, levels) in LEVELS.items()
            if name in self.layout.slices
            for level in levels
        }

    def integrated(self, state: dict[str, Any], years: int) -> dict[str, Any]:
        for _ in range(years):
            state = self.model.evaluate(state)
        return state

    def settled(self, state: dict[str, Any]) -> dict[str, Any]:
        """The equilibrium that `auto` finds from a state, where it finds one within SETTLE_YEARS; else the state."""
        out = self.folder / f"{self.case.name}-settled-{time.time_ns()}"
        options = {"method": "auto", "tolerance": TIGHT, "budget": SETTLE_YEARS}
        result = spinup.run(self.case, out=out, start=state, start_periods=0, **options)
        return read_state(out) if result.outcome is Outcome.CONVERGED else state


def row(bench: Bench, method: str, year: int) -> dict[str, Any]:
    """One method of spinup's from one start."""
    out = bench.folder / f"{bench.case.name}-{method}-{year}-{time.time_ns()}"
    start, clock = bench.start(year), Clock()
    result = spinup.run(bench.case, out=out, start=start, start_periods=0, progress=clock, **METHODS[method])
    wall = clock.now()
    run, state = spinup.open(out, verify=False), read_state(out)
    states = [bench.vector(run, i) for i in range(result.evaluations)]
    before = [bench.vector(run, i, "_before") for i in range(result.evaluations)]
    estimates = [None if np.isnan(e) else float(e) for e in run.error_estimate.values]
    phases = bench.phases(run)
    years = [float(y) for y in run.model_years.values]
    found, own = judged(bench, method, year, years, states, state, phases, clock.seconds)
    with contextlib.suppress(KeyError):
        found["mean_state"], mean = mean_compared(bench, spinup.open_mean(out), state)
        own = dict.fromkeys(own, mean)  # under noise the end is on its way about this
    truths = [bench.distance(x, own[int(phase)]) for x, phase in zip(before, phases[:-1], strict=True)]
    ratios = [e / d for e, d in zip(estimates, truths, strict=True) if e is not None and d > KNOWN]
    return found | {
        "outcome": result.outcome.value,
        "evaluations": result.evaluations,
        "wall_seconds": round(wall, 1),
        "wall_seconds_in_the_model": round(float(run.wall_seconds.sum()), 1),
        "estimate_over_truth": [round(float(q), 3) for q in ratios],
    }


def mean_compared(bench: Bench, mean: Any, state: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """The mean state of a run against the mean of the years of direct integration from its end, `state`; and that."""
    here = bench.layout.pack({v.name: mean[v.name].values for v in bench.layout.variables})
    error = bench.layout.pack({v.name: mean[f"{v.name}_standard_error"].values for v in bench.layout.variables})
    blocks, inner = no_blocks(len(here), bench.mean_years), bench.layout.inner
    for _ in range(bench.mean_years):
        state = bench.model.evaluate(state)
        add_block(blocks, bench.layout.pack(bench.model.fields(state)) - here)
    there = blocks["sums"][0] / bench.mean_years
    apart = inner.norm(there)
    errors = inner.norm(error), inner.norm(standard_error(blocks, inner))
    found = {
        "distance_to_direct_mean": round(apart, 4),
        "standard_error": round(errors[0], 4),
        "of_years": mean.attrs["model_years"],
        "standard_error_of_direct_mean": round(errors[1], 4),
        "direct_years": bench.mean_years,
        "in_standard_errors": round(apart / float(np.hypot(*errors)), 2),
    }
    return found, here + there


def peer(bench: Bench, method: str, year: int) -> dict[str, Any]:
    """Another library's from one start, the rest of the state carried."""
    carried = bench.start(year)

    def T(x: np.ndarray) -> np.ndarray:
        nonlocal carried
        fields = bench.layout.unpack(np.clip(x, -3.0, 45.0), fill=0.0)
        carried = bench.model.evaluate(bench.model.replace(carried, fields))
        return bench.layout.pack(bench.model.fields(carried))

    outcome, states, wall = searched(method, T, bench.layout.pack(bench.model.fields(carried)), PEER_YEARS)
    years = [float(number + 1) for number in range(len(states))]
    found, _ = judged(bench, method, year, years, states, carried, np.zeros(len(years) + 1, int))
    return found | {"outcome": outcome, "evaluations": len(years), "wall_seconds": round(wall, 1)}


def judged(
    bench: Bench,
    method: str,
    year: int,
    years: list[float],
    states: list[np.ndarray],
    end: dict[str, Any],
    phases: np.ndarray,
    seconds: list[float] | None = None,
) -> tuple[dict[str, Any], dict[int, np.ndarray]]:
    """Errors against where the end goes when it is integrated on; and where that is, by phase of the cycle.

    seconds: of wall time until each of the states; beside them goes what a year of direct integration took here."""
    began = time.perf_counter()
    later = bench.integrated(end, bench.continued)
    direct_seconds = (time.perf_counter() - began) / bench.continued
    moved = bench.distance(*(bench.layout.pack(bench.model.fields(s)) for s in (later, end)))
    if moved > STABLE and bench.model.has_operator and not bench.model.cycle_steps:
        later = bench.settled(later)
    cycle = bench.along(later, phases)
    own = cycle[int(phases[-1])]
    against = [bench.end if method == "auto-keep-basin" else cycle[int(phase)] for phase in phases[1:]]
    errors = [bench.distance(x, end) for x, end in zip(states, against, strict=True)]
    away = bench.distance(cycle.get(0, own), bench.end) if bench.arrived else None
    other = "its own: the direct run is not there yet" if away is None else f"other: {away:.3g} K away"
    found = {
        "method": method,
        "start": f"year {year}" if year else "rest",
        "equilibrium": "direct" if away is not None and away < 0.05 else other,
        "distance_to_direct": None if away is None else round(away, 4),
        "moved_when_continued": round(moved, 5),
        "continued_years": bench.continued,
        "stable": bool(moved < STABLE),
        "diagnostics": {name: float(f"{value:.5g}") for name, value in bench.model.diagnose(later).items()},
        "model_years": float(f"{years[-1]:.4g}") if years else 0.0,
        "model_years_to": bench.years_to(years, states, against),
        "least_error": float(f"{min(errors):.4g}") if errors else None,
        "last_error": float(f"{errors[-1]:.4g}") if errors else None,
    }
    if seconds is not None:
        found["wall_seconds_to"] = bench.years_to(seconds, states, against)
        found["direct_wall_seconds_a_year"] = float(f"{direct_seconds:.4g}")
    return found, cycle


def direct_row(bench: Bench) -> dict[str, Any]:
    """Direct integration itself, from rest."""
    years = [float(y) for y in bench.direct.model_years.values]
    states = [bench.vector(bench.direct, i) for i in range(len(years))]
    before = [bench.vector(bench.direct, 0, "_before"), *states[:-1]]
    distances = [bench.distance(x, bench.end) for x in before]
    ratios = [
        float(e) / distance
        for e, distance in zip(bench.direct.error_estimate.values, distances, strict=True)
        if bench.arrived and np.isfinite(e) and distance > 0.01
    ]
    return {
        "date": bench.header["created"][:10],
        "git": bench.header["git"],
        "method": "direct",
        "start": "rest",
        "equilibrium": "direct" if bench.arrived else "not there yet",
        "distance_to_direct": 0.0,
        "model_years": years[-1],
        "model_years_to": bench.years_to(years, states, [bench.end] * len(states)) if bench.arrived else None,
        "evaluations": len(years),
        "wall_seconds": round(float(bench.direct.wall_seconds.sum()), 1),
        "estimate_over_truth": [round(q, 3) for q in ratios],
    }


def keep_thinned(bench: Bench, file: Path) -> None:
    """Some evaluations of the direct run for reports, unless they are there, or those of a longer run."""
    if file.exists():
        before = open_thinned(file)
        same = json.loads(before.attrs["header"])["created"] == bench.header["created"]
        longer = float(bench.direct.model_years[-1] - before.model_years[-1])
        if longer < 0 or (same and longer == 0):
            return
    kept = sorted({round(float(y)) - 1 for y in np.geomspace(1, bench.direct.sizes["evaluation"], KEPT)})
    thinned(bench.folder / f"{bench.case.name}-direct", kept, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case")
    parser.add_argument("--short", action="store_true", help="60 direct years, two methods, one start")
    parser.add_argument("--direct-years", type=int, default=2500, help="of the direct run that is the reference")
    parser.add_argument("--continued", type=int, default=40, help="direct years that the end of a run is judged by")
    parser.add_argument("--mean-years", type=int, default=1000, help="direct years that a mean state is judged by")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks"), help="where the runs go")
    parser.add_argument("--results", type=Path, help="where the results go (default: benchmarks/results)")
    parser.add_argument("--methods", nargs="*", help="default: all that suit the case")
    parser.add_argument("--starts", nargs="*", type=int, default=[0, 10, 30, 100])
    options = parser.parse_args()
    own = ("direct", *tracers.METHODS) if options.case in tracers.EQUILIBRIA else METHODS
    if unknown := [method for method in options.methods or () if method not in {*own, *PEERS}]:
        parser.error(f"{options.case} has no method {', '.join(unknown)}; known: {', '.join((*own, *PEERS))}")
    folder = options.results or (options.folder if options.short else RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{options.case}.json"
    if options.case in tracers.EQUILIBRIA:
        tracers.main(options, file)
    else:
        circulation(options, file)


def circulation(options: argparse.Namespace, file: Path) -> None:
    """The rows of a case with a circulation into `file`."""
    if options.short:
        options.methods, options.starts = ["auto", "scipy.optimize.anderson"], [10]
    order, years = [*METHODS, *PEERS], 60 if options.short else options.direct_years
    kept = file.with_name(f"{options.case}-direct{THINNED}")
    bench = Bench(options.case, options.folder, years, options.continued, options.mean_years, kept)
    stamp = {"date": time.strftime("%Y-%m-%d"), "git": git_state(bench.case.file)}
    if bench.whole:
        record(file, options.case, [direct_row(bench)], stamp, order)
        if bench.arrived:
            keep_thinned(bench, kept)
    else:
        print(f"the direct run is not in {options.folder}: its end is that of {kept}")
    for method in installed(order if options.methods is None else options.methods):
        for year in options.starts:
            found = (peer if method in PEERS else row)(bench, method, year)
            print(json.dumps(found), flush=True)
            record(file, options.case, [found], stamp, order)


if __name__ == "__main__":
    main()
