"""PETSc's factors of a sparse matrix."""

import importlib.util

import numpy as np
import pytest
from scipy.sparse import csr_array, eye_array, random_array

from solvers.factors import factorise, memory_sentence

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("petsc4py") is None, reason="petsc4py is not installed: make distributed"
)


def some_matrix(n: int = 200) -> csr_array:
    return csr_array(random_array((n, n), density=0.05, rng=np.random.default_rng(0)) + eye_array(n))


def factors(matrix):
    from petsc4py import PETSc

    from solvers.petsc_factors import PetscFactors

    return PetscFactors(matrix, PETSc.COMM_SELF)


def test_the_solution_is_found():
    matrix, x = some_matrix(), np.linspace(-1, 1, 200)
    np.testing.assert_allclose(factors(matrix).solve(matrix, matrix @ x, 1e-12), x, atol=1e-8)


def test_factors_serve_a_matrix_nearby():
    matrix, x = some_matrix(), np.linspace(-1, 1, 200)
    nearby = csr_array(matrix + 0.1 * eye_array(200))
    np.testing.assert_allclose(factors(matrix).solve(nearby, nearby @ x, 1e-12), x, atol=1e-8)


def test_a_zero_on_the_diagonal_is_no_obstacle():
    matrix = csr_array(np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 2.0], [0.0, 2.0, 1.0]]))
    np.testing.assert_allclose(factors(matrix).solve(matrix, matrix @ np.array([1.0, 2.0, 3.0]), 1e-12), [1, 2, 3])


def test_a_singular_matrix_has_no_solution():
    matrix = csr_array(np.array([[1.0, 2.0], [2.0, 4.0]]))
    assert factors(matrix).solve(matrix, np.array([1.0, 0.0]), 1e-8) is None
    assert not np.isfinite(factors(matrix).apply(np.array([1.0, 0.0]))).all()


def test_options_of_the_database_win():
    from petsc4py import PETSc

    from solvers.petsc_factors import PREFIX, in_words

    database = PETSc.Options(PREFIX)
    assert in_words() == "LU factors by MUMPS"
    database["pc_type"] = "ilu"
    try:
        assert in_words() == "preconditioned by ilu"
        test_the_solution_is_found()
        assert database.getString("pc_type") == "ilu"
    finally:
        database.delValue("pc_type")
    assert not database.hasName("ksp_type")  # ours are not left there


def test_options_given_hold_while_they_last():
    from solvers.petsc_factors import in_words, is_asked_for, options_given, wrong_option

    assert not is_asked_for()
    with options_given("-pc_type jacobi -ksp_rtol 1e-3"):
        assert is_asked_for()
        assert in_words() == "preconditioned by jacobi"
        matrix = some_matrix(20)
        assert not np.array_equal(factorise(matrix)(matrix @ np.ones(20)), np.ones(20))
    assert not is_asked_for()
    assert wrong_option("-pc_type jacobi") == ""
    assert wrong_option("-pc_factor_mat_solver_type mumps") == ""
    assert wrong_option("-pc_type nonsense").endswith("nonsense")


def test_lu_that_is_asked_for_pivots():
    """PETSc's own does not: it stops at the zeros of a saddle point."""
    from solvers.petsc_factors import in_words, options_given

    matrix = csr_array(np.array([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0], [1.0, 0.0, 0.0]]) + np.diag([0.0, 0.0, 1e-3]))
    with options_given("-pc_type lu"):
        assert in_words() == "LU factors by MUMPS"
        np.testing.assert_allclose(factorise(matrix)(matrix @ np.ones(3)), np.ones(3))


def test_wide_links_are_for_mumps(monkeypatch):
    from solvers import factors as module

    matrix, chain, x = some_matrix(40), np.arange(40) // 20, np.linspace(-1, 1, 40)
    matrix = csr_array(matrix * (abs(chain[:, None] - chain) <= 1))
    assert "by MUMPS" not in memory_sentence(matrix, chain)
    monkeypatch.setattr(module, "WIDE_LINK", 10)
    assert "LU factors, by MUMPS, take about" in memory_sentence(matrix, chain)
    np.testing.assert_allclose(factorise(matrix, chain)(matrix @ x), x, atol=1e-8)
    monkeypatch.setattr(module, "has_mumps", lambda: False)
    assert "by MUMPS" not in memory_sentence(matrix, chain)
