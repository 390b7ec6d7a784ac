"""Flexible GMRES against dense solves."""

import threading

import numpy as np
import pytest

from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.krylov import answered, fgmres, fgmres_flow
from solvers.recycling import learn

N = 30


@pytest.fixture
def problem():
    random = np.random.default_rng(3)
    return np.eye(N) + 0.3 * random.normal(size=(N, N)), random.normal(size=N)


def test_as_many_vectors_as_unknowns_solve_it(problem):
    a, b = problem
    x, left = fgmres(lambda v: a @ v, b, lambda v: v, tolerance=1e-12, dimension=N)
    np.testing.assert_allclose(x, np.linalg.solve(a, b), rtol=1e-8)
    assert left < 1e-12


def test_what_is_left_is_what_it_says(problem):
    a, b = problem
    x, left = fgmres(lambda v: a @ v, b, lambda v: v, tolerance=0.0, dimension=12)
    assert left == pytest.approx(np.linalg.norm(b - a @ x) / np.linalg.norm(b), rel=1e-8)
    assert left > 1e-3


def test_it_ends_where_it_is_good_enough(problem):
    a, b = problem
    calls = []

    def apply(v):
        calls.append(v)
        return a @ v

    _, left = fgmres(apply, b, lambda v: np.linalg.solve(a, v) * 1.1, tolerance=1e-8, dimension=N)
    assert left < 1e-8
    assert len(calls) <= 2


def test_another_preconditioner_in_every_iteration(problem):
    a, b = problem
    noise = np.random.default_rng(4)
    precondition = lambda v: np.linalg.solve(a, v) * (1 + 0.05 * noise.normal(size=N))  # noqa: E731
    x, _ = fgmres(lambda v: a @ v, b, precondition, tolerance=1e-10, dimension=N)
    np.testing.assert_allclose(a @ x, b, atol=1e-8)


def test_nothing_to_solve(problem):
    a, _ = problem
    x, left = fgmres(lambda v: a @ v, np.zeros(N), lambda v: v, tolerance=1e-8, dimension=5)
    np.testing.assert_array_equal(x, 0.0)
    assert left == 0.0


@pytest.mark.parametrize("pairs", [0, 5])
def test_one_reduction_a_vector(problem, pairs):
    """Whatever is learnt of the matrix."""
    a, b = problem
    learnt = learn([(z, a @ z) for z in np.random.default_rng(8).normal(size=(pairs, N))], EUCLIDEAN)
    reductions, vectors = [], []

    def reduce(mine):
        reductions.append(mine.size)
        return mine

    def apply(v):
        vectors.append(v)
        return a @ v

    inner = InnerProduct(reduce=reduce)
    answered(fgmres_flow(b, np.copy, tolerance=0.0, dimension=20, inner=inner, learnt=learnt), apply)
    assert len(vectors) == 20
    assert len(reductions) == 1 + 20


def test_halves_on_two_ranks_give_the_whole(problem):
    """Each rank holds half of every vector; only the reduction joins them."""
    a, b = problem
    whole, left = fgmres(lambda v: a @ v, b, np.copy, tolerance=1e-8, dimension=N)
    barrier, sums, vectors, found = threading.Barrier(2), [None, None], [None, None], [None, None]

    def together(shared, rank, mine):
        shared[rank] = mine
        barrier.wait()
        both = list(shared)
        barrier.wait()
        return both

    def rank(r):
        part = slice(r * N // 2, (r + 1) * N // 2)
        inner = InnerProduct(reduce=lambda mine: sum(together(sums, r, mine)))
        flow = fgmres_flow(b[part], np.copy, tolerance=1e-8, dimension=N, inner=inner)
        found[r] = answered(flow, lambda v: a[part] @ np.concatenate(together(vectors, r, v)))

    threads = [threading.Thread(target=rank, args=(r,)) for r in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    np.testing.assert_allclose(np.concatenate([x for x, _ in found]), whole, rtol=1e-9)
    assert found[0][1] == found[1][1] == pytest.approx(left, rel=1e-6)


def test_what_is_learnt_is_what_a_preconditioner_would_be(problem):
    """The products with what is learnt are carried along, and not formed from the vector itself."""
    a, b = problem
    learnt = learn([(z, a @ z) for z in np.random.default_rng(8).normal(size=(12, N))], EUCLIDEAN)

    def improved(v):
        return learnt.apply(np.copy, v, EUCLIDEAN.gram(learnt.images, [v])[:, 0])

    expected, left = fgmres(lambda v: a @ v, b, improved, tolerance=0.0, dimension=8)
    flow = fgmres_flow(b, np.copy, tolerance=0.0, dimension=8, learnt=learnt)
    x, found = answered(flow, lambda v: a @ v)
    np.testing.assert_allclose(x, expected, rtol=1e-8)
    assert found == pytest.approx(left)
    assert found < 0.9 * fgmres(lambda v: a @ v, b, np.copy, tolerance=0.0, dimension=8)[1]


@pytest.mark.parametrize("condition", [1e2, 1e6, 1e10])
def test_a_basis_that_loses_its_orthogonality_does_no_harm(condition):
    """A vector all but within the span of those before it is where one pass of Gram-Schmidt fails."""
    n = 80
    random = np.random.default_rng(5)
    left_vectors, right_vectors = (np.linalg.qr(random.normal(size=(n, n)))[0] for _ in range(2))
    a = left_vectors * np.geomspace(1, 1 / condition, n) @ right_vectors.T
    b = a @ random.normal(size=n)
    x, left = fgmres(lambda v: a @ v, b, np.copy, tolerance=1e-10, dimension=n)
    true = np.linalg.norm(b - a @ x) / np.linalg.norm(b)
    assert left < 1e-6
    assert true < 3 * left + 1e-13
