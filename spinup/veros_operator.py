"""The sparse Jacobian of one Veros time step of the tracers, by coloured probing.

A tracer cell reaches, in one step, the cells one step away in each horizontal direction and its whole column
(implicit vertical mixing). Cells three apart never reach the same cell, so 3 x 3 x (levels) x (tracers) perturbed
steps give every column of the Jacobian: A. R. Curtis, M. J. D. Powell, J. K. Reid, J. Inst. Maths Applics 13 (1974),
117-119. The step is taken with forward Euler in place of Adams-Bashforth, whose memory is no part of the state's slow
life, and one-sided.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csc_array, eye_array

from solvers import StepOperator
from spinup.errors import ModelFailure
from spinup.state import Layout, State

REACH = 1  # cells, in each horizontal direction
PERTURBATION = 1e-4  # in units of the variable's scale
NEGLIGIBLE = 3e-10  # entries below are rounding of the difference quotient
BATCH = 15  # perturbed steps done at once
FORWARD_EULER = -0.5  # Adams-Bashforth's epsilon that makes its weights 1 and 0


def colours(layout: Layout, *, cyclic: bool) -> list[np.ndarray]:
    """Masks (nz, ny, nx) of the cells perturbed together, for each level and horizontal colour of the grid."""
    nz, ny, nx = layout.variables[0].shape
    period = 2 * REACH + 1
    around = next(p for p in range(period, nx + 1) if nx % p == 0) if cyclic else period
    j, i = np.meshgrid(np.arange(ny) % period, np.arange(nx) % around, indexing="ij")
    found = []
    for b in range(period):
        for a in range(around):
            for k in range(nz):
                colour = np.zeros((nz, ny, nx), dtype=bool)
                colour[k] = (j == b) & (i == a)
                found.append(colour)
    return found


def sources(colour: np.ndarray, *, cyclic: bool) -> np.ndarray:
    """For each column (ny, nx) the flat index (z, y, x) of the cell of this colour that reaches it, -1 where none."""
    _, ny, nx = colour.shape
    k = int(np.flatnonzero(colour.any(axis=(1, 2)))[0])
    j, i = np.meshgrid(np.arange(ny), np.arange(nx), indexing="ij")
    found = np.full((ny, nx), -1)
    for dj in range(-REACH, REACH + 1):
        for di in range(-REACH, REACH + 1):
            jj, ii = j + dj, i + di
            inside = (jj >= 0) & (jj < ny) & (cyclic | ((ii >= 0) & (ii < nx)))
            jj, ii = np.clip(jj, 0, ny - 1), ii % nx
            hit = inside & colour[k, jj, ii]
            found[hit] = ((k * ny + jj) * nx + ii)[hit]
    return found


def step_operator(
    layout: Layout, respond: Callable[[State, Any], Any], state: State, *, steps: int, cyclic: bool
) -> StepOperator:
    """A = J - I of the layout's variables at `state`.

    respond(state, perturbations) gives, for perturbations (m, variables, nz, ny, nx) of the accelerated variables,
    the change of those variables after a step, of the same shape.

    Raises ModelFailure where the step does not return finite numbers.
    """
    names = [v.name for v in layout.variables]
    cells = {n: _numbers(layout, n) for n in names}
    seeds = colours(layout, cyclic=cyclic)
    rows, columns, entries = [], [], []
    for index, v in enumerate(layout.variables):
        size = PERTURBATION * v.scale
        shape = (len(seeds), len(names), *v.shape)
        perturbations = np.zeros(shape)
        perturbations[:, index] = np.stack(seeds) * v.mask * size
        response = np.asarray(respond(state, perturbations)) / size
        if not np.isfinite(response).all():
            raise ModelFailure(f"the perturbed steps of {v.name} are not finite")
        for colour, answer in zip(seeds, response, strict=True):
            source = sources(colour, cyclic=cyclic)
            column = np.where(source >= 0, cells[v.name].ravel()[np.maximum(source, 0)], -1)
            for target, name in enumerate(names):
                row, a = cells[name], answer[target]
                from_cell = np.broadcast_to(column, row.shape)
                keep = (row >= 0) & (from_cell >= 0) & (np.abs(a) > NEGLIGIBLE)
                rows.append(row[keep])
                columns.append(from_cell[keep])
                entries.append(a[keep])
    n = layout.size
    where = (np.concatenate(rows), np.concatenate(columns))
    jacobian = csc_array(coo_array((np.concatenate(entries), where), shape=(n, n)))
    return StepOperator(csc_array(jacobian - eye_array(n)), steps)


def probes(layout: Layout, *, cyclic: bool) -> int:
    """How many time steps `step_operator` costs."""
    return len(layout.variables) * (len(colours(layout, cyclic=cyclic)) + 1)


def _numbers(layout: Layout, name: str) -> np.ndarray:
    """Index in the vector of every cell of a variable, (nz, ny, nx); -1 on land."""
    v = next(v for v in layout.variables if v.name == name)
    found = np.full(v.shape, -1)
    part = layout.slices[name]
    found[v.mask] = np.arange(part.start, part.stop)
    return found
