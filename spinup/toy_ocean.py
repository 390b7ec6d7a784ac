"""A toy ocean for the tracer cases: a seasonal overturning in latitude and depth.

One basin from 60°S to 60°N, all of one width. A deep cell sinks in the north and wells up everywhere
else; a shallow wind-driven cell turns over with the seasons; winter convection deepens the mixed
layer at high latitudes. Tracers are carried by upwind advection and horizontal diffusion (explicit)
and by vertical diffusion (implicit), in flux form: constants stay constant and content stays the
same, both to rounding, and no tracer turns negative.

    index        meaning
    [s, k, j]    step of the year, level (0 at the surface), latitude (0 in the south)
    y faces      between j and j + 1, shape (steps, nz, ny - 1)
    z faces      between k and k + 1, shape (steps, nz - 1, ny)

The flux through a face is `ahead * c_here - back * c_there`, from here (smaller index) to there:
upwind advection and diffusion are both of this form, and JAX and the sparse matrix use the same two
numbers for each face, so they are the same discretisation.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from spinup.errors import UsageError
from spinup.state import Coordinate

DAY = 86400.0  # s
YEAR = 365 * DAY  # s

SOUTH, NORTH = -60.0, 60.0  # degrees north
METRES_PER_DEGREE = 111.2e3
WIDTH = 1.0e7  # m, of the basin: 1.3e14 m2 in all, between the Atlantic and the Pacific
DEPTH = 4000.0  # m
SURFACE_LAYER = 20.0  # m, thickness of the top layer

DEEP_CELL = 20e6  # m3 s-1, mean strength of the deep overturning
DEEP_CELL_SEASON = 0.3  # its relative seasonal amplitude, strongest in northern winter
WIND_CELL = 10e6  # m3 s-1, amplitude of the wind-driven cell, which reverses with the seasons
WIND_CELL_DEPTH = 500.0  # m

KAPPA_H = 1.0e3  # m2 s-1, horizontal diffusivity
KAPPA_V_UPPER = 3.0e-5  # m2 s-1, vertical diffusivity of the thermocline
KAPPA_V_DEEP = 1.0e-4  # m2 s-1, and of the abyss (a profile after Bryan & Lewis 1979)
KAPPA_MIXED = 1.0e-2  # m2 s-1, in the mixed layer
MIXED_LAYER = 40.0  # m, depth of the mixed layer in summer and in the tropics
WINTER_MIXED_LAYER = 400.0  # m, added at the poleward ends in winter


class Season(NamedTuple):
    """Everything that moves a tracer during a step; with a leading axis, one entry for each step of the year.

    y_ahead, y_back: (nz, ny - 1), m3 s-1, explicit exchange through the y faces.
    z_ahead, z_back: (nz - 1, ny), m3 s-1, explicit exchange through the z faces.
    mixing: (nz - 1, ny), m3 s-1, implicit exchange through the z faces.
    """

    y_ahead: Any
    y_back: Any
    z_ahead: Any
    z_back: Any
    mixing: Any


@dataclass(frozen=True)
class ToyOcean:
    """Grid, circulation and transport, on `ny` latitudes and `nz` levels with `steps` steps a year.

    Raises UsageError where the step is so long that a cell would give away more than it holds.
    """

    ny: int = 100
    nz: int = 50
    steps: int = 48

    def __post_init__(self) -> None:
        if self.ny < 3 or self.nz < 3 or self.steps < 1:
            raise UsageError(f"ToyOcean needs ny, nz >= 3 and steps >= 1, not {self.ny}, {self.nz}, {self.steps}")
        share = self.outflow_share
        if share > 1:
            raise UsageError(
                f"ToyOcean: in a step of {self.dt / DAY:.3g} days a cell gives away {share:.2g} times what it holds; "
                f"take steps={int(np.ceil(self.steps * share))} or more"
            )

    # --- grid ------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        return self.nz, self.ny

    @property
    def dt(self) -> float:
        """Time step in seconds."""
        return YEAR / self.steps

    @cached_property
    def interfaces(self) -> np.ndarray:
        """Depth of the layers' interfaces, (nz + 1,), m; layers thicken linearly with depth."""
        k = np.arange(self.nz + 1)
        top = min(SURFACE_LAYER, DEPTH / self.nz)
        growth = (DEPTH - top * self.nz) / (self.nz * (self.nz - 1) / 2)
        return top * k + growth * k * (k - 1) / 2

    @cached_property
    def dz(self) -> np.ndarray:
        """Thickness of the layers, (nz,), m."""
        return np.diff(self.interfaces)

    @cached_property
    def depth(self) -> np.ndarray:
        """Depth of the cells' centres, (nz,), m."""
        return (self.interfaces[1:] + self.interfaces[:-1]) / 2

    @cached_property
    def latitude(self) -> np.ndarray:
        """Latitude of the cells' centres, (ny,), degrees north."""
        edges = np.linspace(SOUTH, NORTH, self.ny + 1)
        return (edges[1:] + edges[:-1]) / 2

    @property
    def dy(self) -> float:
        """Meridional size of the cells, m."""
        return (NORTH - SOUTH) * METRES_PER_DEGREE / self.ny

    @cached_property
    def volume(self) -> np.ndarray:
        """Volume of the cells, (nz, ny), m3."""
        return np.repeat(self.dz[:, None] * self.dy * WIDTH, self.ny, axis=1)

    @cached_property
    def coords(self) -> dict[str, Coordinate]:
        """Coordinates with their CF attributes; dimensions are ("depth", "latitude")."""
        depth = {"units": "m", "standard_name": "depth", "positive": "down", "axis": "Z"}
        latitude = {"units": "degrees_north", "standard_name": "latitude", "axis": "Y"}
        return {
            "depth": Coordinate(("depth",), self.depth, depth),
            "latitude": Coordinate(("latitude",), self.latitude, latitude),
        }

    # --- circulation -----------------------------------------------------------------------------

    @cached_property
    def phase(self) -> np.ndarray:
        """Middle of each step in fractions of a year from 1 January, (steps,)."""
        return (np.arange(self.steps) + 0.5) / self.steps

    @cached_property
    def streamfunction(self) -> np.ndarray:
        """Overturning at the cells' corners, (steps, nz + 1, ny + 1), m3 s-1; zero on all boundaries."""
        eta = np.linspace(0, 1, self.ny + 1)
        depth = self.interfaces[:, None]
        deep = np.sin(np.pi * eta**3) * np.sin(np.pi * (depth / DEPTH) ** 0.6)
        wind = np.sin(np.pi * eta) * np.sin(np.pi * np.minimum(depth / WIND_CELL_DEPTH, 1))
        winter = np.cos(2 * np.pi * self.phase)[:, None, None]
        psi = DEEP_CELL * (1 + DEEP_CELL_SEASON * winter) * deep + WIND_CELL * winter * wind
        psi[:, [0, -1], :] = psi[:, :, [0, -1]] = 0  # the sines are only zero to rounding
        return psi

    @cached_property
    def transport_y(self) -> np.ndarray:
        """Northward volume transport through the y faces, (steps, nz, ny - 1), m3 s-1."""
        return np.diff(self.streamfunction, axis=1)[:, :, 1:-1]

    @cached_property
    def transport_z(self) -> np.ndarray:
        """Downward volume transport through the z faces, (steps, nz - 1, ny), m3 s-1."""
        return -np.diff(self.streamfunction, axis=2)[:, 1:-1, :]

    @cached_property
    def diffusivity(self) -> np.ndarray:
        """Vertical diffusivity at the z faces, (steps, nz - 1, ny), m2 s-1."""
        depth = self.interfaces[1:-1, None]
        interior = KAPPA_V_UPPER + (KAPPA_V_DEEP - KAPPA_V_UPPER) * (0.5 + np.arctan((depth - 2000) / 300) / np.pi)
        winter = np.cos(2 * np.pi * self.phase)[:, None] * np.sign(self.latitude)  # +1 in the hemisphere's midwinter
        poleward = (np.abs(self.latitude) / NORTH) ** 2
        mixed = MIXED_LAYER + WINTER_MIXED_LAYER * poleward * np.maximum(winter, 0)
        return interior + KAPPA_MIXED * (depth < mixed[:, None, :])

    @cached_property
    def season(self) -> Season:
        """One entry for each step of the year, for `jax.lax.scan`: see `Season`."""
        y, z = self.transport_y, self.transport_z
        spread = KAPPA_H * WIDTH * self.dz[:, None] / self.dy
        mixing = self.diffusivity * WIDTH * self.dy / np.diff(self.depth)[:, None]
        return Season(
            np.maximum(y, 0) + spread, np.maximum(-y, 0) + spread, np.maximum(z, 0), np.maximum(-z, 0), mixing
        )

    @cached_property
    def outflow_share(self) -> float:
        """Largest share of its content that a cell gives away in an explicit step; at most 1 to stay positive."""
        s, lost = self.season, np.zeros((self.steps, *self.shape))
        lost[:, :, :-1] += s.y_ahead
        lost[:, :, 1:] += s.y_back
        lost[:, :-1] += s.z_ahead
        lost[:, 1:] += s.z_back
        return float((lost * self.dt / self.volume).max())

    # --- transport -------------------------------------------------------------------------------

    def advance(self, c: Any, now: Season) -> Any:
        """The tracer c, (nz, ny), one step later, in JAX; `now` is the entry of `season` for this step."""
        import jax.numpy as jnp
        from jax.lax.linalg import tridiagonal_solve

        y = now.y_ahead * c[:, :-1] - now.y_back * c[:, 1:]
        z = now.z_ahead * c[:-1] - now.z_back * c[1:]
        gain = -jnp.diff(y, axis=1, prepend=0, append=0) - jnp.diff(z, axis=0, prepend=0, append=0)
        # What is left is (volume + dt * mixing) c_new = volume * c + dt * gain, a tridiagonal system a column.
        exchange = self.dt * now.mixing
        below, above = jnp.pad(exchange, ((0, 1), (0, 0))), jnp.pad(exchange, ((1, 0), (0, 0)))
        content = self.volume * c + self.dt * gain
        diagonal = jnp.asarray(self.volume) + above + below
        return tridiagonal_solve(-above.T, diagonal.T, -below.T, content.T[..., None])[..., 0].T

    def matrix(self, step: int | None = None) -> Any:
        """The transport's tendency dc/dt = M c as a sparse matrix, (nz ny, nz ny), per year.

        For one step of the year, or its mean over the year where `step` is None. The implicit and the
        explicit part are added up: this is the semi-discrete operator, not the step.
        """
        import scipy.sparse as sp

        ahead_y, back_y, ahead_z, back_z, mixing = (
            values.mean(axis=0) if step is None else values[step] for values in self.season
        )
        cell = np.arange(self.nz * self.ny).reshape(self.shape)
        here = np.concatenate([cell[:, :-1].ravel(), cell[:-1].ravel()])
        there = np.concatenate([cell[:, 1:].ravel(), cell[1:].ravel()])
        ahead = np.concatenate([ahead_y.ravel(), (ahead_z + mixing).ravel()])
        back = np.concatenate([back_y.ravel(), (back_z + mixing).ravel()])
        rows, columns = np.concatenate([here, here, there, there]), np.concatenate([here, there, here, there])
        exchange = sp.coo_array((np.concatenate([-ahead, back, ahead, -back]), (rows, columns)), shape=(cell.size,) * 2)
        return sp.csc_array(sp.diags_array(YEAR / self.volume.ravel()) @ exchange)
