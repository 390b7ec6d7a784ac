"""The report and the comparison say what the store holds, whatever the run and however it ended."""

import io
import json
import re
import textwrap
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import zarr
from rich.console import Console

import spinup
from spinup import Case
from spinup.compare import compare_runs, comparison_table
from spinup.errors import ModelFailure, UsageError
from spinup.function_map import FunctionMap
from spinup.report import report_numbers, words, write_report
from spinup.report.reading import read_run
from spinup.report.summary import years_to_reach
from spinup.report.thinned import THINNED, thinned
from spinup.run import Progress
from spinup.store.lock import locked

RATES = np.linspace(0.3, 0.97, 12)  # a year's memory of each element: T(x) = RATES x + (1 - RATES)


def relax(state):
    """The fixed point is 1 everywhere."""
    memory = RATES.reshape(state["x"].shape) if state["x"].size == RATES.size else 0.9
    return {"x": memory * state["x"] + (1 - memory)}


def case(function=relax, shape=(12,), **options):
    """A case of one variable of any shape."""
    return Case(
        "toy",
        "A toy",
        lambda: FunctionMap(function, {"x": np.zeros(shape)}, **options),
        method="picard",
        tolerance=1e-3,
    )


def failing(when, error=None):
    """`relax`, but evaluation `when` (and those after it, if `when` is negative from -when on) goes wrong."""
    count = iter(range(10**6))

    def function(state):
        number = next(count)
        if number == when or (when < 0 and number >= -when):
            raise error or ModelFailure("it blew up")
        return relax(state)

    return function


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """An accelerated run and a direct one of the same case, with diagnostics."""
    folder = tmp_path_factory.mktemp("runs")
    toy = case(
        diagnostics={"mean": ("K", "mean of x", lambda s: s["x"].mean()), "two": ("1", "two", lambda s: 2.0)},
        units={"x": "degC"},
        long_names={"x": "temperature"},
    )
    spinup.run(toy, out=folder / "fast", method="anderson", settings={"depth": 5}, start_periods=2, budget=60)
    spinup.run(toy, out=folder / "direct", budget=60)
    return folder


class Page(HTMLParser):
    """Balanced? Which ids, which references?"""

    VOID = frozenset({"meta", "br", "img", "input", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.open, self.ids, self.tags = text, [], [], set()
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page_of(path: Path) -> Page:
    """The page, after the checks that every report must pass."""
    text = path.read_text()
    page = Page(text)
    assert not re.search(r"https?://|@import|src=|<link|<script|file:", text)
    assert len(set(page.ids)) == len(page.ids)
    references = set(re.findall(r'(?:href="|url\()#([\w-]+)', text))
    assert references <= set(page.ids)
    assert not re.search(r"#fe01[0-9a-f]{2}", text)  # every colour follows the theme
    assert not re.search(r"\b(nan|None|inf)\b", re.sub(r"<style>.*?</style>", "", text, flags=re.S))
    return page


def verdict_of(*paths):
    return " ".join(report_numbers(paths)["verdict"])


def test_report_is_one_file_beside_the_run(runs):
    page = write_report([runs / "fast", runs / "direct"])
    assert page == runs / "fast.html"
    assert (runs / "fast.json").exists()
    page_of(page)
    assert "svg" in page_of(page).tags
    assert json.loads((runs / "fast.json").read_text()) == report_numbers([runs / "fast", runs / "direct"])


def test_out_may_be_a_folder_or_a_file(runs, tmp_path):
    assert write_report([runs / "fast"], tmp_path) == tmp_path / "fast.html"
    assert write_report([runs / "fast"], tmp_path / "a.html") == tmp_path / "a.html"
    with pytest.raises(UsageError, match="cannot write"):
        write_report([runs / "fast"], tmp_path / "no" / "a.html")
    with pytest.raises(UsageError, match=r"a\.html"):
        write_report([runs / "fast"], tmp_path / "a.json")
    with pytest.raises(UsageError, match="not a run"):
        write_report([tmp_path])
    with pytest.raises(UsageError, match="needs a run"):
        write_report([])


def test_page_names_no_folder(runs, tmp_path):
    page = write_report([runs / "fast", runs / "direct"], tmp_path)
    for text in (page.read_text(), page.with_suffix(".json").read_text()):
        assert str(runs) not in text
        assert str(Path(__file__).parent) not in text


def test_numbers_agree_with_the_store(runs):
    fast, direct = report_numbers([runs / "fast", runs / "direct"])["runs"]
    data = spinup.open(runs / "fast")
    drift = data.drift.values
    assert fast["drift"]["first"] == drift[0]
    assert fast["drift"]["last"] == drift[-1]
    assert fast["drift"]["lowest"] == drift.min()
    assert fast["drift"]["when_method_began"] == drift[1]
    assert fast["start_years"] == 2
    assert fast["evaluations"] == data.sizes["evaluation"]
    assert fast["model_years"] == data.model_years.values[-1]
    assert fast["wall_seconds"] == pytest.approx(data.wall_seconds.values.sum())
    assert fast["elapsed_seconds"] == pytest.approx(data.elapsed_seconds.values.sum())
    assert fast["elapsed_seconds"] > fast["wall_seconds"]
    assert fast["series"]["drift"] == list(drift)
    assert fast["diagnostics"]["mean"]["last"] == data["mean"].values[-1]
    assert fast["variables"]["x"]["units"] == "K per year"
    assert fast["drift_units"] == "K per year"
    assert direct["role"] == "reference"
    assert direct["start_years"] == 0


def test_model_years_against_direct_integration(runs):
    numbers = report_numbers([runs / "fast", runs / "direct"])
    versus, drift = numbers["versus_direct"]["drift"], spinup.open(runs / "direct").drift.values
    reached = np.flatnonzero(drift <= versus["level"])
    assert versus["reference_years"] == (reached[0] + 1 if reached.size else None)
    assert "direct integration (direct)" in " ".join(numbers["verdict"])
    assert "not known" in verdict_of(runs / "fast")
    assert "Drift is not distance to equilibrium" in numbers["caveats"][0]
    assert "slow modes that have not shown" in numbers["caveats"][1]


def test_years_to_reach_counts_to_the_first():
    years, drift = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 0.1, np.nan, 0.01])
    assert years_to_reach(years, drift, 0.1) == 2
    assert years_to_reach(years, drift, 0.05) == 4
    assert years_to_reach(years, drift, 1e-3) is None


