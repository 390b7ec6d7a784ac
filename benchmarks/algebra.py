"""Time and memory of what an operator's linear systems are solved with, against the number of unknowns.

    python -m benchmarks.algebra                         # an hour; results/algebra.json, kept rows stay
    python -m benchmarks.algebra tracer 124x60 levels    # one row

Operators of a synthetic global ocean (benchmarks/basin.py), of its tracers alone and extended by the circulation, and
that of the case `acc`, extended. What is factorised, or lumped, is the operator at a rate of decay s of 1/20 a year.
Solved with it, by flexible GMRES to 1e-6 of the right side, are that system and the one without decay, which shows what
it is worth as a preconditioner. LU factors are worth as much as any; the others are to come near, for less memory.
Every row is a process of its own.
"""

import ctypes
import gc
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import spinup
from benchmarks.basin import basin
from benchmarks.record import write_rows
from solvers import StepOperator, lumping
from solvers.chain_factors import chain_bytes, chain_factors, scaling
from solvers.factors import Factors, levels_that_fit, refined
from solvers.layered_multigrid import layered_factors
from solvers.lumping import lumped_levels
from solvers.memory import usable
from solvers.petsc_factors import PetscFactors, options_given, petsc_solve, row_scale
from solvers.sparse_lu import superlu_factors, umfpack_factors
from solvers.tendency import extended_matrix

RESULTS = Path(__file__).parent / "results" / "algebra.json"
GRIDS = ("40x19", "68x33", "124x60", "214x104", "392x190")
RATE, TOLERANCE = 1 / 20, 1e-6
LIMIT_S = 900  # of a row
AIR = (
    "-pc_type hypre -pc_hypre_boomeramg_restriction_type 1 -pc_hypre_boomeramg_grid_relax_type_all Jacobi "
    "-pc_hypre_boomeramg_strong_threshold 0.25 -pc_hypre_boomeramg_postrelax FFC -pc_hypre_boomeramg_coarsen_type PMIS"
)
PETSC = {
    "mumps": "",
    "levels": "",
    "two-levels": "",
    "superlu_dist": "-pc_type lu -pc_factor_mat_solver_type superlu_dist",
    "hypre": "-pc_type hypre",
    "hypre-air": AIR,
    "gamg": "-pc_type gamg -pc_gamg_agg_nsmooths 0 -mg_levels_ksp_type richardson -mg_levels_ksp_max_it 1 "
    "-mg_levels_pc_type ilu",
    "ilu": "-pc_type ilu",
}
CHOICES = {
    "tracer": {
        "levels": GRIDS,
        "two-levels": GRIDS[:4],
        "mumps": GRIDS[:4],
        "superlu_dist": GRIDS[:2],
        "umfpack": GRIDS[:3],
        "superlu": GRIDS[:2],
        "hypre": GRIDS[:4],
        "hypre-air": GRIDS,
        "gamg": GRIDS[:4],
        "ilu": GRIDS[:4],
    },
    "acc": dict.fromkeys(("superlu", "umfpack", "chain", "mumps"), ("30x42",)),
    "extended": {"mumps": GRIDS[:3], "chain": GRIDS[:3], "umfpack": GRIDS[:1], "layers": GRIDS[:4]},
}


def measured(kind: str, grid: str, choice: str) -> dict[str, Any]:
    """One row."""
    operator = of_acc() if kind == "acc" else basin(*map(int, grid.split("x")), border=kind == "extended")
    own, other = (extended_matrix(operator, rate) for rate in (RATE, 0.0))
    r = some_residual(operator)
    right = np.concatenate([operator.left @ r, np.zeros(own.shape[0] - len(r))])
    row = {"operator": kind, "grid": grid, "choice": choice, "cells": len(r), "unknowns": len(right)}
    row["entries"] = own.nnz
    if choice in PETSC:
        from petsc4py import PETSc  # its memory, and its time, are of the process

        PETSc.Sys.getDefaultComm()
    before = memory_now()
    began = time.perf_counter()
    solve = _by_petsc(operator, own, choice) if choice in PETSC else _by_scipy(operator, own, choice)
    row |= {"setup_s": time.perf_counter() - began, "held_mb": memory_now() - before}
    for name, matrix in (("own", own), ("other", other)):
        began = time.perf_counter()
        x, iterations = solve(matrix, right)
        row |= {f"{name}_s": time.perf_counter() - began, f"{name}_iterations": iterations}
        if x is None:
            row[f"{name}_iterations"] = None
    return row


