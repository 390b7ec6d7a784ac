"""Colours by name, for light and dark: figures are drawn in tokens and become CSS variables."""

import re
from collections.abc import Sequence

DIVERGING = 13  # classes of a signed field; the middle one holds zero
SEQUENTIAL = 12  # classes at most of a field without a sign
SERIES = 4  # runs with a colour of their own

_LIGHT = {
    "surface": "#ffffff",
    "panel": "#f6f7f9",
    "ink": "#16202b",
    "muted": "#586573",
    "grid": "#e4e8ec",
    "land": "#d5dade",
    "bad": "#b3261e",
    "run0": "#1c5cc7",
    "run1": "#c25100",
    "run2": "#0b7a6f",
    "run3": "#8a3fb5",
}
_DARK = {
    "surface": "#11161c",
    "panel": "#19212a",
    "ink": "#e8edf2",
    "muted": "#9dabb9",
    "grid": "#28323d",
    "land": "#37424e",
    "bad": "#ff8a80",
    "run0": "#79aeff",
    "run1": "#f59f5a",
    "run2": "#52c7b8",
    "run3": "#cf9bf0",
}
_LIGHT_ANCHORS = {
    "d": ("#123a7a", "#2f76c4", "#93c1ea", "#f1f2f3", "#f2b48c", "#cc5a24", "#7d2408"),
    "q": ("#f3f6e4", "#bfe0c4", "#72c2bd", "#3394b5", "#2a639f", "#1c2f6e"),
}
_DARK_ANCHORS = {
    "d": ("#a5cdff", "#5b9bea", "#2a5a9a", "#1e262f", "#96481f", "#e07b3f", "#ffc59c"),
    "q": ("#1b2748", "#23507f", "#26819b", "#4bb1a5", "#9dd7ac", "#eef6d3"),
}
_SIZES = {"d": DIVERGING, "q": SEQUENTIAL}
_NAMES = [*_LIGHT, *(f"{ramp}{i}" for ramp, size in _SIZES.items() for i in range(size))]


def token(name: str) -> str:
    """The colour that stands for `name` in a figure until it becomes a CSS variable."""
    return f"#fe01{_NAMES.index(name):02x}"


def to_css(svg: str) -> str:
    """Replace every token by its CSS variable."""
    return re.sub(r"#fe01([0-9a-f]{2})", lambda m: f"var(--{_NAMES[int(m[1], 16)]})", svg)


def css(*, dark: bool) -> str:
    """Declarations of all variables."""
    colours = dict(_DARK if dark else _LIGHT)
    for ramp, anchors in (_DARK_ANCHORS if dark else _LIGHT_ANCHORS).items():
        colours |= {f"{ramp}{i}": c for i, c in enumerate(_ramp(anchors, _SIZES[ramp]))}
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


def _ramp(anchors: Sequence[str], count: int) -> list[str]:
    """`count` colours, linear between the anchors."""
    points = [[int(a[i : i + 2], 16) for i in (1, 3, 5)] for a in anchors]
    colours = []
    for i in range(count):
        at = i * (len(points) - 1) / (count - 1)
        low = min(int(at), len(points) - 2)
        mixed = [round(a + (at - low) * (b - a)) for a, b in zip(points[low], points[low + 1], strict=True)]
        colours.append("#" + "".join(f"{c:02x}" for c in mixed))
    return colours
