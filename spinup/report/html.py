"""The page: figures and tables of the numbers, in one file."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from spinup.errors import UsageError
from spinup.report import charts, fields, theme, words
from spinup.report.charts import Curve, Level
from spinup.report.numbers import audit_of, numbers_of, read_runs
from spinup.report.reading import RunData
from spinup.report.rung import rung_words
from spinup.report.summary import SHOWN_VERSIONS


def write_report(paths: Sequence[str | Path], out: str | Path | None = None, *, trust: bool = False) -> Path:
    """Write the report on the first run, with the others as references, and its numbers as JSON beside it.

    out: the HTML file, or a folder for it. Default: RUN.html beside the run, not in it, for a run's directory
    holds a zarr store and nothing else. An older report there is replaced.
    trust: import the case as stored in a run whose case file has changed, where it has an exact answer. Set it
    only for runs whose origin you know: it runs their code.

    Raises UsageError where a path is no run or `out` can't be written, StoreError where a run can't be read.
    """
    runs = read_runs(paths, trust=trust)
    numbers = numbers_of(runs, audit_of(paths[0]))
    page = _destination(Path(paths[0]).resolve(), out)
    text = render(runs, numbers)
    try:
        page.with_suffix(".json").write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write the report to {page}: {error.strerror}; give another file") from error
    return page


def render(runs: Sequence[RunData], numbers: dict[str, Any]) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("spinup.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number,
        "plain": words.plain,
        "years": words.years,
        "duration": words.duration,
        "method": words.method_words,
        "outcome": words.outcome_words,
        "capital": words.capital,
        "value": _setting,
        "reached": _reached,
    }
    subject = runs[0]
    drawn = [run for run, n in zip(runs, numbers["runs"], strict=True) if n["drawn"]]
    return environment.get_template("template.html.j2").render(
        n=numbers,
        subject=numbers["runs"][0],
        drawn=[n for n in numbers["runs"] if n["drawn"]],
        colours=[_colour(i) for i in range(len(drawn))],
        light=Markup(theme.css(dark=False)),
        dark=Markup(theme.css(dark=True)),
        drift=_decay(drawn, [r.drift for r in drawn], f"drift, {numbers['runs'][0]['drift_units']}", _levels(numbers)),
        drift_by_variable=_drift_by_variable(drawn),
        errors=_errors(drawn),
        estimates=_estimates(drawn, numbers["runs"][0]),
        residuals={v: _panels(fields.residual_panels(subject, v)) for v in subject.variables},
        states=_states(subject),
        rungs=_rungs(subject, numbers["audit"]),
        histories=_histories(drawn),
        constants=_constants(drawn),
        marks=_marks(numbers),
        last_measured=subject.last_measured,
        shown_versions={k: v for k, v in subject.header["versions"].items() if k.lower() in SHOWN_VERSIONS},
    )


def _destination(run: Path, out: str | Path | None) -> Path:
    if out is None:
        return run.with_name(run.name + ".html")
    page = Path(out)
    if page.is_dir() and not (page / "zarr.json").is_file():
        page = page / f"{run.name}.html"
    if page.suffix == ".json":
        raise UsageError(f"{page} is where the numbers would go: name the page, {page.with_suffix('.html').name}")
    inside = next((folder for folder in page.resolve().parents if (folder / "zarr.json").is_file()), None)
    if inside is not None:
        raise UsageError(f"{page} lies in the run {inside}, which holds nothing but the run: put the report elsewhere")
    return page


def _decay(
    runs: Sequence[RunData],
    values: Sequence[np.ndarray | None],
    title: str,
    levels: Sequence[Level] = (),
    band: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Markup]:
    """The chart for a laptop and for a phone, of the runs that have values; with a band, around those of the first."""
    there = [i for i, v in enumerate(values) if v is not None]
    curves = _curves([runs[i] for i in there], [v for v in values if v is not None], there)
    if not any(np.isfinite(c.values).any() for c in curves):
        return {}
    if band is not None and there[0] == 0:
        curves[0] = replace(curves[0], band=band)
    return {
        "wide": Markup(charts.decay(curves, charts.WIDE, title, levels)),
        "narrow": Markup(charts.decay(curves, charts.NARROW, title, levels)),
    }


def _estimates(runs: Sequence[RunData], subject: dict[str, Any]) -> dict[str, dict[str, Markup]]:
    """A chart of the estimated distance to equilibrium by variable, where there is one."""
    levels = []
    if subject["tolerance_of"] != "drift":
        levels = [Level(subject["tolerance"], f"tolerance {words.plain(subject['tolerance'])}")]
    found = {}
    for name, estimate in subject["error_estimates"].items():
        title = f"estimated error of {name}, {estimate['units']}".rstrip(", ")
        found[name] = _decay(runs, [run.error_estimate(name) for run in runs], title, levels, runs[0].interval(name))
    return {name: chart for name, chart in found.items() if chart}


def _levels(numbers: dict[str, Any]) -> list[Level]:
    subject = numbers["runs"][0]
    if subject["tolerance_of"] != "drift":
        return []
    return [Level(subject["tolerance"], f"tolerance {words.plain(subject['tolerance'])}")]


def _drift_by_variable(runs: Sequence[RunData]) -> list[dict[str, Any]]:
    """A chart a variable, where there is more than one."""
    subject = runs[0]
    if len(subject.variables) < 2:
        return []
    found = []
    for v in subject.variables:
        shown = [r for r in runs if v in r.variables]
        values = [r.column(f"{v}_residual") / r.years for r in shown]
        curves = _curves(shown, values, [runs.index(r) for r in shown])
        if any((c.values > 0).any() for c in curves):
            svg = charts.decay(curves, charts.SMALL, words.per_year(subject.units(v)))
            found.append({"title": words.capital(subject.long_name(v)), "svg": Markup(svg)})
    return found


def _errors(runs: Sequence[RunData]) -> list[dict[str, Any]]:
    subject, found = runs[0], []
    for v in subject.errors or {}:
        unit = words.difference_units(subject.units(v))
        chart = _decay(
            runs, [(r.errors or {}).get(v) for r in runs], f"rms error of {subject.long_name(v)}, {unit}".rstrip(", ")
        )
        last = subject.last_error(v)
        if chart and last is not None:
            panels = _panels(fields.signed_panels(subject, v, last, unit))
            found.append({"title": words.capital(subject.long_name(v)), "panels": panels, **chart})
    return found


def _states(subject: RunData) -> list[dict[str, Any]]:
    """Panels of the state, by variable; side by side where each variable has but one."""
    titles = {v: v if subject.long_name(v) == v else words.capital(subject.long_name(v)) for v in subject.variables}
    panels = {v: found for v in subject.variables if (found := fields.state_panels(subject, v))}
    if len(panels) > 1 and all(len(found) == 1 for found in panels.values()):
        row = [replace(found[0], title=f"{titles[v]}, {found[0].title.lower()}") for v, found in panels.items()]
        return [{"title": "", "panels": _panels(row)}]
    return [{"title": titles[v], "panels": _panels(found)} for v, found in panels.items()]


def _rungs(subject: RunData, audit: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Maps of how deep the water is mixed, at the end of the audit and of its probes."""
    if audit is None or audit["rung"] is None:
        return []
    ends = {"The audited end": audit["rung"]}
    ends |= {f"Probe, one level {name}": p["rung"] for name, p in audit["probes"].items() if p["rung"] is not None}
    return _panels(
        [
            fields.levels_panel(subject, title, end["levels"], f"{words.capital(rung_words(end))}.")
            for title, end in ends.items()
        ]
    )


