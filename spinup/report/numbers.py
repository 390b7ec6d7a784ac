"""All numbers of a report, in JSON types."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spinup.errors import UsageError
from spinup.report import verdict
from spinup.report.pairs import difference
from spinup.report.reading import RunData, read_run, same_grid
from spinup.report.summary import (
    decades,
    drift_units,
    error_estimates,
    errors,
    extremes,
    series,
    summary,
    years_to_reach,
)

FORMAT = 1


def report_numbers(paths: Sequence[str | Path], *, trust: bool = False) -> dict[str, Any]:
    """The numbers of a report on the first run, the others being references.

    trust: import the case as stored in a run whose case file has changed, where it has an exact answer.

    Raises UsageError where a path is no run, StoreError where it can't be read.
    """
    return numbers_of(read_runs(paths, trust=trust), audit_of(paths[0]))


def audit_of(path: str | Path) -> dict[str, Any] | None:
    """What the audit of the run at `path` saw, if one was made; the names of files without their folders."""
    from spinup import audit  # it reads runs as reports do

    seen = audit.found(Path(path).absolute())
    return None if seen is None else seen.as_json() | {"path": seen.path.name}


def read_runs(paths: Sequence[str | Path], *, trust: bool = False) -> list[RunData]:
    """The runs at `paths`, each with a name of its own."""
    if not paths:
        raise UsageError("a report needs a run: give the path of one, and those of references after it")
    runs: list[RunData] = []
    for path in paths:
        run = read_run(path, trust=trust)
        taken = [r.name for r in runs]
        name, count = run.name, 2
        while run.name in taken:
            run = replace(run, name=f"{name} ({count})")
            count += 1
        runs.append(run)
    return runs


def numbers_of(runs: Sequence[RunData], audit: dict[str, Any] | None = None) -> dict[str, Any]:
    """The same of runs that have been read, and of the audit of the first."""
    subject, references = runs[0], runs[1:]
    levels = decades([run for run in runs if drawable(subject, run)])
    found: dict[str, Any] = {
        "format": FORMAT,
        "levels": levels,
        "runs": [
            summary(run)
            | {
                "role": "reference" if number else "subject",
                "drawn": drawable(subject, run),
                "errors": errors(run),
                "error_estimates": error_estimates(run),
                "years_to_levels": [years_to_reach(run.model_years, run.drift, level) for level in levels],
                "series": series(run),
            }
            for number, run in enumerate(runs)
        ],
        "audit": audit,
        "versus_direct": versus_direct(subject, references),
        "differences": [difference(subject, reference) for reference in references],
    }
    found["notes"] = [note for run in runs for note in run.notes] + [
        n for d in found["differences"] for n in d["notes"]
    ]
    found["notes"] += [note for reference in references for note in unlike(subject, reference)]
    found["verdict"] = verdict.sentences(found)
    found["caveats"] = verdict.caveats(found)
    return found


def versus_direct(subject: RunData, references: Sequence[RunData]) -> dict[str, Any] | None:
    """Model years that the subject and the first direct reference of the same case needed to the subject's
    lowest drift, both counted to the first evaluation at or below it; likewise for the error where it is
    known. None where there is no such reference, or the subject is direct itself."""
    reference = next((r for r in references if r.direct and comparable(subject, r)), None)
    if reference is None or subject.direct:
        return None
    found: dict[str, Any] = {"reference": reference.name}
    found["drift"] = _versus(subject, reference, subject.drift, reference.drift)
    found["errors"] = {}
    if subject.errors is not None and reference.errors is not None:
        for name in subject.errors:
            found["errors"][name] = _versus(subject, reference, subject.errors[name], reference.errors[name])
    found["error_estimates"] = {}
    for name in subject.variables:
        own, others = subject.error_estimate(name), reference.error_estimate(name)
        if own is not None and others is not None:
            found["error_estimates"][name] = _versus(subject, reference, own, others)
    return found if found["drift"] is not None and reference.failed.size else None


def comparable(subject: RunData, reference: RunData) -> bool:
    """Whether the drifts mean the same: same case, variables and grid."""
    return (
        subject.header["case"] == reference.header["case"]
        and subject.variables == reference.variables
        and all(same_grid(subject, reference, v) for v in subject.variables)
    )


def drawable(subject: RunData, run: RunData) -> bool:
    """Whether the run's numbers can share the axes of the subject's: same variables, same units."""
    return (
        subject.variables == run.variables
        and all(subject.units(v) == run.units(v) for v in subject.variables)
        and (drift_units(subject) == drift_units(run) or not subject.failed.size or not run.failed.size)
    )


def unlike(subject: RunData, reference: RunData) -> list[str]:
    """Reasons not to read too much into a comparison."""
    notes = []
    undrawn = "" if drawable(subject, reference) else "; it has other variables or units, so the charts leave it out"
    if subject.header["case"] != reference.header["case"]:
        other = reference.header["case"]
        notes.append(f"{reference.name} is a run of another case ({other}): their drifts do not compare{undrawn}")
    elif not comparable(subject, reference):
        notes.append(f"{reference.name} is on another grid: their drifts do not compare{undrawn}")
    elif changed := settings_that_differ(subject.header["map"], reference.header["map"]):
        notes.append(f"{reference.name} was made with other settings of the model: {', '.join(changed)}")
    if subject.header["start"] != reference.header["start"]:
        notes.append(
            f"{subject.name} and {reference.name} started from different states; earlier model years are not counted"
        )
    return notes


def settings_that_differ(one: Any, other: Any, prefix: str = "") -> list[str]:
    """Dotted names of what differs between two nested dictionaries."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [*one, *(k for k in other if k not in one)]
        return [
            name
            for k in keys
            for name in settings_that_differ(one.get(k), other.get(k), f"{prefix}.{k}" if prefix else k)
        ]
    return [] if one == other else [prefix]


def _versus(subject: RunData, reference: RunData, values: Any, others: Any) -> dict[str, Any] | None:
    """Years to the subject's lowest value in both runs."""
    own = extremes(subject.model_years, values)
    if own["lowest"] is None or own["lowest_model_years"] is None:
        return None
    theirs = extremes(reference.model_years, others)
    needed = years_to_reach(reference.model_years, others, own["lowest"])
    return {
        "level": own["lowest"],
        "subject_years": own["lowest_model_years"],
        "reference_years": needed,
        "reference_total_years": float(reference.model_years[-1]) if reference.model_years.size else 0.0,
        "reference_last": theirs["last"],
        "ratio": None if needed is None else needed / own["lowest_model_years"],
    }
