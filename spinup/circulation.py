"""How the circulation answers a change of density: a linear, steady balance of momentum on a C-grid.

Unknowns are u (eastern faces), v (northern faces) and a surface pressure for each water column, that of a rigid lid or,
over g, the height of a linear free surface, which a steady state leaves where it is:

    0 = f x (u, v) + lateral friction + vertical friction + bottom drag - grad (hydrostatic pressure of drho + p_s)
    0 = the divergence of the depth-integrated (u, v)

without advection of momentum. The discrete forms are those of Veros (D. Haefner et al., J. Adv. Model. Earth Syst. 13
(2021), e2021MS002717), so that the balance is the model's own. Islands need no constants of their own in this form, as
they do where a streamfunction is solved for: pressure is single-valued.

The advection of the mean tracers by the velocities that answer, w by continuity, is given with it.

All fields are (nz, ny, nx), k upward. What is on land is in no matrix.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import block_array, coo_array, csr_array, diags_array, eye_array, kron
from scipy.sparse.csgraph import connected_components

from solvers.layers import Layers, links_along
from spinup.patch import Patch

Sparse = Any


@dataclass(frozen=True, eq=False)
class CGrid:
    """A C-grid and the linear friction on it; arrays broadcast to (nz, ny, nx).

    mask, mask_u, mask_v: True in the ocean at tracer cells, eastern and northern faces.
    dxt, dyt, dzt: widths of tracer cells, and dxu, dyu, dzw between their centres to the east, north and above (m; dxt
    and dxu at the equator). cos_t, cos_u: cosine of latitude at tracer cells and at northern faces.
    coriolis: Coriolis parameter at tracer cells (s-1). viscosity_t, viscosity_u: lateral viscosity at the latitude of
    tracer cells and of northern faces (m2 s-1). drag_u, drag_v: linear bottom drag of the lowest cell (s-1).
    gravity (m s-2), density: reference (kg m-3). cyclic: whether the grid closes in x.
    """

    mask: np.ndarray
    mask_u: np.ndarray
    mask_v: np.ndarray
    dxt: np.ndarray
    dxu: np.ndarray
    dyt: np.ndarray
    dyu: np.ndarray
    dzt: np.ndarray
    dzw: np.ndarray
    cos_t: np.ndarray
    cos_u: np.ndarray
    coriolis: np.ndarray
    viscosity_t: np.ndarray
    viscosity_u: np.ndarray
    drag_u: np.ndarray
    drag_v: np.ndarray
    gravity: float
    density: float
    cyclic: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.mask.shape

    def around(self, patch: Patch) -> "CGrid":
        """The same of a patch: its cells, and those around them, which are on land beyond the ends of the grid. As a
        part of a grid it has open ends."""

        def wider(values: np.ndarray) -> np.ndarray:
            dims = tuple(dim if n > 1 else "" for dim, n in zip(("zt", "yt", "xt"), values.shape, strict=True))
            return patch.around(values, dims, values.dtype.type(values.dtype != bool))

        fields = {name: wider(value) for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return CGrid(**fields, gravity=self.gravity, density=self.density, cyclic=False)

    @property
    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where there is water in a column, and at its eastern and northern faces, (ny, nx)."""
        mask, mask_u, mask_v = (np.asarray(m.any(axis=0)) for m in (self.mask, self.mask_u, self.mask_v))
        return mask, mask_u, mask_v

    @cached_property
    def east(self) -> Sparse:
        """Takes the value of the neighbour to the east, 0 beyond the grid."""
        nz, ny, nx = self.shape
        one = diags_array(np.ones(nx - 1), offsets=1, shape=(nx, nx)).tolil()
        if self.cyclic:
            one[nx - 1, 0] = 1.0
        return kron(eye_array(nz * ny), one).tocsr()

    @cached_property
    def north(self) -> Sparse:
        """The same to the north."""
        nz, ny, nx = self.shape
        one = diags_array(np.ones(ny - 1), offsets=1, shape=(ny, ny))
        return kron(kron(eye_array(nz), one), eye_array(nx)).tocsr()

    @cached_property
    def above(self) -> Sparse:
        """The same upward."""
        nz, ny, nx = self.shape
        return kron(diags_array(np.ones(nz - 1), offsets=1, shape=(nz, nz)), eye_array(ny * nx)).tocsr()

    @cached_property
    def one(self) -> Sparse:
        return eye_array(self.mask.size).tocsr()

    def times(self, values: Any) -> Sparse:
        """Multiplication by a field."""
        return diags_array(np.broadcast_to(np.asarray(values, dtype=float), self.shape).ravel())

    def of(self, shift: Sparse, values: Any) -> np.ndarray:
        """A field of the neighbours' values, (nz, ny, nx)."""
        return (shift @ np.broadcast_to(np.asarray(values, dtype=float), self.shape).ravel()).reshape(self.shape)

    def between(self, mask: np.ndarray, shift: Sparse) -> Sparse:
        """Multiplication by 1 where a cell and its neighbour are both ocean."""
        return self.times(mask * self.of(shift, mask))

    @cached_property
    def divergence_u(self) -> Sparse:
        """u to its part of the horizontal divergence at tracer cells (s-1)."""
        return self.times(1 / (self.cos_t * self.dxt)) @ (self.one - self.east.T) @ self.times(self.mask_u)

    @cached_property
    def divergence_v(self) -> Sparse:
        """v to its part of it."""
        return (
            self.times(1 / (self.cos_t * self.dyt)) @ (self.one - self.north.T) @ self.times(self.cos_u * self.mask_v)
        )

    def vertical_diffusion(self, mask: np.ndarray, coefficient: np.ndarray, dt: float = 1.0) -> Sparse:
        """A field to its change by vertical diffusion in `dt` (s; 1: its tendency), with no flux at floor and surface.

        coefficient: at the top of cells, m2 s-1.
        """
        flux = self.between(mask, self.above) @ self.times(coefficient / self.dzw)
        return self.times(dt / self.dzt) @ (self.one - self.above.T) @ flux @ (self.above - self.one)

    def column_sum(self, *, upward: bool) -> Sparse:
        """Sums over the cells of a column from one end to each cell, itself included: upward from the floor, or down
        from the surface."""
        nz, ny, nx = self.shape
        ones = np.ones((nz, nz))
        return kron(np.tril(ones) if upward else np.triu(ones), eye_array(ny * nx)).tocsr()


