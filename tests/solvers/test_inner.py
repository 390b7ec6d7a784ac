import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import InnerProduct
from solvers.inner import BLOCK


def test_exact_numbers(xp):
    inner = InnerProduct(weights=xp.asarray([1.0, 2.0, 4.0]))
    a, b = xp.asarray([1.0, 2.0, 3.0]), xp.asarray([5.0, -1.0, 1.0])
    assert inner.dot(a, b) == 5 - 4 + 12
    assert inner.norm(b) == np.sqrt(25 + 2 + 4)
    assert InnerProduct().gram([a, b], [b]).tolist() == [[6.0], [27.0]]


@pytest.mark.parametrize("n", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_gram_is_the_dense_product(xp, n, weighted):
    random = np.random.default_rng(n)
    A, B, w = random.normal(size=(4, n)), random.normal(size=(2, n)), random.uniform(0.1, 1.0, n)
    inner = InnerProduct(weights=xp.asarray(w) if weighted else None)
    gram = inner.gram([xp.asarray(a) for a in A], [xp.asarray(b) for b in B])
    assert gram.dtype == np.float64
    np.testing.assert_allclose(gram, (A * (w if weighted else 1)) @ B.T, atol=1e-13 * max(n, 1) ** 0.5)


def test_one_reduction_whatever_the_number_of_products(xp):
    calls = []

    def reduce(mine):
        calls.append(mine.size)
        return 2 * mine

    inner = InnerProduct(reduce=reduce)
    a = xp.ones(BLOCK + 3)
    assert inner.gram([a, a, a], [a, a]).tolist() == [[2 * (BLOCK + 3.0)] * 2] * 3
    assert calls == [6]


def test_a_matrix_of_no_rows_needs_no_reduction():
    def reduce(mine):
        raise AssertionError

    assert InnerProduct(reduce=reduce).gram([], [np.ones(3)]).shape == (0, 1)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(-1e3, 1e3))
@settings(deadline=None)
def test_inner_product_laws(values, s):
    a = np.array(values)
    b = np.cos(np.arange(len(values)))
    w = 1.0 + np.arange(len(values)) % 3
    inner = InnerProduct(weights=w)
    assert inner.dot(a, b) == pytest.approx(inner.dot(b, a), rel=1e-12, abs=1e-6)
    assert inner.norm(s * a) == pytest.approx(abs(s) * inner.norm(a), rel=1e-12, abs=1e-150)
    assert abs(inner.dot(a, b)) <= inner.norm(a) * inner.norm(b) * (1 + 1e-12) + 1e-150