def test_converged(runs, tmp_path):
    assert verdict_of(runs / "fast").startswith("Anderson acceleration took toy from a drift of ")
    assert "It converged: the drift is at or below the tolerance of 0.001 K per year." in verdict_of(runs / "fast")


def test_budget_spent(tmp_path):
    spinup.run(case(), out=tmp_path / "r", budget=5)
    assert verdict_of(tmp_path / "r").startswith("Direct integration took toy from")
    assert "in 5 model years. It did not converge: the budget is spent" in verdict_of(tmp_path / "r")


def test_unstable(tmp_path):
    spinup.run(case(failing(-4)), out=tmp_path / "r", budget=50)
    assert "It ended unstable: the model failed in 1 of 5 evaluations." in verdict_of(tmp_path / "r")
    page = write_report([tmp_path / "r"])
    assert "the model failed" in page.read_text()
    page_of(page)


def test_failures_on_the_way(tmp_path):
    spinup.run(case(failing(6)), out=tmp_path / "r", method="anderson", budget=20)
    run = report_numbers([tmp_path / "r"])["runs"][0]
    assert run["failed_evaluations"] == [6]
    assert run["series"]["drift"][6] is None
    assert "1 failed" in write_report([tmp_path / "r"]).read_text()


def test_every_evaluation_failed(tmp_path):
    spinup.run(case(failing(0)), out=tmp_path / "r", budget=5)
    assert "its one evaluation failed, so there is no state to show" in verdict_of(tmp_path / "r")
    page_of(write_report([tmp_path / "r"]))


def test_interrupted_running_stopped_and_unheard_of(tmp_path):
    with pytest.raises(UsageError, match=r"evaluation 4: .* raised RuntimeError: power cut"):
        spinup.run(case(failing(4, RuntimeError("power cut"))), out=tmp_path / "r", budget=50)
    run = tmp_path / "r"
    assert "It was interrupted before it ended, and can be resumed." in verdict_of(run)
    page_of(write_report([run]))
    with locked(run / "log" / "lock", run):
        assert "It is still running" in verdict_of(run)
    for outcome, words_ in {
        "stopped": "stopped by the user",
        "stalled": "It stalled",
        "new": "It ended as “new”",
    }.items():
        zarr.open_group(run, mode="r+").attrs["outcome"] = outcome
        assert words_ in verdict_of(run)