@dataclass(frozen=True, eq=False)
class Unknowns:
    """Flat cells (z, y, x) of tracers, u and v, and flat columns (y, x) of surface pressures."""

    tracer: np.ndarray
    u: np.ndarray
    v: np.ndarray
    pressure: np.ndarray


@dataclass(frozen=True, eq=False)
class Circulation:
    """The balance of `circulation_balance`: 0 = source dx + balance (u, v, p_s), dx/dt = advection (u, v, p_s).

    unknowns: those of the columns of these matrices.
    """

    advection: Sparse
    source: Sparse
    balance: Sparse
    unknowns: Unknowns


def unknowns(grid: CGrid, among: np.ndarray | None = None) -> Unknowns:
    """All of a grid, or those of its cells that are True in `among`, (ny, nx)."""
    here = np.ones(grid.shape[1:], bool) if among is None else among
    tracer, u, v = (np.flatnonzero((mask & here).ravel()) for mask in (grid.mask, grid.mask_u, grid.mask_v))
    return Unknowns(tracer, u, v, np.flatnonzero((grid.mask.any(axis=0) & here).ravel()))


def circulation_balance(
    grid: CGrid,
    viscosity: np.ndarray,
    tracers: Mapping[str, np.ndarray],
    density_slopes: Mapping[str, np.ndarray],
    held: np.ndarray | None = None,
    among: np.ndarray | None = None,
) -> Circulation:
    """The linear response of the circulation to the tracers, and of the tracers to it.

    viscosity: vertical, at the top of tracer cells, (nz, ny, nx), m2 s-1.
    tracers: the mean fields that are advected, in the order of the vector x. density_slopes: drho/dtracer of those that
    make density (kg m-3 a unit).
    held: the columns, True of (ny, nx), whose p_s is said to be 0; by default `one_of_each_basin`.
    among: the columns, True of (ny, nx), whose rows are wanted, at least two from the edges of a grid that is a part of
    another; by default all.

    The rows of `source` and `balance` are the momentum of u (m s-2), that of v, and the divergence (m s-1) of each
    column. Of these one of each basin says p_s = 0 instead: the divergences of a basin sum to zero, its p_s is known
    but for a constant.
    """
    momentum_u, momentum_v = _friction(grid, viscosity)
    of_v, of_u = _coriolis(grid)
    gradient_x = grid.times(-1.0 * grid.mask_u / (grid.cos_t * grid.dxu)) @ (grid.east - grid.one)
    gradient_y = grid.times(-1.0 * grid.mask_v / grid.dyu) @ (grid.north - grid.one)

    of, to = unknowns(grid), unknowns(grid, among)

    nz, ny, nx = grid.shape
    whole_column = kron(np.ones((nz, 1)), eye_array(ny * nx)).tocsr()
    depth_integral = whole_column.T @ grid.times(grid.dzt)
    balance = block_array(
        [
            [momentum_u[to.u][:, of.u], of_v[to.u][:, of.v], (gradient_x @ whole_column)[to.u][:, of.pressure]],
            [of_u[to.v][:, of.u], momentum_v[to.v][:, of.v], (gradient_y @ whole_column)[to.v][:, of.pressure]],
            [
                (depth_integral @ grid.divergence_u)[to.pressure][:, of.u],
                (depth_integral @ grid.divergence_v)[to.pressure][:, of.v],
                None,
            ],
        ]
    ).tocsr()
    held = one_of_each_basin(*grid.columns) if held is None else held
    said = np.flatnonzero(held.ravel()[to.pressure])
    rows = len(to.u) + len(to.v) + said
    columns = len(of.u) + len(of.v) + np.searchsorted(of.pressure, to.pressure[said])
    kept = np.ones(balance.shape[0])
    kept[rows] = 0.0
    ones = csr_array((np.ones(said.size), (rows, columns)), shape=balance.shape)
    balance = (diags_array(kept) @ balance + ones).tocsr()
    balance.eliminate_zeros()

    hydrostatic = _hydrostatic_pressure(grid)
    sources, advections = [], []
    for name, field in tracers.items():
        slope = density_slopes.get(name)
        pressure = hydrostatic @ grid.times(0.0 if slope is None else slope * grid.mask)
        parts = [(gradient_x @ pressure)[to.u][:, of.tracer], (gradient_y @ pressure)[to.v][:, of.tracer]]
        sources.append(block_array([[parts[0]], [parts[1]], [csr_array((len(to.pressure), len(of.tracer)))]]))
        by_u, by_v = (part[to.tracer] for part in _advection(grid, field))
        nothing = csr_array((len(to.tracer), len(of.pressure)))
        advections.append(block_array([[by_u[:, of.u], by_v[:, of.v], nothing]]))
    return Circulation(block_array([[a] for a in advections]).tocsr(), block_array([sources]).tocsr(), balance, of)


