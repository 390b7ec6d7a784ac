"""The distance to the equilibrium, from a residual and the one-step operator."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array, diags_array, eye_array

from solvers import Border, SingularMatrix, StepOperator, error_estimate, factors, memory, tendency
from solvers.error_estimate import tendency_inverse
from solvers.layers import Layers
from solvers.tendency import TendencyInverse

N, STEPS = 60, 40
DIFFUSION = csr_array(0.2 * diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(N, N)))
MIXING = csr_array(eye_array(N) - 3 * DIFFUSION)  # M of a step that mixes implicitly
MODES = np.sin(np.pi / (N + 1) * np.outer(np.arange(1, N + 1), np.arange(1, N + 1)))  # of both, slowest first
FORCING = np.linspace(0, 1, N)


def residual(x: np.ndarray, *, implicit: bool = False) -> np.ndarray:
    """T(x) - x, (N,), of x_new = x + D x + f, or of M x_new = x + f."""
    M, D = (MIXING.toarray(), np.zeros((N, N))) if implicit else (np.eye(N), DIFFUSION.toarray())
    g = x
    for _ in range(STEPS):
        g = np.linalg.solve(M, g + D @ g + FORCING)
    return g - x


def answer(*, implicit: bool = False) -> np.ndarray:
    return np.linalg.solve((3 if implicit else 1) * -DIFFUSION.toarray(), FORCING)


def operator(*, implicit: bool = False) -> StepOperator:
    """M (J - I) is I - M of the implicit step."""
    if implicit:
        return StepOperator(csr_array(eye_array(N) - MIXING), STEPS, MIXING)
    return StepOperator(DIFFUSION, STEPS)


def test_a_slow_error_is_known_to_a_few_percent():
    error = MODES[0] - 0.5 * MODES[1]
    found = error_estimate(operator(), residual(answer() + error), STEPS)
    assert np.linalg.norm(found - error) < 0.03 * np.linalg.norm(error)


def test_a_slow_error_is_known_where_the_step_is_implicit():
    r = residual(answer(implicit=True) + MODES[0], implicit=True)
    found = error_estimate(operator(implicit=True), r, STEPS)
    plain = StepOperator(csr_array(np.linalg.inv(MIXING.toarray()) - np.eye(N)), STEPS)
    np.testing.assert_allclose(found, error_estimate(plain, r, STEPS))
    assert np.linalg.norm(found - MODES[0]) < 0.04 * np.linalg.norm(MODES[0])


@pytest.mark.parametrize("implicit", [False, True])
def test_an_error_of_any_mode_is_of_the_right_size(implicit):
    """(1 - e^-a) (1/a + 1) for a mode that decays by e^-a: from 1 to 1.3, whatever a."""
    for mode in MODES:
        r = residual(answer(implicit=implicit) + mode, implicit=implicit)
        found = error_estimate(operator(implicit=implicit), r, STEPS)
        ratio = found @ mode / (mode @ mode)
        np.testing.assert_allclose(found, ratio * mode, atol=1e-8)
        assert 0.99 < ratio < 1.32


def test_at_the_answer_there_is_no_error():
    np.testing.assert_allclose(error_estimate(operator(), residual(answer()), STEPS), 0.0, atol=1e-8)


@pytest.mark.parametrize("implicit", [False, True])
def test_a_shift_as_a_dense_solve_has_it(implicit):
    known, v = operator(implicit=implicit), np.cos(np.arange(N))
    M = MIXING.toarray() if implicit else np.eye(N)
    expected = np.linalg.solve(STEPS * np.linalg.solve(M, known.matrix.toarray()) - 0.3 * np.eye(N), v) - v
    np.testing.assert_allclose(tendency_inverse(known, 0.3)(v), expected, rtol=1e-9)


@pytest.mark.parametrize("implicit", [False, True])
def test_factors_at_one_rate_serve_another(implicit):
    """Also a rate for each unknown, and where the two are so far apart that the Krylov iterations do not get there."""
    known, v = operator(implicit=implicit), np.cos(np.arange(N))
    M = MIXING.toarray() if implicit else np.eye(N)
    for rates in (np.full(N, 0.3), np.where(np.arange(N) < 20, 0.3, 20.0), np.linspace(0.0, 1e4, N)):
        expected = np.linalg.solve(STEPS * np.linalg.solve(M, known.matrix.toarray()) - np.diag(rates), v) - v
        np.testing.assert_allclose(tendency_inverse(known, 0.0)(v, rate=rates), expected, rtol=1e-5, atol=1e-7)


def test_factors_of_another_rate_are_kept(monkeypatch):
    """Where those of the first did not get there: once for each rate, however often it is asked for in a row."""
    made = []

    def counted(*args):
        made.append(args)
        return factors.Factors(factors.factorise(*args).solve, dimension=2)

    monkeypatch.setattr(tendency, "factorise", counted)
    inverse, v, far = TendencyInverse(operator()), np.cos(np.arange(N)), np.linspace(0.0, 1e4, N)
    first = inverse(v, rate=far)
    np.testing.assert_array_equal(inverse(v, rate=far.copy()), first)
    assert len(made) == 2
    inverse(v, rate=2 * far)
    assert len(made) == 3


def test_the_residual_of_part_of_a_period():
    """Of a slow mode, a tenth of a period leaves a tenth of the residual, and says the same."""
    r = residual(answer() + 1e-3 * MODES[0])
    short = tendency_inverse(operator(), 0.0)(r / 10, steps=STEPS // 10)
    np.testing.assert_allclose(short + r / 10, error_estimate(operator(), r, STEPS) + r)


def test_an_operator_is_factorised_once():
    known = operator()
    assert tendency_inverse(known, 0.0) is tendency_inverse(known, 0.0)


def test_a_border_answers():
    """x' = D x + y with 0 = -D x / 2 + y: twice as far for the same residual, and y stands still for nothing."""
    border = Border(
        csr_array(eye_array(N)), csr_array(0.5 * DIFFUSION), csr_array(eye_array(N)), np.tile(np.arange(N) // 6, 2)
    )
    half = StepOperator(0.5 * DIFFUSION, STEPS)
    r = 1e-3 * MODES[0]
    found = error_estimate(StepOperator(DIFFUSION, STEPS, border=border), r, STEPS)
    np.testing.assert_allclose(found, error_estimate(half, r, STEPS), rtol=1e-6)


def test_an_operator_that_damps_nothing_is_singular():
    with pytest.raises(SingularMatrix):
        error_estimate(StepOperator(csr_array((N, N)), STEPS), np.ones(N), STEPS)


def test_iterations_that_do_not_get_there_are_named(monkeypatch):
    """Of a solve without factors that fit, the reason is not that the operator is singular."""
    monkeypatch.setattr(memory, "usable", lambda: 0.0)
    monkeypatch.setattr(factors, "ITERATIONS", 41)
    monkeypatch.setattr(factors, "incomplete_factors", lambda matrix: lambda b: b)
    with pytest.raises(SingularMatrix, match="iterations"):
        TendencyInverse(operator())(np.cos(np.arange(N)))


def test_operators_are_equal_where_their_numbers_are():
    """So that the factors of one serve another, made anew of the same numbers."""
    known, border = operator(implicit=True), Border(DIFFUSION, DIFFUSION, DIFFUSION, np.zeros(2 * N, int))
    same = replace(known, matrix=known.matrix.copy(), implicit=known.implicit.copy())
    assert known == same
    assert hash(known) == hash(same)
    assert tendency_inverse(known, 0.0) is tendency_inverse(same, 0.0)
    others = [
        replace(known, matrix=1.01 * known.matrix),
        replace(known, steps=known.steps + 1),
        replace(known, implicit=None),
        replace(known, border=border),
        replace(known, seasons=(known,)),
    ]
    assert all(known != other for other in others)
    with_border = replace(known, border=border)
    assert with_border == replace(known, border=replace(border, source=border.source.copy()))
    assert with_border != replace(known, border=replace(border, source=2 * border.source))
    layers = Layers(*np.zeros((4, 2 * N), int), np.ones(2 * N), np.ones(2 * N))
    in_layers = replace(known, border=replace(border, layers=layers))
    assert in_layers == replace(known, border=replace(border, layers=layers.of(np.arange(2 * N))))
    assert in_layers != with_border
    assert in_layers != replace(known, border=replace(border, layers=replace(layers, row=layers.row + 1)))