def of_acc() -> StepOperator:
    """The extended operator of a real map, the case `acc` as bundled with Veros, after a year from rest."""
    model = spinup.load_case("acc").build()
    return model.operator(model.evaluate(model.start()), border=True)


def some_residual(operator: StepOperator) -> np.ndarray:
    """Waves that fade with depth, and noise, (n,)."""
    cells = operator.cells
    assert cells is not None
    east, north, up = (of / (of.max() + 1) for of in (cells.column, cells.row, cells.kind))
    smooth = np.sin(6 * np.pi * east) * np.cos(9 * north) * np.exp(4 * (up - 1))
    return smooth + 0.1 * np.random.default_rng(0).standard_normal(len(smooth))


def _by_petsc(operator: StepOperator, own: Any, choice: str) -> Any:
    from petsc4py import PETSc
    from scipy.sparse import csr_array, diags_array

    levels: Sequence[Any] = ()
    scale = row_scale(own)
    if operator.border is None:
        cells = operator.cells
        assert cells is not None
        scale = cells.size / cells.size.max()
        if choice in ("levels", "two-levels"):
            lumping.DEEPEST = 1 if choice == "two-levels" else lumping.DEEPEST
            levels = list(lumped_levels(cells))
    with options_given(PETSC[choice]):
        factors = PetscFactors(csr_array(diags_array(scale) @ own), PETSc.COMM_SELF, levels)

    def solve(matrix: Any, right: np.ndarray) -> tuple[np.ndarray | None, int]:
        x = factors.solve(csr_array(diags_array(scale) @ matrix), scale * right, TOLERANCE)
        return x, factors.iterations

    return solve


def _by_scipy(operator: StepOperator, own: Any, choice: str) -> Any:
    made = {"umfpack": umfpack_factors, "superlu": superlu_factors}
    dimension = 300
    if choice in made:
        factors = Factors(made[choice](own), dimension)
    else:
        border = operator.border
        assert border is not None
        assert border.chain is not None
        assert border.layers is not None
        if choice == "chain":
            if chain_bytes(border.chain) > usable():
                raise MemoryError("the chain's factors do not fit")
            factors = Factors(chain_factors(own, border.chain), dimension)
        else:
            levels = levels_that_fit(border.chain, border.layers, usable())
            factors = Factors(layered_factors(own, border.layers, levels, lambda m, _: petsc_solve(m)), dimension)
    rows, _ = scaling(own)

    def solve(matrix: Any, right: np.ndarray) -> tuple[np.ndarray | None, int]:
        count = 0

        def counted(b: np.ndarray) -> np.ndarray:
            nonlocal count
            count += 1
            return factors(b)

        return refined(matrix, Factors(counted, dimension), right, TOLERANCE, rows), count

    return solve


def memory_now() -> float:
    """MB of this process, of what it no longer needs as little as can be."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return process_mb("VmRSS")


def process_mb(name: str) -> float:
    """MB that Linux says of this process: VmRSS or VmHWM, its peak."""
    with Path("/proc/self/status").open() as file:
        return int(next(line for line in file if line.startswith(name)).split()[1]) / 1024


def main(arguments: list[str]) -> None:
    if len(arguments) == 4 and arguments[0] == "--row":
        print(json.dumps(measured(*arguments[1:])))
        return
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    for kind, choices in CHOICES.items():
        for choice, grids in choices.items():
            for grid in grids:
                if any(wanted not in (kind, grid, choice) for wanted in arguments):
                    continue
                row = _row(kind, grid, choice)
                print(json.dumps(row), flush=True)
                key = kind, grid, choice
                rest = [r for r in rows if (r["operator"], r["grid"], r["choice"]) != key]
                rows = [*rest, row]
                write_rows(RESULTS, rows)


def _row(kind: str, grid: str, choice: str) -> dict[str, Any]:
    """Measured in a process of its own; where that ends in an error, or takes too long, it says so."""
    row: dict[str, Any] = {"operator": kind, "grid": grid, "choice": choice}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.algebra", "--row", kind, grid, choice]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return row | {"failed": f"longer than {LIMIT_S} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return row | {"failed": lines[-1] if lines else f"exit code {done.returncode}"}
    return json.loads(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main(sys.argv[1:])
