"""Lumped levels: what they are, and that multigrid on them solves transport on a grid."""

import importlib.util

import numpy as np
import pytest
from scipy.sparse import csr_array, diags_array, eye_array, kron

from solvers import StepOperator, factors, lumping
from solvers.lumping import Cells, lumped_levels
from solvers.tendency import TendencyInverse, memory_needed

NZ, NY, NX = 4, 18, 26

needs_petsc = pytest.mark.skipif(
    importlib.util.find_spec("petsc4py") is None, reason="petsc4py is not installed: make distributed"
)


def cells() -> Cells:
    kind, row, column = (index.ravel() for index in np.indices((NZ, NY, NX)))
    return Cells(kind, row, column, 1.0 + kind)


def operator() -> StepOperator:
    """Upwind advection to the east and diffusion, of which the vertical one is implicit and strong; a sink on top."""
    size = np.repeat(1.0 + np.arange(NZ), NY * NX)

    def second(n: int) -> csr_array:
        one = csr_array(diags_array([np.ones(n - 1), -np.ones(n)], offsets=[1, 0]))[: n - 1]
        return csr_array(-(one.T @ one))

    horizontal = kron(eye_array(NY), second(NX)) + kron(second(NY), eye_array(NX))
    east = kron(eye_array(NY), diags_array([np.ones(NX - 1), -np.ones(NX)], offsets=[-1, 0]))
    vertical = diags_array(1 / size) @ kron(second(NZ), eye_array(NY * NX))
    sink = diags_array(np.where(np.arange(NZ * NY * NX) >= (NZ - 1) * NY * NX, 0.02, 0.0))
    left = csr_array(eye_array(size.size) - 5.0 * vertical)
    tendency = kron(eye_array(NZ), 0.2 * horizontal + 0.1 * east) - sink + 5.0 * vertical
    return StepOperator(csr_array(0.05 * tendency), 100, left, cells=cells())


def test_each_level_has_a_quarter_of_the_columns(monkeypatch):
    monkeypatch.setattr(lumping, "FEW", 100)
    levels = [lump for lump, _ in lumped_levels(cells())]
    assert [lump.shape for lump in levels] == [
        (NZ * 18 * 26, NZ * 9 * 13),
        (NZ * 9 * 13, NZ * 5 * 7),
        (NZ * 5 * 7, NZ * 3 * 4),
    ]
    for lump in levels:
        np.testing.assert_array_equal(lump.sum(axis=1), 1.0)
    kinds = levels[0].T @ cells().kind / levels[0].sum(axis=0)
    np.testing.assert_array_equal(kinds, np.round(kinds))


def test_levels_end_where_nothing_is_lumped_any_more(monkeypatch):
    monkeypatch.setattr(lumping, "FEW", 2)
    alone = Cells(np.arange(40), np.zeros(40, int), np.zeros(40, int), np.ones(40))
    assert not list(lumped_levels(alone))


@needs_petsc
def test_multigrid_on_them_solves_what_factors_solve(monkeypatch):
    monkeypatch.setattr(lumping, "FEW", 100)
    r = np.random.default_rng(0).normal(size=NZ * NY * NX)
    rates = np.linspace(0.0, 0.5, r.size)
    expected = TendencyInverse(operator())
    assert "multigrid" not in memory_needed(operator())
    monkeypatch.setattr(factors, "LARGE", 1000)
    assert memory_needed(operator()).endswith("by PETSc, multigrid on lumped water columns")
    found = TendencyInverse(operator())
    for settings in ({}, {"steps": 7}, {"rate": rates}):
        wanted = expected(r, **settings)
        np.testing.assert_allclose(found(r, **settings), wanted, atol=1e-5 * np.abs(wanted).max())
