from functools import partial
from itertools import pairwise
from threading import Barrier, Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import gmres, h_equation, known_spectrum, krylov_basis, linear, stored, write_protect

from solvers import Checkpoint, Evaluate, Failure, InnerProduct, Outcome, anderson, solve, within
from solvers.inner import BLOCK
from solvers.oblique import petrov_galerkin
from solvers.secants import least_squares


def never(x, g):
    return False


def iterates(T, x0, count, **options):
    """The first `count` states that anderson asks for, as NumPy arrays."""
    flow, states = anderson(x0, stop=never, **options), []
    request = next(flow)
    while len(states) < count:
        states.append(np.asarray(request.x))
        assert isinstance(flow.send(T(request.x)), Checkpoint)
        request = next(flow)
    return states


def converge(problem, **options):
    return solve(problem.T, problem.x0, partial(anderson, **options), tolerance=1e-10, max_evaluations=300)


def after(flow, reply):
    """The state asked for once the reply is given."""
    assert isinstance(flow.send(reply), Checkpoint)
    return next(flow).x


# --- a scripted peer -------------------------------------------------------------------------------------------------


def test_exact_numbers(xp):
    """T(x) = (x1 / 2, -x2) + (1, 2), by hand: from 0, f = (1, 2); from (1, 2), f = (1/2, -2), df = (-1/2, -4),
    gamma = <df, f> / <df, df> = 31/65, x2 = g1 - gamma (g1 - g0) = (3/2, 0) - 31/65 (1/2, -2)."""
    flow = anderson(xp.asarray([0.0, 0.0]), stop=never)
    assert next(flow).x.__array_namespace__().__name__ == xp.zeros(1).__array_namespace__().__name__
    x = after(flow, xp.asarray([1.0, 2.0]))
    assert np.asarray(x).tolist() == [1.0, 2.0]
    x = after(flow, xp.asarray([1.5, 0.0]))
    np.testing.assert_allclose(np.asarray(x), [1.5 - 31 / 130, 62 / 65], rtol=1e-15)


def test_first_step_is_the_reply_itself():
    flow, g = anderson(np.zeros(2), stop=never), np.ones(2)
    next(flow)
    assert after(flow, g) is g


def test_it_ends_when_told():
    flow = anderson(np.zeros(2), stop=lambda x, g: True)
    next(flow)
    with pytest.raises(StopIteration) as end:
        flow.send(np.zeros(2))
    assert end.value.value is Outcome.CONVERGED


# --- the theorem -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spectrum", ["contraction", "expansion", "slow"])
@pytest.mark.parametrize("mixing", [1.0, 0.5, lambda k, gain: 0.3 + 0.2 * (k % 3)], ids=["1", "half", "varying"])
def test_equals_gmres_step_for_step(xp, seed, spectrum, mixing):
    """Walker & Ni 2011, theorem 2.2: T linear, all differences held, no stagnation: x_{k+1} = x_k^GMRES + β_k r_k.

    The slow spectrum brings cond(R) to 1e8, where a step is held to a relative error of 2e-8 and no better.
    """
    eigenvalues = {
        "contraction": np.linspace(-0.8, 0.8, 8),
        "expansion": np.linspace(-3.0, 0.5, 8),
        "slow": 1 - np.geomspace(1e-2, 1, 8),
    }[spectrum]
    problem = known_spectrum(eigenvalues, seed)
    x = iterates(problem.map(xp), xp.asarray(problem.x0), 7, depth=20, mixing=mixing)
    b = problem.T(np.zeros(8))
    A = np.eye(8) - np.column_stack([problem.T(e) - b for e in np.eye(8)])
    for k in range(6):
        y = gmres(A, b, problem.x0, k)
        beta = mixing(k, 0.0) if callable(mixing) else mixing
        np.testing.assert_allclose(x[k + 1], y + beta * (b - A @ y), atol=2e-8 if spectrum == "slow" else 2e-12)