def chain_of_rows(grid: CGrid, layers: Layers) -> np.ndarray:
    """Link of each unknown in a chain of rows of water columns, from south to north where the grid is cyclic, else
    along its longer side. layers: as of `layers_of`."""
    _, ny, nx = grid.shape
    return links_along(layers, "row" if grid.cyclic or ny >= nx else "column")


def layers_of(grid: CGrid, of: Unknowns, tracers: int, origin: tuple[int, ...] = (0, 0, 0)) -> Layers:
    """Where each unknown (tracers, u, v, p_s) is; p_s is in the lowest layer. origin: where in the whole grid this one
    begins, (z, y, x), if it is a part of it."""
    places = [*[of.tracer] * tracers, of.u, of.v, of.pressure]  # flat cells (z, y, x)
    variable = np.repeat(np.arange(len(places)), [len(cells) for cells in places])
    cells = np.concatenate(places)
    thickness = np.broadcast_to(grid.dzt, grid.shape)
    height = np.cumsum(thickness, axis=0) - 0.5 * thickness
    layer, row, column = (first + at for first, at in zip(origin, np.unravel_index(cells, grid.shape), strict=True))
    return Layers(variable, layer, row, column, thickness.ravel()[cells], height.ravel()[cells])


def one_of_each_basin(mask: np.ndarray, mask_u: np.ndarray, mask_v: np.ndarray) -> np.ndarray:
    """True at the last column of each set of water columns that are joined by open faces; all are (ny, nx), True where
    there is water in a column and at its eastern and northern faces."""
    columns = np.arange(mask.size).reshape(mask.shape)
    pairs = [(columns[face], np.roll(columns, -1, axis)[face]) for face, axis in ((mask_u, 1), (mask_v, 0))]
    ends = [np.concatenate(side) for side in zip(*pairs, strict=True)]
    graph = coo_array((np.ones(ends[0].size), ends), shape=(mask.size, mask.size))
    _, basin = connected_components(graph, directed=False)
    last = np.zeros(mask.size, bool)
    last[mask.size - 1 - np.unique(basin[::-1], return_index=True)[1]] = True
    return last.reshape(mask.shape) & mask


