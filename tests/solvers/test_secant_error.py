"""The distance to the equilibrium by secants alone: exact where they span the slow modes, cautious where not."""

from functools import partial

import numpy as np
import pytest
from problems import known_spectrum

from solvers import Evaluate, InnerProduct, anderson, picard
from solvers.secant_error import PAIRS, SecantError, secant_error

SLOW = known_spectrum(np.concatenate([[0.999, 0.99, 0.9], np.linspace(-0.5, 0.5, 37)]), 5)
SPREAD = known_spectrum(np.linspace(0.0, 0.99, 60), 3, normal=True)


def pairs(problem, method, evaluations):
    """The states that a method evaluates and their residuals, (evaluations, n) each."""
    flow = method(problem.x0, stop=lambda x, g: False)
    request, states, residuals = next(flow), [], []
    while len(states) < evaluations:
        reply = None
        if isinstance(request, Evaluate):
            reply = problem.T(request.x)
            states.append(request.x)
            residuals.append(reply - request.x)
        request = flow.send(reply)
    return np.array(states), np.array(residuals)


def ratios(problem, method, evaluations):
    """Estimate over truth at every state from the third on, until the error is next to nothing."""
    states, residuals = pairs(problem, method, evaluations)
    true = np.linalg.norm(states - problem.solution, axis=1)
    found = []
    for end in range(3, evaluations + 1):
        if true[end - 1] > 1e-7 * true[0]:
            latest = slice(max(0, end - PAIRS), end)
            e = secant_error(states[latest], residuals[latest])
            found.append(np.linalg.norm(e) / true[end - 1])
    return np.array(found)


def test_right_where_the_secants_span_all_modes():
    problem = known_spectrum(np.array([0.99, 0.6, 0.0, 0.0]), 1, normal=True)
    states, residuals = (v[-PAIRS:] for v in pairs(problem, picard, 2 * PAIRS))
    found, true = secant_error(states, residuals), states[-1] - problem.solution
    np.testing.assert_allclose(found / np.linalg.norm(found), true / np.linalg.norm(true), atol=1e-6)
    assert 1 <= np.linalg.norm(found) / np.linalg.norm(true) < 1.1  # the largest of three that fall


@pytest.mark.parametrize("problem", [SLOW, SPREAD], ids=["three slow modes", "many"])
def test_along_a_direct_run(problem):
    found = ratios(problem, picard, 200)[100:]  # by then all slow modes have shown
    assert np.mean((found > 0.5) & (found < 2)) > 0.9


def test_behind_an_accelerator_it_looks_back(monkeypatch):
    """The newest residual holds nothing of what the accelerator has removed: alone it says too little."""
    problem, method = SPREAD, partial(anderson, depth=5)
    cautious = ratios(problem, method, 60)
    monkeypatch.setattr("solvers.secant_error.LOOK_BACK", 0)
    alone = ratios(problem, method, 60)
    assert np.mean(cautious < 0.4) < 0.1 < np.mean(alone < 0.4)
    assert np.median(cautious) < 2


def test_it_is_in_the_norm_of_the_inner_product():
    weights = np.linspace(0.1, 3, 60)
    states, residuals = pairs(SPREAD, picard, 20)
    root = np.sqrt(weights)
    found = secant_error(states, residuals, InnerProduct(weights))
    np.testing.assert_allclose(root * found, secant_error(root * states, root * residuals), atol=1e-6)


@pytest.mark.parametrize("count", [1, 3])
def test_where_nothing_is_known_there_is_no_estimate(count):
    assert secant_error(np.ones((count, 4)), np.zeros((count, 4))) is None


def test_the_same_of_vectors_of_another_library(xp):
    """There the secants are kept from one estimate to the next, not formed anew."""
    states, residuals = pairs(SPREAD, partial(anderson, depth=5), 25)
    ours, theirs = SecantError(), SecantError()
    for x, f in zip(states, residuals, strict=True):
        wanted, found = ours.of(x, f), theirs.of(xp.asarray(x), xp.asarray(f))
        assert (wanted is None) == (found is None)
        if wanted is not None:
            np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-6, atol=1e-9 * np.abs(wanted).max())


def test_no_change_is_no_secant(xp):
    estimates, x = SecantError(), xp.ones(3)
    assert estimates.of(x, x) is None
    assert estimates.of(x, x) is None
    assert estimates.of(2 * x, 0.5 * x) is not None