class Interrupted(Progress):
    """Ends a run before its first evaluation."""

    def started(self, header, records):
        raise InterruptedError


def begun(path):
    with pytest.raises(InterruptedError):
        spinup.run(case(), out=path, progress=Interrupted())


def test_nothing_evaluated(tmp_path):
    begun(tmp_path / "r")
    assert verdict_of(tmp_path / "r").startswith("Direct integration of toy: nothing has been evaluated yet.")
    page_of(write_report([tmp_path / "r"]))
    spinup.run(case(), out=tmp_path / "s", budget=5)
    page_of(write_report([tmp_path / "s", tmp_path / "r"]))
    assert report_numbers([tmp_path / "r", tmp_path / "s"])["runs"][0]["drift"]["last"] is None


def test_one_evaluation(tmp_path):
    spinup.run(case(), out=tmp_path / "r", budget=1)
    assert "one evaluation gave a state, with a drift of" in verdict_of(tmp_path / "r")
    page_of(write_report([tmp_path / "r"]))


@pytest.mark.parametrize(
    ("shape", "dims", "shown"),
    [
        ((), None, []),
        ((12,), None, ["Along x_0"]),
        ((12,), ("depth",), ["Along depth"]),
        ((3, 4), None, ["Field"]),
        ((3, 4), ("zt", "yt"), ["Profile", "Section"]),
        ((3, 4), ("yt", "xt"), ["Map"]),
        ((2, 3, 2), ("zt", "yt", "xt"), ["Profile", "Section, zonal mean", "Map, mean over depth", "Map, top level"]),
        ((2, 3, 2), None, ["Mean over x_0"]),
        ((2, 2, 3, 1), None, ["Mean over x_0 and x_1"]),
    ],
)
def test_any_dimensions(tmp_path, shape, dims, shown):
    spinup.run(case(shape=shape, dims=dims), out=tmp_path / "r", budget=3)
    page = write_report([tmp_path / "r"])
    page_of(page)
    for title in shown:
        assert f"<b>{title}</b>" in page.read_text()


def test_land_and_several_variables(tmp_path):
    mask = np.ones((4, 5), dtype=bool)
    mask[:, 0] = False
    mask[-1] = False

    def build():
        start = {"a": np.zeros((4, 5)), "b": np.ones((4, 5))}
        return FunctionMap(
            lambda s: {"a": 0.5 * s["a"] + 1, "b": 0.9 * s["b"]},
            start,
            mask=mask,
            dims=("depth", "latitude"),
            scale={"a": 2.0},
        )

    spinup.run(Case("two", "Two", build, method="picard"), out=tmp_path / "r", budget=6)
    page = write_report([tmp_path / "r"])
    page_of(page)
    numbers = report_numbers([tmp_path / "r"])
    assert set(numbers["runs"][0]["variables"]) == {"a", "b"}
    assert numbers["runs"][0]["drift_units"] == "per year"
    assert numbers["runs"][0]["drift_scaled"]
    assert "By variable" in page.read_text()


def test_names_are_escaped(tmp_path):
    odd = case(units={"x": "$<b>$ \\1"}, long_names={"x": "a & $b_{"})
    spinup.run(Case("a<b", "<script>x</script>", odd.build, method="picard"), out=tmp_path / "r&\\1", budget=3)
    page_of(write_report([tmp_path / "r&\\1"]))


CASE_FILE = textwrap.dedent("""
    import numpy as np
    from spinup import Case
    from spinup.function_map import FunctionMap

    def year(state):
        return {"x": 0.5 * state["x"] + 1.0}

    def build():
        return FunctionMap(year, {"x": np.zeros(3)})

    CASE = Case("known", "Known", build, method="picard", exact=lambda: {"x": np.full(3, 2.0)})
    """)


