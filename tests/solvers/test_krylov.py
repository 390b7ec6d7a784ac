"""Flexible GMRES against dense solves."""

import numpy as np
import pytest

from solvers.krylov import fgmres

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
