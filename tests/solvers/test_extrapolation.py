"""Vector extrapolation: linear maps whose limit is reached exactly, what it leaves alone, and how it backs off."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import h_equation, known_spectrum, linear, stored

from solvers import Checkpoint, Evaluate, Failure, InnerProduct, Note, Outcome, extrapolation, picard, solve, within
from solvers.extrapolation import dynamic_modes, extrapolated, minimal_polynomial, orthogonalised, reduced_rank
from solvers.inner import EUCLIDEAN

KINDS = ["rre", "mpe", "dmd"]
at_once = partial(extrapolation, wait=0)
STIFF = known_spectrum(np.concatenate([1 - np.geomspace(1e-3, 1, 20), np.linspace(-0.8, 0.8, 30)]), 3)


def never(x, g):
    return False


def window(T, x, dimension):
    """x_{k+1}, and u_0 .. u_k."""
    states = [x]
    for _ in range(dimension + 1):
        states.append(T(states[-1]))
    return states[-1], [b - a for a, b in pairwise(states)]


def drive(flow, T, evaluations):
    """The requests of a flow up to so many evaluations, and its outcome if it ended before."""
    requests, reply = [], None
    try:
        while sum(isinstance(r, Evaluate) for r in requests) < evaluations:
            request = flow.send(reply)
            requests.append(request)
            reply = T(request.x) if isinstance(request, Evaluate) else None
    except StopIteration as end:
        return requests, end.value
    return requests, None


def asked(requests):
    return [np.asarray(r.x) for r in requests if isinstance(r, Evaluate)]


# --- the limit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("degree", [1, 2, 4, 6])
def test_a_minimal_polynomial_of_degree_k_ends_in_one_cycle(xp, kind, degree):
    """Sidi 2017, theorem 1.3: x_0 .. x_{k+1} are enough; many eigenvectors, few eigenvalues."""
    problem = known_spectrum(np.linspace(-0.5, 0.95, degree).repeat(3), 1, normal=True)
    flow = at_once(xp.asarray(problem.x0), stop=never, kind=kind, dimension=degree)
    x = asked(drive(flow, problem.map(xp), degree + 2)[0])[-1]
    np.testing.assert_allclose(x, problem.solution, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_longer_than_the_minimal_polynomial_is_no_obstacle(kind):
    problem = known_spectrum(np.linspace(-0.5, 0.95, 3).repeat(3), 1, normal=True)
    x, u = window(problem.T, problem.x0, 7)
    np.testing.assert_allclose(extrapolated(kind, x, u, EUCLIDEAN, 1e-10), problem.solution, atol=1e-9)


@pytest.mark.parametrize("kind", ["rre", "mpe"])
def test_growing_modes_are_no_obstacle_to_polynomials(kind):
    problem = known_spectrum(np.array([3.0, -2.0, 0.9]), 2)
    x, u = window(problem.T, problem.x0, 3)
    np.testing.assert_allclose(extrapolated(kind, x, u, EUCLIDEAN, 1e-12), problem.solution, atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_rre_is_gmres(k, weighted):
    """Sidi 1988: RRE of k + 2 vectors is GMRES(k) of (I - J) x = b from x_0; here T of it. The least residual is found
    densely, over x_0 + span(u_0 .. u_{k-1})."""
    problem = known_spectrum(np.linspace(-0.8, 0.9, 12), k)
    weights = np.linspace(0.2, 3.0, 12) if weighted else np.ones(12)
    x, u = window(problem.T, problem.x0, k)
    A = np.eye(12) - np.column_stack([problem.T(e) - problem.T(np.zeros(12)) for e in np.eye(12)])
    K, root = np.column_stack(u[:-1]), np.sqrt(weights)
    y = np.linalg.lstsq(root[:, None] * (A @ K), root * u[0], rcond=None)[0]
    found = extrapolated("rre", x, u, InnerProduct(weights if weighted else None), 0.0)
    np.testing.assert_allclose(found, problem.T(problem.x0 + K @ y), atol=1e-10)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_mpe_is_the_arnoldi_method(k):
    """Sidi 1988: MPE is the method of Arnoldi: the residual is orthogonal to u_0 .. u_{k-1}."""
    problem = known_spectrum(np.linspace(-0.8, 0.9, 12), k)
    x, u = window(problem.T, problem.x0, k)
    A = np.eye(12) - np.column_stack([problem.T(e) - problem.T(np.zeros(12)) for e in np.eye(12)])
    K = np.column_stack(u[:-1])
    y = np.linalg.solve(K.T @ A @ K, K.T @ u[0])
    np.testing.assert_allclose(extrapolated("mpe", x, u, EUCLIDEAN, 0.0), problem.T(problem.x0 + K @ y), atol=1e-8)


@pytest.mark.parametrize("slowest", [1e-3, 0.02, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_mpe_leaves_the_larger_residual_and_the_smaller_error(slowest, seed):
    """Of a symmetric map whose modes decay: MPE is then the method of conjugate gradients and RRE that of minimal
    residuals (M. R. Hestenes and E. Stiefel, J. Res. Nat. Bur. Stand. 49 (1952), 409-436, section 7). The residual is
    that of the combination of the x_j, of which s is T."""
    problem = known_spectrum(1 - np.geomspace(slowest, 0.9, 20), seed, normal=True)
    b = problem.T(np.zeros(20))
    J = np.column_stack([problem.T(e) - b for e in np.eye(20)])
    for k in (2, 4, 6):
        x, u = window(problem.T, problem.x0, k)
        rre, mpe = (extrapolated(kind, x, u, EUCLIDEAN, 0.0) for kind in ("rre", "mpe"))
        assert np.linalg.norm(mpe - problem.solution) < np.linalg.norm(rre - problem.solution)
        of_rre, of_mpe = (np.linalg.norm(s - np.linalg.solve(J, s - b)) for s in (rre, mpe))
        assert of_mpe > of_rre


def test_dmd_finds_complex_modes():
    spiral = 0.95 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    J = np.zeros((3, 3))
    J[:2, :2], J[2, 2] = spiral, 0.5
    problem = linear(J, np.array([1.0, 2.0, 3.0]), np.zeros(3))
    x, u = window(problem.T, problem.x0, 3)
    np.testing.assert_allclose(extrapolated("dmd", x, u, EUCLIDEAN, 1e-12), problem.solution, atol=1e-12)


def test_dmd_leaves_modes_alone_that_do_not_decay():
    """Diagonal: one mode decays, one grows, one alternates for ever. The first goes to its limit, the others stay."""
    rates = np.array([0.9, 1.02, -1.0])
    x, u = window(lambda x: rates * x, np.ones(3), 3)
    found = extrapolated("dmd", x, u, EUCLIDEAN, 1e-12)
    np.testing.assert_allclose(found, [0.0, *x[1:]], atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_little_noise_moves_the_limit_little(kind):
    """Two modes, and noise of a few thousandths in forty directions, which the window of six fits too."""
    slow, fast = np.linalg.qr(np.random.default_rng(4).normal(size=(40, 2)))[0].T
    noise = 3e-3 * np.random.default_rng(5).normal(size=(7, 40))
    u = [0.9**j * slow + 0.3**j * fast + n for j, n in enumerate(noise)]
    limit = 0.9**7 / 0.1 * slow + 0.3**7 / 0.7 * fast
    assert np.linalg.norm(extrapolated(kind, np.zeros(40), u, EUCLIDEAN) - limit) < 0.02 * np.linalg.norm(limit)


# --- the numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_orthogonalised_in_the_inner_product(xp, weighted):
    random = np.random.default_rng(1)
    U = random.normal(size=(5, 30)) * [[1.0], [1e-9], [1.0], [1e9], [1.0]]
    U[4] = U[0] + 1e-10 * U[4]
    weights = np.linspace(0.1, 2.0, 30) if weighted else np.ones(30)
    Q, R = orthogonalised([xp.asarray(u) for u in U], InnerProduct(xp.asarray(weights)))
    Q = np.array([np.asarray(q) for q in Q])
    np.testing.assert_allclose((Q * weights) @ Q.T, np.eye(5), atol=1e-14)
    size = np.abs(U).max(axis=1, keepdims=True)
    np.testing.assert_allclose(R.T @ Q / size, U / size, atol=1e-14)
    np.testing.assert_array_equal(R, np.triu(R))


def test_a_dependent_vector_adds_no_column():
    a, b = np.eye(2)
    Q, R = orthogonalised([a, 2 * a, 0 * a, a + b], EUCLIDEAN)
    assert len(Q) == 2
    np.testing.assert_allclose(R, [[1, 2, 0, 1], [0, 0, 0, 1]])


@pytest.mark.parametrize("way", [reduced_rank, minimal_polynomial, dynamic_modes])
def test_a_window_that_did_not_move_is_left_where_it_is(way):
    np.testing.assert_array_equal(way(np.zeros((0, 4)), 1e-10), np.zeros(4))


def test_no_limit_leaves_the_newest_state():
    """Steps that stay the same: no polynomial sums to other than zero, and no mode decays."""
    x, u = np.full(3, 7.0), np.ones(3)
    for nearly in (1.0, 1.0 + 2**-52):  # equal, or equal to rounding
        for kind in KINDS:
            np.testing.assert_allclose(extrapolated(kind, x, [u, nearly * u, u], EUCLIDEAN, 1e-10), x, rtol=1e-14)


@given(st.integers(0, 1000), st.floats(1e-6, 1e6), st.sampled_from(KINDS))
@settings(max_examples=30, deadline=None)
def test_units_do_not_matter(seed, scale, kind):
    problem = known_spectrum(np.linspace(-0.9, 0.9, 9), seed)
    x, u = window(problem.T, problem.x0, 4)
    plain = extrapolated(kind, x, u, EUCLIDEAN, 1e-6)
    scaled = extrapolated(kind, scale * x, [scale * v for v in u], EUCLIDEAN, 1e-6)
    np.testing.assert_allclose(scaled / scale, plain, atol=1e-8 * np.abs(plain).max())


# --- the cycle -------------------------------------------------------------------------------------------------------


def test_it_waits_integrates_a_window_and_jumps():
    states = asked(drive(extrapolation(STIFF.x0, stop=never, wait=3, dimension=2, growth=1e9), STIFF.T, 19)[0])
    direct = [np.allclose(STIFF.T(a), b, rtol=1e-13, atol=0) for a, b in pairwise(states)]
    assert direct == [True, True, True, True, True, False] * 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wait", [0, 5])
def test_it_beats_direct_integration_on_slow_tracers(kind, wait):
    """Rates from a thousandth a period on, and fast modes that alternate. Picard would need 14,000 evaluations."""
    method = partial(extrapolation, kind=kind, dimension=10, wait=wait)
    result = solve(STIFF.T, STIFF.x0, method, tolerance=1e-8, max_evaluations=2000)
    assert result.outcome is Outcome.CONVERGED
    np.testing.assert_allclose(result.x, STIFF.solution, atol=1e-5)
    assert solve(STIFF.T, STIFF.x0, picard, tolerance=1e-8, max_evaluations=4000).outcome is Outcome.BUDGET


@pytest.mark.parametrize("kind", KINDS)
def test_solves_the_h_equation(kind):
    problem = h_equation(64)
    method = partial(at_once, kind=kind, dimension=3)
    result = solve(problem.T, problem.x0, method, tolerance=1e-10, max_evaluations=60)
    assert result.outcome is Outcome.CONVERGED
    assert np.linalg.norm(problem.T(result.x) - result.x) <= 1e-10  # Picard: 97


@pytest.mark.parametrize("kind", KINDS)
def test_a_conserved_total_is_kept(kind):
    """Exchange between boxes: a step has no total, so no combination of steps has; but the extrapolation makes the
    rounding of the steps larger, and what it adds to a total stays, unless candidates are projected."""
    n = 20
    A = -2 * np.eye(n) + np.eye(n, k=1) + np.eye(n, k=-1)
    A[0, 0] = A[-1, -1] = -1
    J, source = np.eye(n) + 0.2 * A, np.linspace(-1, 1, n)
    start = np.full(n, 3.0)
    stop = lambda x, g: np.abs(g - x).max() < 1e-10  # noqa: E731
    for project, error in ((None, 1e-5), (lambda x: x + (60 - x.sum()) / n, 1e-12)):
        flow = at_once(start, stop=stop, kind=kind, dimension=8, project=project)
        requests, outcome = drive(flow, lambda x: J @ x + source, 300)
        assert outcome is Outcome.CONVERGED
        for x in asked(requests):
            assert x.sum() == pytest.approx(60, abs=error)
        np.testing.assert_allclose(J @ asked(requests)[-1] + source, asked(requests)[-1], atol=1e-9)


def test_candidates_stay_within_bounds(xp):
    problem = h_equation(32)
    flow = at_once(xp.ones(32), stop=never, dimension=2, project=within(xp.ones(32), xp.full(32, 1.1)))
    states = asked(drive(flow, problem.map(xp), 4)[0])
    assert states[3].max() == 1.1
    assert states[2].max() > 1.1  # the direct run's own


# --- awkward replies -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["failure", "nan", "inf"])
def bad(request):
    return {"failure": Failure("no"), "nan": np.full(50, np.nan), "inf": np.full(50, np.inf)}[request.param]


def test_a_failing_candidate_goes_back_to_the_direct_run(bad):
    answers = iter([STIFF.T] * 4 + [lambda x: bad] + [STIFF.T] * 9)
    requests, outcome = drive(at_once(STIFF.x0, stop=never, dimension=3), lambda x: next(answers)(x), 9)
    assert outcome is None
    states = asked(requests)
    np.testing.assert_array_equal(states[5], STIFF.T(states[3]))
    assert [r.text for r in requests if isinstance(r, Note)]
    np.testing.assert_array_equal(states[8], STIFF.T(states[7]))  # a new window, whose jump is yet to come


def test_a_candidate_that_is_too_far_off_goes_back_to_the_direct_run():
    """Scalar steps 1, 1/2: all kinds ask for the limit, 2; there the residual is 100 times the last one."""
    for kind in KINDS:
        for growth, where in ((199.0, 1.5), (201.0, 102.0)):
            flow = at_once(np.zeros(1), stop=never, kind=kind, dimension=1, growth=growth)
            T = {0.0: 1.0, 1.0: 1.5, 2.0: 102.0}
            requests, _ = drive(flow, lambda x, T=T: np.array([T.get(round(float(x[0]), 9), 0.0)]), 4)
            assert [round(float(x[0]), 9) for x in asked(requests)] == [0.0, 1.0, 2.0, where]


def test_a_failure_of_the_direct_run_ends_it(bad):
    flow = at_once(STIFF.x0, stop=never, dimension=3)
    answers = iter([STIFF.T, STIFF.T, lambda x: bad])
    _, outcome = drive(flow, lambda x: next(answers)(x), 9)
    assert outcome is Outcome.UNSTABLE


@pytest.mark.parametrize("kind", KINDS)
def test_an_equilibrium_is_left_alone(kind):
    flow = at_once(np.ones(4), stop=never, kind=kind, dimension=2)
    for x in asked(drive(flow, lambda x: x, 12)[0]):
        np.testing.assert_array_equal(x, 1.0)


def test_no_array_is_written_into():
    flow = at_once(STIFF.x0, stop=never, dimension=3, wait=1)

    def T(x):
        x.setflags(write=False)
        g = STIFF.T(x)
        g.setflags(write=False)
        return g

    requests, _ = drive(flow, T, 12)
    for r in requests:
        if isinstance(r, Checkpoint):
            assert all(isinstance(u, np.ndarray) for u in r.state["window"])


@pytest.mark.parametrize(
    ("option", "value"),
    [("kind", "svd"), ("dimension", 0), ("wait", -1), ("growth", 0.0)],
)
def test_settings_out_of_range(option, value):
    with pytest.raises(ValueError, match=f"{option} must be .*, got {value}"):
        next(at_once(np.zeros(2), stop=never, **{option: value}))


# --- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"kind": "mpe", "wait": 2}, {"kind": "dmd", "growth": 1.0}])
def test_resumed_at_any_step_it_goes_on_to_the_bit(xp, options):
    problem = h_equation(67)
    T, x0 = problem.map(xp), xp.asarray(problem.x0)
    weights = xp.linspace(0.5, 1.5, x0.shape[0])
    start = partial(at_once, x0, stop=never, dimension=2, inner=InnerProduct(weights=weights), **options)

    def scripted(first):
        number = iter(range(first, 100))
        return lambda x: Failure("scripted") if next(number) == 6 - ("wait" in options) else T(x)

    whole, outcome = drive(start(), scripted(0), 16)
    assert outcome is None
    assert any(isinstance(r, Note) for r in whole)
    saved = [r.state for r in whole if isinstance(r, Checkpoint)]
    for k in range(1, 16):
        checkpoint = {name: stored(value) for name, value in saved[k - 1].items()}
        again, _ = drive(start(checkpoint=checkpoint), scripted(k), 16 - k)
        np.testing.assert_array_equal(asked(again), asked(whole)[k:])