def test_error_against_the_exact_answer(tmp_path):
    file = tmp_path / "known.py"
    file.write_text(CASE_FILE)
    spinup.run(file, out=tmp_path / "r", budget=6)
    error = report_numbers([tmp_path / "r"])["runs"][0]["errors"]["x"]
    np.testing.assert_allclose(error["series"], 2.0 * 0.5 ** np.arange(1, 7))
    assert "Against the exact answer, the rms error of x went from 1.00 to 0.0312" in verdict_of(tmp_path / "r")
    page = write_report([tmp_path / "r"])
    page_of(page)
    assert "Distance to the exact answer" in page.read_text()
    # a store runs code here only where the case's file still is what it was, or one says so
    file.write_text(CASE_FILE + "# changed\n")
    changed = report_numbers([tmp_path / "r"])
    assert changed["runs"][0]["errors"] is None
    assert "has changed" in changed["notes"][0]
    assert report_numbers([tmp_path / "r"], trust=True)["runs"][0]["errors"]["x"] == error


def test_the_exact_answer_is_computed_once_for_all_runs_of_a_case(tmp_path):
    file, count = tmp_path / "counted.py", tmp_path / "count"
    told = f"open({str(count)!r}, 'a').write('.') and "
    file.write_text(CASE_FILE.replace('lambda: {"x"', f'lambda: {told}{{"x"'))
    for budget in (3, 6):
        spinup.run(file, out=tmp_path / str(budget), budget=budget)
    count.unlink(missing_ok=True)
    numbers = report_numbers([tmp_path / "3", tmp_path / "6"])
    assert [len(run["errors"]["x"]["series"]) for run in numbers["runs"]] == [3, 6]
    assert count.read_text() == "."


def test_fields_that_were_not_kept_leave_gaps(tmp_path):
    file = tmp_path / "known.py"
    file.write_text(CASE_FILE)
    spinup.run(file, out=tmp_path / "r", budget=40, tolerance=1e-300, store={"fields_every": 4, "checkpoint_every": 1})
    error = report_numbers([tmp_path / "r"])["runs"][0]["errors"]["x"]
    assert None in error["series"]
    assert error["series"][0] is not None
    page_of(write_report([tmp_path / "r"]))


def test_a_damaged_field_is_a_note(tmp_path):
    spinup.run(case(), out=tmp_path / "r", budget=3)
    chunk = next(p for p in (tmp_path / "r" / "x" / "c" / "2").rglob("*") if p.is_file())
    chunk.write_bytes(b"no field" * 4)
    page = write_report([tmp_path / "r"])
    assert "cannot be read" in page.read_text()


def test_references_of_another_case_are_not_compared(runs, tmp_path):
    spinup.run(Case("other", "Other", case(shape=(3,)).build, method="picard"), out=tmp_path / "r", budget=3)
    numbers = report_numbers([runs / "fast", tmp_path / "r"])
    assert numbers["versus_direct"] is None
    assert any("another case" in note and "charts leave it out" in note for note in numbers["notes"])
    assert [run["drawn"] for run in numbers["runs"]] == [True, False]
    page_of(write_report([runs / "fast", tmp_path / "r"], tmp_path))


def test_compare_two_runs(runs):
    found = compare_runs([runs / "fast", runs / "direct"])
    json.dumps(found, allow_nan=False)
    pair = found["pairs"][0]
    a, b = (spinup.open(runs / name).x.values[-1] for name in ("fast", "direct"))
    assert pair["same_grid"]
    assert pair["comparable"]
    assert pair["variables"]["x"]["rms"] == pytest.approx(np.sqrt(np.mean((b - a) ** 2)))
    largest = int(np.argmax(np.abs(b - a)))
    assert pair["variables"]["x"]["largest"] == (b - a)[largest]
    assert pair["variables"]["x"]["where"] == f"x_0 {largest}"
    assert pair["diagnostics"]["mean"]["difference"] == pytest.approx((b - a).mean())
    assert found["settings"]["method"] == ["anderson", "picard"]
    assert found["settings"]["settings.depth"] == [5, None]
    assert "budget_years" not in found["settings"]
    run = found["runs"][1]
    level = found["levels"][0]
    assert run["years_to_levels"][0] == years_to_reach(
        np.arange(1.0, 61.0), spinup.open(runs / "direct").drift.values, level
    )


def test_compare_weights_by_volume(tmp_path):
    volume = np.array([3.0, 1.0])
    toys = [case(lambda s, k=k: {"x": 0 * s["x"] + np.array([k, 0.0])}, (2,), volume=volume) for k in (0.0, 2.0)]
    for number, toy in enumerate(toys):
        spinup.run(toy, out=tmp_path / str(number), budget=1)
    pair = compare_runs([tmp_path / "0", tmp_path / "1"])["pairs"][0]
    assert pair["variables"]["x"]["rms"] == pytest.approx(np.sqrt(3.0))
    assert pair["variables"]["x"]["mean"] == pytest.approx(1.5)


