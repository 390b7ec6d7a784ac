"""LU down a chain of links: what it solves is what a dense solve gives."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, diags_array

from solvers import SingularMatrix, factors
from solvers.chain_factors import chain_bytes, chain_factors, scaling
from solvers.factors import factorise, refined


def chained(sizes: list[int], seed: int, *, diagonal: float = 4.0) -> tuple[csr_array, np.ndarray]:
    """A random matrix that couples neighbouring links of these sizes, unknowns in random order; and its chain."""
    random = np.random.default_rng(seed)
    chain = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    n = len(chain)
    near = np.abs(chain[:, None] - chain) <= 1
    dense = np.where(near, random.normal(size=(n, n)), 0.0) / np.sqrt(3 * max(sizes))
    return csr_array(dense + diagonal * np.eye(n)), chain


def rows(matrix: csr_array) -> np.ndarray:
    return scaling(matrix)[0]


def wide_range(n: int, seed: int, orders: float = 6.0) -> np.ndarray:
    return 10.0 ** np.random.default_rng(seed).uniform(-orders, orders, n)


def assert_solves(matrix: csr_array, chain: np.ndarray | None, *, rtol: float = 1e-9) -> None:
    expected = np.random.default_rng(9).normal(size=matrix.shape[0])
    b = matrix @ expected
    x = refined(matrix, factorise(matrix, chain), b, 1e-10, rows(matrix))
    np.testing.assert_allclose(x, np.linalg.solve(matrix.toarray(), b), rtol=rtol, atol=rtol)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_links_of_any_sizes_solve_as_dense(sizes, seed):
    assert_solves(*chained(sizes, seed))


def test_one_solve_has_the_digits_of_single_precision():
    matrix, chain = chained([5, 2, 8, 3], 1)
    b = np.random.default_rng(2).normal(size=18)
    error = np.abs(factorise(matrix, chain)(b) - np.linalg.solve(matrix.toarray(), b)).max()
    assert 1e-10 < error < 1e-5


def test_links_that_are_not_coupled():
    matrix, chain = chained([3, 4, 2], 3)
    alone = matrix.toarray() * (chain[:, None] == chain)
    assert_solves(csr_array(alone), chain)


def test_rows_and_columns_of_very_different_size():
    """Entries from 1e-40 to 1e40: beyond single precision, unless they are scaled."""
    matrix, chain = chained([4, 6, 3, 5], 4)
    left, right = wide_range(18, 5, 20.0), wide_range(18, 6, 20.0)
    badly = csr_array(diags_array(left) @ matrix @ diags_array(right))
    expected = np.random.default_rng(7).normal(size=18) / right
    x = refined(badly, factorise(badly, chain), badly @ expected, 1e-10, rows(badly))
    np.testing.assert_allclose(x, expected, rtol=1e-6)


def test_a_saddle_point():
    """Zeros on the diagonal, as the divergence has under a rigid lid: pivoting within the link."""
    random = np.random.default_rng(8)
    links, b, m = 4, 5, 2  # in each link b velocities, m pressures
    chain = np.concatenate([np.repeat(np.arange(links), b), np.repeat(np.arange(links), m)])
    gradient = random.normal(size=(links * b, links * m)) * (chain[: links * b, None] == chain[links * b :])
    A = np.diag(np.full(links * b, -2.0)) + 0.3 * np.eye(links * b, k=b) + 0.3 * np.eye(links * b, k=-b)
    matrix = csr_array(np.block([[A, gradient], [gradient.T, np.zeros((links * m, links * m))]]))
    assert (matrix.diagonal() == 0).sum() == links * m
    assert_solves(matrix, chain)


def test_without_a_chain_the_sparse_lu_in_double_precision():
    matrix, _ = chained([5, 2, 8, 3], 1)
    b = np.random.default_rng(2).normal(size=18)
    np.testing.assert_allclose(factorise(matrix)(b), np.linalg.solve(matrix.toarray(), b), rtol=1e-12)


def test_a_link_too_wide_to_be_dense_goes_to_the_sparse_lu(monkeypatch):
    matrix, chain = chained([5, 2, 8, 3], 1)
    b = np.random.default_rng(2).normal(size=18)
    monkeypatch.setattr(factors, "LARGEST_LINK", 8)
    assert not np.array_equal(factorise(matrix, chain)(b), factorise(matrix)(b))
    monkeypatch.setattr(factors, "LARGEST_LINK", 7)
    np.testing.assert_array_equal(factorise(matrix, chain)(b), factorise(matrix)(b))


@pytest.mark.parametrize("chain", [None, np.array([0, 0, 0, 0]), np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2])])
def test_a_singular_matrix_is_named(chain):
    with pytest.raises(SingularMatrix):
        factorise(csr_array(np.ones((4, 4))), chain)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("chain", [None, np.array([0, 0, 1, 1])])
def test_an_empty_row_or_column_is_singular(chain, axis):
    dense = np.eye(4) + 0.1
    dense[(2, slice(None)) if axis == 0 else (slice(None), 2)] = 0.0
    with pytest.raises(SingularMatrix):
        factorise(csr_array(dense), chain)


@pytest.mark.parametrize("chain", [None, np.array([0, 0, 1, 1])])
def test_a_matrix_that_is_not_finite_has_no_answer(chain):
    dense = np.eye(4) + 0.1
    dense[1, 2] = np.nan
    with pytest.raises(SingularMatrix):
        factorise(csr_array(dense), chain)


def test_factors_of_another_matrix_are_found_out():
    matrix, chain = chained([40, 40, 40], 10)
    other, _ = chained([40, 40, 40], 11, diagonal=0.1)
    b = np.ones(120)
    assert refined(matrix, factorise(other, chain), b, 1e-6, rows(matrix)) is None
    assert refined(matrix, factorise(matrix, chain), b, 1e-6, rows(matrix)) is not None


def test_factors_of_a_matrix_nearby_are_refined_to_this_one():
    matrix, chain = chained([4, 4, 4], 10)
    x = refined(matrix, factorise(1.05 * matrix, chain), np.ones(12), 1e-6, rows(matrix))
    np.testing.assert_allclose(matrix @ x, 1.0, rtol=1e-6)


def test_what_is_not_a_number_has_no_scaling():
    matrix, _ = chained([4, 6, 3, 5], 4)
    matrix.data[7] = np.nan
    with pytest.raises(SingularMatrix):
        scaling(matrix)


def test_scaling_brings_the_largest_entries_near_one():
    matrix, _ = chained([4, 6, 3, 5], 4)
    badly = csr_array(diags_array(wide_range(18, 5)) @ matrix @ diags_array(wide_range(18, 6)))
    left, right = scaling(badly)
    scaled = np.abs(left[:, None] * badly.toarray() * right)
    for axis in (0, 1):
        before, after = np.abs(badly.toarray()).max(axis=axis), scaled.max(axis=axis)
        assert before.max() > 1e9 * before.min()
        assert after.min() > 0.03
        assert after.max() < 2.0


def test_the_memory_of_the_factors_is_known_before():
    """What the solve holds of dense factors and pivots, to the byte."""
    matrix, chain = chained([5, 2, 8, 3], 1)
    cells = inspect.getclosurevars(chain_factors(matrix, chain)).nonlocals
    assert sum(lu.nbytes + pivots.nbytes for lu, pivots in cells["factors"]) == chain_bytes(chain)
