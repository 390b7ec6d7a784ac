"""Sparse LU by either library: what it solves is what a dense solve gives, within the memory told before."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array

from solvers import SingularMatrix, sparse_lu
from solvers.factors import factorise, memory_sentence
from solvers.memory import BYTES, sparse_bytes
from solvers.sparse_lu import has_umfpack, sparse_factors, superlu_factors, umfpack_factors

LIBRARIES = [superlu_factors]
if has_umfpack():  # an extra, which every test run by `make test` has
    LIBRARIES.append(umfpack_factors)
each = pytest.mark.parametrize("factors", LIBRARIES)
needs_umfpack = pytest.mark.skipif(not has_umfpack(), reason="pip install 'spinup[umfpack]'")


def random_matrix(n: int, density: float, seed: int) -> np.ndarray:
    """With small pivots, so that rows are exchanged."""
    random = np.random.default_rng(seed)
    dense = np.where(random.uniform(size=(n, n)) < density, random.normal(size=(n, n)), 0.0)
    dense[np.arange(n), random.permutation(n)] = 0.1
    return dense


@each
@given(st.integers(1, 40), st.floats(0.02, 0.5), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_it_solves_as_a_dense_solve_does(factors, n, density, seed):
    dense = random_matrix(n, density, seed)
    expected = np.random.default_rng(seed + 1).normal(size=n)
    if np.linalg.cond(dense) > 1e8:
        return
    np.testing.assert_allclose(factors(csr_array(dense))(dense @ expected), expected, rtol=1e-6, atol=1e-6)


@each
def test_it_leaves_the_right_side_alone_and_takes_views(factors):
    solve = factors(csr_array(np.diag([1.0, 2.0])))
    b = np.array([1.0, 9.0, 4.0, 9.0])
    np.testing.assert_array_equal(solve(b[::2]), [1.0, 2.0])
    np.testing.assert_array_equal(b, [1.0, 9.0, 4.0, 9.0])


@each
@pytest.mark.parametrize(
    "matrix", [np.diag([1.0, 0.0, 2.0]), np.ones((2, 2)), np.zeros((2, 2)), np.diag([1.0, np.nan])]
)
def test_a_singular_matrix_is_named(factors, matrix):
    with pytest.raises(SingularMatrix):
        factors(csr_array(matrix))


@needs_umfpack
@given(st.integers(2, 40), st.floats(0.02, 0.5), st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_factors_of_umfpack_take_no_more_than_is_told(n, density, seed):
    from kvxopt import matrix, spmatrix, umfpack

    entries = coo_array(random_matrix(n, density, seed))
    row, column = (matrix(index.astype(np.int64)) for index in entries.coords)
    A = spmatrix(matrix(entries.data), row, column, entries.shape)
    try:
        lower, upper, *_ = umfpack.get_numeric(A, umfpack.numeric(A, umfpack.symbolic(A)))
    except ArithmeticError:
        return
    assert len(lower) + len(upper) - n <= sparse_bytes(entries) / BYTES


@needs_umfpack
def test_umfpack_is_taken_where_it_is_installed(monkeypatch):
    matrix = csr_array(random_matrix(200, 0.05, 3))
    b = np.arange(200.0)
    np.testing.assert_array_equal(sparse_factors(matrix)(b), umfpack_factors(matrix)(b))
    np.testing.assert_array_equal(factorise(matrix)(b), umfpack_factors(matrix)(b))
    assert "LU factors, by UMFPACK, take at most" in memory_sentence(matrix)
    monkeypatch.setitem(sys.modules, "kvxopt", None)  # as where it is not installed
    assert not sparse_lu.has_umfpack()
    np.testing.assert_array_equal(factorise(matrix)(b), superlu_factors(matrix)(b))
    assert "LU factors, by SuperLU, take at most" in memory_sentence(matrix)
