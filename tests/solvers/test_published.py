"""Counts of evaluations that others have published, to the evaluation."""

from functools import partial

import numpy as np
import pytest
from problems import convection_diffusion, h_equation, kinsol_analytic

from solvers import Outcome, anderson, picard, solve


def kelley(problem, xp, method):
    """C. T. Kelley's rule: ‖f_k‖ <= rtol ‖f_0‖ + atol in the Euclidean norm, rtol = atol = 1e-8."""
    T, x0 = problem.map(xp), xp.asarray(problem.x0)
    first = float(np.linalg.norm(problem.T(problem.x0) - problem.x0))
    result = solve(T, x0, method, tolerance=1e-8 * first + 1e-8, max_evaluations=100)
    assert result.outcome is Outcome.CONVERGED
    return result


@pytest.mark.parametrize(("depth", "count"), [(0, 74), (1, 11), (2, 10), (3, 10), (4, 11), (5, 12), (6, 12)])
def test_h_equation(xp, depth, count):
    """Toth & Kelley 2015, table 4 (c = 0.99), as SIAMFANLEquations.jl's tests state it."""
    result = kelley(h_equation(), xp, partial(anderson, depth=depth))
    assert result.evaluations == count


def test_h_equation_picard(xp):
    assert kelley(h_equation(), xp, picard).evaluations == 74


def test_convection_diffusion(xp):
    """Kelley 2022, figure 4.2: Anderson(10) on 63 x 63 points."""
    problem = convection_diffusion()
    result = kelley(problem, xp, partial(anderson, depth=10))
    assert result.evaluations == 21
    assert np.max(np.abs(np.asarray(result.x) - problem.solution)) < 2e-4  # the error of the discretisation


def damping_by_gain(k, gain):
    """KINSOL's example of a damping function; its first step has no gain to go by."""
    return 0.5 if k == 0 else 0.9 - 0.5 * gain


@pytest.mark.parametrize(
    ("settings", "count", "error"),
    [
        ({"depth": 0}, 5, [6.91114e-12, 4.48202e-07, 3.07455e-07]),
        ({"depth": 0, "mixing": 0.5}, 21, [4.02217e-07, 1.08821e-06, 2.32084e-08]),
        ({"depth": 0, "mixing": lambda k, gain: 0.5}, 21, [4.02217e-07, 1.08821e-06, 2.32084e-08]),
        ({"depth": 2}, 5, [1.78138e-10, 3.94722e-09, 6.5144e-10]),
        ({"depth": 2, "mixing": 0.5}, 8, [1.26172e-06, 1.17178e-06, 7.05037e-07]),
        ({"depth": 2, "mixing": damping_by_gain}, 6, [7.4478e-07, 2.42621e-06, 6.86528e-07]),
    ],
)
def test_kinsol_analytic(xp, settings, count, error):
    """SUNDIALS' kinAnalytic_fp, as its outputs state it: the evaluations, and the errors to the last digit printed.

    Its rule is the step, not the residual: ‖x_{k+1} - x_k‖_∞ <= 100 sqrt(eps), times β where that step is plain.
    """
    problem = kinsol_analytic()
    T, tolerance = problem.map(xp), 100 * np.finfo(float).eps ** 0.5
    flow = anderson(xp.asarray(problem.x0), stop=lambda x, g: False, **settings)
    x, step, evaluations = next(flow).x, np.inf, 0
    while step > tolerance:
        flow.send(T(x))
        last, x = x, next(flow).x
        step = float(xp.max(xp.abs(x - last)))
        evaluations += 1
        plain = evaluations == 1 or settings["depth"] == 0
        step /= 0.5 if plain and "mixing" in settings else 1.0
    assert evaluations == count
    np.testing.assert_allclose(np.abs(np.asarray(last) - problem.solution), error, rtol=1e-5, atol=2e-14)


def test_kinsol_analytic_delayed(xp):
    """Two plain steps, then m = 2 without their history: 5 in all."""
    problem = kinsol_analytic()
    T = problem.map(xp)
    x = T(T(xp.asarray(problem.x0)))
    tolerance = 100 * np.finfo(float).eps ** 0.5
    result = solve(T, x, partial(anderson, depth=2), stop=lambda x, g: float(xp.max(xp.abs(g - x))) <= tolerance)
    assert 2 + result.evaluations == 5
    error = np.abs(np.asarray(result.x) - problem.solution)
    np.testing.assert_allclose(error, [1.86552e-10, 9.36789e-10, 2.67979e-09], rtol=1e-5, atol=2e-14)
