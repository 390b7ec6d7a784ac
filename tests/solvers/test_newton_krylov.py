"""Newton-Krylov: linear maps in one step, published problems, its preconditioner, maps that fail."""

import sys
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from problems import h_equation, kinsol_analytic, known_spectrum
from scipy.sparse import csr_array

import solvers
from solvers import Checkpoint, Evaluate, Failure, InnerProduct, Note, Operator, Outcome, StepOperator, Tangent
from solvers.chain_factors import SingularMatrix
from solvers.newton_krylov import newton_krylov
from solvers.sparse_lu import sparse_factors

alone = partial(newton_krylov, preconditioned=False)
SLOW = known_spectrum(np.concatenate([[0.999, 0.99, 0.9], np.linspace(-0.5, 0.5, 37)]), 5)


def drive(flow, T, operator=None, evaluations=1000, tangent=None):
    """The requests of a flow up to so many evaluations, and its outcome if it ended before."""
    requests, request = [], next(flow)
    try:
        while sum(isinstance(r, Evaluate | Tangent) for r in requests) < evaluations:
            requests.append(request)
            match request:
                case Operator():
                    request = flow.send(operator() if callable(operator) else operator)
                case Evaluate(x):
                    request = flow.send(T(x))
                case Tangent(x, v):
                    request = flow.send(tangent(x, v))
                case _:
                    request = flow.send(None)
    except StopIteration as end:
        return requests, end.value
    return requests, None


def count(requests, kind) -> int:
    return sum(isinstance(r, kind) for r in requests)


def test_an_affine_map_takes_one_step_as_well_as_it_is_solved():
    method = partial(alone, dimension=40, forcing=1e-9, difference=1.0)
    requests, outcome = drive(method(SLOW.x0, stop=lambda x, g: np.abs(g - x).max() < 1e-5), SLOW.T)
    assert outcome is Outcome.CONVERGED
    assert count(requests, Checkpoint) == 1
    last = [r for r in requests if isinstance(r, Evaluate)][-1]
    np.testing.assert_allclose(last.x, SLOW.solution, atol=1e-2)  # 1e-5 / (1 - 0.999)


def test_the_operator_of_the_tendency_saves_evaluations():
    """A map of exp(A) x + b with A as its tendency, but for a tenth."""
    random = np.random.default_rng(1)
    n = 60
    Q = np.linalg.qr(random.normal(size=(n, n)))[0]
    rates = -np.logspace(-3, 1, n)
    J, A = Q @ np.diag(np.exp(rates)) @ Q.T, Q @ np.diag(rates) @ Q.T
    b, answer = random.normal(size=n), None
    answer = np.linalg.solve(np.eye(n) - J, b)
    operator = StepOperator(csr_array(1.1 * A), 1)
    stop = lambda x, g: np.abs(g - x).max() < 1e-8  # noqa: E731
    known, outcome = drive(newton_krylov(np.zeros(n), stop=stop), lambda x: J @ x + b, operator)
    assert outcome is Outcome.CONVERGED
    np.testing.assert_allclose([r for r in known if isinstance(r, Evaluate)][-1].x, answer, atol=1e-4)
    unknown, _ = drive(alone(np.zeros(n), stop=stop), lambda x: J @ x + b)
    assert count(known, Evaluate) <= 20
    assert count(unknown, Evaluate) > 2 * count(known, Evaluate)


def test_an_operator_that_stays_the_same_is_factorised_once(monkeypatch):
    made = []
    monkeypatch.setattr("solvers.factors.sparse_factors", lambda *a: made.append(a) or sparse_factors(*a))

    def operator():
        return StepOperator(csr_array(-1.5 * np.eye(40)), 1)

    requests, _ = drive(newton_krylov(SLOW.x0, stop=lambda x, g: False), SLOW.T, operator, 60)
    assert count(requests, Operator) > 2
    assert len(made) == 1


