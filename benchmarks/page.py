"""The results of a case as one HTML page that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from spinup.report.charts import log_ticks
from spinup.report.svg import drawing
from spinup.report.theme import SERIES, css, token
from spinup.report.words import number

Row = dict[str, Any]

COLUMNS = {  # of a row, where any row has it
    "least_error": "least error",
    "equilibrium": "equilibrium",
    "moved_when_continued": "moved when continued, K",
    "stable": "stable",
    "total_change": "change of total",
    "factorisations": "factorisations",
    "evaluations": "evaluations",
    "wall_seconds": "wall, s",
    "outcome": "outcome",
}


def write_page(page: Path, found: Row) -> None:
    """The page of the results of a case, as `record` has them: {"case", "date", "git", "rows"}."""
    rows = found["rows"]
    levels = list(dict.fromkeys(level for row in rows for level in row.get("model_years_to") or {}))
    shown = [name for name in COLUMNS if any(row.get(name) is not None for row in rows)]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    text = environment.get_template("page.html.j2").render(
        case=found["case"],
        date=found["date"],
        commit=((found.get("git") or {}).get("commit") or "")[:10],
        numbers=page.with_suffix(".json").name,
        light=css(dark=False),
        dark=css(dark=True),
        years=years_figure(rows, levels) if levels else "",
        estimates=estimates_figure(rows) if any(row.get("estimate_over_truth") for row in rows) else "",
        texts=2,
        heads=["method", "start", *levels, *(COLUMNS[name] for name in shown)],
        rows=[_cells(row, levels, shown) for row in rows],
    )
    page.write_text(text, encoding="utf-8")


def years_figure(rows: Sequence[Row], levels: Sequence[str]) -> str:
    """Model years against the error, a line for each run."""
    with drawing(760, 360, "Model years to each error, a line for each run") as canvas:
        axes = canvas.axes()
        for colour, name, of_it in _by_method(rows):
            labels = iter([name])
            for row in of_it:
                to = row.get("model_years_to") or {}
                for of_unit in _by_unit(levels).values():
                    points = [(x, to[levels[x]]) for x in of_unit if to.get(levels[x])]
                    if points:
                        line = {"marker": "o", "markersize": 4, "linewidth": 1, "label": next(labels, "_again")}
                        axes.plot(*zip(*points, strict=True), color=colour, **line)
        axes.set_yscale("log")
        log_ticks(axes)
        axes.set_xticks(range(len(levels)), [level.replace(" ", "\n") for level in levels])
        axes.set_ylabel("model years")
        axes.grid(axis="y")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=10, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return canvas.svg


def estimates_figure(rows: Sequence[Row]) -> str:
    """Estimates over the truth, a column of dots for each method."""
    groups = _by_method([row for row in rows if row.get("estimate_over_truth")])
    with drawing(760, 300, "Estimate of the error over the error") as canvas:
        axes = canvas.axes()
        for place, (colour, _, of_it) in enumerate(groups):
            ratios = [q for row in of_it for q in row["estimate_over_truth"] if q > 0]
            spread = [place + 0.6 * (k / max(len(ratios) - 1, 1) - 0.5) for k in range(len(ratios))]
            axes.plot(spread, ratios, ".", color=colour, markersize=4)
        for bound in (0.5, 2.0):
            axes.axhline(bound, color=token("muted"), linewidth=0.8, linestyle="--")
        axes.set_yscale("log")
        log_ticks(axes)
        axes.set_xticks(range(len(groups)), [name for _, name, _ in groups])
        axes.set_ylabel("estimate / error")
    return canvas.svg


def _by_unit(levels: Sequence[str]) -> dict[str, list[int]]:
    """Places of the levels of each unit: of "0.1 K" K, of "1e-3" none."""
    places: dict[str, list[int]] = {}
    for place, level in enumerate(levels):
        places.setdefault(level.partition(" ")[2], []).append(place)
    return places


def _by_method(rows: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    """Colour, name and rows of each method; the first few have a colour of their own."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["method"], []).append(row)
    colours = [token(f"run{k}") if k < SERIES else token("muted") for k in range(len(groups))]
    return list(zip(colours, groups, groups.values(), strict=True))


def _cells(row: Row, levels: Sequence[str], shown: Sequence[str]) -> list[str]:
    to = row.get("model_years_to") or {}
    return [row["method"], row["start"], *(_word(to.get(k)) for k in levels), *(_word(row.get(k)) for k in shown)]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if value is None or isinstance(value, float) else str(value)
