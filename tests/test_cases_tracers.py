"""The toy ocean and its two tracer cases: what they promise, held to rounding."""

from functools import partial

import numpy as np
import pytest

import solvers
import spinup
from cases import ideal_age, phosphorus
from spinup.conserve import conserve, totals
from spinup.errors import UsageError
from spinup.toy_ocean import DEEP_CELL, YEAR, ToyOcean

SMALL = {"ny": 20, "nz": 12, "steps": 12}


@pytest.fixture(scope="module")
def ocean():
    return ToyOcean(**SMALL)


@pytest.fixture(scope="module")
def age():
    return ideal_age.build(**SMALL)


@pytest.fixture(scope="module")
def exact():
    return ideal_age.exact(**SMALL)


@pytest.fixture(scope="module")
def phosphate():
    return phosphorus.build(**SMALL)


def on_vectors(model, keep=lambda x: x):
    """T on the solver's vector, candidates made to comply by `keep`; and the start."""
    layout = model.layout

    def period(x):
        return layout.pack(model.fields(model.evaluate(model.replace(model.start(), layout.unpack(keep(x))))))

    return period, layout.pack(model.fields(model.start()))


# --- the ocean -----------------------------------------------------------------------------------


def test_grid_fills_the_basin(ocean):
    assert ocean.interfaces[0] == 0
    assert ocean.interfaces[-1] == pytest.approx(4000)
    assert (np.diff(ocean.dz) > 0).all()
    assert ocean.volume.shape == (12, 20)


def test_circulation_is_non_divergent(ocean):
    y, z = ocean.transport_y, ocean.transport_z
    divergence = np.diff(y, axis=2, prepend=0, append=0) + np.diff(z, axis=1, prepend=0, append=0)
    assert np.abs(divergence).max() < 1e-14 * DEEP_CELL


def test_overturning_changes_with_the_seasons(ocean):
    strongest = ocean.streamfunction.max(axis=(1, 2))
    assert 10e6 < strongest.min() < 20e6 < strongest.max() < 40e6


def test_constants_stay_constant_and_content_stays_the_same(ocean):
    import jax

    jax.config.update("jax_enable_x64", True)
    year = jax.jit(lambda c: jax.lax.scan(lambda c, now: (ocean.advance(c, now), None), c, ocean.season)[0])
    np.testing.assert_allclose(year(np.full(ocean.shape, 3.0)), 3.0, rtol=1e-13)
    c = np.random.default_rng(1).random(ocean.shape)
    after = np.asarray(year(c))
    assert (ocean.volume * after).sum() == pytest.approx((ocean.volume * c).sum(), rel=1e-14)
    assert after.min() >= c.min()
    assert after.max() <= c.max()


def test_step_and_matrix_are_the_same_discretisation(ocean):
    """(I - dt M) for implicit mixing and (I + dt M) for the rest: the step's parts add up to the matrix."""
    import jax

    jax.config.update("jax_enable_x64", True)
    dt = ocean.dt / YEAR
    step = 0
    now = type(ocean.season)(*(values[step] for values in ocean.season))
    c = np.random.default_rng(2).random(ocean.shape)
    still = now._replace(mixing=np.zeros_like(now.mixing))
    explicit = (np.asarray(ocean.advance(c, still)) - c) / dt  # without mixing
    after = np.asarray(ocean.advance(c, now))
    mixing = (after - c) / dt - explicit  # of the state after the step
    calm = type(now)(*(np.zeros_like(v) for v in now[:-1]), now.mixing)
    exchange = calm.mixing * np.diff(after, axis=0)
    expected = np.diff(exchange, axis=0, prepend=0, append=0) * YEAR / ocean.volume
    np.testing.assert_allclose(mixing, expected, atol=1e-9 * np.abs(expected).max())
    M = ocean.matrix(step)
    tendency = (M @ c.ravel()).reshape(ocean.shape)
    exchange = calm.mixing * np.diff(c, axis=0)
    implicit = np.diff(exchange, axis=0, prepend=0, append=0) * YEAR / ocean.volume
    np.testing.assert_allclose(tendency, explicit + implicit, atol=1e-9 * np.abs(tendency).max())


def test_too_long_a_step_is_refused():
    with pytest.raises(UsageError, match=r"a cell gives away .* times what it holds; take steps=\d+ or more"):
        ToyOcean(ny=400, nz=12, steps=4)


# --- ideal age -----------------------------------------------------------------------------------


