"""The sparse Jacobian of one Veros time step of the tracers, by coloured probing.

The step ends with an implicit vertical mixing, M x_new = explicit part, which couples a whole column. Times M the
response to a perturbation is local: the cells one step away in each horizontal direction, and two levels up and down.
Cells farther apart than that share a colour, so 3 x 3 x 5 x (tracers) perturbed steps give every column of M J: A. R.
Curtis, M. J. D. Powell, J. K. Reid, J. Inst. Maths Applics 13 (1974), 117-119. The step is taken with forward Euler in
place of Adams-Bashforth, whose memory is no part of the state's slow life, and one-sided.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.sparse import block_diag, coo_array, csr_array

from solvers import StepOperator
from spinup.circulation import CGrid, Sparse
from spinup.errors import ModelFailure
from spinup.state import Layout, State

Coefficients = dict[str, Any]  # fields (nz, ny, nx) by name

REACH = 1  # cells, in each horizontal direction
LEVELS_REACHED = 2  # up and down, of the response times M
PERTURBATION = 1e-4  # in units of the variable's scale
NEGLIGIBLE = 3e-10  # entries below are rounding of the difference quotient
BATCH = 15  # perturbed steps done at once
FORWARD_EULER = -0.5  # Adams-Bashforth's epsilon that makes its weights 1 and 0


def colour_grid(shape: tuple[int, ...], *, cyclic: bool) -> np.ndarray:
    """The colour of every cell, (nz, ny, nx) integers from 0: no cell is reached by two of one colour."""
    nz, ny, nx = shape
    wide = 2 * REACH + 1
    around = next(p for p in range(wide, nx + 1) if nx % p == 0) if cyclic else wide
    tall = min(2 * LEVELS_REACHED + 1, nz)
    k, j, i = np.meshgrid(np.arange(nz) % tall, np.arange(ny) % wide, np.arange(nx) % around, indexing="ij")
    return np.unique((k * wide + j) * around + i, return_inverse=True)[1].reshape(shape)


@lru_cache(maxsize=4)
def reached(shape: tuple[int, ...], *, cyclic: bool) -> list[np.ndarray]:
    """`sources` of every colour of the grid, flat: the same for every operator on it."""
    colours = colour_grid(shape, cyclic=cyclic)
    return [sources(colours, colour, cyclic=cyclic).ravel() for colour in range(colours.max() + 1)]


def sources(colours: np.ndarray, colour: int, *, cyclic: bool) -> np.ndarray:
    """For each cell (nz, ny, nx) the flat index of the one of this colour that reaches it, -1 where there is none."""
    found = np.full(colours.shape, -1)
    index = np.arange(colours.size).reshape(colours.shape)
    k, j, i = np.meshgrid(*(np.arange(n) for n in colours.shape), indexing="ij")
    nz, ny, nx = colours.shape
    for dk in range(-LEVELS_REACHED, LEVELS_REACHED + 1):
        for dj in range(-REACH, REACH + 1):
            for di in range(-REACH, REACH + 1):
                kk, jj, ii = k + dk, j + dj, i + di
                inside = (kk >= 0) & (kk < nz) & (jj >= 0) & (jj < ny) & (cyclic | ((ii >= 0) & (ii < nx)))
                at = (np.clip(kk, 0, nz - 1), np.clip(jj, 0, ny - 1), ii % nx)
                hit = inside & (colours[at] == colour)
                found[hit] = index[at][hit]
    return found


def step_operator(
    layout: Layout,
    respond: Callable[[State, Any], tuple[Any, Coefficients]],
    implicit_of: Callable[[Coefficients], Sparse],
    state: State,
    *,
    steps: int,
    cyclic: bool,
) -> tuple[StepOperator, Coefficients]:
    """M (J - I) of the layout's variables at `state`, and the model's coefficients there.

    respond(state, perturbations) gives, for perturbations (m, variables, nz, ny, nx) of the accelerated variables,
    the change of those variables after a step, of the same shape; and coefficients of the unperturbed step.
    implicit_of: from these M of one variable on the whole grid, (cells, cells); the same for all.

    Raises ModelFailure where the step does not return finite numbers.
    """
    names = [v.name for v in layout.variables]
    cells = {n: _numbers(layout, n) for n in names}
    shape = layout.variables[0].shape
    colours = colour_grid(shape, cyclic=cyclic)
    origins = reached(shape, cyclic=cyclic)
    rows, columns, entries = [], [], []
    implicit: Sparse = None
    coefficients: Coefficients = {}
    for index, v in enumerate(layout.variables):
        size = PERTURBATION * v.scale
        perturbations = np.zeros((len(origins), len(names), *shape))
        for colour in range(len(origins)):
            perturbations[colour, index] = ((colours == colour) & v.mask) * size
        changes, coefficients = respond(state, perturbations)
        response = np.asarray(changes) / size
        if not np.isfinite(response).all():
            raise ModelFailure(f"the perturbed steps of {v.name} are not finite")
        implicit = implicit_of(coefficients)
        for source, answer in zip(origins, response, strict=True):
            column = np.where(source >= 0, cells[v.name].ravel()[np.maximum(source, 0)], -1)
            for target, name in enumerate(names):
                row, a = cells[name].ravel(), implicit @ answer[target].ravel()
                keep = (row >= 0) & (column >= 0) & (np.abs(a) > NEGLIGIBLE)
                rows.append(row[keep])
                columns.append(column[keep])
                entries.append(a[keep])
    n = layout.size
    where = (np.concatenate(rows), np.concatenate(columns))
    jacobian = csr_array(coo_array((np.concatenate(entries), where), shape=(n, n)))
    ocean = [np.flatnonzero(v.mask.ravel()) for v in layout.variables]
    left = csr_array(block_diag([implicit[o][:, o] for o in ocean]))
    return StepOperator(csr_array(jacobian - left), steps, left), coefficients


def probes(layout: Layout, *, cyclic: bool) -> int:
    """How many time steps `step_operator` costs."""
    return len(layout.variables) * int(colour_grid(layout.variables[0].shape, cyclic=cyclic).max() + 1) + 1


def vertical_mixing(grid: CGrid, diffusivity: np.ndarray, dt: float) -> Sparse:
    """The matrix of an implicit step of vertical diffusion on the whole grid, (cells, cells).

    diffusivity: at the top of tracer cells, (nz, ny, nx), m2 s-1. dt: s.
    """
    return (grid.one - grid.vertical_diffusion(grid.mask, diffusivity, dt)).tocsr()


def _numbers(layout: Layout, name: str) -> np.ndarray:
    """Index in the vector of every cell of a variable, (nz, ny, nx); -1 on land."""
    v = next(v for v in layout.variables if v.name == name)
    found = np.full(v.shape, -1)
    part = layout.slices[name]
    found[v.mask] = np.arange(part.start, part.stop)
    return found
