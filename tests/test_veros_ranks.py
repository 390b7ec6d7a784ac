"""Veros on several ranks, split by Veros itself: the run that one process makes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_ranks import THERE, spinup_on

import spinup
from spinup.distributed.veros import decomposition
from spinup.errors import UsageError
from spinup.store.operators import read_operator
from spinup.store.view import read_state

CASE = Path(__file__).parent / "cases" / "small_acc.py"


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    run = tmp_path_factory.mktemp("alone") / "run"
    spinup.run(CASE, out=run)
    return run


@pytest.mark.skipif(not THERE, reason="MPI, PETSc and what talks to them are not installed: make distributed")
def test_it_is_the_run_of_one_process_and_goes_on_there(alone, tmp_path):
    run = tmp_path / "run"
    done = spinup_on(2, "run", CASE, "--out", run, "--budget", "0.017")
    assert done.returncode == 0, done.stderr
    assert spinup.open(run).sizes["evaluation"] == 2
    done = subprocess.run(
        [sys.executable, "-m", "spinup.cli", "resume", str(run), "--budget", "0.025"],
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    one, two = spinup.open(alone), spinup.open(run)
    assert one.sizes["evaluation"] == two.sizes["evaluation"] == 3
    for name in ("temp", "temp_before"):
        np.testing.assert_allclose(two[name].values, one[name].values, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(two.temp_volume, one.temp_volume)
    told = json.loads(one.attrs["contents"])
    assert json.loads(two.attrs["contents"])["temp"]["factor"] == pytest.approx(told["temp"]["factor"])
    for name in ("kinetic_energy", "heat_content", "overturning_max", "barotropic_transport", "surface_heat_flux"):
        np.testing.assert_allclose(two[name].values, one[name].values, rtol=1e-4, err_msg=name)
    np.testing.assert_array_equal(two.xt, one.xt)
    states = read_state(alone), read_state(run)
    for name, value in states[0].items():
        size = max(float(np.max(np.abs(value))), 1e-10)  # the tendency of a salinity that is uniform is rounding
        np.testing.assert_allclose(states[1][name] / size, np.asarray(value) / size, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.skipif(not THERE, reason="MPI, PETSc and what talks to them are not installed: make distributed")
def test_the_operator_of_two_ranks_is_that_of_one_process_which_goes_on_with_it(tmp_path):
    how = ("--method", "extended", "--set", "extended.shock=0", "--set", "extended.relax_days=6")
    how = (*how, "--set", "extended.residual_days=6", "--set", "extended.forcing=1e-8")
    one = [sys.executable, "-m", "spinup.cli"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    subprocess.run([*one, "run", str(CASE), "--out", str(whole), *how, "--budget", "0.15"], check=True)
    done = spinup_on(2, "run", CASE, "--out", run, *how, "--budget", "0.08")  # the operator, but not the step with it
    assert done.returncode == 0, done.stderr
    assert "on 2 ranks: by PETSc, LU factors by MUMPS" in done.stdout + done.stderr
    (found, years), (expected, cost) = (read_operator(of, "000001") for of in (run, whole))
    assert years == cost
    for mine, other in ((found, expected), (found.border, expected.border)):
        for name in ("matrix", "implicit", "response", "source", "balance"):
            if hasattr(other, name):
                size = abs(getattr(other, name)).sum()
                assert abs(getattr(mine, name) - getattr(other, name)).sum() < 1e-4 * size, name
    np.testing.assert_array_equal(found.border.chain, expected.border.chain)
    for name, where in vars(expected.border.layers).items():
        np.testing.assert_allclose(getattr(found.border.layers, name), where, rtol=1e-12, err_msg=name)
    subprocess.run([*one, "resume", str(run), "--budget", "0.15"], check=True)
    alone, ranks = spinup.open(whole), spinup.open(run)
    assert alone.sizes["evaluation"] == ranks.sizes["evaluation"] >= 3
    np.testing.assert_allclose(ranks.error_estimate[0], alone.error_estimate[0], rtol=1e-3)
    moved = np.abs(alone.temp_before[1] - alone.temp_before[0]).max()
    np.testing.assert_allclose(ranks.temp_before[1], alone.temp_before[1], rtol=0, atol=0.01 * moved)


@pytest.mark.skipif(not THERE, reason="MPI, PETSc and what talks to them are not installed: make distributed")
def test_a_grid_that_does_not_divide_is_named(tmp_path):
    done = spinup_on(2, "run", "acc-coarse", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert done.stderr.count("15 x 21 cells have none for 2 ranks; possible: 1, 3") == 1


@pytest.mark.parametrize(
    ("grid", "ranks", "expected"),
    [
        ((30, 42), 1, (1, 1)),
        ((30, 42), 2, (1, 2)),
        ((90, 40), 4, (2, 2)),
        ((90, 80), 6, (3, 2)),
        ((30, 42), 12, (2, 6)),
    ],
)
def test_the_edges_are_as_short_as_can_be(grid, ranks, expected):
    found = decomposition(*grid, ranks)
    assert found[0] * found[1] == ranks
    assert found == expected


def test_no_equal_parts():
    with pytest.raises(UsageError, match="possible: 1, 2, 3, 6, 7, 9"):
        decomposition(6, 21, 5)
