"""Cycles and noise of made-up states: what comes round, and what only looks so."""

import numpy as np
import pytest

from spinup.trajectory import is_noise, period


def circle(turns: float, n: int = 26, growth: float = 1.0) -> np.ndarray:
    """n + 1 states on a circle (a spiral) in a plane of five dimensions, far from the origin."""
    angle = 2 * np.pi / turns * np.arange(n + 1)
    size = growth ** np.arange(n + 1)
    plane = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 2)))[0]
    return 40.0 + np.column_stack([size * np.cos(angle), size * np.sin(angle)]) @ plane.T


@pytest.mark.parametrize(("turns", "found"), [(2, 2), (3, 3), (5, 5), (5.3, 5), (8, 8), (12, 12)])
def test_what_comes_round_is_a_cycle(turns, found):
    assert period(circle(turns)) == found
    assert not is_noise(circle(turns))


@pytest.mark.parametrize(
    "states",
    [
        circle(13),  # one round and a bit is not two
        circle(6, growth=0.97),  # damped
        circle(6, growth=1.03),  # grows
        40 + np.exp(-np.arange(25)[:, None] * np.array([0.01, 0.1, 0.5])),  # decays
        40 + 0.1 * np.arange(25)[:, None] * np.ones(3),  # drifts
        40 + 1e-15 * circle(5),  # rounding
        np.full((25, 3), 40.0),
        np.zeros((1, 1)),
    ],
)
def test_what_does_not_come_round_is_none(states):
    assert period(states) is None
    assert not is_noise(states)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(5))
def test_red_noise_is_noise_and_no_cycle(memory, seed):
    shocks = np.random.default_rng(seed).standard_normal((200, 10))
    x = np.zeros((201, 10))
    for k, shock in enumerate(shocks):
        x[k + 1] = memory * x[k] + shock
    assert is_noise(x[-25:])
    assert period(x[-25:]) is None


@pytest.mark.parametrize(("growth", "noise"), [(2.0, True), (4.0, False), (0.5, False)])
def test_noise_may_be_larger_by_chance_but_not_smaller(growth, noise):
    """Of two halves of the years; a wind of red noise over an ocean made 1.7 of it in twenty years."""
    steps = np.random.default_rng(0).standard_normal((24, 400)) * np.repeat([1.0, growth], 12)[:, None]
    assert is_noise(np.vstack([np.zeros(400), np.cumsum(steps, axis=0)])) is noise


def test_too_few_years_say_nothing_of_noise():
    assert not is_noise(np.random.default_rng(0).standard_normal((6, 10)))