def arnoldi(A, b, x0, k):
    """The k-th iterate of Arnoldi's method (FOM) for A x = b: over the space of `gmres`, its residual is orthogonal to
    that space."""
    basis = krylov_basis(A, b - A @ x0, k)
    return x0 + basis @ np.linalg.solve(basis.T @ A @ basis, basis.T @ (b - A @ x0))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mixing", [1.0, 0.5, lambda k, gain: 0.3 + 0.2 * (k % 3)], ids=["1", "half", "varying"])
def test_type_one_equals_arnoldi_step_for_step(xp, seed, mixing):
    """T linear, all differences held, nothing singular: x_{k+1} = x_k^FOM + β_k r_k."""
    problem = known_spectrum(np.linspace(-0.8, 0.8, 8), seed, normal=True)
    x = iterates(problem.map(xp), xp.asarray(problem.x0), 7, type=1, depth=20, mixing=mixing)
    b = problem.T(np.zeros(8))
    A = np.eye(8) - np.column_stack([problem.T(e) - b for e in np.eye(8)])
    for k in range(1, 6):
        y = arnoldi(A, b, problem.x0, k)
        beta = mixing(k, 0.0) if callable(mixing) else mixing
        np.testing.assert_allclose(x[k + 1], y + beta * (b - A @ y), atol=1e-10)


def test_type_one_truncated_is_orthogonal_to_the_newest_steps(xp):
    """In the weighted inner product, with a ridge on the scaled matrix."""
    problem, w = known_spectrum(np.linspace(-0.9, 0.9, 10), 2, normal=True), np.linspace(0.5, 2.0, 10)
    inner = InnerProduct(xp.asarray(w))
    for tikhonov in (0.0, 0.01):
        x = iterates(
            problem.map(xp), xp.asarray(problem.x0), 9, type=1, depth=3, mixing=0.7, inner=inner, tikhonov=tikhonov
        )
        f = [problem.T(v) - v for v in x]
        for k in range(3, 8):
            S, F = np.diff(x[: k + 1], axis=0).T[:, -3:], np.diff(f[: k + 1], axis=0).T[:, -3:]
            lengths = np.sqrt([w @ v**2 for v in (*S.T, *F.T)])
            A = (S * w[:, None]).T @ F - tikhonov * np.diag(lengths[:3] * lengths[3:])
            gamma = np.linalg.solve(A, (S * w[:, None]).T @ f[k])
            np.testing.assert_allclose(x[k + 1], x[k] + 0.7 * f[k] - (S + 0.7 * F) @ gamma, atol=1e-11)


def test_type_one_drops_the_oldest_until_the_condition_is_below_the_limit():
    random = np.random.default_rng(6)
    S = random.normal(size=(20, 4))
    F = -S + 0.3 * random.normal(size=(20, 4))
    F[:, 0], S[:, 0] = F[:, 1] + 1e-9 * F[:, 0], S[:, 1] + 1e-9 * S[:, 0]
    f = random.normal(size=20)
    lengths = np.linalg.norm(F, axis=0), np.linalg.norm(S, axis=0)
    gamma = petrov_galerkin(S.T @ F, S.T @ f, *lengths, 1e5, 0.0)
    np.testing.assert_allclose(gamma, np.linalg.solve(S[:, 1:].T @ F[:, 1:], S[:, 1:].T @ f), rtol=1e-10)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_ends_in_as_many_steps_as_there_are_eigenvalues(xp, degree):
    """A minimal polynomial of degree d: GMRES is exact at d, so the residual of evaluation d + 2 is rounding."""
    problem = known_spectrum(np.linspace(-0.5, 0.9, degree).repeat(3), 1, normal=True)
    T = problem.map(xp)
    x = iterates(T, xp.asarray(problem.x0), degree + 2, depth=8)
    np.testing.assert_allclose(x[-1], problem.solution, atol=1e-12)