def _histories(runs: Sequence[RunData]) -> list[dict[str, Any]]:
    """Charts of the diagnostics and the means that change."""
    return [
        {"title": title, "svg": Markup(charts.history(curves, charts.SMALL, title, unit))}
        for title, unit, curves in _scalars(runs)
        if not charts.constant(curves)
    ]


def _constants(runs: Sequence[RunData]) -> list[str]:
    """What stays the same, in words."""
    found = []
    for title, unit, curves in _scalars(runs):
        values = curves[0].values[np.isfinite(curves[0].values)]
        if charts.constant(curves) and values.size:
            found.append(f"{title}, {words.number(values[-1], 4)} {unit}".strip())
    return found


def _scalars(runs: Sequence[RunData]) -> list[tuple[str, str, list[Curve]]]:
    """Title, units and curves of every diagnostic and mean."""
    subject = runs[0]
    columns = [(f"{v}_mean", f"volume mean of {subject.long_name(v)}", subject.units(v)) for v in subject.variables]
    columns += [(name, words.prose(d["long_name"]), d["units"]) for name, d in subject.diagnostics.items()]
    found = []
    for name, title, unit in columns:
        shown = [r for r in runs if name in r.data]
        curves = _curves(shown, [r.column(name) for r in shown], [runs.index(r) for r in shown])
        if any(np.isfinite(c.values).any() for c in curves):
            found.append((words.capital(title), words.units(unit), curves))
    return found


def _curves(runs: Sequence[RunData], values: Sequence[np.ndarray], order: Sequence[int] | None = None) -> list[Curve]:
    places = order or range(len(runs))
    return [
        Curve(r.name, _colour(i), r.model_years, v, r.direct_phase & (not r.direct), r.failed)
        for r, v, i in zip(runs, values, places, strict=True)
    ]


def _colour(number: int) -> str:
    return f"run{number % theme.SERIES}"


def _panels(panels: Sequence[fields.Panel]) -> list[dict[str, Any]]:
    return [{"title": p.title, "svg": Markup(p.svg), "note": p.note} for p in panels]


def _marks(numbers: dict[str, Any]) -> dict[str, bool]:
    """Which signs the charts need explained."""
    runs = [n for n in numbers["runs"] if n["drawn"]]
    return {"direct": any(r["start_years"] for r in runs), "failed": any(r["failures"] for r in runs)}


def _setting(value: Any) -> str:
    """A setting as it would be typed."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return words.plain(value) if isinstance(value, float) else str(value)


def _reached(model_years: float | None, total: float) -> str:
    return f"{model_years:g}" if model_years is not None else f"not in {total:g}"
