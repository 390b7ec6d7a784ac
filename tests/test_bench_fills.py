"""What the pages say of benchmarks is made from their results."""

import importlib.util
import json
from pathlib import Path

import pytest
from mkdocs.exceptions import PluginError

FILE = Path(__file__).parents[1] / "docs" / "hooks.py"


@pytest.fixture
def hooks(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("hooks", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


def write(hooks, *rows):
    (hooks.RESULTS / "sea.json").write_text(json.dumps({"rows": rows}))


def row(method, start, years, **more):
    return {
        "method": method,
        "start": start,
        "model_years": 60.0,
        "model_years_to": {"1 K": years, "0.1 K": years},
        "equilibrium": "direct",
        "wall_seconds": 3.0,
    } | more


def test_the_factor_is_of_the_best_peer_or_of_the_budget(hooks):
    write(
        hooks,
        row("auto", "rest", 4.0),
        row("auto", "year 10", 2.0),
        row("a.first", "rest", None, model_years=7.0),
        row("b.second", "rest", None),
        row("a.first", "year 10", 50.0),
        row("b.second", "year 10", 30.0),
    )
    text = hooks.fill("peers-factor sea")
    assert "a factor of at least 15 from rest, 15 from year 10 (`b.second`); where it says" in text
    assert "within 60 model years" in text


def test_a_factor_without_rows_ends_the_build(hooks):
    write(hooks, row("auto", "rest", 4.0))
    with pytest.raises(PluginError, match="no solver of another library was run"):
        hooks.fill("peers-factor sea")
    write(hooks, row("a.first", "rest", 4.0))
    with pytest.raises(PluginError, match=r"no run of auto from rest that comes to 0\.1 K"):
        hooks.fill("peers-factor sea")


def test_the_factor_of_wall_time_is_of_direct_years_in_the_same_process(hooks):
    timed = {"wall_seconds_to": {"0.1 K": 8.0}, "direct_wall_seconds_a_year": 0.4}
    write(hooks, row("direct", "rest", 800.0), row("auto", "rest", 4.0, **timed), row("auto", "year 10", 2.0))
    assert "`auto` took 8 s from rest (40 times less), where the direct run's 800 years" in hooks.fill(
        "wall-factor sea"
    )
    write(hooks, row("direct", "rest", 800.0), row("auto", "rest", 4.0))
    with pytest.raises(PluginError, match=r"no run of auto with its wall time to 0\.1 K"):
        hooks.fill("wall-factor sea")
    write(hooks, row("auto", "rest", 4.0, **timed))
    with pytest.raises(PluginError, match=r"no direct run that comes to 0\.1 K"):
        hooks.fill("wall-factor sea")


def test_a_table_has_the_columns_that_its_rows_know(hooks):
    exact = {"equilibrium": "exact"}
    write(hooks, row("auto", "rest", 4.0, total_change=2e-13, **exact), row("a.first", "rest", None, **exact))
    head, _, auto, first = hooks.fill("bench-table sea").splitlines()
    assert head == "| method | 1 K | 0.1 K | change of total | wall, s |"
    assert auto == "| `auto` | 4 | 4 | 2.0 × 10⁻¹³ | 3 |"
    assert first == "| `a.first` | – | – | – | 3 |"
    write(hooks, row("auto", "rest", 4.0), row("auto", "year 10", 40.0))
    head, _, rest, _ = hooks.fill("bench-table sea").splitlines()
    assert head == "| method | start | 1 K | 0.1 K | equilibrium | wall, s |"
    assert rest == "| `auto` | rest | 4 | 4 | direct | 3 |"


def test_how_many_times_faster_groups_of_ranks_are(hooks):
    times = {"alone_s": 6.0, "spread_s": 4.0, "exchange_s": 0.05, "alone_processor_s": 5.0, "spread_processor_s": 2.5}
    rows = [{"members": 4, "ranks": 2, "member_mb": 3.02} | times]
    (hooks.RESULTS / "groups.json").write_text(json.dumps({"rows": rows}))
    assert "| 4 | 2 | 3 MB | 6 s | 4 s | 0.05 s | 1.50 | 2.00 |" in hooks.fill("groups-table")


def test_whether_methods_are_the_same_on_ranks(hooks):
    ptc = {"method": "ptc", "evaluations": [3, 3, 4], "apart": [1e-12, 2e-9], "beyond": 2, "replayed": [1e-13, 3e-12]}
    picard = {
        "method": "picard",
        "evaluations": [3, 3, 3],
        "apart": [0.0, 1e-13],
        "beyond": None,
        "replayed": [0.0, 0.0],
    }
    rows = [ptc, picard]
    (hooks.RESULTS / "methods-on-ranks.json").write_text(json.dumps({"rows": rows}))
    *_, ptc, picard = hooks.fill("methods-on-ranks-table").splitlines()
    assert ptc == "| `ptc` | 3, 3, 4 | 1e-13 | 3e-12 | 1e-12 | 2e-09 | 2 |"
    assert picard == "| `picard` | 3, 3, 3 | 0e+00 | 0e+00 | 0e+00 | 1e-13 | none |"


def test_what_linear_systems_cost_on_ranks(hooks):
    times = {"setup_s": 12.3, "own_s": 1.25, "held_mb": 900.0, "peak_mb": 1100.0}
    counts = {"own_iterations": 4, "other_iterations": None}
    rows = [
        {"unknowns": 119080, "choice": "layers", "operator": "extended", "ranks": ranks} | times | counts
        for ranks in (2, 1)
    ]
    (hooks.RESULTS / "algebra-on-ranks.json").write_text(json.dumps({"rows": rows}))
    *_, one, two = hooks.fill("algebra-on-ranks-table extended").splitlines()
    assert one == "| 119,080 | layers | 1 | 12 s | 1.2 s | 4/– | 900 MB | 1100 MB |"
    assert two.startswith("| 119,080 | layers | 2 |")


def test_what_linear_systems_cost_and_how_it_grows(hooks):
    def cost(grid, unknowns, seconds, **more):
        iterations = {"own_iterations": 1, "other_iterations": 35}
        times = {"setup_s": seconds - 0.5, "own_s": 0.5, "held_mb": 10 * unknowns}
        return {"operator": "tracer", "choice": "lu", "grid": grid, "unknowns": unknowns} | iterations | times | more

    rows = [cost("large", 1000, 32.0, other_iterations=None), cost("small", 100, 1.0)]
    failed = {"operator": "tracer", "choice": "ilu", "grid": "large", "failed": "longer than 900 s"}
    (hooks.RESULTS / "algebra.json").write_text(json.dumps({"rows": [*rows, failed]}))
    text = hooks.fill("algebra-table tracer")
    assert "| lu | 1 s, 1000 MB, 1/35 | 32 s, 10000 MB, 1/– | n^1.51 n^1.00 |" in text
    assert "| ilu | – | longer than 900 s | – |" in text
    figure = hooks.fill("algebra-figure tracer")
    assert ">lu</text>" in figure
    assert ">ilu</text>" not in figure
    (hooks.RESULTS / "algebra.json").unlink()
    with pytest.raises(PluginError, match=r"algebra.json cannot be read .*python -m benchmarks.algebra"):
        hooks.fill("algebra-figure tracer")


def test_the_global_ocean_year_by_year(hooks):
    """Each evaluation of `auto`, of direct integration those of some years and the last."""
    errors = {"temp_error_estimate": 2.0, "salt_error_estimate": 0.25}
    figures = errors | {"wall": 1234, "temp_drift": 0.5, "temp_drift_elsewhere": 0.3}
    direct = [{"method": "direct", "model_years": years} | figures for years in (1.0, 3.0, 5.0, 7.0)]
    rows = [*direct, {"method": "auto", "model_years": 1.28} | figures]
    (hooks.RESULTS / "global-4deg.json").write_text(json.dumps({"rows": rows}))
    shown = hooks.fill("global-table").splitlines()[2:]
    assert [line.split(" | ")[:2] for line in shown] == [
        ["| direct", "1"],
        ["| direct", "5"],
        ["| direct", "7"],
        ["| `auto`", "1.3"],
    ]
    assert shown[-1] == "| `auto` | 1.3 | 2 K | 0.25 psu | 0.5 K | 0.3 K | 1,234 |"


def test_a_part_of_a_year(hooks):
    row = {"case": "sea", "ranks": 2, "unknowns": 12345, "state_bytes_a_rank": 2e9, "peak_bytes_a_rank": 7.6e9}
    (hooks.RESULTS / "part-of-year.json").write_text(json.dumps({"rows": [row | {"step_s": 4.0, "year_hours": 19.2}]}))
    assert hooks.fill("part-table").splitlines()[-1] == "| `sea` | 2 | 12,345 | 2.0 GB | 7.6 GB | 4 s | 19 h |"
