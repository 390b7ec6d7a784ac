"""Numbers against model years."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from spinup.report import words
from spinup.report.svg import drawing
from spinup.report.theme import token

WIDE, NARROW, SMALL = (1040, 400), (360, 320), (330, 200)  # CSS pixels


@dataclass(frozen=True, eq=False)
class Curve:
    """One run in a chart. direct: evaluations of direct integration before its method began. band: between what the
    values are expected."""

    name: str
    colour: str
    years: np.ndarray
    values: np.ndarray
    direct: np.ndarray
    failed: np.ndarray
    band: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Level:
    """A horizontal line with its words."""

    value: float
    label: str
    colour: str = "muted"


def decay(curves: Sequence[Curve], size: tuple[int, int], title: str, levels: Sequence[Level] = ()) -> str:
    """A quantity that should fall, on a log axis: a line for the lowest so far, a dot for each evaluation above it.

    Evaluations of the direct phase are rings; failures are crosses at the top edge.
    """
    with drawing(*size, f"{title} against model years, {_names(curves)}") as canvas:
        ax = canvas.axes()
        ax.set_yscale("log")
        for order, curve in reversed(list(enumerate(curves))):
            _decay_curve(ax, curve, 3.0 + 0.1 * (len(curves) - order), size)
        _log_limits(ax, curves, levels)
        _years_axis(ax, curves)
        for level in levels:
            _level(ax, level)
        for curve in curves:
            _failures(ax, curve)
        _titled(ax, title)
        ax.grid(True, axis="y")
    return canvas.svg


def history(curves: Sequence[Curve], size: tuple[int, int], title: str, units: str) -> str:
    """A diagnostic after each evaluation."""
    values = np.concatenate([c.values[np.isfinite(c.values)] for c in curves])
    exponent = int(np.floor(np.log10(np.abs(values).max()))) if values.size and np.abs(values).max() > 0 else 0
    exponent = 0 if -2 <= exponent <= 4 else exponent
    unit = f"{words.power(exponent)} {units}".strip() if exponent else units
    with drawing(*size, f"{title} ({units}) against model years, {_names(curves)}") as canvas:
        ax = canvas.axes()
        for order, curve in reversed(list(enumerate(curves))):
            good = np.isfinite(curve.values)
            ax.plot(
                curve.years[good],
                curve.values[good] / 10.0**exponent,
                color=token(curve.colour),
                linewidth=1.6,
                marker="o" if good.sum() == 1 else "",
                zorder=3 + 0.1 * (len(curves) - order),
            )
            _failures(ax, curve)
        _years_axis(ax, curves, label=False)
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.ticklabel_format(axis="y", useOffset=False)
        _titled(ax, unit)
        ax.grid(True, axis="y")
    return canvas.svg


def constant(curves: Sequence[Curve]) -> bool:
    """Whether a diagnostic stays the same to ten digits in all runs: nothing to draw."""
    values = np.concatenate([c.values[np.isfinite(c.values)] for c in curves])
    return values.size == 0 or float(np.ptp(values)) <= 1e-10 * float(np.abs(values).max())


def _decay_curve(ax: Axes, curve: Curve, zorder: float, size: tuple[int, int]) -> None:
    good = np.isfinite(curve.values) & (curve.values > 0)
    years, values, colour = curve.years[good], curve.values[good], token(curve.colour)
    if not years.size:
        return
    if curve.band is not None:
        ax.fill_between(years, *(end[good] for end in curve.band), color=colour, alpha=0.15, linewidth=0, zorder=2)
    lowest = np.minimum.accumulate(values)
    ax.plot(years, lowest, color=colour, linewidth=2, zorder=zorder, drawstyle="steps-post")
    direct, above = curve.direct[good], values > 1.02 * lowest
    dot = 4.0 if size == WIDE else 3.2
    dots: dict[str, Any] = {"color": colour, "marker": "o", "linestyle": "", "zorder": zorder}
    ring: dict[str, Any] = {"markerfacecolor": token("surface"), "markeredgewidth": 1.2, "markersize": dot + 1.6}
    above &= ~direct
    ax.plot(years[above], values[above], **dots, markersize=dot, markeredgewidth=0, alpha=0.55)
    ax.plot(years[direct], values[direct], **dots, **ring)


def _failures(ax: Axes, curve: Curve) -> None:
    years = curve.years[curve.failed]
    if years.size:
        ax.plot(
            years, np.full(years.shape, 0.985), "x", color=token("bad"), markersize=7, markeredgewidth=1.8,
            transform=ax.get_xaxis_transform(), clip_on=False, zorder=6,
        )  # fmt: skip


def _level(ax: Axes, level: Level) -> None:
    low, high = ax.get_ylim()
    if not low <= level.value <= high:
        return
    ax.axhline(level.value, color=token(level.colour), linewidth=1, linestyle=(0, (4, 3)), zorder=2)
    ax.annotate(
        level.label, (0.005, level.value), xycoords=ax.get_yaxis_transform(), xytext=(0, 4), textcoords="offset points",
        color=token(level.colour), fontsize=12, va="bottom", ha="left", zorder=7,
    )  # fmt: skip


def _log_limits(ax: Axes, curves: Sequence[Curve], levels: Sequence[Level]) -> None:
    values = np.concatenate([c.values[np.isfinite(c.values) & (c.values > 0)] for c in curves])
    if not values.size:
        ax.set_ylim(0.1, 10)
    else:
        low, high = float(values.min()), float(values.max())
        near = [level.value for level in levels if low / 30 < level.value < high * 30]
        ax.set_ylim(min([low, *near]) / 1.6, max([high, *near]) * 1.8)
    log_ticks(ax)


def log_ticks(ax: Axes) -> None:
    """Decades of a logarithmic ordinate, of a short one 1, 2 and 5 of each, as plain numbers or powers of ten."""
    bottom, top = np.log10(ax.get_ylim())
    ax.yaxis.set_major_locator(LogLocator(numticks=8))
    ax.yaxis.set_minor_locator(NullLocator())
    if top - bottom < 2.2:
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    spelled = bottom > -4.3 and top < 4.3
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _spelled(value) if spelled else _power_label(value)))


def _years_axis(ax: Axes, curves: Sequence[Curve], *, label: bool = True) -> None:
    """Model years, logarithmic where one run is far longer than the first."""
    spans = [float(c.years[-1]) for c in curves if c.years.size]
    first = min((float(c.years[0]) for c in curves if c.years.size), default=1.0)
    if spans and max(spans) > 4 * spans[0] and spans[0] > 3 * first:
        ax.set_xscale("log")
        ax.set_xlim(first / 1.15, max(spans) * 1.15)
        ticks = [m * 10.0**k for k in range(-6, 8) for m in (1, 2, 5)]
        ax.xaxis.set_major_locator(FixedLocator([t for t in ticks if first <= t <= max(spans) * 1.1]))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        ax.set_xlim(0, max([*spans, first]) * 1.02)
        ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if label:
        ax.set_xlabel("model years", loc="right")


def _titled(ax: Axes, title: str) -> None:
    """The quantity above its axis, read from left to right."""
    ax.set_title(title, loc="left", color=token("muted"), fontsize=12, pad=8, x=0.0)


def _spelled(value: float) -> str:
    return f"{value:.10f}".rstrip("0").rstrip(".")


def _power_label(value: float) -> str:
    exponent = int(np.floor(np.log10(value) + 1e-9))
    digit = round(value / 10.0**exponent)
    return words.power(exponent) if digit == 1 else f"{digit}·{words.power(exponent)}"


def _names(curves: Sequence[Curve]) -> str:
    return words.listed([c.name for c in curves])
