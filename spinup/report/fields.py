"""Where the residual is, and what the state looks like: profiles, sections, maps, whatever the dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator

from spinup.report import words
from spinup.report.axes import Axis, axes_of
from spinup.report.reading import RunData
from spinup.report.svg import drawing
from spinup.report.theme import DIVERGING, SEQUENTIAL, token

PANEL = (330, 300)  # CSS pixels
CELLS = 180  # along a side at most; finer fields are averaged
CLIP = 99.0  # percentile of |value| at which the colours of a signed field end


@dataclass(frozen=True)
class Panel:
    """A drawing with its title and what to say below it."""

    title: str
    svg: str
    note: str = ""


@dataclass(frozen=True, eq=False)
class Slab:
    """A field of two dimensions, rows by columns, NaN on land."""

    values: np.ndarray
    rows: Axis
    columns: Axis


def residual_panels(run: RunData, name: str) -> list[Panel]:
    """Profile, section and map of the last residual, drift per year, as far as the dimensions have them."""
    residual = run.last_residual(name)
    return [] if residual is None else signed_panels(run, name, residual, words.per_year(run.units(name)))


def signed_panels(run: RunData, name: str, values: np.ndarray, units: str) -> list[Panel]:
    """Profile, section and map of a field of differences of the variable `name`."""
    axes, volume = axes_of(run, name), run.volume(name)
    kinds = [axis.kind for axis in axes]
    panels = []
    if "Z" in kinds and values.ndim > 1:
        panels.append(Panel("Profile", profile(values, volume, axes, units), "Line: mean of each level. Band: ± rms."))
    if values.ndim == 1:
        return [Panel("Along " + axes[0].dim, line(values, axes[0], units, signed=True))]
    if values.ndim < 2:
        return []
    section = slab(values, volume, axes, ("Z", "Y")) if {"Z", "Y"} <= set(kinds) else None
    if section is not None:
        panels.append(_signed(_section_title(axes, "Section"), section, units))
    if {"Y", "X"} <= set(kinds):
        flat = slab(values, volume, axes, ("Y", "X"))
        panels.append(_signed("Map, mean over depth" if "Z" in kinds else "Map", flat, units))
    elif section is None:
        panels.append(_signed(_mean_title(axes), slab(values, volume, axes, None), units))
    return panels


def state_panels(run: RunData, name: str) -> list[Panel]:
    """Section (or line, or map) of the state after the last evaluation."""
    state = run.end(name)
    if state is None:
        return []
    units = words.units(run.units(name))
    axes, volume = axes_of(run, name), run.volume(name)
    kinds = {axis.kind for axis in axes}
    if state.ndim == 1:
        return [Panel("Along " + axes[0].dim, line(state, axes[0], units, signed=False))]
    if state.ndim < 2:
        return []
    if {"Z", "Y"} <= kinds:
        panels = [_unsigned(_section_title(axes, "Section"), slab(state, volume, axes, ("Z", "Y")), units)]
        if "X" in kinds:
            panels.append(_unsigned("Map, top level", _top(state, axes), units))
        return panels
    wanted = ("Y", "X") if {"Y", "X"} <= kinds else None
    title = "Map" if wanted and state.ndim == 2 else _mean_title(axes)
    return [_unsigned(title, slab(state, volume, axes, wanted), units)]


def levels_panel(run: RunData, title: str, levels: Sequence[Sequence[int | None]], note: str) -> Panel:
    """A map of how many steps down from the surface the columns of the first variable are mixed, None on land."""
    _, rows, columns = axes_of(run, run.variables[0])
    values = np.array([[np.nan if n is None else n for n in row] for row in levels], dtype="f8")
    return replace(_unsigned(title, Slab(values, rows, columns), "levels"), note=note)


def slab(values: np.ndarray, volume: np.ndarray, axes: Sequence[Axis], kinds: tuple[str, str] | None) -> Slab:
    """The volume-weighted mean over all but two dimensions: those of `kinds`, else the last two."""
    keep = (
        [next(i for i, a in enumerate(axes) if a.kind == kind) for kind in kinds]
        if kinds
        else [values.ndim - 2, values.ndim - 1]
    )
    others = tuple(i for i in range(values.ndim) if i not in keep)
    mean = _mean(values, volume, others)
    if keep[0] > keep[1]:
        mean = mean.T
    return Slab(mean, axes[keep[0]], axes[keep[1]])


def profile(values: np.ndarray, volume: np.ndarray, axes: Sequence[Axis], units: str) -> str:
    """Mean and rms of each level against depth."""
    vertical = next(i for i, a in enumerate(axes) if a.kind == "Z")
    others = tuple(i for i in range(values.ndim) if i != vertical)
    mean, rms = _mean(values, volume, others), np.sqrt(_mean(values**2, volume, others))
    axis = axes[vertical]
    with drawing(*PANEL, f"Profile, {units}") as canvas:
        ax = canvas.axes()
        scale, unit = _scaled(rms, units)
        ax.fill_betweenx(axis.values, -rms / scale, rms / scale, color=token("run0"), alpha=0.16, linewidth=0)
        ax.plot(mean / scale, axis.values, color=token("run0"), linewidth=2, marker="o", markersize=2.5)
        ax.axvline(0, color=token("muted"), linewidth=0.8)
        _upright(ax, axis)
        ax.xaxis.set_major_locator(MaxNLocator(4, symmetric=True))
        ax.set_xlabel(unit, loc="right")
        ax.grid(True, axis="y")
        _heading(ax, axis.label)
    return canvas.svg


def line(values: np.ndarray, axis: Axis, units: str, *, signed: bool) -> str:
    """A field of one dimension."""
    with drawing(*PANEL, f"Field along {axis.dim}, {units}") as canvas:
        ax = canvas.axes()
        scale, unit = _scaled(values, units)
        style: dict[str, Any] = {"color": token("run0"), "linewidth": 2, "marker": "o", "markersize": 2.5}
        if axis.kind == "Z":
            ax.plot(values / scale, axis.values, **style)
            _upright(ax, axis)
            ax.set_xlabel(unit, loc="right")
            _heading(ax, axis.label)
        else:
            ax.plot(axis.values, values / scale, **style)
            ax.set_xlabel(axis.label, loc="right")
            _heading(ax, unit)
        if signed:
            (ax.axvline if axis.kind == "Z" else ax.axhline)(0, color=token("muted"), linewidth=0.8)
        ax.grid(True, axis="y")
    return canvas.svg


def _signed(title: str, field: Slab, units: str) -> Panel:
    """Colours symmetric about zero; they end at a round number near the 99th percentile."""
    size = np.abs(field.values[np.isfinite(field.values)])
    largest = float(size.max(initial=0.0))
    step = _round_up((float(np.percentile(size, CLIP)) if size.size else 0.0) / (DIVERGING / 2)) or 1.0
    bounds = step * (np.arange(DIVERGING + 1) - DIVERGING / 2)
    note = f"Largest: {words.number(largest)} {units}." if largest > bounds[-1] else ""
    return Panel(title, _coloured(title, field, bounds, [f"d{i}" for i in range(DIVERGING)], units), note)


def _unsigned(title: str, field: Slab, units: str) -> Panel:
    values = field.values[np.isfinite(field.values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    high = high if high > low else low + max(abs(low), 1.0) * 1e-3
    bounds = np.asarray(MaxNLocator(SEQUENTIAL, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))[: SEQUENTIAL + 2]
    bounds = bounds[np.searchsorted(bounds, low, "right") - 1 :] if bounds[0] <= low else bounds
    classes = bounds.size - 1
    names = [f"q{round(i * (SEQUENTIAL - 1) / max(1, classes - 1))}" for i in range(classes)]
    return Panel(title, _coloured(title, field, bounds, names, units))


def _coloured(title: str, field: Slab, bounds: np.ndarray, names: Sequence[str], units: str) -> str:
    """Cells in classes of colour, on land that of land, with their scale below."""
    values, rows, columns = _coarsened(field.values, field.rows.edges, field.columns.edges)
    scale, unit = _scaled(bounds, units)
    with drawing(*PANEL, f"{title}, {units}") as canvas:
        ax, bar = canvas.figure.subplots(2, 1, height_ratios=(1, 0.045))
        ax.set_facecolor(token("land"))
        classes = np.clip(np.digitize(values, bounds) - 1, 0, len(names) - 1)
        for number, name in enumerate(names):
            cells = _rectangles(np.isfinite(values) & (classes == number), rows, columns)
            if cells is not None:
                ax.add_collection(
                    PathCollection([cells], facecolors=token(name), linewidths=0, antialiaseds=False), autolim=False
                )
        ax.set_xlim(columns.min(), columns.max())
        ax.set_ylim(rows.min(), rows.max())
        _orient(ax, field.rows)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.spines[["left", "bottom"]].set_visible(False)
        ax.set_xlabel(field.columns.label, loc="right")
        _heading(ax, field.rows.label)
        for number, name in enumerate(names):
            bar.axvspan(number, number + 1, color=token(name), linewidth=0)
        _scale(bar, bounds / scale, unit)
    return canvas.svg


def _scale(bar: Axes, bounds: np.ndarray, unit: str) -> None:
    """A few of the bounds below the strip of colours, zero in the middle where the field has a sign."""
    count = bounds.size - 1
    bar.set_xlim(0, count)
    bar.set_yticks([])
    bar.spines[:].set_visible(False)
    signed = count == DIVERGING and abs(bounds[0] + bounds[-1]) < 1e-9 * abs(bounds[-1])
    at = [0.0, count / 2, float(count)] if signed else list(np.arange(0, count + 1, max(1, -(-count // 5)), dtype="f8"))
    values = np.interp(at, np.arange(count + 1), bounds)
    bar.set_xticks(at, [_short(v) for v in values])
    bar.tick_params(axis="x", length=0, pad=4)
    bar.set_xlabel(unit, loc="right", labelpad=2)


def _rectangles(chosen: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Outline | None:
    """One outline of all chosen cells; neighbours along a row are one rectangle."""
    corners = []
    for j, row in enumerate(chosen):
        change = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(int)))
        for first, last in zip(change[::2], change[1::2], strict=True):
            west, east, south, north = columns[first], columns[last], rows[j], rows[j + 1]
            corners += [(west, south), (east, south), (east, north), (west, north), (west, south)]
    if not corners:
        return None
    codes = [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY] * (len(corners) // 5)
    return Outline(np.asarray(corners), codes)


def _coarsened(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of blocks, so that no side has more than CELLS."""
    for side in (0, 1):
        block = -(-values.shape[side] // CELLS)
        if block > 1:
            starts = np.arange(0, values.shape[side], block)
            known = np.isfinite(values)
            counts = np.add.reduceat(known.astype("f8"), starts, axis=side)
            sums = np.add.reduceat(np.where(known, values, 0.0), starts, axis=side)
            values = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
            if side == 0:
                rows = rows[[*starts, -1]]
            else:
                columns = columns[[*starts, -1]]
    return values, rows, columns


def _mean(values: np.ndarray, volume: np.ndarray, over: tuple[int, ...]) -> np.ndarray:
    """Volume-weighted mean, NaN where there is no ocean."""
    weights = np.where(np.isfinite(values), volume, 0.0)
    total = weights.sum(axis=over)
    sums = (np.where(weights > 0, values, 0.0) * weights).sum(axis=over)
    return np.divide(sums, total, out=np.full(np.shape(total), np.nan), where=total > 0)


def _top(state: np.ndarray, axes: Sequence[Axis]) -> Slab:
    """The level nearest the surface."""
    vertical = next(i for i, a in enumerate(axes) if a.kind == "Z")
    level = int(np.argmin(axes[vertical].values)) if axes[vertical].downward else 0
    rest = [a for i, a in enumerate(axes) if i != vertical]
    layer = np.take(state, level, axis=vertical)
    return slab(layer, np.isfinite(layer).astype("f8"), rest, ("Y", "X"))


def _section_title(axes: Sequence[Axis], word: str) -> str:
    return f"{word}, zonal mean" if any(a.kind == "X" for a in axes) else word


def _mean_title(axes: Sequence[Axis]) -> str:
    others = [a.dim for a in axes[:-2]]
    return f"Mean over {words.listed(others)}" if others else "Field"


def _orient(ax: Axes, axis: Axis) -> None:
    if axis.downward and not ax.yaxis_inverted():
        ax.invert_yaxis()


def _upright(ax: Axes, axis: Axis) -> None:
    """Limits at the edges of the outer cells, depths downwards."""
    ax.set_ylim(axis.edges.min(), axis.edges.max())
    _orient(ax, axis)


def _heading(ax: Axes, text: str) -> None:
    ax.set_title(text, loc="left", color=token("muted"), fontsize=12, pad=8)


def _scaled(values: np.ndarray, units: str) -> tuple[float, str]:
    """A power of ten that makes the values readable, and the units that go with it."""
    size = float(np.nanmax(np.abs(values), initial=0.0))
    if size == 0 or 0.01 <= size < 1e4:
        return 1.0, units
    exponent = int(np.floor(np.log10(size)))
    return 10.0**exponent, f"{words.power(exponent)} {units}".strip()


def _round_up(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten."""
    if not value > 0:
        return 0.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(power * next(m for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if m * power >= value * (1 - 1e-12)))


def _short(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")