def test_truncated_is_least_squares_over_the_newest(xp):
    problem = known_spectrum(np.linspace(-0.9, 0.9, 10), 2)
    x = iterates(problem.map(xp), xp.asarray(problem.x0), 9, depth=3)
    g = [problem.T(v) for v in x]
    dX, dG = np.diff(x, axis=0).T, np.diff(g, axis=0).T
    for k in range(3, 8):
        F = (dG - dX)[:, k - 3 : k]
        gamma = np.linalg.lstsq(F, g[k] - x[k], rcond=None)[0]
        np.testing.assert_allclose(x[k + 1], g[k] - dG[:, k - 3 : k] @ gamma, atol=1e-13)


# --- the options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"type": 1},
        {"type": 1, "restart_growth": 10.0, "tikhonov": 1e-10},
        {"depth": 1},
        {"depth": 15},
        {"mixing": 0.5},
        {"mixing": lambda k, gain: 0.9 - 0.5 * gain},
        {"every": 3},
        {"tikhonov": 1e-10},
        {"restart_growth": 10.0},
        {"condition_limit": 10.0},
        {"project": within(np.zeros(64), np.full(64, 3.0))},
        {"stall_after": 20},
    ],
)
def test_solves_the_h_equation(options):
    problem = h_equation(64)
    result = converge(problem, **options)
    assert result.outcome is Outcome.CONVERGED
    assert np.linalg.norm(problem.T(result.x) - result.x) == result.residual <= 1e-10
    assert result.evaluations < 40  # Picard: 97


def test_depth_zero_is_damped_picard(xp):
    T = h_equation(16).map(xp)
    x = iterates(T, xp.ones(16), 6, depth=0, mixing=0.25)
    for now, then in pairwise(x):
        np.testing.assert_allclose(then, 0.75 * now + 0.25 * np.asarray(T(xp.asarray(now))), rtol=1e-15)


def test_periodic_mixing_accelerates_each_third_step(xp):
    problem = known_spectrum(np.linspace(-0.9, 0.9, 10), 3)
    T = problem.map(xp)
    x = iterates(T, xp.asarray(problem.x0), 10, every=3, depth=8)
    plain = [bool(np.allclose(problem.T(now), then, rtol=0, atol=1e-13)) for now, then in pairwise(x)]
    assert plain == [True, True, False] * 3


def test_a_step_waits_for_the_residual_to_settle(xp):
    """The residual turns by 60 degrees an application: the 12th step; by 6 degrees: every second."""
    for angle, plain, cycles in ((np.pi / 3, 11, 1), (np.pi / 30, 1, 2)):
        J = 0.9 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        problem = linear(np.kron(np.diag([1.0, 0.99, 0.98]), J), np.zeros(6), np.ones(6))
        x = iterates(problem.map(xp), xp.asarray(problem.x0), cycles * (plain + 1) + 1, settled=0.9, depth=8)
        found = [bool(np.allclose(problem.T(now), then, rtol=0, atol=1e-13)) for now, then in pairwise(x)]
        assert found == ([True] * plain + [False]) * cycles


def test_gain_is_what_least_squares_leaves():
    problem = known_spectrum(np.linspace(-0.9, 0.9, 10), 4)
    gains = []

    def mixing(k, gain):
        gains.append((k, gain))
        return 1.0

    x = iterates(problem.T, problem.x0, 6, depth=8, mixing=mixing)
    f = [problem.T(v) - v for v in x]
    assert gains[0] == (0, 1.0)
    for k, gain in gains[1:6]:
        F = np.diff(f[: k + 1], axis=0).T
        left = f[k] - F @ np.linalg.lstsq(F, f[k], rcond=None)[0]
        assert gain == pytest.approx(np.linalg.norm(left) / np.linalg.norm(f[k]), rel=1e-6)