@pytest.mark.parametrize("problem", [h_equation(), kinsol_analytic()], ids=["H-equation", "KINSOL"])
def test_problems_of_the_literature(problem):
    method = partial(alone, difference=1e-6)
    result = solvers.solve(problem.T, problem.x0, method, tolerance=1e-8, max_evaluations=200)
    assert result.outcome is Outcome.CONVERGED
    np.testing.assert_allclose(problem.T(result.x), result.x, atol=1e-8)
    if problem.solution is not None:
        np.testing.assert_allclose(result.x, problem.solution, atol=1e-7)
    assert result.evaluations < 40


def h_tangent(problem):
    """The derivative of the H-equation's T = 1 / (1 - A x): T² A v."""
    A = np.stack([1 - 1 / problem.T(e) for e in 1e-3 * np.eye(len(problem.x0))], axis=1) / 1e-3
    return lambda x, v: problem.T(x) ** 2 * (A @ v)


def test_with_the_tangent_newton_is_quadratic_where_differences_are_as_good_as_their_step():
    problem = h_equation(64, 0.9)
    stop = lambda x, g: np.abs(g - x).max() < 1e-13  # noqa: E731
    settings = {"forcing": 1e-6, "least": 1e-12, "difference": 1e-1}
    exact, outcome = drive(
        alone(problem.x0, stop=stop, tangent=True, **settings), problem.T, tangent=h_tangent(problem)
    )
    assert outcome is Outcome.CONVERGED
    assert count(exact, Evaluate) == count(exact, Checkpoint) + 1  # the iterates: no difference
    sizes = [r.state["size"] for r in exact if isinstance(r, Checkpoint)]
    assert len(sizes) <= 5
    for before, now in pairwise(sizes[1:]):
        assert now < 0.1 * before**2 + 1e-5 * before  # the last shift leaves 1e-6 of a step
    rough, _ = drive(alone(problem.x0, stop=stop, **settings), problem.T, evaluations=1000)
    assert count(rough, Checkpoint) > len(sizes)


def test_the_tangent_is_asked_for_where_newton_stands():
    problem = h_equation(16)
    requests, _ = drive(
        alone(problem.x0, stop=lambda x, g: False, tangent=True), problem.T, evaluations=20, tangent=h_tangent(problem)
    )
    at = None
    for request in requests:
        if isinstance(request, Evaluate):
            at = request.x
        if isinstance(request, Tangent):
            np.testing.assert_array_equal(request.x, at)


def test_a_tangent_that_fails_is_taken_by_a_difference():
    problem = h_equation(16)
    method = alone(problem.x0, stop=lambda x, g: np.abs(g - x).max() < 1e-8, tangent=True, difference=1e-6)
    requests, outcome = drive(method, problem.T, tangent=lambda x, v: Failure("not finite"))
    assert outcome is Outcome.CONVERGED
    differences = count(requests, Evaluate) - count(requests, Checkpoint) - 1
    assert count(requests, Tangent) == differences > 0


def test_forcing_terms_stay_between_their_bounds():
    problem = h_equation()
    requests, _ = drive(alone(problem.x0, stop=lambda x, g: False, forcing=0.2, least=1e-3), problem.T, evaluations=60)
    terms = [r.state["forcing"] for r in requests if isinstance(r, Checkpoint)]
    assert terms[0] == 0.2
    assert min(terms) == 1e-3
    assert max(terms) <= 0.2


def test_a_failure_after_a_step_is_met_with_a_shorter_one():
    failures = 1

    def T(x):
        nonlocal failures
        far = np.linalg.norm(x - SLOW.x0) > 3
        if far and failures:
            failures -= 1
            return Failure("too far")
        return SLOW.T(x)

    method = partial(alone, dimension=40, difference=1.0)
    requests, outcome = drive(method(SLOW.x0, stop=lambda x, g: np.abs(g - x).max() < 1e-8), T)
    assert failures == 0
    assert outcome is Outcome.CONVERGED
    assert [r.text for r in requests if isinstance(r, Note)]
    ends = [r.state["x"] for r in requests if isinstance(r, Checkpoint)]
    assert np.linalg.norm(ends[1] - SLOW.x0) < np.linalg.norm(ends[0] - SLOW.x0)