def _friction(grid: CGrid, viscosity: np.ndarray) -> tuple[Sparse, Sparse]:
    """u to its tendency by lateral and vertical friction and bottom drag, and the same of v."""
    g = grid
    cos_north, dyt_north = g.of(g.north, g.cos_t), g.of(g.north, g.dyt)
    inside = np.where(dyt_north > 0, dyt_north, 1.0)
    viscosity_north = g.of(g.north, g.viscosity_t)
    from_west, from_south = g.one - g.east.T, g.one - g.north.T

    east_u = g.between(g.mask_u, g.east) @ g.times(g.viscosity_t / (g.cos_t * g.of(g.east, g.dxt).clip(1e-30)))
    north_u = g.between(g.mask_u, g.north) @ g.times(g.viscosity_u * g.cos_u / g.dyu)
    lateral_u = g.times(1 / (g.cos_t * g.dxu)) @ from_west @ east_u @ (g.east - g.one) + g.times(
        1 / (g.cos_t * g.dyt)
    ) @ from_south @ north_u @ (g.north - g.one)

    east_v = g.between(g.mask_v, g.east) @ g.times(g.viscosity_u / (g.cos_u * g.dxu))
    north_v = g.between(g.mask_v, g.north) @ g.times(viscosity_north * cos_north / inside)
    lateral_v = g.times(1 / (g.cos_u * g.dxt)) @ from_west @ east_v @ (g.east - g.one) + g.times(
        1 / (g.dyu * g.cos_u)
    ) @ from_south @ north_v @ (g.north - g.one)

    def rest(mask: np.ndarray, shift: Sparse, drag: np.ndarray) -> Sparse:
        lowest = mask & (g.of(g.above.T, mask) == 0)
        return g.vertical_diffusion(mask, 0.5 * (viscosity + g.of(shift, viscosity))) - g.times(drag * lowest)

    return (
        (g.times(g.mask_u) @ (lateral_u + rest(g.mask_u, g.east, g.drag_u))).tocsr(),
        (g.times(g.mask_v) @ (lateral_v + rest(g.mask_v, g.north, g.drag_v))).tocsr(),
    )


def _coriolis(grid: CGrid) -> tuple[Sparse, Sparse]:
    """v to the tendency of u, and u to that of v."""
    g = grid
    of_v = (
        g.times(0.25 * g.mask_u / g.dxu)
        @ (g.one + g.east)
        @ g.times(g.coriolis * g.dxt)
        @ (g.one + g.north.T)
        @ g.times(g.mask_v)
    )
    of_u = (
        g.times(-0.25 * g.mask_v / (g.dyu * g.cos_u))
        @ (g.one + g.north)
        @ g.times(g.coriolis * g.dyt * g.cos_t)
        @ (g.one + g.east.T)
        @ g.times(g.mask_u)
    )
    return of_v.tocsr(), of_u.tocsr()


def _hydrostatic_pressure(grid: CGrid) -> Sparse:
    """Density to hydrostatic pressure over the reference density (m2 s-2)."""
    top = np.zeros((grid.shape[0], 1, 1))
    top[-1] = 1.0
    half = 0.5 * grid.gravity / grid.density
    steps = grid.times((1 - top) * half * grid.dzw) @ (grid.above + grid.one) + grid.times(top * half * grid.dzw)
    return (grid.times(grid.mask) @ grid.column_sum(upward=False) @ steps @ grid.times(grid.mask)).tocsr()


def _advection(grid: CGrid, field: np.ndarray) -> tuple[Sparse, Sparse]:
    """u, and v, to the tendency of a tracer by centred advection of its mean field, w from continuity."""
    g = grid

    def centred(shift: Sparse) -> Sparse:
        return g.times(0.5 * (field + g.of(shift, field)))

    found = []
    faces = grid.mask * g.of(g.above, grid.mask)
    vertical = g.times(-1 / g.dzt) @ (g.one - g.above.T) @ centred(g.above) @ g.times(faces)
    for shift, divergence in ((g.east, g.divergence_u), (g.north, g.divergence_v)):
        w = g.column_sum(upward=True) @ g.times(-g.dzt) @ divergence
        found.append((g.times(g.mask) @ (vertical @ w - divergence @ centred(shift))).tocsr())
    return found[0], found[1]
