"""The probe: water columns of one equilibrium come back, those of a ladder of equilibria end on another rung."""

import json

import numpy as np
import pytest
from helpers import LINEAR

import spinup
from spinup.audit import audit, found
from spinup.convection import convecting, mix_deeper, mix_shallower, mixed_levels
from spinup.errors import UsageError
from spinup.probe import came_back
from spinup.report import report_numbers, write_report
from spinup.report.audit_verdict import Kind, probe_words

COLUMNS = LINEAR.with_name("columns.py")


@pytest.fixture(params=["upward", "downward"])
def direction(request, monkeypatch):
    if request.param == "downward":
        monkeypatch.setenv("SPINUP_TEST_DOWNWARD", "1")


@pytest.fixture
def ladder(monkeypatch):
    monkeypatch.setenv("SPINUP_TEST_LADDER", "1")


def run_of(tmp_path):
    spinup.run(COLUMNS, out=tmp_path / "run")
    return tmp_path / "run"


def equilibrium(south: int) -> np.ndarray:
    """The columns' own, the southern row mixed so many steps down."""
    module = spinup.load_case(COLUMNS).build.__globals__
    return module["equilibrium"](np.array([[south] * 3, [0] * 3]))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    volume = spinup.load_case(COLUMNS).build.__globals__["VOLUME"]
    return float(np.sqrt(np.average((a - b) ** 2, weights=volume)))


def test_on_a_ladder_both_probes_end_on_another_rung(tmp_path, direction, ladder):
    seen = audit(run_of(tmp_path), years=5, probe_years=20)
    assert seen.kind == Kind.ONE_OF_SEVERAL
    assert seen.verdict.startswith("one of several, this one: 42 °S mixed 2 levels deep, to 200 m; ")
    assert "mixed one level deeper and one level shallower" in seen.verdict
    assert seen.rung["levels"] == [[2, 2, 2], [0, 0, 0]]
    for name, south in (("deeper", 3), ("shallower", 1)):
        made = seen.probes[name]
        assert (made.mixed, made.columns_changed, made.years, made.back) == (3, 3, 20, False)
        assert made.rung["levels"] == [[south] * 3, [0] * 3]
        assert made.rung["southernmost"]["levels"] == south
        # The step's own inverse is the tendency's to half the rate, 2.5 %.
        assert made.goes["temp"] == pytest.approx(distance(equilibrium(south), equilibrium(2)), rel=0.03)
    assert seen.probes["deeper"].size["temp"] == pytest.approx(distance(equilibrium(3), equilibrium(2)), rel=1e-3)


def test_where_there_is_one_equilibrium_both_probes_come_back(tmp_path, direction):
    seen = audit(run_of(tmp_path), years=5, probe_years=20)
    assert seen.kind == Kind.STABLE
    assert seen.probes["deeper"].back is True
    assert seen.probes["shallower"].back is None  # its columns are yet to convect as deep as they did
    for made in seen.probes.values():
        assert made.goes["temp"] < 0.03 * made.size["temp"]  # foreseen,
        assert made.apart["temp"] > 0.3 * made.size["temp"]  # though it is still far
    later = audit(tmp_path / "run", years=5, probe_years=90).probes["shallower"]
    assert (later.back, later.columns_changed) == (True, 0)


def test_what_was_probed_is_kept_and_told(tmp_path, ladder):
    run = run_of(tmp_path)
    seen = audit(run, years=5, probe_years=4)
    again = audit(run, years=5, probe_years=6)  # goes on
    assert [made.years for made in again.probes.values()] == [6, 6]
    assert spinup.open(tmp_path / "run-probe-deeper").sizes["evaluation"] == 6
    numbers = json.loads(json.dumps(report_numbers([run]), allow_nan=False))
    assert numbers["audit"]["kind"] == "one of several"
    assert numbers["audit"]["probes"]["deeper"]["mixed"] == seen.probes["deeper"].mixed
    assert f"Probed, {probe_words(numbers['audit']['probes']['shallower'])}." in numbers["verdict"]
    page = write_report([run]).read_text()
    assert page.count("<svg") >= 3
    assert "How deep it convects" in page
    assert "42 °S mixed 3 levels deep, to 500 m" in page
    assert audit(run, years=5).kind == Kind.ONE_OF_SEVERAL  # what was probed before counts