def test_a_map_that_always_fails_is_unstable():
    start = SLOW.x0
    _, outcome = drive(alone(start, stop=lambda x, g: False), lambda x: Failure("no"))
    assert outcome is Outcome.UNSTABLE
    calls = iter(range(10**6))

    def fails_later(x):
        return SLOW.T(x) if np.linalg.norm(x - start) < 1e-3 and next(calls) >= 0 else Failure("no")

    requests, outcome = drive(alone(start, stop=lambda x, g: False), fails_later)
    assert outcome is Outcome.UNSTABLE
    assert sum("failed" in r.text for r in requests if isinstance(r, Note)) == 4


def test_a_derivative_that_fails_leaves_the_step_with_what_it_has():
    def T(x):
        return SLOW.T(x) if next(calls) != 3 else Failure("no")

    calls = iter(range(10**6))
    _, outcome = drive(alone(SLOW.x0, stop=lambda x, g: np.abs(g - x).max() < 1e-8), T)
    assert outcome is Outcome.CONVERGED


def test_a_singular_operator_is_left_out():
    operator = StepOperator(csr_array((40, 40)), 1)
    stop = lambda x, g: np.abs(g - x).max() < 1e-8  # noqa: E731
    with_it, outcome = drive(newton_krylov(SLOW.x0, stop=stop, dimension=40), SLOW.T, operator)
    assert outcome is Outcome.CONVERGED
    assert count(with_it, Operator) > 0


def test_a_vector_that_the_operator_is_too_nearly_singular_for_is_not_preconditioned(monkeypatch):
    solves = []

    def fragile(v):
        solves.append(v)
        if len(solves) == 2:
            raise SingularMatrix("the operator is nearly singular")
        return -v

    monkeypatch.setattr(sys.modules["solvers.newton_krylov"], "tendency_inverse", lambda operator, rate: fragile)
    stop = lambda x, g: np.abs(g - x).max() < 1e-8  # noqa: E731
    operator = StepOperator(csr_array((40, 40)), 1)
    _, outcome = drive(newton_krylov(SLOW.x0, stop=stop, dimension=40), SLOW.T, operator)
    assert outcome is Outcome.CONVERGED
    assert len(solves) > 2


def test_it_goes_on_from_a_checkpoint_to_the_bit():
    problem = h_equation()
    start = partial(alone, problem.x0, stop=lambda x, g: False)
    whole, _ = drive(start(), problem.T, evaluations=40)
    states = [r.state for r in whole if isinstance(r, Checkpoint)]
    again, _ = drive(start(checkpoint=states[1]), problem.T, evaluations=20)
    np.testing.assert_array_equal(next(r.state for r in again if isinstance(r, Checkpoint))["x"], states[2]["x"])


def test_derivatives_of_earlier_steps_save_some_of_this():
    """A slow linear map, in steps of ten directions, and mildly non-linear, from 0."""
    n = 100
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(n, n)))[0]
    M, b = Q @ np.diag(np.exp(-np.logspace(-3, 1, n))) @ Q.T, 0.01 * Q.sum(axis=1)
    for bent in (0.0, 0.002):
        T = lambda x, bent=bent: M @ (x - bent * np.tanh(x) ** 2) + b  # noqa: E731
        J = lambda x, v, bent=bent: M @ (v - 2 * bent * np.tanh(x) / np.cosh(x) ** 2 * v)  # noqa: E731
        took = []
        for recycle in (0, 20):
            stop = lambda x, g: np.linalg.norm(g - x) < 1e-8  # noqa: E731
            flow = alone(np.zeros(n), stop=stop, tangent=True, dimension=10, recycle=recycle)
            requests, outcome = drive(flow, T, tangent=J, evaluations=2000)
            took.append(count(requests, Evaluate) + count(requests, Tangent))
        assert outcome is Outcome.CONVERGED
        assert took[1] < 0.7 * took[0]


