"""Means of correlated numbers and their standard errors, of noises that are known."""

import numpy as np
import pytest

from solvers.blocking import add_block, controlled_mean, no_blocks, standard_error
from solvers.inner import EUCLIDEAN


def blocked(values, controls=None):
    """The sums of these values, (count, n), and control variates, (count, m)."""
    blocks = no_blocks(values.shape[1], len(values), 0 if controls is None else controls.shape[1])
    for number, value in enumerate(values):
        add_block(blocks, value, None if controls is None else controls[number])
    return blocks


def red_noise(count, columns, keep, random):
    """(count, columns) values of unit variance."""
    noise = [random.standard_normal(columns)]
    for _ in range(count - 1):
        noise.append(keep * noise[-1] + np.sqrt(1 - keep**2) * random.standard_normal(columns))
    return np.array(noise)


@pytest.mark.parametrize(("keep", "tolerance"), [(0.0, 0.25), (0.7, 0.35)])
def test_blocking_finds_the_standard_error_of_red_noise(keep, tolerance):
    """Of n values of a first-order autoregressive process of unit variance: sqrt((1 + keep) / (1 - keep) / n)."""
    values, unknowns = 512, 200
    blocks = blocked(red_noise(values, unknowns, keep, np.random.default_rng(3)))
    exact = np.sqrt((1 + keep) / (1 - keep) / values)
    found = np.linalg.norm(standard_error(blocks, EUCLIDEAN)) / np.sqrt(unknowns)
    assert found == pytest.approx(exact, rel=tolerance)
    np.testing.assert_array_equal(blocks["count"][:3], [512, 256, 128])


def test_without_control_variates_it_is_the_mean():
    values = np.random.default_rng(1).standard_normal((24, 3))
    mean, error = controlled_mean(blocked(values), EUCLIDEAN)
    np.testing.assert_allclose(mean, values.mean(axis=0))
    np.testing.assert_array_equal(error, standard_error(blocked(values), EUCLIDEAN))


def test_it_is_the_least_squares_estimate():
    random = np.random.default_rng(2)
    controls, values = random.standard_normal((24, 2)), random.standard_normal((24, 5))
    matrix = np.column_stack([np.ones(24), controls])
    mean, error = controlled_mean(blocked(values, controls), EUCLIDEAN)
    solved, left, _, _ = np.linalg.lstsq(matrix, values)
    np.testing.assert_allclose(mean, solved[0])
    of_independent_values = np.sqrt(left / (24 - 3) * np.linalg.inv(matrix.T @ matrix)[0, 0])
    assert np.linalg.norm(error) >= np.linalg.norm(of_independent_values) * (1 - 1e-12)


def test_one_that_never_changes_accounts_for_nothing():
    values = np.random.default_rng(3).standard_normal((24, 3))
    controls = np.column_stack([values[:, 0], np.full(24, 0.3)])
    mean, error = controlled_mean(blocked(values, controls), EUCLIDEAN)
    one, of_one = controlled_mean(blocked(values, controls[:, :1]), EUCLIDEAN)
    np.testing.assert_allclose(mean, one, atol=1e-12)
    np.testing.assert_allclose(error, of_one, atol=1e-12)


def test_four_values_say_nothing_of_what_one_accounts_for():
    values = np.random.default_rng(4).standard_normal((4, 3))
    mean, _ = controlled_mean(blocked(values, values[:, :1]), EUCLIDEAN)
    np.testing.assert_allclose(mean, values.mean(axis=0))


def test_its_standard_error_is_right_and_smaller():
    """Of 24 values that follow a red noise which is known, with another that is not."""
    random, ratios, gains = np.random.default_rng(5), [], []
    for _ in range(300):
        known, own = red_noise(24, 1, 0.4, random), red_noise(24, 4, 0.4, random)
        values = known @ np.array([[1.0, -2.0, 0.5, 1.0]]) + 0.2 * own
        mean, error = controlled_mean(blocked(values, known), EUCLIDEAN)
        ratios.append(np.linalg.norm(mean) / np.linalg.norm(error))
        gains.append(np.linalg.norm(values.mean(axis=0)) / np.linalg.norm(mean))
    assert 0.7 < np.sqrt(np.mean(np.square(ratios))) < 1.4
    assert np.mean(np.array(ratios) < 2) >= 0.93
    assert np.median(gains) > 3
