"""Nonlinear GMRES: GMRES on linear maps, which combinations are taken, restarts, failures, resumption."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import gmres, h_equation, known_spectrum, stored, write_protect

from solvers import Checkpoint, Evaluate, Failure, InnerProduct, Outcome, anderson, ngmres, solve, within


def never(x, g):
    return False


def drive(flow, T, count):
    """The states asked for and the checkpoints that follow, `count` of each; fewer where the flow ends."""
    states, saved, request = [], [], next(flow)
    try:
        while len(states) < count:
            assert isinstance(request, Evaluate)
            states.append(np.asarray(request.x))
            answer = flow.send(T(request.x))
            assert isinstance(answer, Checkpoint)
            saved.append(answer.state)
            request = next(flow)
    except StopIteration as end:
        return states, saved, end.value
    return states, saved, None


def sines(seed, n=20, a=2.0):
    """T(x) = a sin(M x + b), which does not contract."""
    random = np.random.default_rng(seed)
    M, b = random.normal(size=(n, n)) / np.sqrt(n), random.normal(size=n)
    return lambda x: a * np.sin(M @ x + b), np.zeros(n)


# --- linear maps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spectrum", [np.linspace(-0.8, 0.8, 8), np.linspace(-3.0, 0.5, 8)], ids=["in", "out"])
@pytest.mark.parametrize("mixing", [1.0, 0.5])
def test_eager_equals_gmres_step_for_step(xp, seed, spectrum, mixing):
    """Every second evaluation is the iterate of GMRES, so the eighth of a map of eight dimensions is the answer."""
    problem = known_spectrum(spectrum, seed)
    x, _, _ = drive(ngmres(xp.asarray(problem.x0), stop=never, eager=True, mixing=mixing), problem.map(xp), 17)
    b = problem.T(np.zeros(8))
    A = np.eye(8) - np.column_stack([problem.T(e) - b for e in np.eye(8)])
    for k in range(1, 6):
        np.testing.assert_allclose(x[2 * k], gmres(A, b, problem.x0, k), atol=1e-10)
    np.testing.assert_allclose(x[16], problem.solution, atol=1e-8)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_it_ends_in_as_many_steps_as_there_are_eigenvalues(xp, degree):
    problem = known_spectrum(np.linspace(-0.5, 0.9, degree).repeat(3), 1, normal=True)
    x, _, _ = drive(ngmres(xp.asarray(problem.x0), stop=never, eager=True), problem.map(xp), 2 * degree + 1)
    np.testing.assert_allclose(x[-1], problem.solution, atol=1e-10)
    x, _, _ = drive(ngmres(xp.asarray(problem.x0), stop=never), problem.map(xp), degree + 2)
    np.testing.assert_allclose(x[-1], problem.solution, atol=1e-10)


@pytest.mark.parametrize("mixing", [1.0, 0.5])
def test_not_eager_and_with_nothing_refused_it_is_anderson_acceleration(xp, mixing):
    problem = h_equation(32)
    x, _, _ = drive(ngmres(xp.ones(32), stop=never, depth=5, mixing=mixing, gamma_a=10.0), problem.map(xp), 10)
    y, _, _ = drive(anderson(xp.ones(32), stop=never, depth=5, mixing=mixing), problem.map(xp), 10)
    np.testing.assert_allclose(x, y, rtol=1e-12)


# --- non-linear maps -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"eager": True},
        {"select": "none"},
        {"depth": 1},
        {"mixing": 0.5},
        {"restart_after": None},
        {"restart_after": 1, "gamma_c": 0.5},
        {"eager": True, "project": within(np.zeros(64), np.full(64, 3.0))},
    ],
)
def test_solves_the_h_equation(options):
    problem = h_equation(64)
    result = solve(problem.T, problem.x0, partial(ngmres, **options), tolerance=1e-10, max_evaluations=300)
    assert result.outcome is Outcome.CONVERGED
    assert np.linalg.norm(problem.T(result.x) - result.x) == result.residual <= 1e-10
    assert result.evaluations < 60  # Picard: 97


@given(st.integers(0, 1000), st.floats(0.5, 3.0), st.booleans(), st.sampled_from([1.1, 2.0, 5.0]))
@settings(max_examples=40, deadline=None)
def test_no_combination_is_taken_that_is_worse_than_the_least_so_far_by_gamma(seed, a, eager, gamma):
    T, x0 = sines(seed, a=a)
    x, saved, _ = drive(ngmres(x0, stop=never, eager=eager, gamma_a=gamma), T, 40)
    least, combined = np.inf, False
    for point, state in zip(x, saved, strict=True):
        norm = np.linalg.norm(T(point) - point)
        if norm < 1e-13:  # rounding
            break
        taken = np.array_equal(state["x_last"], point)
        if combined and taken:
            assert norm < gamma * least
        if taken:
            least = min(least, norm)
        assert state["least"] == pytest.approx(least, rel=1e-12)
        combined = state["combined"]


def scripted(residuals, **options):
    """States and checkpoints where each residual is the next of these numbers, times a direction of its own."""
    directions = iter(np.random.default_rng(0).normal(size=(len(residuals), 6)))
    sizes = iter(residuals)

    def T(x):
        size, direction = next(sizes), next(directions)
        return x + size * direction / np.linalg.norm(direction)

    return drive(ngmres(np.zeros(6), stop=never, **options), T, len(residuals))


def test_a_combination_that_is_much_worse_is_refused_for_the_plain_step():
    x, saved, _ = scripted([1.0, 0.5, 10.0, 0.4])
    assert [s["combined"] for s in saved] == [False, True, False, True]
    np.testing.assert_array_equal(x[3], saved[1]["g_last"])  # T of the state before
    np.testing.assert_array_equal(saved[2]["x_last"], x[1])
    _, saved, _ = scripted([1.0, 0.5, 10.0, 0.4], select="none")
    assert saved[2]["combined"]  # from the state that was taken


def test_eager_goes_on_from_a_plain_step_whose_combination_was_refused():
    x, saved, _ = scripted([1.0, 0.5, 10.0, 0.4], eager=True)
    assert [s["combined"] for s in saved] == [False, True, False, True]
    np.testing.assert_array_equal(saved[2]["x_last"], x[1])
    np.testing.assert_array_equal(x[3], saved[1]["g_last"])


def test_two_poor_combinations_in_a_row_begin_a_new_history():
    _, saved, _ = scripted([1.0, 0.5, 10.0, 0.4, 10.0, 0.3])
    assert [len(s["columns"]) for s in saved] == [0, 1, 1, 2, 0, 1]
    assert [s["poor"] for s in saved] == [0, 0, 1, 1, 0, 0]
    _, saved, _ = scripted([1.0, 0.5, 10.0, 0.4, 10.0, 0.3], restart_after=None)
    assert [len(s["columns"]) for s in saved] == [0, 1, 1, 2, 2, 3]


def test_a_good_combination_between_two_poor_ones_keeps_the_history():
    _, saved, _ = scripted([1.0, 0.5, 10.0, 0.4, 0.3, 10.0])
    assert [s["poor"] for s in saved] == [0, 0, 1, 1, 0, 1]
    assert len(saved[-1]["columns"]) == 3


def test_a_combination_too_near_to_an_older_state_is_refused_unless_it_is_much_better():
    """Nearer than a thousand times its distance to the plain step: every one is."""
    near = partial(scripted, epsilon_b=1e3)
    _, saved, _ = near([1.0, 0.9, 0.85])  # not below 0.9 times 0.9
    assert saved[2]["poor"] == 1
    assert not saved[2]["combined"]
    _, saved, _ = near([1.0, 0.9, 0.8])
    assert saved[2]["poor"] == 0
    assert saved[2]["combined"]


def test_on_a_linear_map_nothing_is_refused():
    problem = known_spectrum(np.linspace(-0.9, 0.9, 30), 3)
    _, saved, _ = drive(ngmres(problem.x0, stop=never), problem.T, 20)
    assert all(s["combined"] for s in saved[1:])


@pytest.mark.parametrize(
    ("option", "value"),
    [("depth", 0), ("mixing", 0.0), ("select", "best"), ("restart_after", 0), ("condition_limit", 1)],
)
def test_settings_out_of_range(option, value):
    with pytest.raises(ValueError, match=f"{option} must be .*, got {value}"):
        next(ngmres(np.zeros(2), stop=never, **{option: value}))


# --- awkward replies -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["failure", "nan", "inf"])
def bad(request):
    return {"failure": Failure("no"), "nan": np.full(64, np.nan), "inf": np.full(64, np.inf)}[request.param]


def test_failure_at_the_first_evaluation(bad):
    _, saved, outcome = drive(ngmres(np.zeros(64), stop=never), lambda x: bad, 3)
    assert outcome is Outcome.UNSTABLE
    assert not saved


@pytest.mark.parametrize("eager", [False, True])
def test_a_combination_that_fails_is_refused(bad, eager):
    problem, calls = h_equation(64), iter(range(100))
    x, saved, _ = drive(
        ngmres(problem.x0, stop=never, eager=eager), lambda x: bad if next(calls) == 2 else problem.T(x), 8
    )
    np.testing.assert_array_equal(x[3], saved[1]["g_last"])
    assert saved[2]["poor"] == 1
    assert np.linalg.norm(problem.T(x[-1]) - x[-1]) < 0.1


def test_a_plain_step_that_fails_is_shortened_then_given_up(bad):
    calls = iter(range(100))
    x, _, outcome = drive(ngmres(np.zeros(64), stop=never), lambda x: bad if next(calls) else np.ones(64), 10)
    assert [v[0] for v in x] == [0.0, 1.0, 0.5, 0.25, 0.125, 0.0625]
    assert outcome is Outcome.UNSTABLE


def test_no_array_is_written_into():
    problem = h_equation(64)
    problem.x0.setflags(write=False)
    flow = ngmres(problem.x0, stop=never, depth=3, eager=True)
    request = next(flow)
    for _ in range(12):
        reply = problem.T(request.x)
        reply.setflags(write=False)
        write_protect(flow.send(reply).state)
        request = next(flow)


# --- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 4},
        {"depth": 4, "eager": True},
        {"select": "none", "mixing": 0.5},
        {"eager": True, "gamma_c": 0.5, "restart_after": 1},
        {"gamma_a": 0.9, "restart_after": 3},
        {"eager": True, "depth": 20, "project": within(-1.5, 1.5)},
    ],
)
def test_resumed_at_any_evaluation_it_goes_on_to_the_bit(xp, options):
    random = np.random.default_rng(5)
    M, b = xp.asarray(random.normal(size=(40, 40)) / 6), xp.asarray(random.normal(size=40))
    T, x0 = (lambda x: 2.0 * xp.sin(M @ x + b)), xp.zeros(40)
    start = partial(ngmres, x0, stop=never, inner=InnerProduct(weights=xp.linspace(0.5, 1.5, 40)), **options)

    def numbered(first):
        calls = iter(range(first, 100))
        return lambda x: Failure("scripted") if next(calls) in (5, 6, 9) else T(x)

    states, saved, _ = drive(start(), numbered(0), 20)
    for k in range(1, 20):
        checkpoint = {name: stored(value) for name, value in saved[k - 1].items()}
        again, _, _ = drive(start(checkpoint=checkpoint), numbered(k), 20 - k)
        np.testing.assert_array_equal(states[k:], again)
