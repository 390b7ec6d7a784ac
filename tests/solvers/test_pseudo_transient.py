"""Pseudo-transient continuation on maps whose one-step operator is known."""

from functools import partial

import numpy as np
import pytest
from scipy.sparse import csc_array, diags_array

from solvers import Checkpoint, Evaluate, Failure, Operator, Outcome, StepOperator, picard, pseudo_transient, solve
from solvers.error_estimate import tendency_inverse

N, STEPS = 60, 40


def diffusion(steps=STEPS):
    """Steps of forward Euler for u' = D u + f, D the Laplacian: T, its operator, the answer."""
    A = csc_array(0.2 * diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(N, N)))
    f = np.linspace(0, 1, N)
    answer = np.linalg.solve(-A.toarray(), f)

    def T(x):
        for _ in range(steps):
            x = x + A @ x + f
        return x

    return T, StepOperator(A, steps), answer


def test_the_requests_of_a_cycle():
    T, operator, _ = diffusion()
    flow = pseudo_transient(np.zeros(N), stop=lambda x, g: False)
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
    flow = pseudo_transient(np.zeros(N), stop=lambda x, g: False)
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
        return found

    start = partial(pseudo_transient, np.zeros(N), stop=lambda x, g: False)
    whole = states(start(), 9)
    for k in (0, 3, 7):
        rest = states(start(checkpoint=whole[k]), 8 - k)
        np.testing.assert_array_equal(rest[-1]["x"], whole[-1]["x"])


def test_solve_says_what_is_missing():
    T, _, _ = diffusion()
    with pytest.raises(ValueError, match="operator="):
        solve(T, np.zeros(N), pseudo_transient)
