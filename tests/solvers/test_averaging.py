"""The mean state of noisy maps whose mean, and whose sampling error, are known."""

import sys
from functools import partial

import numpy as np
import pytest
from scipy.sparse import csr_array

from solvers import (
    Checkpoint,
    ControlVariates,
    Evaluate,
    Failure,
    Mean,
    Note,
    Operator,
    Outcome,
    StepOperator,
    mean_state,
)
from solvers.chain_factors import SingularMatrix
from solvers.inner import EUCLIDEAN

N = 20
DECAY = np.linspace(0.005, 0.8, N)  # a period
MEAN = np.linspace(-3, 12, N)
OPERATOR = StepOperator(csr_array(np.diag(-DECAY)), steps=1)


class Noisy:
    """x - DECAY (x - MEAN) + red noise of a memory of two periods, and what a method asks of it, one by one."""

    def __init__(self, strength: float = 0.05, seed: int = 1, later: float | None = None) -> None:
        """later: the strength of the noise from the 25th evaluation on."""
        self.strength, self.random, self.noise = strength, np.random.default_rng(seed), np.zeros(N)
        self.later = strength if later is None else later
        self.requests: list = []
        self.replies: list = []

    def __call__(self, x: np.ndarray) -> np.ndarray:
        keep = np.exp(-0.5)
        self.noise = keep * self.noise + np.sqrt(1 - keep**2) * self.random.standard_normal(N)
        strength = self.strength if len(self.all(Evaluate)) < 25 else self.later
        return x - DECAY * (x - MEAN) + strength * self.noise

    def answer(self, request):
        self.requests.append(request)
        match request:
            case Evaluate(x):
                told = self(x)
            case ControlVariates():
                told = self.noise[:1]
            case _:
                told = OPERATOR
        self.replies.append(told)
        return told

    def drive(self, flow, evaluations: int = 400):
        """Until the flow ends, or asks for one evaluation too many: its outcome, or None."""
        reply, asked = None, 0
        try:
            while True:
                request = flow.send(reply)
                asked += isinstance(request, Evaluate)
                if asked > evaluations:
                    return None
                reply = self.answer(request)
        except StopIteration as end:
            return end.value

    def all(self, kind: type) -> list:
        return [r for r in self.requests if isinstance(r, kind)]

    def states(self) -> list:
        """What the evaluations gave."""
        return [g for r, g in zip(self.requests, self.replies, strict=True) if isinstance(r, Evaluate)]


class Walled(Noisy):
    """The same, which fails near its mean."""

    def __call__(self, x: np.ndarray):
        return Failure("walled") if np.linalg.norm(x - MEAN) < 1.0 else super().__call__(x)


def never(x, g):
    return False


staying = partial(mean_state, rate=1e-12)  # as where a total is conserved: it does not go to where it predicts


def test_the_mean_is_found_within_its_standard_error():
    """Over twenty realisations of the noise, the slowest mode of which is known worst: not too small, nor too large."""
    ratios = []
    for seed in range(20):
        noisy = Noisy(seed=seed)
        assert noisy.drive(mean_state(MEAN + 0.05, stop=never, periods=64)) is Outcome.FLOOR
        mean = noisy.all(Mean)[-1]
        assert mean.count == 64
        ratios.append(np.linalg.norm(mean.x - MEAN) / np.linalg.norm(mean.standard_error))
    assert 0.3 < np.sqrt(np.mean(np.square(ratios))) < 1.3
    assert np.mean(np.array(ratios) < 2) >= 0.9


def test_the_prediction_sees_where_a_slow_state_goes():
    """The slowest mode decays by e in 200 periods: 24 of them do not take a state there, its residual says where."""
    noisy = Noisy(strength=1e-4)
    noisy.drive(staying(MEAN + 1.0, stop=never), evaluations=24)
    mean, last = noisy.all(Mean)[-1], noisy.all(Evaluate)[-1]
    assert abs(last.x[0] - MEAN[0]) > 0.8
    assert abs(mean.x[0] - MEAN[0]) < 0.05


