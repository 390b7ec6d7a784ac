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
from spinup.patch import Patch
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


def step_operator(
    layout: Layout,
    respond: Callable[[State, Any], tuple[Any, Coefficients]],
    implicit_of: Callable[[Coefficients], Sparse],
    state: State,
    *,
    steps: int,
    patch: Patch,
) -> tuple[StepOperator, Coefficients]:
    """M (J - I) of the layout's variables at `state`, and the model's coefficients there.

    On several ranks each perturbs and reads its own cells, and has their rows; the colours are those of the whole grid.

    respond(state, perturbations) gives, for perturbations (m, variables, nz, ny, nx) of the accelerated variables,
    the change of those variables after a step, of the same shape; and coefficients of the unperturbed step.
    implicit_of: from these M of one variable on the whole grid, (cells, cells); the same for all.

    Raises ModelFailure where the step does not return finite numbers.
    """
    names = [v.name for v in layout.variables]
    shape, dims = layout.variables[0].shape, layout.variables[0].dims
    reached = stencil(patch.whole(shape, dims), cyclic=patch.closed["xt"])
    colours = patch.mine(reached.colours, dims)
    numbers = layout.unpack(np.arange(layout.size), fill=-1)
    first, number_of_all = patch.first(layout.size)

    def neighbours(block: np.ndarray) -> Callable[[tuple[int, ...]], np.ndarray]:
        """Of integers on the grid, those of the neighbours at an offset, flat; -1 beyond the grid."""
        levels = (LEVELS_REACHED, LEVELS_REACHED)
        wide = np.pad(patch.around(block, dims, -1), (levels, (0, 0), (0, 0)), constant_values=-1)
        margins = (LEVELS_REACHED, patch.width, patch.width)

        def at(offset: tuple[int, ...]) -> np.ndarray:
            starts = [margin + o for margin, o in zip(margins, offset, strict=True)]
            return wide[tuple(slice(a, a + n) for a, n in zip(starts, shape, strict=True))].ravel()

        return at

    colour_at = neighbours(colours)
    number_at = {n: neighbours(np.where(own >= 0, own + first, -1)) for n, own in numbers.items()}
    cell = np.arange(colours.size)
    rows, columns, entries = [], [], []
    implicit: Sparse = None
    coefficients: Coefficients = {}
    for index, v in enumerate(layout.variables):
        size = PERTURBATION * v.scale
        perturbations = np.zeros((reached.number, len(names), *shape))
        for colour in range(reached.number):
            perturbations[colour, index] = ((colours == colour) & v.mask) * size
        changes, coefficients = respond(state, perturbations)
        response = np.asarray(changes) / size
        finite = bool(np.isfinite(response).all())
        if not patch.all(finite):
            raise ModelFailure(f"the perturbed steps of {v.name} are not finite")
        implicit = implicit_of(coefficients)
        for target, name in enumerate(names):
            answers = implicit @ response[:, target].reshape(reached.number, -1).T  # (cells, colours)
            row = numbers[name].ravel()
            for offset in reached.offsets:
                column = number_at[v.name](offset)
                a = answers[cell, np.maximum(colour_at(offset), 0)]
                keep = (row >= 0) & (column >= 0) & (np.abs(a) > NEGLIGIBLE)
                rows.append(row[keep])
                columns.append(column[keep])
                entries.append(a[keep])
    n = layout.size
    where = (np.concatenate(rows), np.concatenate(columns))
    jacobian = csr_array(coo_array((np.concatenate(entries), where), shape=(n, number_of_all)))
    ocean = [np.flatnonzero(v.mask.ravel()) for v in layout.variables]
    own = csr_array(block_diag([implicit[o][:, o] for o in ocean]))
    left = csr_array((own.data, own.indices + first, own.indptr), shape=(n, number_of_all))
    return StepOperator(patch.rows(csr_array(jacobian - left)), steps, patch.rows(left)), coefficients


def probes(layout: Layout, patch: Patch) -> int:
    """How many time steps `step_operator` costs."""
    v = layout.variables[0]
    return len(layout.variables) * stencil(patch.whole(v.shape, v.dims), cyclic=patch.closed["xt"]).number + 1


def vertical_mixing(grid: CGrid, diffusivity: np.ndarray, dt: float) -> Sparse:
    """The matrix of an implicit step of vertical diffusion on the whole grid, (cells, cells).

    diffusivity: at the top of tracer cells, (nz, ny, nx), m2 s-1. dt: s.
    """
    return (grid.one - grid.vertical_diffusion(grid.mask, diffusivity, dt)).tocsr()
