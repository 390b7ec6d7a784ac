"""Residuals of a linear map of known spectrum, as the linearised step foresees them."""

import numpy as np
import pytest
from scipy.sparse import csr_array, diags_array, eye_array

from solvers import Border, SingularMatrix, StepOperator
from solvers.decay import predicted_residuals

STEPS = 30
RATES = np.linspace(0.01, 0.1, 7)  # a period


def test_slow_modes_decay_as_they_do():
    """Within a² / 2 a period of exp(-a k); the residual of implicit steps itself to rounding."""
    found = predicted_residuals(StepOperator(csr_array(diags_array(-RATES / STEPS)), STEPS), np.ones(7), 6)
    k = np.arange(6)[:, None]
    np.testing.assert_allclose(found, (1 + RATES) ** -k, rtol=1e-12)
    np.testing.assert_allclose(found, np.exp(-RATES * k), rtol=5 * 0.1**2 / 2)


def test_what_is_carried_answers():
    """A border that doubles the decay."""
    matrix, one = csr_array(diags_array(-RATES / STEPS)), csr_array(eye_array(7))
    border = Border(one, csr_array(-matrix), one, np.tile(np.arange(7), 2))
    found = predicted_residuals(StepOperator(matrix, STEPS, border=border), np.ones(7), 3)
    np.testing.assert_allclose(found[2], (1 + 2 * RATES) ** -2, rtol=1e-6)


def test_a_growing_mode_of_e_in_a_period_has_no_implicit_step():
    with pytest.raises(SingularMatrix):
        predicted_residuals(StepOperator(csr_array(np.eye(3) / STEPS), STEPS), np.ones(3), 3)