def test_what_is_known_of_every_direction_makes_a_step_of_one_derivative():
    """Of a linear map; the shift changes nothing but in the last digits."""
    problem = known_spectrum(np.linspace(-0.5, 0.9, 8), 5)
    stop = lambda x, g: np.abs(g - x).max() < 1e-13  # noqa: E731
    flow = alone(problem.x0, stop=stop, dimension=8, difference=1.0, least=1e-9, forcing=1e-9)
    requests, _ = drive(flow, problem.T, evaluations=12)
    states = [r.state for r in requests if isinstance(r, Checkpoint)]
    assert [len(state["known"]) for state in states] == [8, 9]


def exchange(n):
    """The tendency between boxes in a row, which conserves their total, and what becomes of the boxes in a period."""
    A = -2 * np.eye(n) + np.eye(n, k=1) + np.eye(n, k=-1)
    A[0, 0] = A[-1, -1] = -1
    A = 0.01 * A
    values, vectors = np.linalg.eigh(A)
    return A, vectors @ np.diag(np.exp(values)) @ vectors.T


def test_directions_leave_out_what_is_conserved():
    """Without, 1 / s makes of the rounding in the total of r the largest part of a direction."""
    n = 20
    A, J = exchange(n)
    start = 1e3 * np.arange(n) / n
    source = 1e-4 * np.linspace(-1, 1, n)
    level = lambda v: v - v.mean()  # noqa: E731
    method = partial(newton_krylov, directions=level, tangent=True, recycle=0)
    flow = method(start, stop=lambda x, g: False)
    requests, _ = drive(flow, lambda x: J @ x + source, StepOperator(csr_array(1.1 * A), 1), 40, lambda x, v: J @ v)
    for request in requests:
        if isinstance(request, Tangent):
            assert abs(request.v.sum()) < 1e-10 * np.abs(request.v).sum()


def test_a_conserved_total_is_kept_and_no_obstacle():
    """Exchange between boxes: the tendency is singular, the answer depends on the total of the start."""
    n = 20
    A, J = exchange(n)
    source = np.linspace(-1, 1, n)  # no total of its own
    start = np.full(n, 3.0)
    method = partial(newton_krylov, project=lambda x: x + (start.sum() - x.sum()) / n)
    operator = StepOperator(csr_array(A), 1)
    stop = lambda x, g: np.abs(g - x).max() < 1e-9  # noqa: E731
    requests, outcome = drive(method(start, stop=stop), lambda x: J @ x + source, operator)
    assert outcome is Outcome.CONVERGED
    x = [r for r in requests if isinstance(r, Evaluate)][-1].x
    assert x.sum() == pytest.approx(60, rel=1e-12)
    np.testing.assert_allclose(J @ x + source, x, atol=1e-8)


def noisy(amplitude, n=100):
    """A map of modes from fast to slow, bent a little, with deterministic noise of this rms, and its start."""
    random = np.random.default_rng(0)
    Q = np.linalg.qr(random.normal(size=(n, n)))[0]
    M, b = Q @ np.diag(np.exp(-np.logspace(-2, 1, n))) @ Q.T, 0.01 * Q.sum(axis=1)
    R, phase = random.normal(size=(n, n)) * 1e6, random.uniform(0, 2 * np.pi, n)
    return lambda x: M @ (x - 0.002 * np.tanh(x) ** 2) + b + amplitude * np.sqrt(2) * np.sin(R @ x + phase)


RMS = InnerProduct(np.full(100, 1 / 100))


