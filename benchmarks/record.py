"""Results of a case in a file, and as a page beside it: what was measured this time, and before where it was not again.

The file is {"case", "date", "git", "rows"}, date and git of its newest row; a row is one (method, start), with the date
and git of its own.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.page import write_page
from spinup.provenance import git_state, machine

Row = dict[str, Any]


def record(file: Path, case: str, rows: Sequence[Row], stamp: Row, order: Sequence[str]) -> None:
    """Put rows, measured at the date and git of `stamp`, into the file of a case."""
    before = json.loads(file.read_text()) if file.exists() else None
    found = {"case": case, **stamp, "rows": merged(before, [stamp | row for row in rows], order)}
    file.write_text(json.dumps(found, indent=1) + "\n")
    write_page(file.with_suffix(".html"), found)


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """Rows of a benchmark that is of no case, with the machine and the commit that they are of."""
    found = {"machine": machine(), "git": git_state(None), "rows": rows}
    file.write_text(json.dumps(found, indent=1) + "\n")


def merged(before: Row | None, rows: Sequence[Row], order: Sequence[str]) -> list[Row]:
    """The rows of a file, `before`, and `rows` in their place: direct first, then methods in `order`, then starts.

    Rows of the file without a date and git get the file's. A direct row gives way to none that is shorter.
    """
    kept = {}
    if before:
        stamp = {name: before.get(name) for name in ("date", "git")}
        kept = {(row["method"], row["start"]): stamp | row for row in before["rows"]}
    for row in rows:
        key = row["method"], row["start"]
        if row["method"] == "direct" and key in kept and kept[key]["model_years"] > row["model_years"]:
            continue
        kept[key] = row
    ranks = {method: rank for rank, method in enumerate(["direct", *order])}
    return sorted(kept.values(), key=lambda row: (ranks.get(row["method"], len(ranks)), year_of(row["start"])))


def year_of(start: str) -> int:
    """Years of direct integration before a start: 0 of rest, 10 of year 10."""
    number = start.removeprefix("year ")
    return int(number) if number.isdecimal() else 0