def test_compare_on_different_grids_and_without_states(runs, tmp_path):
    spinup.run(case(shape=(3,)), out=tmp_path / "coarse", budget=3)
    begun(tmp_path / "empty")
    found = compare_runs([runs / "fast", tmp_path / "coarse", tmp_path / "empty"])
    json.dumps(found, allow_nan=False)
    assert [pair["same_grid"] for pair in found["pairs"]] == [False, False, False]
    assert any("another grid" in note for note in found["notes"])
    assert any("no fields" in note for note in found["notes"])
    with pytest.raises(UsageError, match="two runs"):
        compare_runs([runs / "fast"])


def test_comparison_in_a_terminal(runs):
    console = Console(width=100, record=True, file=io.StringIO())
    for table in comparison_table(compare_runs([runs / "fast", runs / "direct"])):
        console.print(table)
    text = console.export_text()
    for word in ("fast", "direct", "anderson", "converged", "lowest drift", "settings that differ", "rms"):
        assert word in text


def test_two_runs_of_the_same_name_are_told_apart(runs, tmp_path):
    spinup.run(case(), out=tmp_path / "fast", budget=3)
    assert [r["name"] for r in report_numbers([runs / "fast", tmp_path / "fast"])["runs"]] == ["fast", "fast (2)"]


def test_reading_leaves_the_run_as_it_is(runs):
    before = {p: p.stat().st_mtime_ns for p in (runs / "fast").rglob("*")}
    report_numbers([runs / "fast"])
    assert {p: p.stat().st_mtime_ns for p in (runs / "fast").rglob("*")} == before
    assert read_run(runs / "fast").outcome == "converged"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.00441, "0.00441"),
        (193.2, "193"),
        (-3.0, "−3.00"),
        (4.029e18, "4.03 × 10¹⁸"),
        (9.4e-5, "9.40 × 10⁻⁵"),
        (0.99999, "1.00"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_numbers_in_words(value, text):
    assert words.number(value).replace("\u202f", " ") == text


def test_units_in_words():
    assert words.units("kg m-3") == "kg m⁻³"
    assert words.units("1e6 m3 s-1") == "Sv"
    assert words.units("degC") == "°C"
    assert words.per_year("degC") == "K per year"
    assert words.per_year("1") == "per year"
    assert words.per_year("mmol m-3") == "mmol m⁻³ per year"
    assert words.plain(1e-4) == "0.0001"
    assert words.plain(1e8) == "10⁸"


def test_a_long_run_is_kept_as_a_small_reference(runs, tmp_path):
    """Its numbers at the evaluations kept, the fields at its end, and what a comparison makes of them."""
    subject, direct = runs / "fast", runs / "direct"
    whole = read_run(direct)
    last = whole.model_years.size - 1
    kept = tmp_path / f"kept{THINNED}"
    thinned(direct, [0, 2, last], kept)
    assert kept.stat().st_size < 100_000
    run = read_run(kept)
    assert run.name == "kept"
    np.testing.assert_array_equal(run.drift, whole.drift[[0, 2, last]])
    np.testing.assert_array_equal(run.end(run.variables[0]), whole.end(run.variables[0]))
    assert run.fields(run.variables[0], 0) is None
    numbers, full = report_numbers([subject, kept]), report_numbers([subject, direct])
    assert numbers["versus_direct"]["reference"] == "kept"
    assert numbers["differences"][0]["variables"] == full["differences"][0]["variables"]
    assert str(tmp_path) not in json.dumps(numbers)


def test_what_is_no_kept_run_is_said_so(tmp_path):
    file = tmp_path / f"odd{THINNED}"
    with pytest.raises(UsageError, match="does not exist"):
        read_run(file)
    file.write_text("no archive")
    with pytest.raises(UsageError, match="not what was kept of a run"):
        read_run(file)


def test_the_direct_run_that_is_kept_is_a_reference_though_an_older_spinup_wrote_it():
    kept = Path(__file__).parents[1] / "benchmarks" / "results" / "acc-coarse-direct.zarr.zip"
    (run,) = report_numbers([kept])["runs"]
    assert run["elapsed_seconds"] is None
    assert run["wall_seconds"] > 0