@pytest.mark.parametrize("amplitude", [1e-6, 1e-5, 1e-4])
def test_the_step_of_a_difference_is_measured_where_noise_spoils_it(amplitude):
    T = noisy(amplitude)

    def run(difference):
        method = partial(alone, difference=difference, inner=RMS)
        return solvers.solve(T, np.zeros(100), method, tolerance=10 * amplitude, max_evaluations=250, inner=RMS)

    assert run(1e-4).outcome is Outcome.BUDGET
    assert run(None).outcome is Outcome.CONVERGED


def test_where_newton_steps_are_good_nothing_is_measured():
    problem = h_equation(100)
    stop = lambda x, g: RMS.norm(g - x) < 1e-9  # noqa: E731
    given, free = (drive(alone(problem.x0, stop=stop, difference=d, inner=RMS), problem.T)[0] for d in (1e-4, None))
    assert count(given, Evaluate) == count(free, Evaluate)
    assert not any("step" in r.state for r in free if isinstance(r, Checkpoint))


def test_a_measurement_where_there_is_no_noise_costs_four_evaluations_and_little_else():
    """The Krylov dimension does not do for the linear systems of this map, which is no matter of noise."""
    T, stop = noisy(0.0), lambda x, g: RMS.norm(g - x) < 1e-9
    given, free = (drive(alone(np.zeros(100), stop=stop, difference=d, inner=RMS), T)[0] for d in (1e-4, None))
    assert count(free, Note) == 1
    assert 4 <= count(free, Evaluate) - count(given, Evaluate) < 10


def test_with_the_tangent_nothing_is_measured_however_poor_a_step():
    """The residual doubles at every evaluation, whatever the step."""
    sizes = iter(2.0 ** np.arange(100))
    flow = alone(np.zeros(4), stop=lambda x, g: False, tangent=True)
    requests, _ = drive(flow, lambda x: x + next(sizes), evaluations=20, tangent=lambda x, v: 0.5 * v)
    assert count(requests, Note) == 0
    assert count(requests, Evaluate) == count(requests, Checkpoint) + 1


def test_measured_in_the_middle_it_goes_on_from_any_checkpoint_to_the_bit():
    """A step that is measured after a checkpoint is measured again from it, with the same requests."""
    T, start = noisy(1e-5), partial(alone, np.zeros(100), stop=lambda x, g: False, inner=RMS)
    whole, _ = drive(start(), T, evaluations=120)
    states = [(i, r.state) for i, r in enumerate(whole) if isinstance(r, Checkpoint)]
    measured = [i for i, r in enumerate(whole) if isinstance(r, Note)]
    assert len(measured) == 1
    assert states[0][0] < measured[0] < states[-1][0]
    assert "step" not in states[0][1]
    assert states[-1][1]["step"] > 1e-3
    for i, state in states:
        again, _ = drive(start(checkpoint=state), T, evaluations=count(whole[i:], Evaluate))
        for a, b in zip(whole[i + 1 :], again, strict=True):
            assert type(a) is type(b)
            if isinstance(a, Evaluate):
                np.testing.assert_array_equal(a.x, b.x)


def test_a_measurement_that_fails_leaves_the_step_as_it_was():
    T, start = noisy(1e-5), partial(alone, np.zeros(100), stop=lambda x, g: False, inner=RMS)
    whole, _ = drive(start(), T, evaluations=100)
    note = next(i for i, r in enumerate(whole) if isinstance(r, Note))
    step = max(i for i, r in enumerate(whole[:note]) if isinstance(r, Checkpoint))
    first = count(whole[:step], Evaluate) + 1  # of the measurement: one is the iterate
    calls = iter(range(1000))
    failed, _ = drive(start(), lambda x: Failure("no") if next(calls) == first else T(x), evaluations=first + 30)
    assert next(r.state for r in failed[step + 1 :] if isinstance(r, Checkpoint))["step"] == 1e-4
