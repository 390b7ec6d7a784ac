"""Two runs of a small ocean, of known equilibria: one or two of them, and which columns differ."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import LINEAR
from scipy.sparse import diags_array

import spinup
from spinup import Case
from spinup.audit import audit
from spinup.compare import compare_runs
from spinup.function_map import FunctionMap
from spinup.report.audit_verdict import Kind
from spinup.state import Coordinate

COLUMNS = LINEAR.with_name("columns.py")

SHAPE = (4, 2, 3)  # levels, upward; rows; columns
N = int(np.prod(SHAPE))
STABLE = np.broadcast_to(np.array([1.0, 4.0, 8.0, 15.0])[:, None, None], SHAPE)


def stays(end, *, known=True, downward=False):
    """A case whose equilibrium is `end`, from which it starts 1e-3 away, and half of that is left after a period."""
    depths = np.array([3000.0, 1000.0, 300.0, 50.0])
    coords = {
        "z": Coordinate(("z",), depths[::-1] if downward else -depths, {"axis": "Z", "units": "m"}),
        "y": Coordinate(("y",), np.array([-42.0, -38.0]), {"axis": "Y", "units": "degrees_north"}),
        "x": Coordinate(("x",), np.array([0.0, 4.0, 8.0]), {"axis": "X", "units": "degrees_east"}),
    }
    end = end[::-1] if downward else end

    def build():
        return FunctionMap(
            lambda s: {"temp": end + 0.5 * (s["temp"] - end)},
            {"temp": end + 1e-3},
            dims=("z", "y", "x"),
            coords=coords,
            units={"temp": "degC"},
            tendency=(lambda s: diags_array(np.full(N, -0.5))) if known else None,
            name="column",
        )

    return Case("column", "Columns", build, method="picard", budget=3, tolerance="0.002 K")


def compared(tmp_path, *cases):
    for name, case in zip("ab", cases, strict=True):
        spinup.run(case, out=tmp_path / name)
    found = compare_runs([tmp_path / "a", tmp_path / "b"])
    json.dumps(found, allow_nan=False)
    return found["pairs"][0]["equilibrium"]


def mixed(row: int, column: int, levels: int) -> np.ndarray:
    """STABLE but for one column, which is uniform down to `levels` below the surface."""
    field = STABLE.copy()
    field[SHAPE[0] - 1 - levels :, row, column] = 9.0
    return field


def test_ends_within_their_estimated_errors_are_one_equilibrium(tmp_path):
    found = compared(tmp_path, stays(STABLE), stays(STABLE + 2e-4))
    assert found["same"] is True
    assert found["columns"] == []
    assert found["verdict"].startswith("one equilibrium")
    assert found["verdict"].endswith("; its rung: 42 °S mixed 0 levels deep")
    assert not found["several"]


def test_a_run_that_is_on_its_way_is_not_told_apart(tmp_path):
    found = compared(tmp_path, stays(STABLE), replace(stays(STABLE + 2e-4), budget=1))
    assert found["same"] is None
    assert found["verdict"].startswith("not told apart")
    assert "a has converged and was not audited, b has not converged and was not audited" in found["verdict"]


@pytest.mark.parametrize("downward", [False, True])
def test_the_columns_that_differ_are_named(tmp_path, downward):
    one, other = mixed(0, 1, 1), mixed(0, 1, 1) + mixed(1, 2, 3) - STABLE
    found = compared(tmp_path, stays(one, downward=downward), stays(other, downward=downward))
    assert found["same"] is False
    assert found["columns"] == [{"where": "38 °S, 8 °E", "a": 0, "b": 3}]
    assert "38 °S, 8 °E (0 levels, 3)" in found["verdict"]


def test_two_ends_that_have_converged_apart_are_two_of_several(tmp_path):
    found = compared(tmp_path, stays(mixed(0, 1, 1)), stays(mixed(0, 1, 2)))
    assert (found["same"], found["several"]) == (False, True)
    assert found["rungs"] == {
        "a": "42 °S mixed 1 levels deep, to 300 m",
        "b": "42 °S mixed 2 levels deep, to 1000 m",
    }
    assert found["verdict"].startswith("different equilibria, a and b, and each is one of several of this model: ")
    for name, rung in found["rungs"].items():
        assert f"; {name} on the rung {rung}" in found["verdict"]
    assert "a has converged and was not audited, b has converged and was not audited" in found["verdict"]


def test_an_end_that_is_not_there_is_not_one_of_several(tmp_path):
    found = compared(tmp_path, stays(STABLE), replace(stays(STABLE + 1.0), budget=1))
    assert (found["same"], found["several"]) == (False, False)
    assert found["verdict"].startswith("different equilibria, or one is not there yet, a and b: ")


def test_ends_of_two_models_are_not_several_of_one(tmp_path):
    def other():
        model = stays(STABLE + 1.0).build()
        describe = model.describe
        model.describe = lambda: describe() | {"constant": 2}
        return model

    found = compared(tmp_path, stays(STABLE), replace(stays(STABLE), build=other))
    assert (found["same"], found["several"]) == (False, False)
    assert "of models that are not known to be one" in found["verdict"]


@pytest.fixture
def ladder(monkeypatch, tmp_path):
    """Two runs of columns that have an equilibrium for every depth of convection; b began a level deeper than a."""
    monkeypatch.setenv("SPINUP_TEST_LADDER", "1")
    spinup.run(COLUMNS, out=tmp_path / "a")
    audit(tmp_path / "a", years=3, probe_years=3)
    spinup.run(COLUMNS, out=tmp_path / "b", start=tmp_path / "a-probe-deeper", budget=3, tolerance="1e-12 K")
    return tmp_path


def test_an_audit_that_found_a_stable_end_counts(ladder):
    """b has spent its budget, and not converged as asked; but where it is it stays."""
    before = compare_runs([ladder / "a", ladder / "b"])["pairs"][0]["equilibrium"]
    assert (before["same"], before["several"]) == (False, False)
    assert "a has converged and was audited as stable, b has not converged and was not audited" in before["verdict"]
    assert audit(ladder / "b", years=3).kind == Kind.STABLE
    found = compare_runs([ladder / "a", ladder / "b"])["pairs"][0]["equilibrium"]
    assert (found["same"], found["several"]) == (False, True)
    known = "a has converged and was audited as stable, b has not converged and was audited as stable"
    assert known in found["verdict"]
    assert "; b on the rung 42 °S mixed 3 levels deep, to 500 m; " in found["verdict"]
    again = compare_runs([ladder / "a", ladder / "a"])["pairs"][0]["equilibrium"]
    assert again["same"] is True
    assert "its rung: 42 °S mixed 2 levels deep, to 200 m; " in again["verdict"]


def test_an_audit_that_found_no_stable_end_counts_against_convergence(ladder, monkeypatch):
    monkeypatch.setattr("spinup.compare.audit_of", lambda path: {"kind": "not there yet"})
    found = compare_runs([ladder / "a", ladder / "a"])["pairs"][0]["equilibrium"]
    assert found["same"] is None
    assert "a has converged and was audited, but not as stable" in found["verdict"]


def test_without_an_estimate_nothing_is_claimed(tmp_path):
    found = compared(tmp_path, stays(STABLE, known=False), stays(STABLE + 1.0, known=False))
    assert found["same"] is None
    assert "not known" in found["verdict"]
