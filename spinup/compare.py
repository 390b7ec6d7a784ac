"""Runs side by side, in numbers."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from spinup.errors import UsageError
from spinup.report import words
from spinup.report.audit_verdict import Kind
from spinup.report.equilibria import equilibria
from spinup.report.numbers import audit_of, comparable, read_runs, settings_that_differ, unlike
from spinup.report.pairs import difference
from spinup.report.reading import RunData
from spinup.report.summary import decades, summary, years_to_reach

SUMMARY = (
    "name", "case", "method", "outcome", "evaluations", "failures", "start_years", "model_years", "drift_units",
    "drift", "elapsed_seconds", "wall_seconds", "wall_seconds_per_evaluation",
)  # fmt: skip


def compare_runs(paths: Sequence[str | Path]) -> dict[str, Any]:
    """Two runs or more, in JSON types: None for what was not measured.

    runs: case, method, cost, first, last and lowest drift of each, and the model years spent when its drift is
    first at or below each of `levels`.
    pairs: how far the ends of each two lie apart (`spinup.report.pairs.difference`), whether their drifts mean the
    same, and whether they are the same equilibrium (`spinup.report.equilibria.equilibria`), the audits that were made
    of them considered.
    settings: those of the methods and the run that differ, one value a run; those of the model too, where all
    runs are of one case.
    notes: what could not be compared, and why.

    Raises UsageError for fewer than two runs or a path that is no run, StoreError where one can't be read.
    """
    if len(paths) < 2:
        raise UsageError("comparing needs two runs or more: give their paths")
    runs = read_runs(paths)
    levels = decades(runs)
    stays = [_stays(path) for path in paths]
    pairs = [_pair(a, b, found) for (a, b), found in zip(combinations(runs, 2), combinations(stays, 2), strict=True)]
    one_case = len({run.header["case"] for run in runs}) == 1
    settings = [_settings(run.header, with_map=one_case) for run in runs]
    differing = {name: None for one, other in combinations(settings, 2) for name in settings_that_differ(one, other)}
    notes = [note for run in runs for note in run.notes] + [note for pair in pairs for note in pair["notes"]]
    return {
        "levels": levels,
        "runs": [
            {key: value for key, value in summary(run).items() if key in SUMMARY}
            | {"years_to_levels": [years_to_reach(run.model_years, run.drift, level) for level in levels]}
            for run in runs
        ],
        "pairs": pairs,
        "settings": {name: [_at(s, name) for s in settings] for name in differing},
        "notes": list(dict.fromkeys(notes + [note for a, b in combinations(runs, 2) for note in unlike(a, b)])),
    }


def _pair(a: RunData, b: RunData, stays: tuple[bool | None, bool | None]) -> dict[str, Any]:
    found = difference(a, b)
    apart = {name: v["rms"] for name, v in found["variables"].items()}
    equilibrium = equilibria(a, b, apart, stays=stays, one_model=_one_model(a, b))
    return found | {"comparable": comparable(a, b), "equilibrium": equilibrium}


def _stays(path: str | Path) -> bool | None:
    """Whether an audit found the end of the run at `path` a stable equilibrium; None where none was made."""
    seen = audit_of(path)
    return None if seen is None else seen["kind"] in (Kind.STABLE, Kind.ONE_OF_SEVERAL)


def _one_model(a: RunData, b: RunData) -> bool:
    """Whether both runs are of one model, as far as they hold of it: its case and the file of that, grid, settings."""
    headers = (a.header, b.header)
    return (
        comparable(a, b)
        and not settings_that_differ(*(header["map"] for header in headers))
        and len({header["case_text"] for header in headers}) == 1
    )


def comparison_table(comparison: dict[str, Any]) -> list[Table | Text]:
    """What `compare_runs` found, for a terminal: the runs, each pair, the settings, the notes."""
    shown: list[Table | Text] = [_runs_table(comparison)]
    for pair in comparison["pairs"]:
        if pair["variables"]:
            shown += [_fields_table(pair), Text(words.capital(pair["equilibrium"]["verdict"]) + ".")]
        if pair["diagnostics"]:
            shown.append(_diagnostics_table(pair))
    if comparison["settings"]:
        shown.append(_settings_table(comparison))
    return shown + [Text(f"Note: {note}.", style="dim") for note in comparison["notes"]]


def _runs_table(comparison: dict[str, Any]) -> Table:
    """A column a run."""
    runs = comparison["runs"]
    table = _table("", *(run["name"] for run in runs))

    def row(label: str, *values: str) -> None:
        table.add_row(label, *values)

    row("case", *(run["case"] for run in runs))
    row("method", *(run["method"] for run in runs))
    row("outcome", *(words.outcome_words(run["outcome"]) for run in runs))
    row("evaluations", *(str(run["evaluations"]) for run in runs))
    row("failures", *(str(run["failures"]) for run in runs))
    row("model years", *(f"{run['model_years']:g}" for run in runs))
    row("wall time", *(words.duration(run["elapsed_seconds"]) for run in runs))
    row("in the model", *(words.duration(run["wall_seconds"]) for run in runs))
    for key in ("first", "last", "lowest"):
        row(f"{key} drift", *(f"{words.number(run['drift'][key])} {run['drift_units']}" for run in runs))
    for i, level in enumerate(comparison["levels"]):
        reached = [run["years_to_levels"][i] for run in runs]
        row(f"years to {words.plain(level)}", *("–" if years is None else f"{years:g}" for years in reached))
    return table


def _fields_table(pair: dict[str, Any]) -> Table:
    table = _table("", "rms", "mean", "largest", "where", title=f"{pair['b']} − {pair['a']}, at their ends")
    for name, v in pair["variables"].items():
        unit = f"{name}, {v['units']}".rstrip(", ")
        table.add_row(unit, words.number(v["rms"]), words.number(v["mean"]), words.number(v["largest"]), v["where"])
    return table


def _diagnostics_table(pair: dict[str, Any]) -> Table:
    table = _table("", pair["a"], pair["b"], "difference")
    for name, d in pair["diagnostics"].items():
        table.add_row(
            f"{name}, {d['units']}".rstrip(", "),
            words.number(d["a"], 4),
            words.number(d["b"], 4),
            words.number(d["difference"]),
        )
    return table


def _settings_table(comparison: dict[str, Any]) -> Table:
    table = _table("settings that differ", *(run["name"] for run in comparison["runs"]))
    for name, values in comparison["settings"].items():
        table.add_row(name, *(_setting(v) for v in values))
    return table


def _table(first: str, *columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, style="dim")
    for column in columns:
        table.add_column(column, justify="left" if column == "where" else "right", overflow="fold")
    return table


def _setting(value: Any) -> str:
    return "–" if value is None else words.plain(value) if isinstance(value, float) else str(value)


def _settings(header: dict[str, Any], *, with_map: bool) -> dict[str, Any]:
    names = ["method", "settings", "budget_years", "tolerance", "start", "start_periods", "years_per_evaluation"]
    names += ["map"] if with_map else []
    return {name: header[name] for name in names}


def _at(settings: Any, name: str) -> Any:
    """The value of a dotted name; names within may hold dots themselves."""
    if not name:
        return settings
    if not isinstance(settings, dict):
        return None
    for key, value in settings.items():
        if name == key or name.startswith(key + "."):
            return _at(value, name[len(key) + 1 :])
    return None