def test_tikhonov_solves_the_ridge_problem():
    random = np.random.default_rng(5)
    F, f = random.normal(size=(20, 4)) * [1.0, 1e-3, 1e3, 1.0], random.normal(size=20)
    gamma, _, _ = least_squares(F.T @ F, F.T @ f, 1e7, 0.1)
    length = np.linalg.norm(F, axis=0)
    ridge = np.vstack([F / length, np.sqrt(0.1) * np.eye(4)])
    y = np.linalg.lstsq(ridge, np.append(f, np.zeros(4)), rcond=None)[0]
    np.testing.assert_allclose(gamma, y / length, rtol=1e-10)


@pytest.mark.parametrize("closeness", [1e-3, 1e-6, 1e-9, 0.0])
def test_oldest_go_until_the_condition_is_below_the_limit(closeness):
    random = np.random.default_rng(6)
    F = random.normal(size=(20, 4))
    F[:, 0] = F[:, 1] + closeness * F[:, 0]
    gamma, _, condition = least_squares(F.T @ F, F.T @ F[:, 2], 1e5, 0.0)
    assert condition < 1e5
    assert len(gamma) == (4 if closeness == 1e-3 else 3)


def test_scaling_a_column_does_not_drop_it():
    F = np.random.default_rng(7).normal(size=(20, 4)) * [1e9, 1.0, 1e-9, 1.0]
    gamma, _, condition = least_squares(F.T @ F, F.T @ F[:, 3], 1e5, 0.0)
    assert len(gamma) == 4
    assert condition < 10


def test_ill_conditioned_step_is_corrected():
    """Columns 1e-6 from dependent: from the Gram matrix alone half the digits of f̄ are lost; corrected, few are."""
    random = np.random.default_rng(8)
    x = random.normal(size=(5, 50))
    f = np.cumsum(random.normal(size=(5, 50)), axis=0)
    f[2] = f[1] + (f[1] - f[0]) + 1e-6 * random.normal(size=50)
    replies = x + f
    flow = anderson(x[0], stop=never, condition_limit=1e12)
    next(flow)
    measured = [x[0]]
    for g in replies[:4]:
        measured.append(after(flow, measured[-1] + (g - x[len(measured) - 1])))
    F = np.diff(f[:4], axis=0).T
    gamma = np.linalg.lstsq(F, f[3], rcond=None)[0]
    h = np.array(measured[:4]) + f[:4]
    np.testing.assert_allclose(measured[4], h[3] - np.diff(h, axis=0).T @ gamma, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("fall", "reductions"), [(1e-2, 3), (1e-10, 4)])
def test_step_after_a_deep_fall_is_corrected(fall, reductions):
    """<df, f> is carried along; where f falls to the rounding of that, it is formed anew: one more reduction."""
    calls = []

    def reduce(mine):
        calls.append(mine)
        return mine

    f = np.random.default_rng(9).normal(size=(3, 50)) * [[1.0], [1.0], [fall]]
    flow = anderson(np.zeros(50), stop=never, inner=InnerProduct(reduce=reduce))
    x = [next(flow).x]
    for row in f:
        x.append(after(flow, x[-1] + row))
    F, h = np.diff(f, axis=0).T, np.array(x[:3]) + f
    gamma = np.linalg.lstsq(F, f[2], rcond=None)[0]
    np.testing.assert_allclose(
        x[3] - h[2], -np.diff(h, axis=0).T @ gamma, atol=1e-6 * fall + 1e-15
    )  # x itself is of order 1
    assert len(calls) == reductions


def test_candidates_stay_within_bounds(xp):
    problem = h_equation(32)
    lower, upper = xp.ones(32), xp.full(32, 1.5)
    for x in iterates(problem.map(xp), xp.ones(32), 10, project=within(lower, upper)):
        assert x.min() >= 1
        assert x.max() <= 1.5


