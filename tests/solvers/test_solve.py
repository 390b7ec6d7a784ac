import warnings
from functools import partial

import numpy as np
import pytest
from problems import h_equation, known_spectrum

import solvers
from solvers import Failure, InnerProduct, Outcome, anderson, picard, solve


def halve(x):
    return x / 2


def test_exact_numbers(xp):
    result = solve(halve, xp.asarray([8.0]), picard, tolerance=1.0)
    assert (result.outcome, result.evaluations) == (Outcome.CONVERGED, 3)
    assert result.history == [4.0, 2.0, 1.0]
    assert float(result.x[0]) == 2.0
    assert result.residual == 1.0


def test_best_state_is_one_whose_residual_was_measured():
    asked = []

    def scripted(x):
        asked.append(x)
        return x + [1.0, 0.1, 5.0, 7.0][len(asked) - 1]

    result = solve(scripted, np.array([0.0]), picard, max_evaluations=4)
    assert result.outcome is Outcome.BUDGET
    assert result.x == asked[1]
    assert result.residual == pytest.approx(0.1)
    np.testing.assert_allclose(result.history, [1.0, 0.1, 5.0, 7.0])


def test_norm_and_stop_of_ones_own():
    weighted = InnerProduct(weights=np.array([4.0]))
    assert solve(halve, np.array([8.0]), picard, tolerance=1.0, inner=weighted).history[0] == 8.0
    result = solve(halve, np.array([8.0]), picard, stop=lambda x, g: g[0] < 3)
    assert result.evaluations == 2


def test_a_map_that_fails():
    def diverges(x):
        raise OverflowError("too hot")

    result = solve(diverges, np.array([1.0]), anderson)
    assert result.outcome is Outcome.UNSTABLE
    assert np.isnan(result.residual)
    assert np.isnan(result.history).tolist() == [True]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_a_failure(value):
    heard = []

    def method(x, *, stop):
        heard.append((yield solvers.Evaluate(x)))
        return Outcome.UNSTABLE

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve(lambda x: x * value, np.ones(2), method)
    assert isinstance(heard[0], Failure)


def test_other_errors_are_the_callers():
    with pytest.raises(KeyError):
        solve(lambda x: {}["x"], np.ones(2), picard)


@pytest.mark.parametrize("method", [picard, anderson, partial(anderson, depth=2, mixing=0.7)])
@pytest.mark.parametrize("problem", [h_equation(32, 0.9), known_spectrum(np.linspace(-0.5, 0.5, 6), 0)])
def test_the_residual_is_below_the_tolerance(xp, method, problem):
    result = solve(problem.map(xp), xp.asarray(problem.x0), method, tolerance=1e-9)
    assert result.outcome is Outcome.CONVERGED
    x = np.asarray(result.x)
    assert np.linalg.norm(problem.T(x) - x) <= 1.001e-9
    assert result.history[-1] == result.residual
    assert len(result.history) == result.evaluations


def test_it_prints_as_one_line():
    result = solve(halve, np.ones(1000), picard, tolerance=20.0)
    assert str(result) == "converged: the tolerance is reached; residual 1.581e+01 after 1 evaluation"
    assert "x=" not in repr(result)


def test_public_names():
    assert all(hasattr(solvers, name) for name in solvers.__all__)
    assert solvers.__all__ == sorted(solvers.__all__)


def test_a_map_that_reuses_its_memory_fools_nobody():
    A, b, room = np.diag(np.linspace(0.1, 0.9, 20)), np.ones(20), np.zeros(20)

    def into_the_same_room(x):
        room[:] = A @ x + b
        return room

    def in_place(x):
        x *= 0.5
        return x

    result = solve(into_the_same_room, np.zeros(20), picard, tolerance=1e-10)
    np.testing.assert_allclose(result.x, np.linalg.solve(np.eye(20) - A, b), rtol=1e-8)
    result = solve(in_place, np.ones(20), picard, tolerance=1e-10)
    assert result.evaluations > 30


def asks_for_a_derivative(x, *, stop):
    yield solvers.Evaluate(x)
    heard.append((yield solvers.Tangent(x, np.array([1.0, 0.0]))))
    return solvers.Outcome.STALLED


heard: list = []


def test_a_derivative_is_answered_and_counted():
    J = np.array([[0.5, 1.0], [0.0, 0.25]])
    result = solvers.solve(lambda x: J @ x, np.ones(2), asks_for_a_derivative, tangent=lambda x, v: J @ v)
    np.testing.assert_array_equal(heard[-1], J[:, 0])
    assert result.evaluations == 2
    assert np.isnan(result.history[1])
    for bad in (lambda x, v: np.array([np.nan, 0.0]), lambda x, v: 1 / 0):
        solvers.solve(lambda x: J @ x, np.ones(2), asks_for_a_derivative, tangent=bad)
        assert isinstance(heard[-1], solvers.Failure)
    with pytest.raises(ValueError, match=r"asks for the derivative of T: solve\(\.\.\., tangent=\.\.\.\)"):
        solvers.solve(lambda x: J @ x, np.ones(2), asks_for_a_derivative)
