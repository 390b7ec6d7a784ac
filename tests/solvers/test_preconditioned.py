"""Methods on the preconditioned map, where the operator is known exactly."""

import sys
from functools import partial

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
    Outcome,
    SingularMatrix,
    StepOperator,
    anderson,
    ngmres,
    preconditioned,
    solve,
)
from solvers.error_estimate import tendency_inverse

METHODS = {"type II": anderson, "type I": partial(anderson, type=1), "ngmres": ngmres}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_fewer_evaluations_than_without(method):
    T, operator, answer = diffusion()
    taken = {}
    for name, chosen in {"plain": method, "preconditioned": partial(preconditioned, method=method, serves=20)}.items():
        result = solve(T, np.zeros(N), chosen, tolerance=1e-8, max_evaluations=2000, operator=lambda x: operator)
        assert result.outcome is Outcome.CONVERGED
        np.testing.assert_allclose(result.x, answer, atol=1e-5 * np.abs(answer).max())
        taken[name] = result.evaluations
    assert taken["preconditioned"] < 0.7 * taken["plain"], taken


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_method_sees_the_preconditioned_map(method):
    """What it asks for is what it asks of x - P^-1 (T(x) - x) as a map of its own."""
    T, operator, _ = diffusion(known=0.5)
    inverse = tendency_inverse(operator, 1 / 100.0)
    alone = conversation(method(np.zeros(N), stop=lambda x, g: False), lambda x: x - inverse(T(x) - x), None, 9)[0]
    flow = preconditioned(np.zeros(N), stop=lambda x, g: False, method=method, step=100.0, serves=9)
    for mine, theirs in zip(evaluated(conversation(flow, T, operator, 9)[0]), evaluated(alone), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_an_operator_serves_for_so_many_evaluations():
    T, operator, _ = diffusion()
    flow = preconditioned(np.zeros(N), stop=lambda x, g: False, method=anderson, serves=4, border=True)
    found = conversation(flow, T, operator, 9)[0]
    kinds = [type(request).__name__[0] for request, _ in found]
    assert "".join(kinds) == "COEEEECOEEEECOE"
    for (kept, _), (asked, _), (first, _) in (found[i : i + 3] for i in (0, 6, 12)):
        assert kept.state["x"] is asked.x is first.x
        assert asked.border


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_checkpoint_goes_on_to_the_bit(method):
    T, operator, _ = diffusion(known=0.5)
    begun = partial(preconditioned, np.zeros(N), stop=lambda x, g: False, method=method, serves=3)
    found = conversation(begun(), T, operator, 14)[0]
    checkpoints = [i for i, (request, _) in enumerate(found) if isinstance(request, Checkpoint)]
    assert len(checkpoints) == 5
    for i in checkpoints:
        rest = evaluated(found[i:])
        again = evaluated(conversation(begun(checkpoint=found[i][0].state), T, operator, len(rest))[0])
        for one, other in zip(rest, again, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_failure_after_a_jump_is_gone_back_from(method):
    """The map fails at first wherever a jump leads that is not small."""
    T, operator, answer = diffusion()
    failed = []

    def fragile(x):
        if len(failed) < 3 and np.abs(x).max() > 10.0:
            failed.append(x)
            return Failure("blew up")
        return T(x)

    flow = preconditioned(np.zeros(N), stop=lambda x, g: np.abs(g - x).max() < 1e-8, method=method)
    found, outcome = conversation(flow, fragile, operator, 60)
    assert outcome is Outcome.CONVERGED
    assert len(failed) == 3
    np.testing.assert_allclose(found[-1][0].x, answer, atol=1e-5 * np.abs(answer).max())


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_an_operator_without_an_inverse_is_named_and_left_out(method):
    T, _, answer = diffusion()
    unknown = StepOperator(csc_array(np.full((N, N), np.nan)), STEPS)
    flow = preconditioned(np.zeros(N), stop=lambda x, g: np.abs(g - x).max() < 1e-3, method=method, serves=200)
    found, outcome = conversation(flow, T, unknown, 200)
    assert [request for request, _ in found if isinstance(request, Note)] == [
        Note("the matrix is exactly singular: on without it")
    ]
    assert outcome is Outcome.CONVERGED
    np.testing.assert_allclose(found[-1][0].x, answer, atol=0.1)


def test_a_solve_that_fails_is_a_failure_of_the_map(monkeypatch):
    """The third fails: the method goes back, and gets there."""
    T, operator, answer = diffusion()
    inverse, solves = tendency_inverse(operator, 1e-6), []

    def fragile(r):
        solves.append(r)
        if len(solves) == 3:
            raise SingularMatrix("the operator is nearly singular")
        return inverse(r)

    monkeypatch.setattr(sys.modules["solvers.preconditioned"], "tendency_inverse", lambda operator, rate: fragile)
    flow = preconditioned(np.zeros(N), stop=lambda x, g: np.abs(g - x).max() < 1e-8, method=anderson)
    found, outcome = conversation(flow, T, operator, 60)
    assert outcome is Outcome.CONVERGED
    np.testing.assert_allclose(found[-1][0].x, answer, atol=1e-5 * np.abs(answer).max())


def test_it_ends_as_the_method_does():
    _, operator, _ = diffusion()
    flow = preconditioned(np.zeros(N), stop=lambda x, g: False, method=partial(anderson, stall_after=2))
    found, outcome = conversation(flow, lambda x: x + 1.0, operator, 50)
    assert outcome is Outcome.STALLED
    assert len(evaluated(found)) < 10


def test_no_smaller_residual_over_several_operators_is_a_stall():
    T, operator, answer = diffusion()
    noise = np.random.default_rng(1)

    def noisy(x):
        return T(x) + 1e-3 * noise.standard_normal(N)

    begun = partial(preconditioned, np.zeros(N), stop=lambda x, g: False, method=anderson, serves=4, stall_after=10)
    found, outcome = conversation(begun(), noisy, operator, 200)
    assert outcome is Outcome.STALLED
    np.testing.assert_allclose(evaluated(found)[-1], answer, atol=0.05 * np.abs(answer).max())
    last = max(i for i, (request, _) in enumerate(found) if isinstance(request, Checkpoint))
    replies = iter([reply for request, reply in found[last:] if isinstance(request, Evaluate)])
    again, outcome = conversation(begun(checkpoint=found[last][0].state), lambda x: next(replies), operator, 200)
    assert outcome is Outcome.STALLED
    assert len(again) == len(found) - last


@pytest.mark.parametrize("settings", [{"step": 0.0}, {"serves": 1}, {"stall_after": 0}])
def test_a_setting_out_of_range_is_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        next(preconditioned(np.zeros(3), stop=lambda x, g: False, method=anderson, **settings))
