"""The inverse of a cycle: where the seasons' propagators do not commute, by their product."""

import numpy as np
import pytest
from scipy.sparse import csr_array, diags_array

import solvers.seasons
from solvers import Border, SingularMatrix, StepOperator
from solvers.error_estimate import tendency_inverse
from solvers.seasons import SeasonalInverse, of_dates, of_seasons
from solvers.tendency import TendencyInverse

N, CYCLE = 30, 4000  # unknowns, a column of water; steps
SURFACE = np.arange(N) == 0
MIXED = diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(N, N)).toarray()
MIXED[0, 0] = MIXED[-1, -1] = -1.0
WINTER = 0.4 * MIXED - 0.003 * np.diag(SURFACE)
SUMMER = 1e-6 * MIXED - 0.003 * np.diag(SURFACE)  # the surface alone is restored


def season(rates: np.ndarray, *, period: int = CYCLE) -> StepOperator:
    return StepOperator(csr_array(rates), period)


def a_year(period: int = CYCLE) -> StepOperator:
    return of_seasons([season(WINTER, period=period), season(SUMMER, period=period)], CYCLE)


def propagator() -> np.ndarray:
    """J_c of the header with two seasons."""
    steps = [np.linalg.inv(np.eye(N) - 0.5 * CYCLE * rates) for rates in (WINTER, SUMMER)]
    return steps[1] @ steps[0]


@pytest.fixture
def exact(monkeypatch):
    monkeypatch.setattr(solvers.seasons, "TOLERANCE", 1e-10)
    monkeypatch.setattr(solvers.seasons, "SEASON_TOLERANCE", 1e-12)


def test_a_season_of_several_dates_is_an_operator_with_their_mean():
    found = of_dates([season(WINTER), season(SUMMER)])
    np.testing.assert_allclose(found.matrix.toarray(), (WINTER + SUMMER) / 2)
    assert not found.seasons
    one = season(WINTER)
    assert of_dates([one]) is one


def test_it_is_the_inverse_of_the_product_of_the_seasons(exact):
    e = np.cos(np.arange(N))
    r = (propagator() - np.eye(N)) @ e
    np.testing.assert_allclose(tendency_inverse(a_year(), 0.0)(r), e, rtol=1e-7)


def test_a_shift_is_a_rate_of_decay_of_each_unknown_a_period(exact):
    """Of a period of two cycles: a residual of one cycle, and half of the rate in it."""
    e, rates = np.cos(np.arange(N)), np.linspace(0.1, 2.0, N)
    r = (propagator() - np.eye(N) - 0.5 * np.diag(rates)) @ e
    inverse = tendency_inverse(a_year(period=2 * CYCLE), 0.0)
    np.testing.assert_allclose(inverse(r, steps=CYCLE, rate=rates), e, rtol=1e-7)


def test_a_residual_of_two_cycles_counts_as_twice_that_of_one(exact):
    r = np.sin(np.arange(N))
    inverse = tendency_inverse(a_year(), 0.0)
    np.testing.assert_allclose(inverse(2 * r, steps=2 * CYCLE), inverse(r), rtol=1e-7)


def test_the_mean_operator_restores_at_depth_what_only_winter_mixes():
    """Integrated for a cycle, step by step: the product says the distance, the mean of the operators too little."""
    e = np.ones(N)
    later = e
    for rates in (WINTER, SUMMER):
        later = np.linalg.matrix_power(np.eye(N) + rates, CYCLE // 2) @ later
    size = np.linalg.norm(tendency_inverse(a_year(), 0.0)(later - e))
    mean = np.linalg.norm(TendencyInverse(a_year())(later - e))
    assert 0.85 < size / np.linalg.norm(e) < 1.15
    assert mean < 0.8 * np.linalg.norm(e)


def test_with_a_border_the_answer_of_what_is_carried_is_in_each_season(exact):
    """y = x at once, which gives back half of the restoring."""
    back = csr_array(0.0015 * np.diag(SURFACE))
    border = Border(back, csr_array(-np.eye(N)), csr_array(np.eye(N)), chain=np.tile(np.arange(N) // 3, 2))
    parts = [StepOperator(csr_array(rates), CYCLE, border=border) for rates in (WINTER, SUMMER)]
    steps = [np.linalg.inv(np.eye(N) - 0.5 * CYCLE * (rates + back.toarray())) for rates in (WINTER, SUMMER)]
    e = np.cos(np.arange(N))
    r = (steps[1] @ steps[0] - np.eye(N)) @ e
    np.testing.assert_allclose(SeasonalInverse(of_seasons(parts, CYCLE))(r), e, rtol=1e-5)


def test_iterations_that_do_not_get_there_say_so(monkeypatch):
    monkeypatch.setattr(solvers.seasons, "DIMENSION", 1)
    monkeypatch.setattr(solvers.seasons, "TOLERANCE", 1e-12)
    with pytest.raises(SingularMatrix, match="seasons"):
        tendency_inverse(a_year(), 0.0)(np.cos(np.arange(N)))
