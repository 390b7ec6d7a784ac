"""Which dimension is depth, latitude, longitude: by CF attributes, else by name."""

from dataclasses import dataclass

import numpy as np

from spinup.report import words
from spinup.report.reading import RunData

_SIDES = {"°N": ("°N", "°S"), "°E": ("°E", "°W")}
_STANDARD = {"latitude": "Y", "longitude": "X", "depth": "Z", "height": "Z", "altitude": "Z"}
_NAMES = {
    "X": ("xt", "xu", "x", "lon", "longitude", "i"),
    "Y": ("yt", "yu", "y", "lat", "latitude", "j"),
    "Z": ("zt", "zw", "z", "depth", "lev", "level", "k"),
}


@dataclass(frozen=True, eq=False)
class Axis:
    """A dimension of a field.

    kind: "X", "Y", "Z" or None. values: of the cells' centres, (n,); depths are positive downwards; the index
    where the run has no coordinate. downward: whether values are depths.
    """

    dim: str
    kind: str | None
    values: np.ndarray
    units: str
    downward: bool = False

    @property
    def label(self) -> str:
        word = {"X": "longitude", "Y": "latitude", "Z": "depth" if self.downward else "level"}.get(self.kind or "")
        if self.kind in ("X", "Y") and not self.units.startswith("°"):
            word = self.dim
        return f"{word or self.dim}{', ' + self.units if self.units else ''}"

    @property
    def edges(self) -> np.ndarray:
        """Edges of the cells, (n + 1,): halfway between the centres."""
        c = self.values
        if c.size == 1:
            return np.array([c[0] - 0.5, c[0] + 0.5])
        middle = 0.5 * (c[1:] + c[:-1])
        edges = np.concatenate([[c[0] - (middle[0] - c[0])], middle, [c[-1] + (c[-1] - middle[-1])]])
        return np.maximum(edges, 0.0) if self.downward and (c > 0).all() else edges


def axes_of(run: RunData, name: str) -> list[Axis]:
    """The axes of a variable, in its order."""
    return [_axis(run, dim, size) for dim, size in zip(run.dims(name), run.volume(name).shape, strict=True)]


def place(axis: Axis, index: int) -> str:
    """Where along an axis a cell is, in words."""
    if axis.units in _SIDES:
        east_or_north, west_or_south = _SIDES[axis.units]
        value = axis.values[index]
        return f"{abs(value):.4g} {west_or_south if value < 0 else east_or_north}"
    if axis.kind is None and not axis.units:
        return f"{axis.dim} {axis.values[index]:.6g}"
    return f"{axis.values[index]:.4g} {axis.units}".strip() + (" deep" if axis.kind == "Z" and axis.downward else "")


def _axis(run: RunData, dim: str, size: int) -> Axis:
    coordinate = run.data.coords.get(dim)
    if coordinate is None or coordinate.shape != (size,) or not np.issubdtype(coordinate.dtype, np.number):
        return Axis(dim, _by_name(dim), np.arange(size, dtype="f8"), "")
    values, attrs = np.asarray(coordinate.values, dtype="f8"), coordinate.attrs
    kind = attrs.get("axis") or _STANDARD.get(attrs.get("standard_name", "")) or _by_name(dim)
    kind = kind if kind in ("X", "Y", "Z") else None
    raw = str(attrs.get("units", ""))
    if kind == "Z" and raw in ("m", "km", "dbar"):
        up = attrs.get("positive") == "up" or (attrs.get("positive") is None and (values <= 0).all())
        return Axis(dim, kind, -values if up else values, words.units(raw), downward=True)
    return Axis(dim, kind, values, words.units(raw))


def _by_name(dim: str) -> str | None:
    return next((kind for kind, names in _NAMES.items() if dim.lower() in names), None)