def test_exact_age_is_a_fixed_point(age, exact):
    after = np.asarray(age.evaluate(exact)["age"])
    assert np.abs(after - exact["age"]).max() < 1e-10
    assert 500 < exact["age"].max() < 3000


def test_exact_age_agrees_with_a_direct_solve(age, exact):
    """I - J formed column by column and solved densely."""
    T, x0 = on_vectors(age)
    b = T(0 * x0)
    J = np.stack([T(e) - b for e in np.eye(x0.size)], axis=1)
    x = np.linalg.solve(np.eye(x0.size) - J, b)
    np.testing.assert_allclose(exact["age"].ravel(), x, atol=1e-7)


def test_anderson_reaches_the_exact_age(age, exact):
    T, x0 = on_vectors(age)
    inner, project = age.layout.inner, solvers.within(*age.layout.bounds)
    method = partial(solvers.anderson, inner=inner, project=project, **ideal_age.CASE.settings)
    result = solvers.solve(T, x0, method, tolerance=1e-8, max_evaluations=400, inner=inner)
    assert result.outcome is solvers.Outcome.CONVERGED
    assert inner.norm(result.x - age.layout.pack(exact)) < 1e-4


def test_direct_integration_reaches_it_too(age, exact):
    """Thousands of years later: the drift of its slowest mode is some 900 times smaller than its error."""
    T, x0 = on_vectors(age)
    inner = age.layout.inner
    result = solvers.solve(T, x0, solvers.picard, tolerance=1e-5, max_evaluations=20_000, inner=inner)
    assert result.outcome is solvers.Outcome.CONVERGED
    assert inner.norm(result.x - age.layout.pack(exact)) < 2e-2


def test_anderson_beats_direct_integration(age):
    T, x0 = on_vectors(age)
    inner = age.layout.inner
    settings = {"tolerance": ideal_age.TOLERANCE, "inner": inner}
    direct = solvers.solve(T, x0, solvers.picard, max_evaluations=1500, **settings)
    anderson = partial(solvers.anderson, inner=inner, **ideal_age.CASE.settings)
    quick = solvers.solve(T, x0, anderson, max_evaluations=1500, **settings)
    assert direct.outcome is solvers.Outcome.BUDGET
    assert quick.outcome is solvers.Outcome.CONVERGED
    assert quick.evaluations < 500


@pytest.mark.parametrize("kind", ["rre", "mpe", "dmd"])
def test_extrapolation_beats_direct_integration(age, exact, kind):
    """To a tenth of a year of error, which takes direct integration thousands of years."""
    T, x0 = on_vectors(age)
    inner, answer = age.layout.inner, age.layout.pack(exact)
    method = partial(solvers.extrapolation, inner=inner, kind=kind, dimension=10, wait=5)
    settings = {"stop": lambda x, g: inner.norm(x - answer) < 0.1, "max_evaluations": 1500, "inner": inner}
    assert solvers.solve(T, x0, method, **settings).outcome is solvers.Outcome.CONVERGED
    assert solvers.solve(T, x0, solvers.picard, **settings).outcome is solvers.Outcome.BUDGET


# --- phosphorus ----------------------------------------------------------------------------------


def test_sinking_flux_is_remineralised_completely(ocean):
    lit, share = phosphorus.sinking(ocean)
    assert share.sum() == pytest.approx(1, rel=1e-15)
    assert (share[:lit] == 0).all()
    assert (share[lit:] > 0).all()


def test_light_follows_the_sun(ocean):
    light = phosphorus.insolation(ocean)
    june, december = light[5], light[-1]
    assert (light >= 0).all()
    assert june[-1] > june[0]
    assert december[0] > december[-1]


def test_model_keeps_total_phosphorus_and_stays_positive(phosphate):
    state, layout = phosphate.start(), phosphate.layout
    before = totals(layout, phosphate.conserved, layout.pack(phosphate.fields(state)))
    for _ in range(10):
        state = phosphate.evaluate(state)
        assert float(state["po4"].min()) >= 0
        assert float(state["dop"].min()) >= 0
    after = totals(layout, phosphate.conserved, layout.pack(phosphate.fields(state)))
    assert after[0] == pytest.approx(before[0], rel=1e-13)
    assert float(state["po4"][0].mean()) < float(state["po4"][-1].mean())  # the surface is depleted


