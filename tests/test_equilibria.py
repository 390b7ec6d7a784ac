"""Two runs of a small ocean, of known equilibria: one or two of them, and which columns differ."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import diags_array

import spinup
from spinup import Case
from spinup.compare import compare_runs
from spinup.function_map import FunctionMap
from spinup.state import Coordinate

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


def test_a_run_that_is_on_its_way_is_not_told_apart(tmp_path):
    found = compared(tmp_path, stays(STABLE), replace(stays(STABLE + 2e-4), budget=1))
    assert found["same"] is None
    assert found["verdict"].startswith("not told apart")


@pytest.mark.parametrize("downward", [False, True])
def test_the_columns_that_differ_are_named(tmp_path, downward):
    one, other = mixed(0, 1, 1), mixed(0, 1, 1) + mixed(1, 2, 3) - STABLE
    found = compared(tmp_path, stays(one, downward=downward), stays(other, downward=downward))
    assert found["same"] is False
    assert found["columns"] == [{"where": "38 °S, 8 °E", "a": 0, "b": 3}]
    assert "38 °S, 8 °E (0 levels, 3)" in found["verdict"]


def test_without_an_estimate_nothing_is_claimed(tmp_path):
    found = compared(tmp_path, stays(STABLE, known=False), stays(STABLE + 1.0, known=False))
    assert found["same"] is None
    assert "not known" in found["verdict"]
