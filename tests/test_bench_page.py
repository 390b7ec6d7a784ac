"""The page of a benchmark: every run with its numbers, in one file that needs nothing else."""

import re

import pytest

from benchmarks.page import write_page

ROWS = [
    {"method": "direct", "start": "rest", "model_years_to": {"1 K": 280.0, "0.1 K": 828.0}, "outcome": "budget"},
    {
        "method": "auto",
        "start": "year 10",
        "model_years_to": {"1 K": 1.05, "0.1 K": None},
        "stable": True,
        "estimate_over_truth": [1.1, 0.4, 2.5],
    },
    {"method": "<aa>", "start": "rest", "model_years_to": None, "outcome": "unstable"},
]


def page_of(tmp_path, rows):
    page = tmp_path / "sea.html"
    write_page(page, {"case": "sea", "date": "2026-01-01", "git": {"commit": "abcdef0123456"}, "rows": rows})
    return page


def test_it_has_every_run_with_its_numbers(tmp_path):
    page = page_of(tmp_path, ROWS)
    text = page.read_text()
    assert "The same numbers: sea.json." in text
    cells = [re.findall(r"<td.*?>(.*?)</td>", line) for line in text.splitlines() if line.startswith("<tr><td")]
    assert cells == [
        ["direct", "rest", "280", "828", "–", "budget"],
        ["auto", "year 10", "1.05", "–", "yes", "–"],
        ["&lt;aa&gt;", "rest", "–", "–", "–", "unstable"],
    ]
    assert "abcdef0123," not in text
    assert "commit abcdef0123." in text
    assert text.count("<svg") == 2
    assert "mathdefault" not in text, "ticks are plain numbers"
    assert not re.search(r"(src|href)=\"(?!#)", text), "it asks for another file"


@pytest.mark.parametrize("rows", [ROWS[2:], []])
def test_without_estimates_or_years_it_has_the_table(tmp_path, rows):
    text = page_of(tmp_path, rows).read_text()
    assert "Every run" in text
    assert "Estimate of the error over" not in text
