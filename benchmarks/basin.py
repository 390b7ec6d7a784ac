"""A synthetic global ocean's tracer operator, of any size, and the balance of its circulation: no model is run.

A cyclic grid with idealised continents and sills; gyres and a circumpolar current of Stommel's equation, an overturning
cell; isopycnal diffusion in triads, of 1000 m2/s; vertical mixing up to 0.3 m2/s in convecting polar columns;
restoring at the surface. The flow is the curl of a potential, so that it is without divergence in every cell.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import spsolve

from solvers import Border, StepOperator
from solvers.lumping import Cells
from spinup.circulation import CGrid, Sparse, chain_of_rows, circulation_balance, layers_of

LEVELS = 24
DEPTH = 4800.0  # m
DAY, RADIUS = 86400.0, 6.37e6  # s, m
OMEGA, BETA = 7.292e-5, 2.3e-11  # s-1, m-1 s-1
STEPS = 365  # of a day, in a year
GYRES, CIRCUMPOLAR, OVERTURNING = 30e6, 120e6, 15e6  # transports, m3 s-1


def basin(nx: int, ny: int, *, border: bool) -> StepOperator:
    """The operator of a step of a day on nx x ny x 24 cells, some half of them ocean."""
    grid = global_grid(nx, ny)
    ocean = np.flatnonzero(grid.mask.ravel())
    volume = grid.dxt * grid.cos_t * grid.dyt * grid.dzt * np.ones(grid.shape)
    temperature = temperature_of(grid) * grid.mask
    tendency = transport(grid, volume) + isopycnal_diffusion(grid, volume, temperature)
    area = np.zeros(grid.shape)
    area[-1] = volume[-1]
    tendency = tendency - grid.times(area / (30 * DAY))
    depth = depth_of_top(grid)
    convecting = (abs(latitude(ny)) > 58) & (depth < 1500) & (np.sin(np.deg2rad(7 * longitude(nx))) > 0)
    kappa = 1e-4 + 5e-3 * np.exp(-((depth / 60) ** 2)) + 0.3 * convecting
    vertical = grid.times(volume) @ grid.vertical_diffusion(grid.mask, kappa)

    def of_ocean(flux: Sparse) -> Sparse:
        return diags_array(DAY / volume.ravel()[ocean]) @ csr_array(flux)[ocean][:, ocean]

    left = csr_array(diags_array(np.ones(len(ocean))) - of_ocean(vertical))
    matrix = csr_array(of_ocean(tendency + vertical))
    level, row, column = np.unravel_index(ocean, grid.shape)
    found = StepOperator(matrix, STEPS, left, cells=Cells(level, row, column, volume.ravel()[ocean]))
    if not border:
        return found
    viscosity = np.broadcast_to(1e-3 + 5e-3 * np.exp(-((depth / 60) ** 2)), grid.shape)
    slope = np.full(grid.shape, -0.2)
    balance = circulation_balance(grid, viscosity, {"temp": temperature}, {"temp": slope})
    layers = layers_of(grid, balance.unknowns, 1)
    chain = chain_of_rows(grid, layers)
    response = csr_array(DAY * balance.advection)
    return replace(found, border=Border(response, balance.source, balance.balance, chain, layers))


def latitude(ny: int, *, north: bool = False) -> np.ndarray:
    """Of tracer cells or their northern faces, (1, ny, 1) degrees."""
    edges = np.linspace(-75, 75, ny + 1)
    return (edges[1:] if north else 0.5 * (edges[1:] + edges[:-1]))[None, :, None]


def longitude(nx: int) -> np.ndarray:
    """Of tracer cells, (1, 1, nx) degrees."""
    return ((np.arange(nx) + 0.5) * 360 / nx)[None, None, :]


def depth_of_top(grid: CGrid) -> np.ndarray:
    """Of the top of cells, (nz, 1, 1) m."""
    return np.cumsum(grid.dzt[::-1], axis=0)[::-1] - grid.dzt


def global_grid(nx: int, ny: int) -> CGrid:
    """Two continents from the north, an island, sills; open to the east in the south."""
    dz = 20 * 25 ** (np.arange(LEVELS)[::-1] / (LEVELS - 1))
    dz = (dz * DEPTH / dz.sum())[:, None, None]
    lat, north, lon = latitude(ny), latitude(ny, north=True), longitude(nx)
    depth = np.cumsum(dz[::-1], axis=0)[::-1] - 0.5 * dz
    america = (lon > 280) & (lon < 310) & (lat > -55)
    africa = (lon > 20) & (lon < 50) & (lat > -35)
    eurasia = (lon > 50) & (lon < 130) & (lat > 20)
    australia = (lon > 130) & (lon < 152) & (abs(lat + 27) < 13)
    sills = 1600 * (0.5 + 0.5 * np.sin(np.deg2rad(5 * lon)) * np.cos(np.deg2rad(6 * lat))) * (lat > -35)
    mask = ~(america | africa | eurasia | australia) & (depth < DEPTH - sills)
    dx, dy = np.deg2rad(360 / nx) * RADIUS, np.deg2rad(150 / ny) * RADIUS

    def everywhere(value: float) -> np.ndarray:
        return np.full((1, 1, 1), value)

    northern = np.concatenate([mask[:, 1:], np.zeros_like(mask[:, :1])], axis=1)
    viscosity = everywhere(BETA * dx**3 + 1e4)
    return CGrid(
        mask=mask,
        mask_u=mask & np.roll(mask, -1, axis=2),
        mask_v=mask & northern,
        dxt=everywhere(dx),
        dxu=everywhere(dx),
        dyt=everywhere(dy),
        dyu=everywhere(dy),
        dzt=dz,
        dzw=0.5 * (dz + np.concatenate([dz[1:], dz[-1:]])),
        cos_t=np.cos(np.deg2rad(lat)),
        cos_u=np.maximum(np.cos(np.deg2rad(north)), 1e-3),
        coriolis=2 * OMEGA * np.sin(np.deg2rad(lat)),
        viscosity_t=viscosity,
        viscosity_u=viscosity,
        drag_u=everywhere(1e-5),
        drag_v=everywhere(1e-5),
        gravity=9.81,
        density=1024.0,
        cyclic=True,
    )


def temperature_of(grid: CGrid) -> np.ndarray:
    """Warm above and near the equator, (nz, ny, nx) degrees."""
    wave = 1 + 0.05 * np.sin(np.deg2rad(2 * longitude(grid.shape[2])))
    return 2 + 25 * grid.cos_t**2 * np.exp(-(depth_of_top(grid) + 0.5 * grid.dzt) / 800) * wave


def transport(grid: CGrid, volume: np.ndarray) -> Sparse:
    """A tracer to its fluxes into cells by upwind advection, m3 s-1 a unit."""
    tendency = csr_array((volume.size, volume.size))
    for shift, flow in zip((grid.east, grid.north, grid.above), flows(grid), strict=True):
        face = grid.times(np.maximum(flow, 0.0)) + grid.times(np.minimum(flow, 0.0)) @ shift
        tendency = tendency - (grid.one - shift.T) @ face
    return tendency


def flows(grid: CGrid) -> Iterator[np.ndarray]:
    """Through eastern, northern and upper faces, (nz, ny, nx) m3 s-1 each."""
    nz, ny, nx = grid.shape
    north, depth = latitude(ny, north=True), depth_of_top(grid)
    gyre, circumpolar = streamfunctions(grid)

    def shares(scale: float) -> np.ndarray:
        share = np.exp(-(depth + 0.5 * grid.dzt) / scale) * grid.dzt
        return share / share.sum()

    def below(field: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros_like(field[:1]), field[:-1]])

    def south(field: np.ndarray, edge: np.ndarray) -> np.ndarray:
        return np.concatenate([edge, field[:, :-1]], axis=1)

    corner = grid.mask_u & grid.of(grid.north, grid.mask_u).astype(bool)
    psi = (circumpolar * shares(1500) + gyre * shares(500)) * corner
    overturned = np.sin(np.pi * (depth / DEPTH) ** 0.6) * np.sin(np.deg2rad((north + 75) * 1.2))
    inside = grid.mask_v & grid.of(grid.above, grid.mask_v).astype(bool)
    overturning = -OVERTURNING / (0.6 * nx) * overturned * inside
    yield south(psi, CIRCUMPOLAR * shares(1500) * np.ones((1, 1, nx))) - psi
    yield psi - np.roll(psi, 1, axis=2) + overturning - below(overturning)
    yield south(overturning, np.zeros((nz, 1, nx))) - overturning


def streamfunctions(grid: CGrid) -> tuple[np.ndarray, np.ndarray]:
    """Of gyres and of the circumpolar current, (1, ny, nx) m3 s-1 each: Stommel's equation at the corners of cells."""
    _, ny, nx = grid.shape
    surface = CGrid(
        **{
            name: value[-1:] if isinstance(value, np.ndarray) else value
            for name, value in vars(grid).items()
            if name in CGrid.__dataclass_fields__
        }
    )
    dx, dy = float(grid.dxt.item()), float(grid.dyt.item())
    along, across = (surface.east - surface.one) / dx, (surface.north - surface.one) / dy
    friction = BETA * max(dx, dy)
    wall = np.zeros((1, ny, nx))
    wall[:, 0] = friction / dy**2  # the part that the southern wall has in the Laplacian
    stommel = BETA * (along - along.T) / 2 - friction * (along.T @ along + across.T @ across) - surface.times(wall)
    sea = (surface.mask_u & surface.of(surface.north, surface.mask_u).astype(bool)).ravel()
    matrix = csr_array(stommel)[sea][:, sea].tocsc()
    north = latitude(ny, north=True)
    curl = np.sin(np.deg2rad(north) * 5) * np.exp(-((north / 55) ** 4)) + np.zeros((1, 1, nx))
    found = np.zeros((2, ny * nx))
    found[0, sea] = spsolve(matrix, curl.ravel()[sea])
    found[0] *= GYRES / abs(found[0]).max()
    found[1, sea] = spsolve(matrix, -CIRCUMPOLAR * wall.ravel()[sea])
    gyre, circumpolar = found.reshape(2, 1, ny, nx)
    return gyre, circumpolar


def isopycnal_diffusion(grid: CGrid, volume: np.ndarray, temperature: np.ndarray) -> Sparse:
    """A tracer to its fluxes into cells along surfaces of equal temperature, in triads of a horizontal and a vertical
    difference (S. M. Griffies et al., J. Phys. Oceanogr. 28 (1998), 805-830), m3 s-1 a unit."""
    found = csr_array((volume.size, volume.size))
    vertical = grid.between(grid.mask, grid.above) @ grid.times(1 / grid.dzw) @ (grid.above - grid.one)
    t = temperature.ravel()
    for shift, distance in ((grid.east, grid.dxt * grid.cos_t), (grid.north, grid.dyt)):
        along = grid.between(grid.mask, shift) @ grid.times(1 / distance) @ (shift - grid.one)
        for side in (grid.one, shift):
            for height in (vertical, grid.above.T @ vertical):
                upward = side @ height
                slope = -(along @ t) / np.maximum(upward @ t, 1e-5)
                triad = along + diags_array(np.where(abs(slope) < 0.01, slope, 0.0)) @ upward
                found = found - triad.T @ grid.times(0.25 * 1000 * volume) @ triad
    return found
