"""The noise of a function and the step of a difference: added noise of known size, known curvature, maps that fail."""

import numpy as np
import pytest

from solvers import Evaluate, Failure, InnerProduct
from solvers.inner import EUCLIDEAN
from solvers.noise import SPACING, VALUES, forward_step, measure, noise_level


def rough(amplitude, n, seed):
    """Deterministic noise of rms `amplitude` in every component, (n,) to (n,)."""
    random = np.random.default_rng(seed)
    M, phase = random.normal(size=(n, n)) * 1e7 / np.sqrt(n), random.uniform(0, 2 * np.pi, n)
    return lambda x: amplitude * np.sqrt(2) * np.sin(M @ x + phase)


def mean_square(n):
    return InnerProduct(np.full(n, 1 / n))


def drive(F, x, v, inner):
    """What is measured, and the points asked for."""
    flow, points = measure(x, F(x), v, inner), []
    try:
        request = next(flow)
        while True:
            assert isinstance(request, Evaluate)
            points.append(request.x)
            request = flow.send(F(request.x))
    except StopIteration as end:
        return end.value, points


@pytest.mark.parametrize(
    ("amplitude", "values"),
    [*[(a, VALUES) for a in (1e-10, 1e-8, 1e-6, 1e-4)], *[(a, 7) for a in (1e-12, 1e-10, 1e-8, 1e-6, 1e-4)]],
)
def test_added_noise_is_found_within_a_factor_of_four(amplitude, values):
    n, inner = 100, mean_square(100)
    for seed in range(10):
        random = np.random.default_rng(seed)
        x, v, w, noise = random.normal(size=n), random.normal(size=n), random.normal(size=n), rough(amplitude, n, seed)
        v /= inner.norm(v)
        points = [x + i * SPACING * v for i in range(values)]
        found = noise_level([np.sin(p) + w * np.cos(2 * p) + noise(p) for p in points], inner)
        assert amplitude / 4 < found < 4 * amplitude


def test_differences_of_a_smooth_function_are_no_noise():
    x, v = np.linspace(0, 1, 50), np.full(50, 50**-0.5)
    assert noise_level([np.exp(x + i * SPACING * v) for i in range(VALUES)], EUCLIDEAN) < 1e-10


def test_the_step_of_a_quadratic_is_that_of_its_curvature():
    """F(x) = c x² / 2 of components (n,), F'' along v of norm one: c v²."""
    n, inner = 200, mean_square(200)
    x, v, c, noise = np.ones(n), np.ones(n), 3.0, rough(1e-8, n, 3)
    found, points = drive(lambda x: c * x**2 / 2 + noise(x), x, 5.0 * v, inner)
    assert found.noise == pytest.approx(1e-8, rel=0.5)
    assert found.step == pytest.approx(forward_step(found.noise, c), rel=1e-2)
    assert len(points) == VALUES + 1
    np.testing.assert_allclose(found.product, 5.0 * c * x * v, rtol=1e-5)


def test_the_step_has_the_least_error():
    """Of the differences of a quadratic with noise, over 60 places, against a grid of steps."""
    n, inner, amplitude, c = 50, mean_square(50), 1e-6, 4.0
    steps = forward_step(amplitude, c) * 2.0 ** np.arange(-4, 5)
    error = np.zeros(len(steps))
    for seed in range(60):
        noise, x = rough(amplitude, n, seed), np.random.default_rng(seed).normal(size=n)
        F = lambda x, noise=noise: c * x**2 / 2 + noise(x)  # noqa: E731
        error += [inner.dot(e, e) for e in [(F(x + h) - F(x)) / h - c * x for h in steps]]
    assert error.argmin() == 4


def test_the_step_of_an_affine_function_is_as_long_as_was_tried():
    n, inner, noise = 100, mean_square(100), rough(1e-8, 100, 1)
    found, _ = drive(lambda x: 2 * x + noise(x), np.ones(n), np.ones(n), inner)
    assert 1e-3 < found.step < 3e-2  # 1e-8 ^ 1/4 = 1e-2


def test_steps_stay_between_what_the_state_can_hold_and_its_unit():
    n, inner = 100, mean_square(100)
    exact, _ = drive(lambda x: x, np.full(n, 1e6), np.ones(n), inner)
    assert exact.step >= 1e6 * np.sqrt(np.finfo(float).eps)
    loud, _ = drive(rough(1e3, n, 0), np.zeros(n), np.ones(n), inner)
    assert loud.step <= 1.0
    still, _ = drive(lambda x: 0 * x, np.zeros(n), np.ones(n), inner)
    assert 0 < still.step <= 1.0


@pytest.mark.parametrize("number", range(1, VALUES + 2))
def test_where_the_map_fails_nothing_is_measured(number):
    calls = iter(range(100))
    found, points = drive(lambda x: x if next(calls) != number else Failure("no"), np.ones(3), np.ones(3), EUCLIDEAN)
    assert found is None
    assert len(points) == number
