"""Pseudo-transient continuation where carried variables y answer x at once.

x' = A x + B y + f in forward Euler, y always in balance, 0 = C x + D y: diffusion, of which A knows half, and y, the
flux through the faces, carries the other half. Every state and step is known by a dense solve.
"""

import weakref
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.sparse import csr_array, diags_array, eye_array

import solvers
from solvers import (
    Border,
    Checkpoint,
    Evaluate,
    Failure,
    InnerProduct,
    Note,
    Operator,
    Outcome,
    StepOperator,
    error_estimate,
    memory,
)
from solvers.chain_factors import chain_bytes
from solvers.error_estimate import forget_inverse, tendency_inverse
from solvers.extended import limited_step, size_without_outliers, without_reversal
from solvers.inner import EUCLIDEAN
from solvers.layers import Layers
from solvers.tendency import memory_needed

N, PERIOD = 40, 60
A = csr_array(0.1 * diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(N, N)))
SLOPE = csr_array(diags_array([-1.0, 1.0], offsets=[0, 1], shape=(N, N)))  # across the face on the right
B, C, D = csr_array(-0.1 * SLOPE.T), csr_array(-3.0 * SLOPE), csr_array(3.0 * eye_array(N))
WHOLE = A.toarray() - B.toarray() @ np.linalg.solve(D.toarray(), C.toarray())
FORCING = np.linspace(0, 1, N)
ANSWER = np.linalg.solve(-WHOLE, FORCING)
OPERATOR = StepOperator(A, PERIOD, border=Border(B, C, D, chain=np.tile(np.arange(N) // 5, 2)))
START = np.zeros(N)
RESIDUAL, RELAX = 30, 45  # steps

DEFAULTS = {
    "stop": lambda x, g: False,
    "gain": np.inf,
    "residual_steps": RESIDUAL,
    "relax_steps": RELAX,
    "forcing": 1e-9,
}


def T(x: np.ndarray, steps: int) -> np.ndarray:
    for _ in range(steps):
        x = x + WHOLE @ x + FORCING
    return x


def jump(r: np.ndarray, pseudo_time: float) -> np.ndarray:
    """dx of a cycle, by a dense solve with y eliminated."""
    shift = RESIDUAL / PERIOD / pseudo_time
    return r - np.linalg.solve(RESIDUAL * WHOLE - shift * np.eye(N), r)


def method(**settings):
    """The method from START, without an end and without a bound of Δτ by the error unless told."""
    return solvers.extended_continuation(START, **DEFAULTS | settings)


calm = partial(method, checkpoint={"x": START})  # past its shock


def drive(flow, operator=OPERATOR, *, step=T, checkpoints=1000):
    """The requests of a flow up to so many checkpoints, and its outcome if it ended before."""
    requests, request = [], next(flow)
    try:
        while True:
            requests.append(request)
            match request:
                case Operator():
                    request = flow.send(operator)
                case Evaluate(x, steps):
                    request = flow.send(step(x, steps))
                case Checkpoint() if len(saved(requests)) == checkpoints:
                    return requests, None
                case Checkpoint() | Note():
                    request = flow.send(None)
    except StopIteration as end:
        return requests, end.value


def saved(requests) -> list:
    return [r.state for r in requests if isinstance(r, Checkpoint)]


def cycles(requests) -> int:
    return sum(isinstance(r, Operator) for r in requests)


def first_candidate(**settings):
    """A flow that asks for its first relaxation; the residual it was given; the request."""
    flow = calm(**settings)
    x = next(flow).x
    r = T(x, RESIDUAL) - x
    flow.send(x + r)
    return flow, r, flow.send(OPERATOR)


@pytest.mark.parametrize("late", [True, False])
def test_the_requests_of_a_cycle(late):
    flow = calm(late_operator=late)
    r = T(START, RESIDUAL) - START
    request = next(flow)
    if not late:
        assert isinstance(request, Operator)
        assert request.border
        np.testing.assert_array_equal(request.x, START)
        request = flow.send(OPERATOR)
    assert isinstance(request, Evaluate)
    assert (request.steps, request.spread, request.operator_next) == (RESIDUAL, False, late)
    np.testing.assert_array_equal(request.x, START)
    request = flow.send(START + r)
    if late:
        assert isinstance(request, Operator)
        assert request.border
        np.testing.assert_array_equal(request.x, START + r)
        request = flow.send(OPERATOR)
    assert isinstance(request, Evaluate)
    assert (request.steps, request.spread, request.operator_next) == (RELAX, True, False)
    np.testing.assert_allclose(request.x, START + jump(r, 20.0), rtol=1e-5)
    relaxed = T(request.x, RELAX)
    request = flow.send(relaxed)
    assert isinstance(request, Checkpoint)
    np.testing.assert_array_equal(request.state["x"], relaxed)
    assert request.state["step"] == 20.0
    assert request.state["estimate"] == pytest.approx(np.linalg.norm(error_estimate(OPERATOR, r, RESIDUAL)))
    request = flow.send(None)
    assert isinstance(request, Evaluate if late else Operator)
    np.testing.assert_array_equal(request.x, relaxed)


def test_the_shock_is_left_to_the_map():
    """Residuals of 8, 4, 2 and 1.9: only the last is no longer below 94% of the one before."""
    flow = method()
    request, x = next(flow), START
    for size in (8.0, 4.0, 2.0, 1.9):
        assert isinstance(request, Evaluate)
        assert (request.steps, request.spread) == (RESIDUAL, False)
        np.testing.assert_array_equal(request.x, x)
        x = x + size * np.eye(N)[0]
        checkpoint = flow.send(x)
        if size == 1.9:
            assert checkpoint == Note("the shock of the start is over: the residual is 0.95 of the one before")
            checkpoint = flow.send(None)
        assert isinstance(checkpoint, Checkpoint)
        np.testing.assert_array_equal(checkpoint.state["x"], x)
        request = flow.send(None)
    assert request.operator_next
    np.testing.assert_array_equal(request.x, x)


def residuals_of(flow, sizes) -> list:
    """The requests of a flow whose residuals are scripted, each the forcing times one of these sizes."""
    requests, request, left = [], next(flow), list(sizes)
    while left or not isinstance(request, Evaluate) or request.spread:
        requests.append(request)
        match request:
            case Operator():
                reply = OPERATOR
            case Evaluate(x, spread=False):
                reply = x + left.pop(0) * FORCING
            case Evaluate(x):
                reply = x
            case _:
                reply = None
        request = flow.send(reply)
    return [*requests, request]


def test_once_an_estimate_grew_the_map_is_left_alone_after_each_step_until_it_settles():
    """One of half as much again, then residuals of 1, 0.6 and 0.59; larger again after that, it steps."""
    requests = residuals_of(calm(settled=0.9), [1.0, 1.5, 1.0, 0.6, 0.59, 1.5, 0.8, 0.4, 0.4, 0.1])
    notes = [request.text for request in requests if isinstance(request, Note)]
    assert [note.rsplit(": ", 1)[1] for note in notes] == [
        "after each step the model is left alone until it settles",
        "the residual is 0.98 of the one before",
        "the residual is 1.00 of the one before",
    ]
    spread = [r.spread for r in requests if isinstance(r, Evaluate)]
    assert spread == [False, True] + 5 * [False] + [True] + 4 * [False] + [True, False]
    assert cycles(requests) == 4
    states = saved(requests)
    assert [state.get("shocked") is not None for state in states] == [
        False,
        *3 * [True],
        *2 * [False],
        *2 * [True],
        *2 * [False],
    ]
    sizes = [state["shocked"] / np.linalg.norm(FORCING) for state in states[1:4]]
    assert sizes == pytest.approx([1.5, 1.0, 0.6])
    assert all(state["step"] == states[0]["step"] for state in states[1:5])


@pytest.mark.parametrize(
    ("after", "share"),
    [(0.9, 0.4), (1.6, 0.2), (2.6, 0.08)],  # calm, neither, stirred up
)
def test_of_the_reach_a_share_holds_while_the_map_is_left_alone_after_each_step(monkeypatch, after, share):
    """The residual is 1 before the first step that it is left alone after."""
    limits = []

    def limited(inverse, r, steps, pseudo_time, groups, limit, *options):
        limits.append(limit)
        return limited_step(inverse, r, steps, pseudo_time, groups, limit, *options)

    monkeypatch.setattr(solvers.extended, "limited_step", limited)
    sizes = [1.0, 1.5, 1.4, 1.0, after, after, 0.9, 0.1]
    requests = residuals_of(calm(settled=0.9, reach=4.0, limit=np.inf, gain=1e9), sizes)
    estimates = [state["estimate"] for state in saved(requests) if "shocked" not in state]
    assert limits[:2] == pytest.approx([4 * estimates[0], 0.2 * 4 * estimates[2]])
    assert limits[2:] == pytest.approx([share * 4 * estimates[-1]])


def test_operators_are_of_as_many_dates_of_each_season_as_are_asked_for():
    requests = drive(calm(dates=3), checkpoints=2)[0]
    assert [request.dates for request in requests if isinstance(request, Operator)] == [3, 3]


@pytest.mark.parametrize("sizes", [[1.0, 0.5, 0.2], [1.0, 1.5, 1.0, 1.0, 0.5]])
def test_no_factors_are_held_when_the_next_operator_is_taken(monkeypatch, sizes):
    """Those of the estimate of the next residual would come beside them."""
    kept = []

    def known(operator, rate):
        inverse = partial(tendency_inverse(operator, rate))
        forget_inverse()
        kept.append(weakref.ref(inverse))
        return inverse

    monkeypatch.setattr(solvers.extended, "tendency_inverse", known)
    alive = []

    def reply(x, steps):
        if steps == RESIDUAL:
            alive.append(sum(ref() is not None for ref in kept))
            return x + left.pop(0) * FORCING
        return x

    left = [*sizes, 0.1]
    drive(calm(settled=0.9), step=reply, checkpoints=len(sizes) - 1)
    assert len(kept) > 1
    assert not any(alive)


@pytest.mark.parametrize(("settled", "grown"), [(0.0, 1.5), (0.9, 1.1), (0.9, 0.5)])
def test_otherwise_the_next_step_is_taken_at_once(settled, grown):
    requests = residuals_of(calm(settled=settled), [1.0, grown])
    assert [r.spread for r in requests if isinstance(r, Evaluate)] == [False, True, False, True, False]


def test_the_log_tells_the_estimate_that_was_measured_also_where_steps_are_held(monkeypatch):
    """It counts as a fifth larger than the last one then."""
    monkeypatch.setattr(solvers.extended, "BACK", 1.1)
    requests = residuals_of(calm(settled=0.9, limit=0.1), [1.0, 2.0])
    held, waits = (request.text for request in requests if isinstance(request, Note))
    assert "few places" in held
    assert waits.startswith(held.partition(",")[0])


def test_a_step_that_is_taken_back_is_not_waited_for():
    requests = residuals_of(calm(settled=0.9), [1.0, 10.0])
    (note,) = (request for request in requests if isinstance(request, Note))
    assert "taken back" in note.text


def test_far_fewer_cycles_with_the_border_than_without():
    start = partial(method, stop=lambda x, g: np.abs(g - x).max() < 1e-7, stall_after=100)
    bordered, outcome = drive(start())
    assert outcome is Outcome.CONVERGED
    np.testing.assert_allclose(saved(bordered)[-1]["x"], ANSWER, atol=1e-4)
    plain, outcome = drive(start(), replace(OPERATOR, border=None))
    assert outcome is Outcome.CONVERGED
    assert cycles(bordered) < 147 / 10  # 147 without the border, were every step taken as asked for
    assert cycles(bordered) < cycles(plain) / 2


def test_a_step_that_goes_on_is_left_alone():
    dx, last = np.array([1.0, 2.0]), np.array([2.0, -0.9])
    assert without_reversal(dx, last, last, EUCLIDEAN) is dx


@pytest.mark.parametrize("over", [1.5, 2.0, 10.0])
def test_a_step_that_reverses_the_last_ends_where_a_line_through_both_does(over):
    """Along a line every step asks for `over` times the way to the answer; what was not asked for happened, too."""
    answer, before = np.array([3.0, -1.0]), np.array([1.0, 1.0])
    last = over * (answer - before)
    x = before + last + 0.1 * last
    dx = over * (answer - x)
    np.testing.assert_allclose(x + without_reversal(dx, last, x - before, EUCLIDEAN), answer)


def test_an_operator_that_asks_for_twice_the_way_does_not_go_to_and_fro():
    """Without the border the steps are twice too long. The answer would be 76 cycles away with steps as asked for."""
    start = partial(method, stop=lambda x, g: np.abs(g - x).max() < 1e-4, stall_after=100)
    requests, outcome = drive(start(), replace(OPERATOR, border=None))
    assert outcome is Outcome.CONVERGED
    assert cycles(requests) < 20


def test_a_whole_solve_where_the_factors_do_not_fit(monkeypatch):
    """A column of N layers, made fewer: as many cycles, the same states to the tolerance of the linear solve."""
    border = OPERATOR.border
    nothing, layer = np.zeros(2 * N, int), np.tile(np.arange(N), 2)
    layers = Layers(np.repeat([0, 1], N), layer, nothing, nothing, nothing + 1.0, layer + 0.5)
    column = replace(OPERATOR, border=replace(border, chain=nothing, layers=layers))
    start = partial(method, stop=lambda x, g: np.abs(g - x).max() < 1e-7, stall_after=100)
    expected, _ = drive(start())
    assert "LU factors take" in memory_needed(column)
    monkeypatch.setattr(memory, "usable", lambda: chain_bytes(nothing) - 1.0)
    assert f"{N}, {N // 2} layers" in memory_needed(column)
    forget_inverse()
    found, outcome = drive(start(), column)
    assert outcome is Outcome.CONVERGED
    assert cycles(found) == cycles(expected)
    np.testing.assert_allclose(saved(found)[-1]["x"], saved(expected)[-1]["x"], atol=1e-6)


def test_the_implicit_part_of_the_step_changes_nothing():
    """J times M, and the response times M: the same candidate."""
    M = csr_array(eye_array(N) - 5 * A)
    times_M = StepOperator(M @ A, PERIOD, M, Border(M @ B, C, D, chain=np.zeros(2 * N, dtype=int)))
    _, r, request = first_candidate()
    other = calm()
    next(other)
    other.send(START + r)
    np.testing.assert_allclose(other.send(times_M).x, request.x, rtol=1e-5)


def test_the_pseudo_time_grows_up_to_its_bounds():
    requests, _ = drive(calm(first=10.0, growth=3.0, largest=100.0), checkpoints=4)
    assert [s["step"] for s in saved(requests)] == [10.0, 30.0, 90.0, 100.0]
    bounded, _ = drive(calm(gain=50.0), checkpoints=4)
    for state in saved(bounded):
        assert state["step"] == 50.0 / state["estimate"]


def test_an_estimate_counts_at_most_three_times_the_one_before():
    def rougher(x, steps):  # every residual is ten times the one before
        nonlocal size
        size *= 10 if steps == RESIDUAL else 1
        return x + size * FORCING

    size = 1.0
    requests, _ = drive(calm(), step=rougher, checkpoints=3)
    first, second, third = (s["estimate"] for s in saved(requests))
    assert second == first  # the step is taken back; the state it leads to is no better, and that is believed
    assert third == pytest.approx(3 * first)


def test_near_the_equilibrium_nothing_is_settled():
    """A settling that errs by one in every unknown keeps the answer away; not where it is asked no more."""
    start = partial(calm, stop=lambda x, g: np.abs(g - x).max() < 1e-6, settle=lambda x, c: c + 1.0)
    _, outcome = drive(start(), checkpoints=60)
    assert outcome is not Outcome.CONVERGED
    _, outcome = drive(start(near=20 * np.sqrt(N)), checkpoints=60)
    assert outcome is Outcome.CONVERGED


def test_the_candidate_is_settled_then_projected():
    _, _, plain = first_candidate()
    _, _, request = first_candidate(settle=lambda x, c: c + 10 * (x + 1), project=lambda c: c**2)
    np.testing.assert_array_equal(request.x, (plain.x + 10.0) ** 2)


def test_a_failed_jump_is_shortened_by_four_and_given_up_after_five():
    flow, r, request = first_candidate()
    for failed in range(1, 5):
        request = flow.send(Failure("blew up"))
        assert (request.steps, request.spread) == (RELAX, True)
        np.testing.assert_allclose(request.x, START + jump(r, 20.0 / 4**failed), rtol=1e-5)
    with pytest.raises(StopIteration) as end:
        flow.send(Failure("blew up"))
    assert end.value.value is Outcome.UNSTABLE


def test_failures_that_are_not_in_a_row_do_not_end_it():
    def four_times(x, steps):
        nonlocal failures
        if steps == RELAX and failures < 4:
            failures += 1
            return Failure("blew up")
        failures = 0
        return T(x, steps)

    failures = 0
    requests, outcome = drive(calm(), step=four_times, checkpoints=3)
    assert outcome is None
    assert [s["step"] for s in saved(requests)] == [20.0 / 256, 40.0 / 256**2, 80.0 / 256**3]


@pytest.mark.parametrize("start", [method, calm])
def test_a_map_that_fails_from_its_own_state_is_unstable(start):
    requests, outcome = drive(start(), step=lambda x, steps: Failure("blew up"))
    assert outcome is Outcome.UNSTABLE
    assert sum(isinstance(r, Evaluate) for r in requests) == 1


@pytest.mark.parametrize("start", [method, calm])
def test_a_start_at_the_answer_has_converged(start):
    requests, outcome = drive(start(stop=lambda x, g: True))
    assert outcome is Outcome.CONVERGED
    assert sum(isinstance(r, Evaluate) for r in requests) == 1


def test_it_stalls_where_cycles_bring_it_no_nearer_than_as_many_before():
    """A map without an equilibrium: every residual is the same."""
    requests, outcome = drive(calm(stall_after=4), step=lambda x, steps: x + FORCING)
    assert outcome is Outcome.STALLED
    assert cycles(requests) == 2 * 4


def test_a_stall_is_counted_on_from_a_checkpoint():
    drift = partial(drive, step=lambda x, steps: x + FORCING)
    part, _ = drift(calm(stall_after=4), checkpoints=3)
    rest, outcome = drift(method(stall_after=4, checkpoint=saved(part)[-1]))
    assert outcome is Outcome.STALLED
    assert cycles(rest) == 2 * 4 - 3


def test_a_checkpoint_goes_on_to_the_bit():
    """Also from the middle of the shock, which lasts four evaluations here."""
    start = partial(method, gain=1e4)
    whole = saved(drive(start(), checkpoints=9)[0])
    assert ["shocked" in state for state in whole] == [True] * 3 + [False] * 6
    for k in range(8):
        rest = saved(drive(start(checkpoint=whole[k]), checkpoints=8 - k)[0])
        for state, expected in zip(rest, whole[k + 1 :], strict=True):
            assert state.keys() == expected.keys()
            for name, value in expected.items():
                np.testing.assert_array_equal(state[name], value)


def test_a_checkpoint_of_a_map_left_alone_after_a_step_goes_on_to_the_bit():
    start = partial(calm, settled=0.9, stall_after=100)

    def wavy(x, steps):
        return T(x, steps) + 0.3 * np.sin(5 * x)

    whole = saved(drive(start(), step=wavy, checkpoints=30)[0])
    alone = ["shocked" in state for state in whole]
    assert 3 < sum(alone) < 27
    for k in range(29):
        rest = saved(drive(start(checkpoint=whole[k]), step=wavy, checkpoints=29 - k)[0])
        for state, expected in zip(rest, whole[k + 1 :], strict=True):
            assert state.keys() == expected.keys()
            for name, value in expected.items():
                np.testing.assert_array_equal(state[name], value)


def test_a_singular_balance_ends_in_unstable():
    nothing = csr_array((N, N))
    singular = replace(OPERATOR, border=replace(OPERATOR.border, response=nothing, balance=nothing))
    requests, outcome = drive(calm(), singular)
    assert outcome is Outcome.UNSTABLE
    assert sum(isinstance(r, Evaluate) for r in requests) == 1


@pytest.mark.parametrize("border", [OPERATOR.border, None])
def test_without_an_estimate_it_stalls(border):
    _, outcome = drive(calm(gain=200.0), StepOperator(csr_array((N, N)), PERIOD, border=border))
    assert outcome is Outcome.STALLED


def diagonal(damping: np.ndarray) -> StepOperator:
    return StepOperator(csr_array(diags_array(-damping)), PERIOD)


def test_only_the_group_that_is_too_far_is_shortened():
    """Each unknown alone: dx = r + r / (n a + s), and 8 s for the two of the group in the middle, once."""
    damping = np.full(6, 1e-4)
    r = np.array([0.1, 0.2, 0.8, -1.0, 0.3, 0.2])
    n_a, s = RESIDUAL * 1e-4, RESIDUAL / PERIOD / 20.0
    expected = r + r / (n_a + s * np.array([1, 1, 8, 8, 1, 1]))
    found = limited_step(
        tendency_inverse(diagonal(damping), 0.0), r, RESIDUAL, 20.0, np.array([0, 0, 1, 1, 2, 2]), limit=12.0
    )
    np.testing.assert_allclose(found, expected)
    assert np.abs(expected).max() < 12.0 < np.abs(r[2] / (n_a + s))


def test_what_is_still_too_far_after_three_shortenings_is_scaled_down_group_by_group():
    """dx = r + r / s nearly. The first group is near enough at once, the second at 512 s only, the last never."""
    r = np.array([0.1, 0.01, 100.0, 50.0, 1000.0, -2000.0])
    s = RESIDUAL / PERIOD / 20.0
    slow, groups = diagonal(np.full(6, 1e-9)), np.array([0, 0, 1, 1, 2, 2])
    found = limited_step(tendency_inverse(slow, 0.0), r, RESIDUAL, 20.0, groups, limit=120.0, forcing=1e-9)
    np.testing.assert_allclose(found[:2], r[:2] * (1 + 1 / s), rtol=1e-5)
    np.testing.assert_allclose(found[2:4], r[2:4] * (1 + 1 / (512 * s)), rtol=1e-5)
    np.testing.assert_allclose(found[4:], [60.0, -120.0])


def test_a_step_is_solved_for_to_its_forcing_term():
    """The digits of the answer follow: none is looked for that the next residual would not use."""
    r, own = T(START, RESIDUAL) - START, np.arange(N)
    inverse = tendency_inverse(OPERATOR, 0.0)
    exact = jump(r, 0.05)
    off = [
        np.linalg.norm(limited_step(inverse, r, RESIDUAL, 0.05, own, np.inf, forcing) - exact) / np.linalg.norm(exact)
        for forcing in (1e-1, 1e-3, 1e-9)
    ]
    assert 1e-1 > off[0] > 1e-4 > off[1] > off[2]
    assert off[2] < 1e-7


def test_no_unknown_moves_beyond_the_limit():
    """Coupled unknowns, groups of five: the limit holds in every cycle, and the answer is reached all the same."""
    requests, outcome = drive(calm(limit=30.0, groups=np.arange(N) // 5, stop=lambda x, g: np.abs(g - x).max() < 1e-6))
    assert outcome is Outcome.CONVERGED
    x = START
    jumps = []
    for request in requests:
        if isinstance(request, Evaluate) and request.steps == RELAX:
            jumps.append(np.abs(request.x - x).max())
        if isinstance(request, Checkpoint):
            x = request.state["x"]
    assert max(jumps) <= 30.0 * (1 + 1e-12)
    assert np.abs(first_candidate()[2].x).max() > 150.0  # that of the first cycle without a limit
    np.testing.assert_allclose(x, ANSWER, atol=1e-3)


def second_cycle(growth: float, **settings):
    """A flow after two residuals, of which the second's estimate is `growth` times the first's; requests since then.

    Returns the checkpoint of the first cycle, the first candidate, its start, and the requests, Operators left out.
    """
    flow, r, request = first_candidate(**settings)
    candidate = request.x
    checkpoint = flow.send(T(candidate, RELAX))
    request = flow.send(None)
    size = growth * np.linalg.norm(error_estimate(OPERATOR, r, RESIDUAL))
    r = r * (size / np.linalg.norm(error_estimate(OPERATOR, r, RESIDUAL)))
    flow.send(request.x + r)
    requests = [flow.send(OPERATOR)]
    while not isinstance(requests[-1], Checkpoint):
        requests.append(flow.send(None if isinstance(requests[-1], Note) else T(requests[-1].x, RELAX)))
    return checkpoint.state, candidate, requests


def test_a_step_after_which_the_estimate_is_many_times_larger_is_taken_back_but_for_a_quarter():
    first, candidate, (note, request, checkpoint) = second_cycle(4.0)
    assert isinstance(note, Note)
    assert "taken back" in note.text
    np.testing.assert_allclose(request.x, START + 0.25 * (candidate - START))
    assert checkpoint.state["share"] == 0.25
    assert checkpoint.state["estimate"] == first["estimate"]
    assert "jump" not in checkpoint.state


def test_it_is_not_taken_back_where_the_limits_hold_the_next():
    """The estimate is four times as large, the step that follows is not: the method goes on, with caution."""
    first, _, (note, request, checkpoint) = second_cycle(4.0, limit=20.0, shock=0.0)
    assert "held" in note.text
    assert np.abs(request.x - first["x"]).max() <= 20.0 * (1 + 1e-12)
    assert checkpoint.state["share"] == 0.5
    assert checkpoint.state["estimate"] == 1.2 * first["estimate"]
    np.testing.assert_allclose(checkpoint.state["jump"], request.x - first["x"])


def test_a_flow_resumed_before_it_is_taken_back_takes_it_back_too():
    first, candidate, _ = second_cycle(4.0)
    flow = method(checkpoint=first)
    flow.send(next(flow).x + 1e6)
    assert isinstance(flow.send(OPERATOR), Note)
    np.testing.assert_allclose(flow.send(None).x, START + 0.25 * (candidate - START))


@pytest.mark.parametrize(("growth", "share"), [(2.0, 0.5), (0.5, 1.0)])
def test_a_larger_estimate_halves_the_gain(growth, share):
    first, _, (_, checkpoint) = second_cycle(growth, gain=100.0)
    assert checkpoint.state["share"] == share
    estimate = growth * first["estimate"]
    assert checkpoint.state["step"] == pytest.approx(min(2 * first["step"], share * 100.0 / estimate))


def test_confidence_comes_back():
    flow = method(checkpoint={"x": START, "estimate": 1e9, "share": 0.5, "step": 1.0})
    flow.send(T(next(flow).x, RESIDUAL))
    request = flow.send(OPERATOR)
    assert flow.send(T(request.x, RELAX)).state["share"] == 0.75


def test_near_the_answer_residuals_grow_longer_and_stay_so():
    """A third of near / estimate times as long, once that is more than they were, up to the most; also from a
    checkpoint."""
    stop_at = {"stop": lambda x, g: np.abs(g - x).max() < 1e-9}
    plain = [s["estimate"] for s in saved(drive(calm(**stop_at))[0])]
    near = 3 * np.sqrt(plain[1] * plain[2])  # a third of it is between the second and the third estimate
    longer = {"near": near, "longest_steps": 7 * RESIDUAL} | stop_at
    requests, outcome = drive(calm(**longer))
    assert outcome is Outcome.CONVERGED
    lengths = [r.steps for r in requests if isinstance(r, Evaluate) and r.steps != RELAX]
    states = saved(requests)
    assert lengths[:3] == [RESIDUAL] * 3
    assert lengths[3] == round(RESIDUAL * near / (3 * states[2]["estimate"])) > RESIDUAL
    assert lengths == sorted(lengths)
    assert lengths[-1] == 7 * RESIDUAL
    rest, _ = drive(method(checkpoint=states[3], **longer))
    assert [r.steps for r in rest if isinstance(r, Evaluate) and r.steps != RELAX] == lengths[4:]


@pytest.mark.parametrize(("near", "growth", "longer"), [(0.9, 1.3, 1), (2.5, 1.1, 1), (2.5, 1.3, 1.5), (2.5, 4.0, 1.5)])
def test_near_the_answer_a_residual_is_longer_by_half_after_an_estimate_that_grew(near, growth, longer):
    """Also where the step is taken back; `near` is in units of the first estimate."""
    near *= np.linalg.norm(error_estimate(OPERATOR, T(START, RESIDUAL) - START, RESIDUAL))
    first, _, (*_, checkpoint) = second_cycle(growth, near=near, longest_steps=10 * RESIDUAL)
    assert first["steps"] == RESIDUAL
    assert checkpoint.state["steps"] == longer * RESIDUAL


def test_a_residual_that_is_longer_than_the_longest_is_not_made_shorter():
    _, _, (*_, checkpoint) = second_cycle(1.3, near=1e9, longest_steps=RESIDUAL // 2)
    assert checkpoint.state["steps"] == RESIDUAL


def test_an_estimate_that_hardly_grew_is_no_reason_for_caution():
    _, _, (*_, checkpoint) = second_cycle(1.1)
    assert checkpoint.state["share"] == 1.0
    _, _, (*_, checkpoint) = second_cycle(1.3)
    assert checkpoint.state["share"] == 0.5


def test_single_unknowns_that_ask_for_far_too_much_hardly_count():
    """Otherwise one cell of water that is neutral would have the whole step taken back."""
    calm_water = np.cos(np.arange(1000.0))
    wild = calm_water + 1e4 * (np.arange(1000) == 500)
    assert size_without_outliers(calm_water, InnerProduct()) == np.linalg.norm(calm_water)
    weights = InnerProduct(np.full(1000, 1e-3))
    usual = weights.norm(calm_water)
    assert weights.norm(wild) > 100 * usual
    assert usual < size_without_outliers(wild, weights) < 1.1 * usual
    alone = 1.0 * (np.arange(1000) == 500)
    assert size_without_outliers(alone, weights) == weights.norm(alone)
    assert size_without_outliers(np.array([1.0, np.nan]), InnerProduct()) == np.inf


def test_a_wild_first_estimate_does_not_shorten_the_step():
    """Once it was left alone, no estimate is larger than that of the limit everywhere: Δτ may be gain over this."""
    limit = 1e-3
    believed = limit * np.sqrt(N)

    def first_step(**settings):
        requests, _ = drive(method(gain=10 * believed, limit=limit, first=100.0, **settings), checkpoints=60)
        return next(r.state["step"] for r in requests if isinstance(r, Checkpoint) and "step" in r.state)

    assert first_step(shock=0.94) == 10.0
    assert first_step(shock=0.0) < 1.0


def test_the_step_is_free_up_to_the_first_until_the_map_fails():
    """A cautious first cycle does not hold the second; a failure does."""
    requests, _ = drive(calm(first=1000.0, growth=2.0, gain=1e6), checkpoints=1)
    state = requests[-1].state
    assert state["free"] == 1000.0
    requests, _ = drive(calm(first=1000.0, growth=2.0, gain=1e6, checkpoint=state | {"step": 1.0}), checkpoints=1)
    assert requests[-1].state["step"] == 1000.0
    requests, _ = drive(
        calm(first=1000.0, growth=2.0, gain=1e6, checkpoint=state | {"step": 1.0, "free": 1.0}), checkpoints=1
    )
    assert requests[-1].state["step"] == 2.0


@pytest.mark.parametrize(("bounce", "stalled"), [(1.0, True), (10.0, False)])
def test_after_a_bounce_it_is_no_stall_where_the_last_estimates_fall_again(bounce, stalled):
    size = np.linalg.norm(error_estimate(OPERATOR, T(START, RESIDUAL) - START, RESIDUAL))
    history = size * np.array([0.1, 0.1, 0.1, 0.1, bounce, bounce, 1.0])
    requests, outcome = drive(
        calm(stall_after=4, checkpoint={"x": START, "history": history, "estimate": size, "step": 1.0}), checkpoints=1
    )
    assert (outcome is Outcome.STALLED) == stalled
    assert bool(saved(requests)) != stalled
