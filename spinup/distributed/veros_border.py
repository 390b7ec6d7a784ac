"""The circulation's balance on several ranks: each makes the rows of its own cells, from these and some around them."""

from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_array

from solvers import Border
from solvers.rows import Rows, with_columns
from spinup.circulation import CGrid, Sparse, Unknowns, circulation_balance, layers_of, one_of_each_basin, unknowns
from spinup.patch import Patch

DIMS = ("zt", "yt", "xt")


def border_on_ranks(
    patch: Patch,
    grid: CGrid,
    viscosity: np.ndarray,
    tracers: Mapping[str, np.ndarray],
    density_slopes: Mapping[str, np.ndarray],
    dt: float,
) -> Border:
    """The border of a step operator (see `circulation_balance`), its matrices `Rows`. All fields are of own cells,
    (nz, ny, nx). dt: s. One exchange for each field."""
    assert patch.split is not None
    comm = patch.split.ranks.comm
    wide = grid.around(patch)
    among = np.pad(np.ones(grid.shape[1:], bool), patch.width)

    def around(fields: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: patch.around(field, DIMS, 0.0) for name, field in fields.items()}

    water = [patch.everywhere(columns, DIMS[1:]) for columns in grid.columns]
    held = patch.around(patch.mine(one_of_each_basin(*water), DIMS[1:]), DIMS[1:], False)
    found = circulation_balance(
        wide, patch.around(viscosity, DIMS, 0.0), around(tracers), around(density_slopes), held, among
    )
    of_vector, of_border = _numbers(patch, grid, found.unknowns, len(tracers))

    def rows(matrix: Sparse, numbers: tuple[np.ndarray, int]) -> Rows:
        columns, number = numbers
        entries = csr_array(matrix)
        entries.eliminate_zeros()
        own = with_columns(entries, columns[entries.indices], number)
        own.sum_duplicates()  # a narrow grid has the same neighbour twice
        return Rows(own, comm)

    return Border(
        rows(dt * found.advection, of_border),
        rows(found.source, of_vector),
        rows(found.balance, of_border),
        chain=None,
        layers=layers_of(grid, unknowns(grid), len(tracers), patch.origin(grid.shape, DIMS)),
    )


def _numbers(patch: Patch, grid: CGrid, of: Unknowns, tracers: int) -> tuple[tuple[np.ndarray, int], ...]:
    """The numbers through all ranks of the unknowns of a patch, -1 where there are none, and how many there are in all:
    of the vector, of the border."""
    own = unknowns(grid)
    size = {"tracer": grid.mask.size, "u": grid.mask.size, "v": grid.mask.size, "pressure": grid.mask[0].size}

    def numbered(kinds: list[str]) -> tuple[np.ndarray, int]:
        counts = [len(getattr(own, kind)) for kind in kinds]
        first, number = patch.first(sum(counts))
        starts = first + np.concatenate([[0], np.cumsum(counts)[:-1]])
        found = []
        for kind, start, count in zip(kinds, starts, counts, strict=True):
            field = np.full(size[kind], -1)
            field[getattr(own, kind)] = start + np.arange(count)
            flat = kind == "pressure"
            wide = patch.around(field.reshape(grid.shape[flat:]), DIMS[flat:], -1)
            found.append(wide.ravel()[getattr(of, kind)])
        return np.concatenate(found), number

    return numbered(["tracer"] * tracers), numbered(["u", "v", "pressure"])


def places_of(patch: Patch, grid: CGrid, tracers: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers that grow with the order that a single process has: of the unknowns of the vector, of the border."""
    own, whole = unknowns(grid), int(np.prod(patch.whole(grid.shape, DIMS)))
    cells = patch.places(grid.shape, DIMS).ravel()
    columns = patch.places(grid.shape[1:], DIMS[1:]).ravel()
    of_vector = [cells[own.tracer] + number * whole for number in range(tracers)]
    return np.concatenate(of_vector), np.concatenate(
        [cells[own.u], cells[own.v] + whole, columns[own.pressure] + 2 * whole]
    )
