"""A method and direct integration in turn: nothing lost where the method helps, a tenth where it does not."""

from functools import partial

import numpy as np
import pytest
from problems import known_spectrum, stored

from solvers import Checkpoint, Evaluate, Failure, Note, Outcome, alternating, anderson, mean_state, picard

SLOW = known_spectrum(np.linspace(0.0, 0.98, 30), 2, normal=True)
NOISE = 1e-3 * np.random.default_rng(0).normal(size=(3000, 30))


def never(x, g):
    return False


def near(x, g):
    return float(np.abs(g - x).max()) < 1e-5


def useless(x, *, stop, checkpoint=None, evaluations=5):
    """Asks for the same state again and again, then gives up. It goes on from its checkpoints."""
    saved = {"number": 0, "x": x} if checkpoint is None else checkpoint
    x = saved["x"]
    for number in range(int(saved["number"]), evaluations):
        g = yield Evaluate(x)
        if stop(x, g):
            return Outcome.CONVERGED
        yield Checkpoint({"number": number + 1, "x": x})
    return Outcome.STALLED


def drive(flow, T, most=1000):
    """The requests up to so many evaluations, and the outcome if it ended before."""
    requests, evaluations = [], 0
    try:
        request = next(flow)
        while evaluations < most:
            requests.append(request)
            reply = None
            if isinstance(request, Evaluate):
                reply, evaluations = T(request.x), evaluations + 1
            request = flow.send(reply)
    except StopIteration as end:
        return requests, end.value
    return requests, None


def states(requests):
    return [r.x for r in requests if isinstance(r, Evaluate)]


def test_a_method_that_gets_nearer_is_left_alone():
    method = partial(anderson, depth=10, stall_after=30)
    alone, _ = drive(method(SLOW.x0, stop=near), SLOW.T)
    found, outcome = drive(alternating(SLOW.x0, stop=near, method=method, direct=picard), SLOW.T)
    assert outcome is Outcome.CONVERGED
    np.testing.assert_array_equal(states(found), states(alone))


def test_a_useless_method_costs_a_tenth():
    direct, _ = drive(picard(SLOW.x0, stop=near), SLOW.T)
    found, outcome = drive(alternating(SLOW.x0, stop=near, method=useless, direct=picard), SLOW.T)
    assert outcome is Outcome.CONVERGED
    assert len(states(direct)) < len(states(found)) <= 1.1 * len(states(direct)) + 5
    assert any(isinstance(r, Note) and "direct integration" in r.text for r in found)


def test_evaluations_that_fail_are_in_vain():
    """Every trial step of the method fails: again it costs a tenth."""

    def bold(x, *, stop, checkpoint=None):
        g = yield Evaluate(x)
        if stop(x, g):
            return Outcome.CONVERGED
        for _ in range(4):
            yield Evaluate(g + 100.0)
        return Outcome.UNSTABLE

    direct, _ = drive(picard(SLOW.x0, stop=near), SLOW.T)
    flow = alternating(SLOW.x0, stop=near, method=bold, direct=picard)
    found, outcome = drive(flow, lambda x: Failure("too far") if np.abs(x).max() > 50 else SLOW.T(x))
    assert outcome is Outcome.CONVERGED
    assert len(states(found)) <= 1.1 * len(states(direct)) + 5


def test_direct_integration_goes_on_from_the_least_residual():
    def away(x, *, stop, checkpoint=None):
        """A step of direct integration, then one far away."""
        g = yield Evaluate(x)
        yield Evaluate(g + 100.0)
        return Outcome.STALLED

    found, _ = drive(alternating(SLOW.x0, stop=never, method=away, direct=picard), SLOW.T, 3)
    np.testing.assert_array_equal(states(found)[2], SLOW.T(SLOW.x0))


@pytest.mark.parametrize("depth", [10, 20])
def test_under_noise_it_is_as_fast_as_direct_integration_which_anderson_is_not(depth):
    def noisy():
        noise = iter(NOISE)
        return lambda x: SLOW.T(x) + next(noise)

    def years(method):
        """Evaluations until the error is at most a fiftieth of the first, at the most 600."""
        errors = np.linalg.norm(np.array(states(drive(method, noisy(), 600)[0])) - SLOW.solution, axis=1)
        return int(np.argmax(errors < 0.02 * errors[0])) or 600

    direct, alone = years(picard(SLOW.x0, stop=never)), years(anderson(SLOW.x0, stop=never, depth=depth))
    method = partial(anderson, depth=depth, stall_after=10)
    found = years(alternating(SLOW.x0, stop=never, method=method, direct=picard))
    assert found < 1.1 * direct < alone


def test_the_noise_floor_ends_it():
    noise = iter(NOISE)
    method = partial(anderson, depth=5, stall_after=30)
    direct = partial(mean_state, operator=False)
    flow = alternating(SLOW.solution, stop=never, method=method, direct=direct)
    assert drive(flow, lambda x: SLOW.T(x) + next(noise))[1] is Outcome.FLOOR


@pytest.mark.parametrize("direct", [picard, partial(mean_state, operator=False, periods=8)], ids=["picard", "mean"])
def test_it_goes_on_from_any_checkpoint_to_the_bit(direct):
    start = partial(alternating, SLOW.x0, stop=never, method=useless, direct=direct)
    whole, _ = drive(start(), SLOW.T, 90)
    for k, request in enumerate(whole):
        if isinstance(request, Checkpoint):
            checkpoint = {name: stored(value) for name, value in request.state.items()}
            later = states(whole[k:])
            again, _ = drive(start(checkpoint=checkpoint), SLOW.T, len(later))
            np.testing.assert_array_equal(states(again)[: len(later)], later)


def test_a_map_that_fails_at_once_ends_it():
    flow = alternating(SLOW.x0, stop=never, method=anderson, direct=picard)
    assert drive(flow, lambda x: Failure("no"))[1] is Outcome.UNSTABLE
