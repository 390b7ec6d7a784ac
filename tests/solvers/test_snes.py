"""PETSc's nonlinear solvers as methods: what PETSc's own examples print, and problems with known answers."""

import threading

import numpy as np
import pytest
from problems import known_spectrum
from scipy.sparse import csr_array

import spinup
from solvers import Evaluate, Failure, InnerProduct, Note, Operator, Outcome, StepOperator, solve
from solvers.snes import snes
from spinup.errors import UsageError

pytest.importorskip("petsc4py", reason="PETSc is not installed: make distributed")

POINTS, LAMBDA = 81, 6.0  # of ex5


def bratu():
    """F of PETSc's src/snes/tutorials/ex5.c with -mms 1 -par 6 -da_grid_x 81 -da_grid_y 81, and its start."""
    h = 1 / (POINTS - 1)
    x, y = np.meshgrid(np.linspace(0, 1, POINTS), np.linspace(0, 1, POINTS))
    solution = x * (1 - x) * y * (1 - y)
    forcing = 2 * x * (1 - x) + 2 * y * (1 - y) - LAMBDA * np.exp(solution)

    def residual(u):
        u = u.reshape(POINTS, POINTS)
        f, inner = 4 * (u - solution), (slice(1, -1), slice(1, -1))
        laplace = 4 * u[inner] - u[:-2, 1:-1] - u[2:, 1:-1] - u[1:-1, :-2] - u[1:-1, 2:]
        f[inner] = laplace - h**2 * (LAMBDA * np.exp(u[inner]) + forcing[inner])
        return f.ravel()

    to_edge = np.minimum(np.arange(POINTS), np.arange(POINTS)[::-1]) * h
    start = LAMBDA / (LAMBDA + 1) * np.sqrt(np.minimum(to_edge[:, None], to_edge))
    return residual, start.ravel()


def drive(flow, T, operator=None):
    """The requests, and the outcome."""
    requests = []
    try:
        request = next(flow)
        while True:
            requests.append(request)
            reply = T(request.x) if isinstance(request, Evaluate) else None
            request = flow.send(operator if isinstance(request, Operator) else reply)
    except StopIteration as end:
        return requests, end.value


def test_anderson_on_the_bratu_problem_gives_the_published_norms():
    residual, start = bratu()
    norms = []

    def stop(x, g):
        norms.append(np.linalg.norm(g - x))
        return len(norms) == 51

    flow = snes(start, stop=stop, options="-snes_anderson_m 30")
    _, outcome = drive(flow, lambda x: x - residual(x))
    assert outcome is Outcome.CONVERGED
    assert [f"{norm:.6g}" for norm in (*norms[:3], norms[50])] == ["1.13079", "2.12139", "1.85651", "0.0394343"]


@pytest.mark.parametrize("kind", ["anderson", "ngmres", "newtonls", "nrichardson"])
def test_a_linear_problem(kind):
    problem = known_spectrum(np.linspace(0.1, 0.9, 30), 5)
    result = solve(problem.T, problem.x0, lambda x, **how: snes(x, kind=kind, **how), tolerance=1e-9)
    assert result.outcome is Outcome.CONVERGED
    np.testing.assert_allclose(result.x, problem.solution, atol=1e-6)


def test_the_norm_is_that_of_the_inner_product():
    """In which a variable of large values in small cells counts as little as it should."""
    weights = np.geomspace(1, 1e-8, 20)
    rates = np.linspace(0.1, 0.9, 20)
    scale = 1 / np.sqrt(weights)
    seen = []
    for by, inner in ((scale, InnerProduct(weights)), (np.ones(20), InnerProduct())):
        norms = []

        def stop(x, g, norms=norms, inner=inner):
            norms.append(inner.norm(g - x))
            return norms[-1] < 1e-4

        _, outcome = drive(snes(np.zeros(20), stop=stop, inner=inner), lambda x, by=by: rates * x + by)
        assert outcome is Outcome.CONVERGED
        seen.append(norms)
    np.testing.assert_allclose(*seen, rtol=1e-4)


def test_the_operator_preconditions_newton():
    problem = known_spectrum(np.linspace(0.1, 0.999, 60), 5)
    jacobian = np.stack([problem.T(e) - problem.T(np.zeros(60)) for e in np.eye(60)], axis=1)
    operator = StepOperator(csr_array(jacobian - np.eye(60)), 1)
    counts = []
    for preconditioned in (False, True):
        flow = snes(
            problem.x0,
            stop=lambda x, g: np.linalg.norm(g - x) < 1e-9,
            kind="newtonls",
            preconditioned=preconditioned,
            options="-snes_linesearch_type basic",
        )
        requests, outcome = drive(flow, problem.T, operator)
        assert outcome is Outcome.CONVERGED
        assert any(isinstance(r, Operator) for r in requests) == preconditioned
        counts.append(sum(isinstance(r, Evaluate) for r in requests))
    assert counts[1] < counts[0] / 3


def test_where_the_map_fails_it_gives_up():
    requests, outcome = drive(snes(np.ones(5), stop=lambda x, g: False), lambda x: Failure("blew up"))
    assert outcome is Outcome.UNSTABLE
    assert isinstance(requests[-1], Note)
    assert "gave up" in requests[-1].text


def test_a_method_that_is_wanted_no_longer_leaves_no_thread():
    before = threading.active_count()
    flow = snes(np.ones(5), stop=lambda x, g: False)
    next(flow)
    assert threading.active_count() == before + 1
    flow.close()
    assert threading.active_count() == before


def test_options_are_forgotten_afterwards():
    from petsc4py import PETSc

    flow = snes(np.ones(5), stop=lambda x, g: True, options="-snes_anderson_m 7 -snes_anderson_beta -0.5")
    drive(flow, lambda x: 0.5 * x)
    assert not PETSc.Options().hasName("snes_anderson_m")


def test_a_kind_that_is_not_there():
    with pytest.raises(ValueError, match="PETSc has no nonlinear solver 'andersen'"):
        next(snes(np.ones(5), stop=lambda x, g: False, kind="andersen"))


def test_a_kind_that_a_user_misspells_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"snes\.kind = 'andersen' is unknown \(did you mean 'anderson'\?\)"):
        spinup.run("ideal-age", out=tmp_path / "run", method="snes", settings={"kind": "andersen"})
