"""Pseudo-transient continuation on maps whose one-step operator is known."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from problems import CELLS as N
from problems import STEPS, conversation, diffusion, evaluated
from scipy.sparse import csc_array

from solvers import (
    Checkpoint,
    Evaluate,
    Failure,
    Note,
    Operator,
    Outcome,
    StepOperator,
    picard,
    pseudo_transient,
    solve,
)
from solvers.error_estimate import tendency_inverse
from solvers.inner import InnerProduct
from solvers.pseudo_transient import least_squares


def test_the_requests_of_a_cycle():
    T, operator, _ = diffusion()
    flow = pseudo_transient(np.zeros(N), stop=lambda x, g: False, shock=0.0)
    request = next(flow)
    assert isinstance(request, Operator)
    request = flow.send(operator)
    assert isinstance(request, Evaluate)
    np.testing.assert_array_equal(request.x, 0.0)
    r = T(request.x)
    candidate = flow.send(r)
    assert isinstance(candidate, Evaluate)
    np.testing.assert_allclose(candidate.x, -tendency_inverse(operator, 1 / 20.0)(r))
    checkpoint = flow.send(T(candidate.x))
    assert isinstance(checkpoint, Checkpoint)
    np.testing.assert_array_equal(checkpoint.state["x"], T(candidate.x))
    assert checkpoint.state["step"] == 26.0


def test_far_fewer_evaluations_than_direct_integration():
    T, operator, answer = diffusion()
    direct = solve(T, np.zeros(N), picard, tolerance=1e-6, max_evaluations=5000)
    fast = solve(T, np.zeros(N), pseudo_transient, tolerance=1e-6, operator=lambda x: operator)
    assert direct.outcome is fast.outcome is Outcome.CONVERGED
    assert np.abs(fast.x - answer).max() < 1e-4
    assert fast.evaluations < direct.evaluations / 10


def test_secants_mend_a_wrong_operator():
    """An operator that knows half of the truth: with secants it still gets there, and sooner than without."""
    T, operator, answer = diffusion()
    wrong = StepOperator(csc_array(0.5 * operator.matrix), operator.steps)
    counts = {}
    for depth in (0, 6):
        method = partial(pseudo_transient, depth=depth)
        result = solve(T, np.zeros(N), method, tolerance=1e-6, max_evaluations=400, operator=lambda x: wrong)
        counts[depth] = result.evaluations
    assert np.abs(result.x - answer).max() < 1e-3
    assert counts[6] < counts[0]


def test_a_failed_jump_is_shortened():
    T, operator, _ = diffusion()
    flow = pseudo_transient(np.zeros(N), stop=lambda x, g: False, shock=0.0)
    next(flow)
    first = flow.send(operator)
    r = T(first.x)
    flow.send(r)
    shorter = flow.send(Failure("blew up"))
    np.testing.assert_allclose(shorter.x, -tendency_inverse(operator, 1 / 5.0)(r))
    for _ in range(3):
        flow.send(Failure("blew up"))
    with pytest.raises(StopIteration) as end:
        flow.send(Failure("blew up"))
    assert end.value.value is Outcome.UNSTABLE


def said(found):
    return [request.text for request, _ in found if isinstance(request, Note)]


def test_a_step_after_which_the_estimate_grows_is_taken_back():
    """An operator five times too slow, and no secants: a step goes five times as far as it should, but for what is
    taken back."""
    T, operator, answer = diffusion()
    slow = StepOperator(csc_array(operator.matrix / 5), operator.steps)
    flow = pseudo_transient(np.zeros(N), stop=lambda x, g: False, shock=0.0, depth=0, first=1e4)
    found, _ = conversation(flow, T, slow, 4)
    asked, (note,) = evaluated(found), said(found)
    assert note.endswith("the step is taken back but for a part")
    np.testing.assert_allclose(asked[3], 0.25 * asked[1])
    assert np.linalg.norm(T(asked[3]) - answer) < np.linalg.norm(asked[2] - answer)


def test_a_singular_operator_ends_it():
    T, _, _ = diffusion()
    unknown = StepOperator(csc_array(np.full((N, N), np.nan)), STEPS)
    _, outcome = conversation(pseudo_transient(np.zeros(N), stop=lambda x, g: False), T, unknown, 30)
    assert outcome is Outcome.UNSTABLE


def test_estimates_that_no_longer_fall_are_a_stall():
    T, operator, answer = diffusion()
    noise = np.random.default_rng(3)

    def noisy(x):
        return T(x) + 1e-3 * noise.standard_normal(N)

    flow = pseudo_transient(np.zeros(N), stop=lambda x, g: False, stall_after=4)
    found, outcome = conversation(flow, noisy, operator, 200)
    assert outcome is Outcome.STALLED
    np.testing.assert_allclose(evaluated(found)[-1], answer, atol=0.05 * np.abs(answer).max())


def test_the_shock_of_a_start_is_left_to_the_map():
    """A fast mode of large amplitude: direct evaluations until what is left falls slowly."""
    T, operator, answer = diffusion()
    slow, fast = (np.sin(np.arange(1, N + 1) * np.pi * k / (N + 1)) for k in (1, 6))
    flow = pseudo_transient(answer + slow + 1000 * fast, stop=lambda x, g: False, shock=0.7)
    found, _ = conversation(flow, T, operator, 30)
    asked = evaluated(found)
    assert said(found)[0].startswith("the shock of the start is over: the residual is 0.")
    direct = next(i for i in range(1, 30) if not np.array_equal(asked[i], T(asked[i - 1])))
    assert direct > 5
    sizes = [np.linalg.norm(T(x) - x) for x in asked[: direct - 1]]
    assert all(b < 0.7 * a for a, b in pairwise(sizes[:-1]))
    assert sizes[-1] > 0.7 * sizes[-2]


def test_a_checkpoint_goes_on_to_the_bit():
    T, operator, _ = diffusion()

    def states(flow, cycles):
        found, request = [], next(flow)
        while len(found) < cycles:
            match request:
                case Operator():
                    request = flow.send(operator)
                case Evaluate(x):
                    request = flow.send(T(x))
                case Checkpoint(state):
                    found.append(state)
                    request = flow.send(None)
                case Note():
                    request = flow.send(None)
        return found

    start = partial(pseudo_transient, np.zeros(N), stop=lambda x, g: False)
    whole = states(start(), 9)
    assert "shocked" in whole[0]
    assert "x_last" in whole[3]
    for k in (0, 3, 7):
        rest = states(start(checkpoint=whole[k]), 8 - k)
        np.testing.assert_array_equal(rest[-1]["x"], whole[-1]["x"])


def test_solve_says_what_is_missing():
    T, _, _ = diffusion()
    with pytest.raises(ValueError, match="operator="):
        solve(T, np.zeros(N), pseudo_transient)


@pytest.mark.parametrize("cut", [1e-6, 0.05])
def test_secants_that_are_much_alike_are_left_out(cut):
    """As by singular values of columns of length one, in the norm of the inner product."""
    draw = np.random.default_rng(0)
    columns = [draw.normal(size=50) for _ in range(4)]
    columns.append(columns[0] + 0.01 * columns[1])
    b, weights = draw.normal(size=50), draw.uniform(0.1, 2.0, 50)
    found = least_squares([1e3 * columns[0], *columns[1:]], b, InnerProduct(weights), cut)
    root = np.sqrt(weights)
    A = root[:, None] * np.stack([1e3 * columns[0], *columns[1:]], axis=1)
    size = np.linalg.norm(A, axis=0)
    expected = np.linalg.lstsq(A / size, root * b, rcond=cut)[0] / size
    np.testing.assert_allclose(found, expected, rtol=1e-6)