def test_anderson_keeps_total_phosphorus(phosphate):
    layout, groups = phosphate.layout, phosphate.conserved
    start = layout.pack(phosphate.fields(phosphate.start()))
    wanted = totals(layout, groups, start)
    T, x0 = on_vectors(phosphate, lambda x: conserve(layout, groups, x, wanted))
    method = partial(solvers.anderson, inner=layout.inner, **phosphorus.CASE.settings)
    result = solvers.solve(T, x0, method, tolerance=1e-8, max_evaluations=300, inner=layout.inner)
    assert result.outcome is solvers.Outcome.CONVERGED
    answer = T(result.x)
    assert totals(layout, groups, answer)[0] == pytest.approx(wanted[0], rel=1e-13)
    assert answer.min() >= 0
    # The answer depends on the start through its total alone.
    other = {
        "po4": 2 * np.linspace(0, 1, SMALL["nz"])[:, None] * np.ones((1, SMALL["ny"])),
        "dop": phosphate.start()["dop"],
    }
    x0 = conserve(layout, groups, layout.pack(other), wanted)
    again = solvers.solve(T, x0, method, tolerance=1e-8, max_evaluations=300, inner=layout.inner)
    assert layout.inner.norm(again.x - result.x) < 1e-4


@pytest.mark.parametrize(
    ("method", "settings"), [("anderson", phosphorus.CASE.settings), ("extrapolation", {}), ("ngmres", {})]
)
def test_a_run_keeps_total_phosphorus_at_every_evaluation(phosphate, tmp_path, method, settings):
    case = spinup.Case("phosphorus", "", lambda: phosphate, method=method, settings=settings, budget=60, tolerance=1e-8)
    ds = spinup.open(spinup.run(case, out=tmp_path / "run").path)
    total = sum((ds[f"{name}_volume"] * ds[name]).sum(("depth", "latitude")) for name in ("po4", "dop"))
    np.testing.assert_allclose(total, total[0], rtol=1e-13)
    assert min(float(ds.po4_before.min()), float(ds.dop_before.min())) >= 0


# --- with what the cases tell of themselves ----------------------------------------------------


@pytest.mark.parametrize("method", ["newton", "auto"])
def test_ideal_age_takes_fifteen_years(tmp_path, method):
    """At full size, to 1e-6 of the oldest water."""
    result = spinup.run("ideal-age", out=tmp_path / "age", method=method, tolerance=1e-6, budget=15)
    assert result.outcome is solvers.Outcome.CONVERGED
    found, wanted = spinup.open(tmp_path / "age").age_before.values[-1], ideal_age.exact()["age"]
    assert np.abs(found - wanted).max() < 1e-6 * wanted.max()


def test_the_estimate_of_the_age_error_is_the_error(tmp_path):
    """T is affine, its tendency nearly known: from the first year on."""
    spinup.run("ideal-age", out=tmp_path / "age", method="newton", budget=6)
    run, wanted = spinup.open(tmp_path / "age"), ideal_age.exact()["age"]
    weights = run.age_volume.values / run.age_volume.values.sum()
    for number in (0, 5):  # the years between are derivatives
        error = np.sqrt((weights * (run.age_before.values[number] - wanted) ** 2).sum())
        assert 0.5 < run.age_error_estimate.values[number] / error < 2


@pytest.mark.parametrize("method", ["newton", "auto"])
def test_phosphorus_takes_sixty_years_and_keeps_its_total(tmp_path, method):
    result = spinup.run("phosphorus", out=tmp_path / "p", method=method, tolerance=1e-7, budget=60)
    assert result.outcome is solvers.Outcome.CONVERGED
    run = spinup.open(tmp_path / "p")
    total = [(run.po4_volume.values * (run.po4_before[i] + run.dop_before[i]).values).sum() for i in (0, -1)]
    assert total[1] == pytest.approx(total[0], rel=1e-12)
    assert float(run.po4_before[-1].min()) >= 0


def test_the_tendency_of_phosphorus_is_the_derivative_of_a_mean_year(phosphate, ocean):
    state = {name: np.asarray(value) for name, value in phosphate.start().items()}
    matrix = phosphate.operator(state).matrix
    change = np.random.default_rng(0).normal(size=(2, *ocean.shape)) * 1e-5
    sources = phosphorus.biology(ocean)

    def mean(po4, dop):
        seasons = [np.stack(sources(po4, dop, light)) for light in phosphorus.insolation(ocean)]
        return np.mean(seasons, axis=0)

    before, after = mean(state["po4"], state["dop"]), mean(state["po4"] + change[0], state["dop"] + change[1])
    moved = np.stack([(ocean.matrix() @ c.ravel()).reshape(c.shape) for c in change])
    np.testing.assert_allclose(matrix @ change.ravel(), (after - before + moved).ravel(), atol=1e-8)
