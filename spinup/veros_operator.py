"""The sparse Jacobian of one Veros time step of the tracers, by coloured probing.

The step ends with an implicit vertical mixing, M x_new = explicit part, which couples a whole column. Times M the
response to a perturbation is local: a cell answers to its own column and the four next to it, two levels up and down.
By colours (see `spinup.stencil`) 5 x 5 x (tracers) perturbed steps, or a few more where a cyclic grid does not close,
give every column of M J. The step is taken with forward Euler in place of Adams-Bashforth, whose memory is no part of
the state's slow life, and one-sided.
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
from spinup.stencil import Stencil, wrap

Coefficients = dict[str, Any]  # fields (nz, ny, nx) by name

LEVELS_REACHED = 2  # up and down, of the response times M
PERTURBATION = 1e-4  # in units of the variable's scale
NEGLIGIBLE = 3e-10  # entries below are rounding of the difference quotient
FORWARD_EULER = -0.5  # Adams-Bashforth's epsilon that makes its weights 1 and 0


@lru_cache(maxsize=4)
def stencil(shape: tuple[int, ...], *, cyclic: bool) -> Stencil:
    """Where the cells are, from a cell, that it answers to in a step: its own column and the four next to it."""
    columns = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
    if cyclic:  # a narrow grid has the same neighbour twice
        columns = list(dict.fromkeys((dj, int(wrap(np.array(di), shape[2]))) for dj, di in columns))
    levels = range(-LEVELS_REACHED, LEVELS_REACHED + 1)
    offsets = tuple((dk, dj, di) for dj, di in columns for dk in levels)
    return Stencil(shape, offsets, cyclic=(False, False, cyclic), full=(False, False, False))


@lru_cache(maxsize=4)
def sources(shape: tuple[int, ...], *, cyclic: bool) -> list[np.ndarray]:
    """For each colour, and each cell of the flat grid, the flat index of the one of this colour that reaches it, -1
    where there is none: the same for every operator on the grid."""
    reached = stencil(shape, cyclic=cyclic)
    colours = reached.colours.ravel()
    found = np.full((reached.number, colours.size), -1)
    for source in reached.sources():
        cell = np.flatnonzero(source >= 0)
        found[colours[source[cell]], cell] = source[cell]
    return list(found)


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
    cells = layout.unpack(np.arange(layout.size), fill=-1)
    shape = layout.variables[0].shape
    colours = stencil(shape, cyclic=cyclic).colours
    origins = sources(shape, cyclic=cyclic)
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
    return len(layout.variables) * stencil(layout.variables[0].shape, cyclic=cyclic).number + 1


def vertical_mixing(grid: CGrid, diffusivity: np.ndarray, dt: float) -> Sparse:
    """The matrix of an implicit step of vertical diffusion on the whole grid, (cells, cells).

    diffusivity: at the top of tracer cells, (nz, ny, nx), m2 s-1. dt: s.
    """
    return (grid.one - grid.vertical_diffusion(grid.mask, diffusivity, dt)).tocsr()
