"""Results of a benchmark: what is measured anew replaces what there was, the rest stays."""

import json

import pytest

from benchmarks.record import merged, record

ORDER = ["auto", "anderson", "aa.type2"]
THEN = {"date": "2026-01-01", "git": {"commit": "a", "changed": False}}
NOW = {"date": "2026-02-02", "git": {"commit": "b", "changed": False}}


def row(method, start, model_years=5.0, **more):
    return {"method": method, "start": start, "model_years": model_years, **more}


@pytest.fixture
def before():
    rows = [row("auto", "year 10"), row("aa.type2", "rest"), row("direct", "rest", 2500.0), row("auto", "rest")]
    return {"case": "sea", **THEN, "rows": rows}


def keys(rows):
    return [(r["method"], r["start"], r["date"][:7]) for r in rows]


def test_rows_that_are_not_measured_again_stay_with_their_date(before):
    rows = merged(before, [NOW | row("anderson", "rest"), NOW | row("auto", "year 10", 3.0)], ORDER)
    assert keys(rows) == [
        ("direct", "rest", "2026-01"),
        ("auto", "rest", "2026-01"),
        ("auto", "year 10", "2026-02"),
        ("anderson", "rest", "2026-02"),
        ("aa.type2", "rest", "2026-01"),
    ]
    assert rows[2]["model_years"] == 3.0
    assert rows[1]["git"] == THEN["git"]


def test_starts_are_sorted_by_number_and_unknown_methods_come_last(before):
    rows = merged(
        before, [NOW | row("old", "rest"), NOW | row("auto", "year 100"), NOW | row("auto", "year 30")], ORDER
    )
    assert [r["start"] for r in rows if r["method"] == "auto"] == ["rest", "year 10", "year 30", "year 100"]
    assert rows[-1]["method"] == "old"


@pytest.mark.parametrize(("years", "kept"), [(60.0, 2500.0), (2500.0, 2500.0), (3000.0, 3000.0)])
def test_a_shorter_direct_run_replaces_none(before, years, kept):
    direct = merged(before, [NOW | row("direct", "rest", years)], ORDER)[0]
    assert direct["model_years"] == kept
    assert direct["date"] == (THEN if years < kept else NOW)["date"]


def test_a_file_has_the_date_of_its_newest_row_and_a_row_may_have_its_own(tmp_path, before):
    file = tmp_path / "sea.json"
    record(file, "sea", before["rows"], THEN, ORDER)
    record(file, "sea", [row("direct", "rest", 3000.0, date="2025-12-31"), row("aa.type2", "rest")], NOW, ORDER)
    found = json.loads(file.read_text())
    assert (found["case"], found["date"], found["git"]) == ("sea", NOW["date"], NOW["git"])
    assert keys(found["rows"])[0] == ("direct", "rest", "2025-12")
    assert keys(found["rows"])[-1] == ("aa.type2", "rest", "2026-02")