def test_growth_goes_back_to_the_best_state(xp):
    """Scalar, f as scripted: the third residual is 100 times the best, so the Picard step from the best follows;
    it was made before, so half of it; then a quarter, ..., then there is nothing left to try."""
    flow = anderson(xp.asarray([0.0]), stop=never, restart_growth=10.0)
    assert float(next(flow).x[0]) == 0
    x = after(flow, xp.asarray([1.0]))  # f = 1 at 0, the best: on to 1, the whole way
    for j in range(1, 4):
        x = after(flow, x + 100.0)
        assert float(x[0]) == 0.5**j
    x = after(flow, x + 100.0)
    assert float(x[0]) == 0.5**4
    with pytest.raises(StopIteration) as end:
        flow.send(x + 100.0)
    assert end.value.value is Outcome.STALLED


def test_growth_after_an_anderson_step_takes_the_picard_step():
    flow = anderson(np.array([0.0, 0.0]), stop=never, restart_growth=10.0)
    next(flow)
    x1 = after(flow, np.array([1.0, 1.0]))
    g1 = x1 + np.array([0.5, 0.25])
    x2 = after(flow, g1)
    assert after(flow, x2 + 100.0) is g1


def test_stall(xp):
    flow = anderson(xp.asarray([0.0, 0.0]), stop=never, stall_after=3)
    x = next(flow).x
    for k in range(3):
        x = after(flow, x + xp.asarray([1.0, float(k)]))
    with pytest.raises(StopIteration) as end:
        flow.send(x + 2.0)
    assert end.value.value is Outcome.STALLED


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("type", 3),
        ("depth", -1),
        ("mixing", 0.0),
        ("every", 0),
        ("settled", 1.0),
        ("condition_limit", 1.0),
        ("tikhonov", -1e-9),
        ("restart_growth", 1.0),
        ("stall_after", 0),
    ],
)
def test_settings_out_of_range(option, value):
    with pytest.raises(ValueError, match=f"{option} must be .*, got {value}"):
        next(anderson(np.zeros(2), stop=never, **{option: value}))


def test_mixing_that_gives_no_number():
    flow = anderson(np.zeros(2), stop=never, mixing=lambda k, gain: np.nan)
    next(flow)
    with pytest.raises(ValueError, match="gave nan at step 0"):
        flow.send(np.ones(2))


# --- awkward replies -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["failure", "nan", "inf"])
def bad(request):
    return {"failure": Failure("no"), "nan": np.array([np.nan, 0.0]), "inf": np.array([0.0, np.inf])}[request.param]


def test_failure_at_the_first_evaluation(bad):
    flow = anderson(np.zeros(2), stop=never)
    next(flow)
    with pytest.raises(StopIteration) as end:
        flow.send(bad)
    assert end.value.value is Outcome.UNSTABLE


def test_failure_backs_off_then_gives_up(bad):
    flow = anderson(np.array([0.0, 0.0]), stop=never)
    next(flow)
    x1 = after(flow, np.array([1.0, 2.0]))
    g1 = np.array([1.5, 0.0])
    assert not np.array_equal(after(flow, g1), g1)  # an Anderson step
    assert after(flow, bad) is g1
    for j in (1, 2, 3):
        np.testing.assert_array_equal(after(flow, bad), x1 + 0.5**j * (g1 - x1))
    with pytest.raises(StopIteration) as end:
        flow.send(bad)
    assert end.value.value is Outcome.UNSTABLE


def test_failed_picard_step_is_not_asked_for_again(bad):
    flow = anderson(np.array([0.0, 0.0]), stop=never)
    next(flow)
    after(flow, np.array([1.0, 2.0]))
    np.testing.assert_array_equal(after(flow, bad), [0.5, 1.0])


def test_one_good_reply_restores_all_tries(bad):
    flow = anderson(np.array([0.0, 0.0]), stop=never)
    x = next(flow).x
    for k in range(4):
        x = after(flow, x + np.array([1.0, 0.5 + k]))
        for _ in range(4):
            x = after(flow, bad)


