"""A matplotlib figure as inline SVG that follows the page's theme and font."""

import io
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from spinup.report.theme import to_css, token

_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "svg.hashsalt": "spinup",
    "font.size": 12,
    "axes.edgecolor": token("muted"),
    "axes.facecolor": "none",
    "axes.labelcolor": token("muted"),
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.axisbelow": True,
    "grid.color": token("grid"),
    "grid.linewidth": 0.8,
    "text.color": token("ink"),
    "xtick.color": token("muted"),
    "ytick.color": token("muted"),
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "xtick.major.size": 4,
    "ytick.major.size": 0,
    "xtick.minor.size": 2,
    "ytick.minor.size": 0,
}
_counter = itertools.count()


class Drawing:
    """A figure being drawn; `svg` afterwards."""

    def __init__(self, width: int, height: int) -> None:
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        self.figure.patch.set_alpha(0.0)
        self.svg = ""

    def axes(self) -> Axes:
        return self.figure.subplots()


@contextmanager
def drawing(width: int, height: int, description: str) -> Iterator[Drawing]:
    """A figure of so many CSS pixels. description: for those who cannot see it."""
    with matplotlib.rc_context(_STYLE):
        canvas = Drawing(width, height)
        yield canvas
        buffer = io.StringIO()
        FigureCanvasSVG(canvas.figure).print_svg(buffer)
        canvas.svg = _inline(buffer.getvalue(), description)


def _inline(text: str, description: str) -> str:
    """The svg element alone: its own ids, the page's font and colours, no size but a shape."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None
    opening = f'<svg {view[0]} role="img" aria-label="{escape(description)}">'
    text = re.sub(r"<svg[^>]*>", lambda _: opening, text, count=1)
    text = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", text)
    text = text.replace("xlink:href", "href")
    prefix = f"f{next(_counter)}-"
    referenced = set(re.findall(r"(?:url\(|href=\")#([^\")]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in referenced else "", text)
    text = re.sub(r"(url\(|href=\")#([^\")]+)", rf"\1#{prefix}\2", text)
    return to_css(text)