def test_a_state_on_its_way_is_not_called_the_floor():
    noisy = Noisy(strength=1e-4)
    assert noisy.drive(staying(MEAN + 1.0, stop=never), evaluations=100) is None
    assert [m.count for m in noisy.all(Mean)][:22] == [*range(4, 25), 4]  # begun anew after 24


def test_a_state_on_its_way_goes_to_where_the_first_four_periods_agree_that_it_is():
    """Once, and not where they do not agree, nor where the map fails from there."""
    noisy = Noisy(strength=1e-3)
    assert noisy.drive(mean_state(MEAN + 1.0, stop=never), evaluations=100) is Outcome.FLOOR
    assert len(noisy.all(Evaluate)) == 4 + 1 + 24
    np.testing.assert_array_equal(noisy.all(Evaluate)[4].x, noisy.all(Mean)[0].x)
    assert np.linalg.norm(noisy.all(Evaluate)[5].x - MEAN) < 0.5
    scattered = Noisy(strength=1.0)
    scattered.drive(mean_state(MEAN, stop=never), evaluations=24)
    assert [mean.count for mean in scattered.all(Mean)] == [*range(4, 25)][: len(scattered.all(Mean))]
    assert all(
        np.array_equal(e.x, g) for e, g in zip(scattered.all(Evaluate)[1:], scattered.states()[:-1], strict=True)
    )
    walled = Walled(strength=1e-3)
    assert walled.drive(mean_state(MEAN + 1.0, stop=never), evaluations=10) is None
    assert [isinstance(g, Failure) for g in walled.states()] == [False] * 4 + [True] + [False] * 5
    np.testing.assert_array_equal(walled.all(Evaluate)[5].x, walled.states()[3])


def test_a_mean_stays_until_the_one_begun_anew_is_better():
    """On its way for 24 periods, then in a noise under which the next 24 say less than those."""
    noisy = Noisy(strength=1e-4, later=0.02)
    assert noisy.drive(staying(MEAN + 0.5, stop=never), evaluations=100) is Outcome.FLOOR
    assert [mean.count for mean in noisy.all(Mean)] == [*range(4, 25)]


def test_the_tolerance_ends_it():
    assert Noisy().drive(mean_state(MEAN, stop=lambda x, g: True)) is Outcome.CONVERGED


