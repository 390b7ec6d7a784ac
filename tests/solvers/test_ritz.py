"""Slowest modes of operators whose spectrum is known."""

import numpy as np
import pytest
from scipy.sparse import block_diag, csr_array, diags_array, eye_array

from solvers import Border, SingularMatrix, StepOperator
from solvers.ritz import slowest_rates

N, STEPS = 50, 30
DIFFUSION = csr_array(0.2 * diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(N, N)))
RATES = -0.4 * STEPS * (1 - np.cos(np.pi / (N + 1) * np.arange(1, N + 1)))  # a period, slowest first


def test_diffusion():
    np.testing.assert_allclose(slowest_rates(StepOperator(DIFFUSION, STEPS), 4), RATES[:4], rtol=1e-4)


def test_an_implicit_step_and_a_border_change_what_they_should():
    """M (J - I) with M given is J - I; a border that doubles the diffusion doubles its rates."""
    M = csr_array(eye_array(N) - 3 * DIFFUSION)
    np.testing.assert_allclose(slowest_rates(StepOperator(csr_array(M @ DIFFUSION), STEPS, M), 3), RATES[:3], rtol=1e-4)
    one = csr_array(eye_array(N))
    border = Border(one, csr_array(-DIFFUSION), one, np.tile(np.arange(N) // 5, 2))
    found = slowest_rates(StepOperator(DIFFUSION, STEPS, border=border), 3)
    np.testing.assert_allclose(found, 2 * RATES[:3], rtol=1e-3)


def test_swinging_and_growing_modes():
    """-0.001 +- 0.01 i, and 0.002, a step, next to fast decay."""
    swing = np.array([[-0.001, 0.01], [-0.01, -0.001]])
    matrix = csr_array(block_diag([swing, [[0.002]], -0.5 * np.eye(20)]))
    found = slowest_rates(StepOperator(matrix, STEPS), 3)
    np.testing.assert_allclose(found[0], 0.002 * STEPS, rtol=1e-4)
    np.testing.assert_allclose(found[1:].real, -0.001 * STEPS, rtol=1e-4)
    np.testing.assert_allclose(abs(found[1:].imag), 0.01 * STEPS, rtol=1e-4)


def test_a_neutral_direction():
    """Diffusion between closed ends keeps the mean."""
    closed = DIFFUSION.tolil()
    closed[0, 0] = closed[-1, -1] = -0.2
    found = slowest_rates(StepOperator(csr_array(closed), STEPS), 2)
    assert abs(found[0]) < 1e-9
    np.testing.assert_allclose(found[1], -0.4 * STEPS * (1 - np.cos(np.pi / N)), rtol=1e-3)


def test_a_balance_that_is_singular_is_said_so():
    nothing = csr_array((N, N))
    border = Border(nothing, nothing, nothing, np.tile(np.arange(N) // 5, 2))
    with pytest.raises(SingularMatrix):
        slowest_rates(StepOperator(DIFFUSION, STEPS, border=border), 2)
