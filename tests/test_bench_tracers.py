"""The benchmark of the tracer cases, at a small size: the equilibria are ones, and the rows say what happened."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from benchmarks import tracers
from benchmarks.phosphorus_equilibrium import equilibrium
from cases import ideal_age, phosphorus

SMALL = {"ny": 20, "nz": 12, "steps": 12}


@pytest.fixture(scope="module")
def age():
    case = replace(ideal_age.CASE, build=partial(ideal_age.build, **SMALL))
    return tracers.Tracer(case, ideal_age.exact(**SMALL))


@pytest.fixture(scope="module")
def phosphate():
    case = replace(phosphorus.CASE, build=partial(phosphorus.build, **SMALL))
    return tracers.Tracer(case, equilibrium(**SMALL))


def test_the_equilibrium_of_phosphorus_is_a_fixed_point_with_the_total_of_the_start(phosphate):
    np.testing.assert_allclose(phosphate.T(phosphate.end), phosphate.end, atol=1e-13)
    np.testing.assert_allclose(phosphate.totals(phosphate.end), phosphate.totals(phosphate.x0), rtol=1e-13)
    assert phosphate.end.min() > -1e-13


def test_errors_are_relative_and_of_the_worse_tracer(phosphate):
    po4, dop = np.split(phosphate.end, 2)
    assert phosphate.error(phosphate.end) == 0
    assert phosphate.error(np.concatenate([1.01 * po4, 0.97 * dop])) == pytest.approx(0.03)


def test_a_run_of_spinup_is_told(phosphate, tmp_path):
    row = tracers.own_row(phosphate, "auto", tmp_path)
    assert row["outcome"] == "converged"
    assert row["model_years_to"]["1e-6"] <= row["evaluations"] == row["model_years"] <= 60
    assert row["last_error"] < 1e-6
    assert row["total_change"] < 1e-12
    assert row["factorisations"] > 0


def test_a_peers_search_is_told(age):
    row = tracers.peer_row(age, "scipy.optimize.broyden1")
    assert row["evaluations"] == row["model_years"] <= tracers.YEARS
    assert row["least_error"] <= row["last_error"]
    assert "total_change" not in row


def test_direct_integration_goes_on_to_the_smallest_level(age, monkeypatch):
    monkeypatch.setattr(tracers, "LEVELS", ("5e-1", "1e-1"))
    row = tracers.direct_row(age)
    assert row["outcome"] == "converged"
    assert 100 < row["model_years_to"]["5e-1"] < row["model_years_to"]["1e-1"] == row["evaluations"]
