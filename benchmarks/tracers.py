"""Model years to a relative error of the tracer cases, whose equilibria are known to rounding.

    python -m benchmarks ideal-age
    python -m benchmarks phosphorus

The error of a state is the rms distance of a tracer to its equilibrium over the tracer's own rms, the largest of all.
All start where the case does. The equilibria are found by none of the methods: that of ideal age by the case (sparse LU
of I - J), that of phosphorus in benchmarks/phosphorus_equilibrium.py. Direct integration is run until the smallest
level is reached. An evaluation counts as a model year, and its state as one that the run went through, also where a
method only measures a derivative by it: the estimate of such a state's error means little. The relative change of a
conserved total is that of the last state. What a solver of another library asks for is put within the bounds of the
variables, which changes a total; spinup's own methods put it back.
"""

import json
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import spinup
from benchmarks.measure import installed, searched, years_until_below
from benchmarks.peers import PEERS
from benchmarks.phosphorus_equilibrium import equilibrium
from benchmarks.record import record
from cases import ideal_age
from solvers.error_estimate import forget_inverse
from solvers.sparse_lu import sparse_factors
from spinup.conserve import totals
from spinup.provenance import git_state

EQUILIBRIA: dict[str, Callable[[], dict[str, np.ndarray]]] = {"ideal-age": ideal_age.exact, "phosphorus": equilibrium}
LEVELS = ("1e-1", "1e-2", "1e-3", "1e-4", "1e-5", "1e-6")
TIGHT = {"ideal-age": 1e-6, "phosphorus": 1e-9}  # years and mmol m-3 per model year, drift at which a run ends
YEARS = 500  # of a run, and evaluations of a peer
DIRECT_YEARS = 30_000  # at most
METHODS = ("auto", "newton", "ptc", "anderson", "ngmres", "extrapolation")
#: CasADi looks at the pattern of a dense Jacobian first, which takes longer than all the others together.
SLOW = ("casadi.kinsol",)
START = "the case's"


@dataclass
class Tracer:
    """A case, its map on the solver's vector, and where it should end."""

    case: spinup.Case
    exact: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        self.model = self.case.build()
        self.layout = self.model.layout
        self.end = self.layout.pack(self.exact)
        self.x0 = self.layout.pack(self.model.fields(self.model.start()))
        self.model.prepare()

    def T(self, x: np.ndarray) -> np.ndarray:
        """The vector, (n,), a year later; x is first put within the bounds of its variables."""
        x = x if self.layout.bounds is None else np.clip(x, *self.layout.bounds)
        after = self.model.evaluate(self.model.replace(self.model.start(), self.layout.unpack(x)))
        return self.layout.pack(self.model.fields(after))

    def error(self, x: np.ndarray) -> float:
        """The largest of the tracers' relative rms errors."""
        apart, size = self.layout.rms(x - self.end), self.layout.rms(self.end)
        return max(apart[name] / size[name] for name in apart)

    def totals(self, x: np.ndarray) -> np.ndarray:
        """Content of each conserved group, (groups,)."""
        return np.array(totals(self.layout, self.model.conserved, x))

    def found(self, method: str, states: Sequence[np.ndarray], years: Sequence[float]) -> dict[str, Any]:
        """What a row says of the states of a run."""
        errors, before = [self.error(x) for x in states], self.totals(self.x0)
        change = np.abs(self.totals(states[-1]) / before - 1) if len(states) else np.zeros(0)
        return {
            "method": method,
            "start": START,
            "equilibrium": "exact",
            "model_years": float(years[-1]) if len(years) else 0.0,
            "model_years_to": {level: years_until_below(years, errors, float(level)) for level in LEVELS},
            "least_error": float(f"{min(errors):.3g}") if errors else None,
            "last_error": float(f"{errors[-1]:.3g}") if errors else None,
            **({"total_change": float(f"{change.max():.2g}")} if change.size else {}),
        }


def own_row(tracer: Tracer, method: str, folder: Path) -> dict[str, Any]:
    """One method of spinup's. Sparse LU factorisations are all that the run did, those for its estimates among them."""
    out = folder / f"{tracer.case.name}-{method}-{time.time_ns()}"
    tolerance = TIGHT.get(tracer.case.name, tracer.case.tolerance)
    forget_inverse()  # which another row may have left
    began = time.perf_counter()
    with patch("solvers.factors.sparse_factors", wraps=sparse_factors) as factorised:
        result = spinup.run(tracer.case, out=out, method=method, start_periods=0, budget=YEARS, tolerance=tolerance)
    wall, run = time.perf_counter() - began, spinup.open(out, verify=False)
    names = [v.name for v in tracer.layout.variables]
    fields, before = ({n: run[n + suffix].values for n in names} for suffix in ("", "_before"))
    states = [tracer.layout.pack({n: fields[n][i] for n in names}) for i in range(result.evaluations)]
    distances = [
        tracer.layout.inner.norm(tracer.layout.pack({n: before[n][i] for n in names}) - tracer.end)
        for i in range(result.evaluations)
    ]
    ratios = [
        float(f"{estimate / distance:.3g}")
        for estimate, distance in zip(run.error_estimate.values, distances, strict=True)
        if np.isfinite(estimate)
    ]
    return tracer.found(method, states, [float(y) for y in run.model_years.values]) | {
        "outcome": result.outcome.value,
        "evaluations": result.evaluations,
        "factorisations": factorised.call_count,
        "wall_seconds": round(wall, 1),
        "estimate_over_truth": ratios,
    }


def peer_row(tracer: Tracer, method: str) -> dict[str, Any]:
    """Another library's."""
    outcome, states, wall = searched(method, tracer.T, tracer.x0, YEARS)
    return tracer.found(method, states, [float(i + 1) for i in range(len(states))]) | {
        "outcome": outcome,
        "evaluations": len(states),
        "wall_seconds": round(wall, 1),
    }


def direct_row(tracer: Tracer) -> dict[str, Any]:
    """Direct integration until the smallest level is reached; of its states only the errors and the last are kept."""
    smallest = min(float(level) for level in LEVELS)
    x, errors, began = tracer.x0, [np.inf], time.perf_counter()
    while errors[-1] > smallest and len(errors) <= DIRECT_YEARS:
        x = tracer.T(x)
        errors.append(tracer.error(x))
    wall, years = time.perf_counter() - began, [float(i + 1) for i in range(len(errors) - 1)]
    found = tracer.found("direct", [x], years[-1:])
    found["model_years_to"] = {level: years_until_below(years, errors[1:], float(level)) for level in LEVELS}
    return found | {
        "outcome": "converged" if errors[-1] <= smallest else "budget",
        "evaluations": len(years),
        "wall_seconds": round(wall, 1),
    }


def main(options: Namespace, file: Path) -> None:
    """The rows of a tracer case into `file`."""
    case = spinup.load_case(options.case)
    tracer = Tracer(case, EQUILIBRIA[options.case]())
    wanted = ["direct", *METHODS, *(peer for peer in PEERS if peer not in SLOW)]
    if options.short:
        wanted = ["auto", "scipy.optimize.anderson"]
    stamp = {"date": time.strftime("%Y-%m-%d"), "git": git_state(case.file)}
    for method in installed(wanted if options.methods is None else options.methods):
        if method == "direct":
            row = direct_row(tracer)
        else:
            row = peer_row(tracer, method) if method in PEERS else own_row(tracer, method, options.folder)
        print(json.dumps(row), flush=True)
        record(file, options.case, [row], stamp, [*METHODS, *PEERS])
