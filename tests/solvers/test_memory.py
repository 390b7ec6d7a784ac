"""What the factors take is known before they are made: never less than what they turn out to take."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_array, csr_array, diags_array, eye_array, kron
from scipy.sparse.linalg import splu

from solvers import SingularMatrix, memory
from solvers.memory import BYTES, column_order, container, sparse_bytes


def grid_matrix(nx: int, ny: int) -> csr_array:
    """Advection and diffusion on a grid of nx x ny cells."""
    along, across = (diags_array([1.5, -2.1, 0.5], offsets=[-1, 0, 1], shape=(n, n), dtype=float) for n in (nx, ny))
    return csr_array(kron(eye_array(ny), along) + kron(across, eye_array(nx)))


def entries(matrix: csr_array) -> int:
    """Of SuperLU's factors, the unit diagonal counted once."""
    factors = splu(csc_array(matrix))
    return factors.L.nnz + factors.U.nnz - matrix.shape[0]


@given(st.integers(2, 25), st.floats(0.02, 0.5), st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_no_factors_of_a_random_matrix_take_more(n, density, seed):
    random = np.random.default_rng(seed)
    dense = np.where(random.uniform(size=(n, n)) < density, random.normal(size=(n, n)), 0.0)
    dense[np.arange(n), random.permutation(n)] = 0.1  # small pivots, so that rows are exchanged
    try:
        found = entries(csr_array(dense))
    except RuntimeError:
        return
    assert found <= sparse_bytes(csr_array(dense)) / BYTES <= n**2


def test_the_bound_of_a_grid_is_not_far_from_it():
    matrix = grid_matrix(30, 20)
    assert 1.0 <= sparse_bytes(matrix) / BYTES / entries(matrix) < 2.0


def test_the_bound_is_exact_where_nothing_fills_in():
    bidiagonal = csr_array(diags_array([2.0, 1.0], offsets=[0, 1], shape=(50, 50)))
    assert sparse_bytes(bidiagonal) == BYTES * 99


def test_beyond_enough_it_says_so_only():
    matrix = grid_matrix(20, 20)
    whole = sparse_bytes(matrix)
    assert whole / 2 < sparse_bytes(matrix, whole / 2) < whole
    assert sparse_bytes(matrix, whole) == whole


def test_the_order_of_columns_is_that_of_the_factors():
    matrix = grid_matrix(13, 9)
    np.testing.assert_array_equal(column_order(matrix), splu(csc_array(matrix)).perm_c)


def test_a_matrix_with_an_empty_row_has_no_factors():
    with pytest.raises(SingularMatrix):
        sparse_bytes(csr_array(np.diag([1.0, 0.0, 2.0])))


def test_the_limits_of_control_groups(tmp_path):
    """Of both versions, and of the groups that a group is in."""
    (tmp_path / "memory" / "job" / "step").mkdir(parents=True)
    (tmp_path / "slice").mkdir()
    membership = tmp_path / "cgroup"
    membership.write_text("5:cpu:/other\n4:memory:/job/step\n0::/slice\n")
    assert container(membership, tmp_path) == np.inf
    (tmp_path / "memory" / "job" / "memory.limit_in_bytes").write_text("3000\n")
    (tmp_path / "memory" / "job" / "step" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert container(membership, tmp_path) == 3000
    (tmp_path / "slice" / "memory.max").write_text("max\n")
    (tmp_path / "memory.max").write_text("2000\n")
    assert container(membership, tmp_path) == 2000
    assert container(tmp_path / "nowhere", tmp_path) == np.inf


def test_factors_may_take_a_share_of_the_least_limit(monkeypatch):
    for name, size in (("installed", 8e9), ("address_space", 6e9), ("container", np.inf)):
        monkeypatch.setattr(memory, name, lambda size=size: size)
    assert memory.usable() == memory.SHARE * 6e9