def test_a_probe_of_an_audit_that_has_gone_on_does_not_count(tmp_path, ladder):
    run = run_of(tmp_path)
    audit(run, years=5, probe_years=4)
    assert audit(run, years=6).probes == {}
    assert found(run).kind == Kind.STABLE
    with pytest.raises(UsageError, match=r"run-probe-deeper does not begin at the end of .*: move it away"):
        audit(run, years=6, probe_years=4)


def test_without_water_columns_there_is_no_probe(linear_run, tmp_path):
    run = tmp_path / "run"
    run.symlink_to(linear_run)
    with pytest.raises(UsageError, match="run has no water columns to mix"):
        audit(run, years=2, probe_years=2)
    assert not (tmp_path / "run-audit").exists()
    assert audit(run, years=2).rung is None


def test_the_command_line_probes(tmp_path, ladder):
    from test_cli import spinup_command

    run = run_of(tmp_path)
    done = spinup_command("audit", run, "--years", "5", "--probe", "--probe-years", "4")
    assert done.returncode == 0, done.stderr
    assert "2 probes of 4 model years each" in done.stdout
    assert "probe, deeper" in done.stdout
    assert "one of several" in done.stdout
    assert json.loads(spinup_command("audit", run, "--years", "5", "--json").stdout)["kind"] == "one of several"


SIZE = {"x": 1.0}


@pytest.mark.parametrize(
    ("back", "goes", "halfway", "allowed", "changed"),
    [
        (True, 0.1, 0.1, 0.2, 0.0),
        (None, 0.1, 0.1, 0.2, 0.9),  # it would, but its columns are at another depth
        (None, 0.5, 0.5, 0.8, 0.0),  # not known well enough
        (False, 0.5, 0.5, 0.2, 1.0),
        (None, 0.3, 0.5, 0.2, 1.0),  # closing in
    ],
)
def test_what_counts_as_coming_back(back, goes, halfway, allowed, changed):
    assert came_back(SIZE, {"x": goes}, {"x": halfway}, {"x": allowed}, changed) is back


def test_without_an_estimate_it_is_not_told():
    assert came_back(SIZE, {}, {}, {}, 0.0) is None
    assert came_back(SIZE, {"x": 0.1}, {"x": 0.1}, {}, 0.0) is None


def test_mixing_moves_the_depth_by_a_level_and_keeps_the_content():
    rng = np.random.default_rng(1)
    field = np.sort(rng.uniform(0, 20, (6, 3, 4)), axis=0)
    field[2:, 0] = field[5, 0]  # mixed three steps down
    field[:, 1] = 4.0  # to the bottom
    mask = np.ones(field.shape, bool)
    mask[0, 0, 1] = False  # a sea mount: one level more is to the bottom
    mask[:2, 0, 2] = False  # it is mixed to the bottom
    volume = np.where(mask, rng.uniform(1, 2, field.shape), 0.0)
    levels = convecting(field, mask, 1e-9)
    np.testing.assert_array_equal(levels[:2], [[3, 3, 0, 3], [0, 0, 0, 0]])
    for way, by in ((mix_deeper, 1), (mix_shallower, -1)):
        moved = way(field, volume, levels)
        np.testing.assert_allclose((volume * moved).sum(axis=0), (volume * field).sum(axis=0))
        np.testing.assert_array_equal(mixed_levels(moved, mask, 1e-9)[0, [0, 1, 3]], 3 + by)
        np.testing.assert_array_equal(moved[:, 1:], field[:, 1:])
        np.testing.assert_array_equal(moved[:, 0, 2], field[:, 0, 2])