class Windy(Noisy):
    """One noise for all, which the map tells."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        super().__call__(x)
        self.noise = np.full(N, self.noise[0])
        return x - DECAY * (x - MEAN) + self.strength * self.noise


def test_what_the_forcing_did_is_taken_out_of_the_mean():
    """All noise is known: what is left is the way of the states, where without it is the weather of the periods."""
    off = {}
    for controls in (0, 1):
        windy = Windy()
        assert windy.drive(mean_state(MEAN + 0.05, stop=never, controls=controls)) is Outcome.FLOOR
        mean = windy.all(Mean)[-1]
        assert mean.count == 24
        assert len(windy.all(ControlVariates)) == controls * len(windy.all(Evaluate))
        off[controls] = np.linalg.norm(mean.x - MEAN)
        assert ["is taken out of it" in note.text for note in windy.all(Note)] == [True] * controls
        assert off[controls] < 2 * np.linalg.norm(mean.standard_error)
    assert off[1] < 0.1 * off[0]


def test_a_period_of_which_the_map_cannot_tell_does_not_count():
    lost = []

    class Forgets(Windy):
        def answer(self, request):
            told = super().answer(request)
            if isinstance(request, ControlVariates) and len(self.all(ControlVariates)) in (3, 9):
                lost.append(told)
                return np.array([np.nan])
            return told

    windy = Forgets()
    assert windy.drive(mean_state(MEAN + 0.05, stop=never, controls=1)) is Outcome.FLOOR
    assert len(lost) == 2
    assert len(windy.all(Evaluate)) == 24 + 2
    assert np.linalg.norm(windy.all(Mean)[-1].x - MEAN) < 0.03


@pytest.mark.parametrize("controls", [0, 1])
def test_it_goes_on_from_a_checkpoint_to_the_bit(controls):
    whole = Noisy()
    whole.drive(mean_state(MEAN + 0.1, stop=never, controls=controls))
    checkpoints = [i for i, r in enumerate(whole.requests) if isinstance(r, Checkpoint)]
    seen, replies = whole.requests[checkpoints[2] :], whole.replies[checkpoints[2] :]
    flow = mean_state(MEAN, stop=never, checkpoint=seen[0].state, controls=controls)
    later, outcome = _told(flow, iter(replies))
    assert outcome is Outcome.FLOOR
    for one, other in zip(later, seen, strict=True):
        assert type(one) is type(other)
        if isinstance(one, (Mean, Evaluate)):
            np.testing.assert_array_equal(one.x, other.x)


def _told(flow, replies):
    """What the flow asks when it is told these replies, and how it ends."""
    asked, reply = [], None
    try:
        while True:
            asked.append(flow.send(reply))
            reply = next(replies)
    except StopIteration as end:
        return asked, end.value


def test_a_failure_of_the_map_ends_it():
    flow = mean_state(MEAN, stop=never)
    assert isinstance(next(flow), Checkpoint)
    assert isinstance(flow.send(None), Operator)
    assert isinstance(flow.send(OPERATOR), Evaluate)
    with pytest.raises(StopIteration) as end:
        flow.send(Failure("blew up"))
    assert end.value.value is Outcome.UNSTABLE


def test_a_steady_way_is_no_noise():
    """The operator knows next to nothing: predictions scatter wildly, while the state goes smoothly on its way."""
    lost = StepOperator(csr_array(np.diag(-1e-9 * np.ones(N))), steps=1)
    flow, reply = mean_state(MEAN + 1.0, stop=never), None
    for _ in range(120):
        request = flow.send(reply)
        match request:
            case Operator():
                reply = lost
            case Evaluate(x):
                reply = Failure("far away") if np.abs(x - MEAN).max() > 2 else x - DECAY * (x - MEAN)
            case _:
                reply = None


@pytest.mark.parametrize("late", [False, True], ids=["factors", "solves"])
def test_where_the_operator_is_singular_it_integrates_and_claims_nothing(monkeypatch, late):
    def fails(r):
        raise SingularMatrix("the operator is nearly singular")

    if late:
        monkeypatch.setattr(sys.modules["solvers.averaging"], "tendency_inverse", lambda operator, rate: fails)
    flow, reply = mean_state(MEAN, stop=never), None
    for _ in range(40):
        request = flow.send(reply)
        assert not isinstance(request, Mean)
        singular = StepOperator(csr_array((N, N)), steps=1)
        reply = singular if isinstance(request, Operator) else MEAN if isinstance(request, Evaluate) else None


# --- without operator ------------------------------------------------------------------------------------------------


def test_the_mean_of_states_is_found_within_its_standard_error():
    noisy = Noisy(0.05)
    noisy_map = lambda x: x - 0.5 * (x - MEAN) + 0.05 * noisy.random.standard_normal(N)  # noqa: E731
    flow, reply, mean = mean_state(MEAN, stop=never, operator=False), None, None
    while mean is None:
        request = flow.send(reply)
        reply = noisy_map(request.x) if isinstance(request, Evaluate) else None
        mean = request if isinstance(request, Mean) else None
    with pytest.raises(StopIteration) as end:
        flow.send(None)
    assert end.value.value is Outcome.FLOOR
    assert mean.count == 24
    assert EUCLIDEAN.norm(mean.x - MEAN) < 2 * EUCLIDEAN.norm(mean.standard_error)
    assert EUCLIDEAN.norm(mean.standard_error) < 0.05 * np.sqrt(N)


@pytest.mark.parametrize("decay", [0.001, 0.02, 0.5])
def test_states_on_their_way_are_not_called_the_floor(decay):
    flow, reply = mean_state(MEAN + 1, stop=never, operator=False), None
    for _ in range(100):
        request = flow.send(reply)
        assert not isinstance(request, Mean)
        reply = request.x - decay * (request.x - MEAN) if isinstance(request, Evaluate) else None


def test_without_operator_a_failure_ends_it():
    flow = mean_state(MEAN, stop=never, operator=False)
    next(flow)
    flow.send(None)
    with pytest.raises(StopIteration) as end:
        flow.send(Failure("blew up"))
    assert end.value.value is Outcome.UNSTABLE