def test_recovers_from_failures_on_the_way():
    problem, calls = h_equation(64), []

    def faulty(x):
        calls.append(x)
        if len(calls) in (4, 7, 8):
            raise FloatingPointError("diverged")
        return problem.T(x)

    result = solve(faulty, problem.x0, anderson)
    assert result.outcome is Outcome.CONVERGED
    assert [k for k, norm in enumerate(result.history, 1) if np.isnan(norm)] == [4, 7, 8]


@pytest.mark.parametrize("type", [1, 2])
@pytest.mark.parametrize("depth", [0, 1, 5])
def test_candidates_are_finite_whatever_the_replies(depth, type):
    """Residuals that repeat, vanish, are equal to rounding, or huge."""
    flow = anderson(np.array([1.0, 2.0]), stop=never, depth=depth, type=type)
    x = next(flow).x
    one = np.array([1.0, -1.0])
    for f in (one, one, 0 * one, 0 * one, one, one * (1 + 1e-16), 1e150 * one, 1e-150 * one, 1e-300 * one, one[::-1]):
        x = after(flow, x + f)
        assert np.isfinite(x).all()


def test_no_array_is_written_into():
    problem = h_equation(3 * BLOCK // 2 // 8)
    problem.x0.setflags(write=False)
    flow = anderson(problem.x0, stop=never, depth=3, mixing=0.5, restart_growth=2.0)
    request = next(flow)
    for k in range(12):
        reply = Failure("no") if k == 6 else problem.T(request.x)
        if k != 6:
            reply.setflags(write=False)
        write_protect(flow.send(reply).state)
        request = next(flow)


# --- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 4},
        {"depth": 4, "settled": 0.5},
        {"depth": 3, "mixing": 0.5, "every": 2},
        {"depth": 6, "mixing": lambda k, gain: 0.9 - 0.5 * gain, "tikhonov": 1e-8},
        {"depth": 4, "restart_growth": 1.0001, "stall_after": 50},
        {"type": 1, "depth": 3},
        {"type": 1, "depth": 20, "mixing": 0.5, "condition_limit": 1e2, "restart_growth": 1.5},
        {"depth": 20, "condition_limit": 1e2},
        {"depth": 20, "project": within(0.0, 2.5)},
    ],
)
def test_resumed_at_any_step_it_goes_on_to_the_bit(xp, options):
    problem = h_equation(BLOCK // 64 + 37)
    T, x0 = problem.map(xp), xp.asarray(problem.x0)
    weights = xp.linspace(0.5, 1.5, x0.shape[0])
    start = partial(anderson, stop=never, inner=InnerProduct(weights=weights), **options)

    def drive(flow, first, count):
        states, saved, request = [], [], next(flow)
        for k in range(first, count):
            states.append(np.asarray(request.x))
            saved.append(flow.send(Failure("scripted") if k in (5, 6, 9) else T(request.x)).state)
            request = next(flow)
        return states, saved

    states, saved = drive(start(x0), 0, 16)
    for k in range(1, 16):
        checkpoint = {name: stored(value) for name, value in saved[k - 1].items()}
        again, _ = drive(start(x0, checkpoint=checkpoint), k, 16)
        np.testing.assert_array_equal(states[k:], again)


def test_a_checkpoint_copies_no_vector():
    flow = anderson(np.zeros(4), stop=never)
    next(flow)
    g = np.ones(4)
    state = flow.send(g).state
    assert state["damped"][0] is g
    assert state["g_last"] is g


# --- cost and ranks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"mixing": 0.5}, {"mixing": lambda k, gain: 0.5}, {"every": 2}, {"depth": 0}])
def test_one_reduction_a_step(xp, options):
    reductions = []

    def reduce(mine):
        reductions.append(mine.size)
        return mine

    problem = known_spectrum(np.linspace(-0.9, 0.9, 40), 9, normal=True)
    iterates(problem.map(xp), xp.asarray(problem.x0), 12, inner=InnerProduct(reduce=reduce), **options)
    assert len(reductions) == 12


def test_two_ranks_walk_as_one():
    """Each holds half of the vector; only the reduction joins them."""
    x0 = np.linspace(0.0, 1.0, 2 * BLOCK + 6)
    weights = np.linspace(1.0, 2.0, x0.size)
    halves = slice(0, BLOCK + 1), slice(BLOCK + 1, None)
    T = lambda x: np.cos(0.5 * x + x * x / 8)  # noqa: E731
    barrier, parts, found = Barrier(2), [None, None], [None, None]

    def rank(r):
        def reduce(mine):
            parts[r] = mine
            barrier.wait()
            total = parts[0] + parts[1]
            barrier.wait()
            return total

        inner = InnerProduct(weights=weights[halves[r]], reduce=reduce)
        found[r] = iterates(T, x0[halves[r]], 9, inner=inner, depth=3)

    threads = [Thread(target=rank, args=(r,)) for r in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = iterates(T, x0, 9, inner=InnerProduct(weights=weights), depth=3)
    for whole, first, second in zip(together, *found, strict=True):
        np.testing.assert_allclose(np.append(first, second), whole, atol=1e-12)


def test_a_rank_without_cells():
    flow = anderson(np.zeros(0), stop=never, inner=InnerProduct(reduce=lambda mine: mine + 1.0))
    x = next(flow).x
    for _ in range(3):
        x = after(flow, x)
    assert x.shape == (0,)


# --- laws ------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.floats(1e-6, 1e6), st.floats(-1e3, 1e3), st.integers(1, 6), st.sampled_from([1.0, 0.4]))
@settings(max_examples=30, deadline=None)
def test_units_do_not_matter(seed, scale, shift, depth, mixing):
    """y = scale (x + shift) gives the same walk in other units."""
    problem = known_spectrum(np.linspace(-0.9, 0.7, 9), seed)
    x = iterates(problem.T, problem.x0, 8, depth=depth, mixing=mixing)
    y = iterates(
        lambda y: scale * (problem.T(y / scale - shift) + shift),
        scale * (problem.x0 + shift),
        8,
        depth=depth,
        mixing=mixing,
    )
    size = 1e-9 * max(1.0, abs(shift))
    np.testing.assert_allclose(np.array(y) / scale - shift, x, atol=size * max(1.0, np.abs(x).max()))


@given(st.integers(0, 1000), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_weights_are_a_change_of_variables(seed, depth):
    """Weights w on x are no weights on sqrt(w) x."""
    problem = known_spectrum(np.linspace(-0.9, 0.7, 9), seed)
    w = np.random.default_rng(seed).uniform(0.1, 10.0, 9)
    x = iterates(problem.T, problem.x0, 8, depth=depth, inner=InnerProduct(weights=w))
    root = np.sqrt(w)
    y = iterates(lambda y: root * problem.T(y / root), root * problem.x0, 8, depth=depth)
    np.testing.assert_allclose(np.array(y) / root, x, atol=1e-9 * max(1.0, np.abs(x).max()))


@given(st.integers(0, 1000), st.integers(1, 10))
@settings(max_examples=30, deadline=None)
def test_least_squares_never_does_worse_than_no_step(seed, m):
    random = np.random.default_rng(seed)
    F, f = random.normal(size=(12, m)), random.normal(size=12)
    gamma, C, _ = least_squares(F.T @ F, F.T @ f, 1e7, 0.0)
    np.testing.assert_allclose(gamma, np.linalg.lstsq(F, f, rcond=None)[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(C, C.T)
    assert np.linalg.norm(f - F @ gamma) <= np.linalg.norm(f)


def test_requests_are_of_the_protocol():
    flow = anderson(np.zeros(2), stop=never)
    assert isinstance(next(flow), Evaluate)
