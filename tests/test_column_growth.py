"""Water columns whose own part of an operator grows."""

import numpy as np
from scipy.sparse import csr_array

from solvers import StepOperator
from spinup.column_growth import GROWTH, growing_columns
from spinup.state import Layout, Variable

DIMS = ("z", "y", "x")


def ocean(*depths):
    """A row of columns with so many cells each, of temperature and salinity."""
    mask = np.arange(max(depths))[:, None, None] < np.array(depths)
    return Layout([Variable(name, DIMS, mask, np.ones(mask.shape)) for name in ("temp", "salt")])


def by_columns(layout, matrices):
    """The matrix whose columns of water have these parts, temperature before salinity, all coupled to each other."""
    _, _, column = np.nonzero(layout.variables[0].mask)
    column = np.tile(column, 2)
    whole = 0.3 * np.ones((layout.size, layout.size))
    for number, matrix in enumerate(matrices):
        own = np.flatnonzero(column == number)
        whole[np.ix_(own, own)] = matrix
    return csr_array(whole)


def with_eigenvalues(values, rng):
    q = np.linalg.qr(rng.normal(size=(len(values), len(values))))[0]
    return q @ np.diag(values) @ q.T


def test_columns_with_an_eigenvalue_above_zero_grow():
    rng = np.random.default_rng(0)
    layout = ocean(3, 1, 4, 2, 0, 4)
    sizes = [6, 2, 8, 4, 0, 8]
    values = [-rng.uniform(0.1, 2, size=n) for n in sizes]
    values[0][2], values[3][0], values[5][1] = 0.02, 3.0, 0.1 * GROWTH
    changes = [with_eigenvalues(v, rng) for v in values]
    assert growing_columns(StepOperator(by_columns(layout, changes), 1), layout).tolist() == [
        [True, False, False, True, False, False]
    ]


def test_what_counts_is_the_step_and_not_its_explicit_part():
    """M (J - I) has an eigenvalue above 0 where J - I has none, and the other way round."""
    rng = np.random.default_rng(1)
    layout = ocean(2, 2)
    left = [rng.normal(size=(4, 4)) + 4 * np.eye(4) for _ in range(2)]
    changes = [with_eigenvalues(v, rng) for v in ([-1, -2, -3, -0.1], [-1, -2, -3, 0.1])]
    explicit = [m @ change for m, change in zip(left, changes, strict=True)]
    implicit = by_columns(layout, left)
    found = growing_columns(StepOperator(by_columns(layout, explicit), 1, implicit), layout)
    assert found.tolist() == [[False, True]]


def test_two_that_swing_up_grow():
    """A pair of complex eigenvalues, 0.1 +- i."""
    layout = ocean(1)
    assert growing_columns(StepOperator(csr_array([[0.1, 1.0], [-1.0, 0.1]]), 1), layout).tolist() == [[True]]


def test_many_columns_are_taken_some_at_a_time(monkeypatch):
    rng = np.random.default_rng(2)
    layout = ocean(*[3] * 20)
    largest = rng.choice([-0.5, 0.5], size=20)
    matrix = by_columns(layout, [with_eigenvalues([-1, -1, -2, -3, -1, v], rng) for v in largest])
    monkeypatch.setattr("spinup.column_growth.AT_ONCE", 3 * 36)
    assert growing_columns(StepOperator(matrix, 1), layout).tolist() == [(largest > 0).tolist()]
