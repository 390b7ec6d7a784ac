"""Idealised forcing files of the format of Veros' global setups, at their size or smaller: for tests, and to try a
setup where there is no network. No observation is in them.

Three continents, an island, sills and, across the circumpolar current, two ridges: over a flat bottom it would take up
speed without bounds, and Veros' eddy kinetic energy with it. Zonal winds, heat and salinity of the surface that follow
latitude and season; a thermocline. Fields are stored as those of the setups are: (month or depth, latitude, longitude),
the surface first.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from spinup.errors import UsageError
from spinup.forcing.files import SYNTHETIC, assets

MONTHS = 12
HEAT = 30.0  # W m-2 K-1, the flux through the surface by degree that it differs from its climatology
DEEP = 1.5, 34.7  # temperature and salinity at depth
THERMOCLINE = 500.0  # m
POLAR = 70.0  # degrees of latitude, land beyond: cells are too narrow there for a day's step


@dataclass(frozen=True)
class Size:
    """nx, ny: cells. degrees: their width. first: southern edge (degrees). dz: of levels, from the surface down (m)."""

    nx: int
    ny: int
    degrees: float
    first: float
    dz: np.ndarray


SIZES = {
    "global_4deg": Size(
        90, 40, 4.0, -80.0, np.array([50, 70, 100, 140, 190, 240, 290, 340, 390, 440, 490, 540, 590, 640, 690.0])
    ),
    "global_1deg": Size(360, 160, 1.0, -80.0, 10.0 * 9.0 ** (np.arange(115) / 114)),
}


def write_synthetic(setup: str, folder: Path, size: Size | None = None) -> Path:
    """Idealised files of a setup into folder/setup, at its size by default. Returns that folder.

    Raises UsageError where files that are not synthetic are there.
    """
    path, listed = folder / setup, assets(setup)
    if not (path / SYNTHETIC).is_file() and any((path / asset.name).exists() for asset in listed.values()):
        raise UsageError(f"{path} has forcing files already: choose another folder")
    path.mkdir(parents=True, exist_ok=True)
    (path / SYNTHETIC).write_text("These files are idealised: no observation is in them.\n")
    for name, fields in _files(setup, size or SIZES[setup]).items():
        variables = {n: (_dims(n, field), np.asarray(field, float)) for n, field in fields.items()}
        xr.Dataset(variables).to_netcdf(path / listed[name].name, engine="h5netcdf")
    return path


def _dims(name: str, field: np.ndarray) -> tuple[str, ...]:
    if name == "dz":
        return ("level",)
    first = "level" if name in ("temperature", "salinity") else "month"
    return (first, "lat", "lon")[-field.ndim :]


def _files(setup: str, size: Size) -> dict[str, dict[str, np.ndarray]]:
    """Fields by name, by Veros' name of the file."""
    lat = size.first + size.degrees * (np.arange(size.ny) + 0.5)[:, None]
    lon = size.degrees * (np.arange(size.nx) + 0.5)[None, :]
    depth = np.cumsum(size.dz) - 0.5 * size.dz
    floor = bathymetry(lat, lon, size.dz.sum())
    season = np.cos(2 * np.pi * (np.arange(MONTHS) - 7) / MONTHS)[:, None, None]  # warmest in August in the north

    sst = np.maximum(-1.5 + 30 * np.cos(np.deg2rad(lat)) ** 2 + 0 * lon + 3 * season * np.sin(np.deg2rad(lat)), -1.7)
    sss = 34.3 + 1.3 * np.exp(-(((abs(lat) - 25) / 12) ** 2)) - 0.5 * np.exp(-((lat / 8) ** 2)) + 0 * lon + 0 * season
    westerly = 0.12 * np.exp(-(((lat - 45) / 12) ** 2)) + 0.2 * np.exp(-(((lat + 50) / 12) ** 2))
    easterly = 0.07 * np.exp(-(((abs(lat) - 12) / 10) ** 2))
    tau_x = westerly - easterly + 0 * lon + 0 * season
    q_out = -60 * np.cos(np.deg2rad(2.5 * lat)) * (abs(lat) < 72) + 0 * lon + 0 * season
    wet = depth[:, None, None] < floor

    def at_depth(surface: np.ndarray, deep: float) -> np.ndarray:
        return np.where(wet, deep + (surface.mean(axis=0) - deep) * np.exp(-depth[:, None, None] / THERMOCLINE), 0.0)

    forcing = {
        "bathymetry": -floor,
        "temperature": at_depth(sst, DEEP[0]),
        "salinity": at_depth(sss, DEEP[1]),
        "tau_x": tau_x,
        "tau_y": 0 * tau_x,
        "q_net": q_out,
        "sst": sst,
        "sss": sss,
        "tidal_energy": 1e-3 * (floor > 0),
        "wind_energy": 1e-3 * (floor > 0),
    }
    rate = np.full_like(sst, HEAT)
    if setup == "global_4deg":
        return {"forcing": forcing, "ecmwf": {"Q3": rate}}
    light = 200 * np.maximum(np.cos(np.deg2rad(lat - 23 * season)), 0.0)
    return {"forcing": forcing | {"dqdt": rate, "swf": -light - 0 * sst, "dz": size.dz}}


def bathymetry(lat: np.ndarray, lon: np.ndarray, depth: float) -> np.ndarray:
    """Depth of the ocean (m), 0 on land, (ny, nx)."""
    land = ((lon > 280) & (lon < 310) & (lat > -55)) | ((lon > 20) & (lon < 50) & (lat > -35))
    land = land | ((lon > 50) & (lon < 130) & (lat > 20)) | ((lon > 130) & (lon < 152) & (abs(lat + 27) < 13))
    height = 0.3 * (0.5 + 0.5 * np.sin(np.deg2rad(5 * lon)) * np.cos(np.deg2rad(6 * lat)))
    for ridge, width, share, north in ((300, 8, 0.6, -45), (75, 10, 0.5, -35)):
        height = np.maximum(height, share * np.exp(-(((lon - ridge) / width) ** 2)) * (lat < north))
    return np.where(land | (abs(lat) > POLAR), 0.0, depth * (1 - height))
