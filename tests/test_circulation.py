"""The linear balance of the circulation: what geostrophy, continuity and energy say of it, and a real ocean."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.sparse.linalg import spsolve

import spinup
from solvers.factors import factorise
from spinup.circulation import CGrid, Circulation, chain_of_rows, circulation_balance, layers_of
from spinup.veros_circulation import interior
from spinup.veros_map import VerosMap

NZ, NY, NX = 5, 10, 8
F0, GRAVITY, DENSITY = 1e-4, 9.81, 1024.0
DX, DY, DZ = 50e3, 40e3, 200.0  # m


def c_grid(columns=None, *, cyclic: bool = True, shape=(NZ, NY, NX), **changes) -> CGrid:
    """An f-plane with a flat bottom and weak friction, ocean where `columns` (or cells) says so."""
    nz, ny, nx = shape
    mask = np.ones(shape, dtype=bool) if columns is None else np.broadcast_to(columns, shape)
    east, north = np.roll(mask, -1, axis=2), np.roll(mask, -1, axis=1)
    east[..., -1] &= cyclic
    north[:, -1] = False
    one = np.ones((1, 1, 1))
    fields = {
        "mask": mask,
        "mask_u": mask & east,
        "mask_v": mask & north,
        "dxt": DX * np.ones((1, 1, nx)),
        "dxu": DX * np.ones((1, 1, nx)),
        "dyt": DY * np.ones((1, ny, 1)),
        "dyu": DY * np.ones((1, ny, 1)),
        "dzt": DZ * np.ones((nz, 1, 1)),
        "dzw": DZ * np.ones((nz, 1, 1)),
        "cos_t": np.ones((1, ny, 1)),
        "cos_u": np.ones((1, ny, 1)),
        "coriolis": F0 * np.ones((1, ny, 1)),
        "viscosity_t": 10.0 * one,
        "viscosity_u": 10.0 * one,
        "drag_u": 1e-6 * one,
        "drag_v": 1e-6 * one,
    }
    return CGrid(**fields | changes, gravity=GRAVITY, density=DENSITY, cyclic=cyclic)


def balance_of(grid: CGrid, field=None) -> Circulation:
    """One tracer, which is density."""
    field = np.zeros(grid.shape) if field is None else field
    return circulation_balance(grid, np.full(grid.shape, 1e-4), {"rho": field}, {"rho": np.ones(grid.shape)})


def answer(grid: CGrid, circulation: Circulation, drho: np.ndarray) -> np.ndarray:
    """(u, v, p_s) for a change of density, (nz, ny, nx)."""
    return -spsolve(circulation.balance.tocsc(), circulation.source @ drho[grid.mask])


def velocities(grid: CGrid, circulation: Circulation, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """u and v on the grid, 0 on land."""
    u, v = np.zeros(grid.mask.size), np.zeros(grid.mask.size)
    of = circulation.unknowns
    n = len(of.u)
    u[of.u], v[of.v] = y[:n], y[n : n + len(of.v)]
    return u.reshape(grid.shape), v.reshape(grid.shape)


def island() -> np.ndarray:
    """Cells of a channel with an island of two by three columns, and a bank that leaves the two uppermost levels."""
    cells = np.ones((NZ, NY, NX), dtype=bool)
    cells[:, 4:7, 3:5] = False
    cells[:3, 2, 6] = False
    return cells


def some_density(grid: CGrid) -> np.ndarray:
    return np.random.default_rng(0).normal(size=grid.shape)


@pytest.mark.parametrize("beta", [0.0, 2e-11])
def test_thermal_wind(beta):
    """f u_z = (g / rho0) rho_y, of p_z = -g rho and f u = -p_y / rho0, on a bottom nearly at rest."""
    y = DY * (np.arange(NY) - NY / 2)[None, :, None] * np.ones((NZ, NY, NX))
    f = (F0 + beta * y)[:1, :, :1]
    slope = 1e-6  # kg m-4
    grid = c_grid(coriolis=f)
    circulation = balance_of(grid)
    found = answer(grid, circulation, slope * y)
    u, v = velocities(grid, circulation, found)
    shear = np.diff(u, axis=0) / DZ
    expected = np.broadcast_to(GRAVITY / (DENSITY * f) * slope, shear.shape)
    np.testing.assert_allclose(shear[:, 1:-1], expected[:, 1:-1], rtol=0.005)
    assert np.abs(u[0]).max() < 1e-3 * u.max()
    assert np.abs(v).max() < 1e-3 * u.max()
    surface = found[-NY * NX :].reshape(NY, NX)  # its gradient balances that of the pressure in the lowest cells
    expected = -GRAVITY / DENSITY * slope * DY * (NZ - 0.5) * DZ
    np.testing.assert_allclose(np.diff(surface, axis=0)[1:-1], expected, rtol=0.01)


def test_thermal_wind_across_the_channel():
    """f v_z = -(g / rho0) rho_x, v the mean of the four around an eastern face."""
    wave = 1e-2 * np.sin(2 * np.pi * np.arange(NX) / NX) * np.ones((NZ, NY, NX))
    grid = c_grid()
    circulation = balance_of(grid)
    _, v = velocities(grid, circulation, answer(grid, circulation, wave))
    between = (v + np.roll(v, 1, axis=1)) / 2
    shear = np.diff((between + np.roll(between, -1, axis=2)) / 2, axis=0) / DZ
    at_levels = (np.roll(wave, -1, axis=2) - wave) / DX
    expected = -GRAVITY / (DENSITY * F0) * (at_levels[1:] + at_levels[:-1]) / 2
    np.testing.assert_allclose(shear, expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("columns", [None, island()])
@pytest.mark.parametrize("cyclic", [True, False])
def test_no_column_gains_water(columns, cyclic):
    """The depth-integrated divergence of the answer is zero, also in the column whose row holds the pressure."""
    grid = c_grid(columns, cyclic=cyclic)
    circulation = balance_of(grid)
    u, v = velocities(grid, circulation, answer(grid, circulation, some_density(grid)))
    across_east, across_north = (u * DZ).sum(axis=0) / DX, (v * DZ).sum(axis=0) / DY
    assert (u[..., -1] != 0).any() == cyclic
    from_south = np.concatenate([np.zeros((1, NX)), across_north[:-1]])
    divergence = across_east - np.roll(across_east, 1, axis=1) + across_north - from_south
    assert np.abs(divergence).max() < 1e-9 * np.abs(across_east).max()


def test_no_change_of_density_no_circulation():
    grid = c_grid(island())
    circulation = balance_of(grid)
    np.testing.assert_array_equal(answer(grid, circulation, np.zeros(grid.shape)), 0.0)


def test_a_density_of_depth_alone_moves_nothing():
    grid = c_grid()
    circulation = balance_of(grid)
    y = answer(grid, circulation, np.arange(NZ)[:, None, None] * np.ones(grid.shape))
    u, v = velocities(grid, circulation, y)
    assert max(np.abs(u).max(), np.abs(v).max()) < 1e-9


def test_nothing_on_land_is_in_the_matrices():
    cells = island()
    grid = c_grid(cells)
    circulation = balance_of(grid)
    faces_u, faces_v = (cells & np.roll(cells, -1, axis=2)).sum(), (cells[:, :-1] & cells[:, 1:]).sum()
    columns = NY * NX - 6
    unknowns = faces_u + faces_v + columns
    of = circulation.unknowns
    assert (len(of.u), len(of.v), len(of.pressure)) == (faces_u, faces_v, columns)
    assert circulation.balance.shape == (unknowns, unknowns)
    assert circulation.source.shape == (unknowns, cells.sum())
    assert circulation.advection.shape == (cells.sum(), unknowns)


@pytest.mark.parametrize("columns", [None, island()])
@pytest.mark.parametrize("cyclic", [True, False])
def test_the_balance_is_not_singular(columns, cyclic):
    dense = balance_of(c_grid(columns, cyclic=cyclic)).balance.toarray()
    for axis in (1, 0, 1, 0):
        dense /= np.sqrt(np.abs(dense).max(axis=axis, keepdims=True))
    assert np.linalg.cond(dense, 1) < 1e8


def wall() -> np.ndarray:
    columns = np.ones((NY, NX), dtype=bool)
    columns[4] = False
    return columns


def pond() -> np.ndarray:
    """A single column of water in the middle of an island."""
    columns = np.ones((NY, NX), dtype=bool)
    columns[3:6, 3:6] = False
    columns[4, 4] = True
    return columns


@pytest.mark.parametrize("columns", [wall(), pond()])
def test_basins_that_are_not_connected_have_a_pressure_each(columns):
    factorise(balance_of(c_grid(columns)).balance)


def sphere() -> CGrid:
    """A closed sector of a sphere with cells of all sizes, an island and a bank."""
    random = np.random.default_rng(1)
    width = {n: random.uniform(0.5, 1.5, (1, 1, NX)) * DX for n in ("dxt", "dxu")}
    height = {n: random.uniform(0.5, 1.5, (1, NY, 1)) * DY for n in ("dyt", "dyu")}
    depth = {n: random.uniform(0.5, 1.5, (NZ, 1, 1)) * DZ for n in ("dzt", "dzw")}
    cosine = {n: np.cos(np.linspace(0.2, 1.0, NY) + d)[None, :, None] for n, d in (("cos_t", 0), ("cos_u", 0.04))}
    viscosity = {n: random.uniform(1, 100, (1, NY, 1)) for n in ("viscosity_t", "viscosity_u")}
    f = 1.4e-4 * np.sin(np.linspace(0.2, 1.0, NY))[None, :, None]
    return c_grid(island(), cyclic=False, coriolis=f, **width, **height, **depth, **cosine, **viscosity)


def test_coriolis_does_no_work_and_friction_takes_energy():
    """Weighted by the volumes of faces, the tendency of momentum is antisymmetric but for a part without positive
    eigenvalues."""
    g = sphere()
    circulation = balance_of(g)
    of = circulation.unknowns
    n, m = len(of.u), len(of.v)
    volume_u = (g.dxu * g.cos_t * g.dyt * g.dzt * np.ones(g.shape)).ravel()[of.u]
    volume_v = (g.dxt * g.cos_u * g.dyu * g.dzt * np.ones(g.shape)).ravel()[of.v]
    weighted = np.concatenate([volume_u, volume_v])[:, None] * circulation.balance.toarray()[: n + m, : n + m]
    coriolis = np.abs(weighted[:n, n:]).max()
    np.testing.assert_allclose(weighted[:n, n:], -weighted[n:, :n].T, atol=1e-12 * coriolis)
    friction = weighted + weighted.T
    found = np.linalg.eigvalsh(friction)
    assert found[-1] < 1e-12 * -found[0]
    assert np.linalg.norm(friction) > 1e-3 * np.linalg.norm(weighted)


def test_lateral_friction_is_the_divergence_of_a_flux_on_the_sphere():
    """(A cos u_y)_y / cos of velocities of y alone, in the rows between the walls; no drag, no land."""
    g = replace(
        sphere(), mask=np.ones((NZ, NY, NX), dtype=bool), drag_u=np.zeros((1, 1, 1)), drag_v=np.zeros((1, 1, 1))
    )
    g = replace(g, mask_u=c_grid(cyclic=False).mask_u, mask_v=c_grid(cyclic=False).mask_v)
    circulation = balance_of(g)
    of = circulation.unknowns
    n, m = len(of.u), len(of.v)
    profile = np.random.default_rng(3).normal(size=NY)
    everywhere = profile[None, :, None] * np.ones(g.shape)
    dyt, dyu, cos_t, cos_u, at_t, at_u = (
        np.broadcast_to(a, (1, NY, 1))[0, :, 0] for a in (g.dyt, g.dyu, g.cos_t, g.cos_u, g.viscosity_t, g.viscosity_u)
    )
    flux = (at_u * cos_u / dyu)[:-1] * np.diff(profile)
    found = circulation.balance[:n, :n] @ everywhere.ravel()[of.u]
    tendency = velocities(g, circulation, np.concatenate([found, np.zeros(m)]))[0][2, :, 4]
    np.testing.assert_allclose(tendency[1:-1], np.diff(flux) / (cos_t * dyt)[1:-1], rtol=1e-10)
    flux = (at_t * cos_t / dyt)[1:] * np.diff(profile)
    found = circulation.balance[n : n + m, n : n + m] @ everywhere.ravel()[of.v]
    tendency = velocities(g, circulation, np.concatenate([np.zeros(n), found]))[1][2, :, 4]
    np.testing.assert_allclose(tendency[1:-2], np.diff(flux)[:-1] / (cos_u * dyu)[1:-2], rtol=1e-10)


def test_vertical_friction_by_the_mean_viscosity_of_two_cells():
    """u rises by 0.1 m/s from level to level, viscosity is 1, 2, ... in the cells along x; no flux at floor and top."""
    g = c_grid(cyclic=False, drag_u=np.zeros((1, 1, 1)), viscosity_t=0.0, viscosity_u=0.0)
    viscosity = np.arange(1.0, NX + 1) * np.ones(g.shape)
    u = 0.1 * np.arange(NZ)[:, None, None] * np.ones(g.shape)
    circulation = circulation_balance(g, viscosity, {"rho": u}, {})
    of = circulation.unknowns
    n = len(of.u)
    found = (circulation.balance[:n, :n] @ u.ravel()[of.u]).reshape(NZ, NY, NX - 1)
    flux = 0.1 / DZ * (np.arange(1.0, NX) + 0.5) * np.ones((NY, NX - 1))
    np.testing.assert_allclose(found[0], flux / DZ)
    np.testing.assert_allclose(found[1:-1], 0.0, atol=1e-18)
    np.testing.assert_allclose(found[-1], -flux / DZ)


def test_bottom_drag_acts_on_the_lowest_cell_alone():
    cells = island()
    g = c_grid(cells, viscosity_t=0.0, viscosity_u=0.0)
    circulation = balance_of(g)
    of = circulation.unknowns
    n, m = len(of.u), len(of.v)
    eastward = np.repeat([1.0, 0.0], [n, m + len(of.pressure)])
    u, _ = velocities(g, circulation, circulation.balance @ eastward)
    lowest = np.argmax(g.mask_u, axis=0)  # 3 over the bank
    assert lowest.max() == 3
    expected = np.where(g.mask_u & (np.arange(NZ)[:, None, None] == lowest), -1e-6, 0.0)
    np.testing.assert_allclose(u, expected, atol=1e-18)


def test_the_surface_pressure_does_no_work_on_a_flow_without_divergence():
    """Its gradient is the adjoint of the divergence, but for the row that holds the pressure."""
    g = sphere()
    circulation = balance_of(g)
    of = circulation.unknowns
    n, m = len(of.u), len(of.v)
    volume_u = (g.dxu * g.cos_t * g.dyt * g.dzt * np.ones(g.shape)).ravel()[of.u]
    volume_v = (g.dxt * g.cos_u * g.dyu * g.dzt * np.ones(g.shape)).ravel()[of.v]
    area = (g.dxt * g.cos_t * g.dyt * np.ones(g.shape))[0].ravel()[of.pressure]
    dense = circulation.balance.toarray()
    gradient = np.concatenate([volume_u, volume_v])[:, None] * dense[: n + m, n + m :]
    divergence = area[:, None] * dense[n + m :, : n + m]
    np.testing.assert_allclose(divergence[:-1], gradient.T[:-1], rtol=1e-12)
    np.testing.assert_array_equal(dense[-1], np.eye(len(dense))[-1])


@pytest.mark.parametrize("grid", [c_grid(), c_grid(island()), sphere()])
def test_a_uniform_tracer_stays_so(grid):
    """Advected by a circulation whose depth integral has no divergence."""
    circulation = balance_of(grid, np.full(grid.shape, 7.0))
    y = answer(grid, circulation, some_density(grid))
    flow = np.abs(circulation.advection) @ np.abs(y)
    assert flow.max() > 0
    np.testing.assert_allclose(circulation.advection @ y, 0.0, atol=1e-11 * flow.max())


@pytest.mark.parametrize("grid", [c_grid(), c_grid(island()), sphere()])
def test_advection_keeps_the_content(grid):
    """Of any tracer by any velocity."""
    advection = balance_of(grid, some_density(grid)).advection
    volume = (grid.dxt * grid.cos_t * grid.dyt * grid.dzt * np.ones(grid.shape))[grid.mask]
    np.testing.assert_allclose(volume @ advection, 0.0, atol=1e-12 * (volume @ np.abs(advection)).max())


def test_advection_by_a_uniform_zonal_flow_is_the_centred_difference():
    grid = c_grid()
    field = some_density(grid)
    circulation = balance_of(grid, field)
    y = np.zeros(circulation.balance.shape[0])
    of = circulation.unknowns
    y[: len(of.u)] = 0.3
    expected = -0.3 * (np.roll(field, -1, axis=2) - np.roll(field, 1, axis=2)) / (2 * DX)
    np.testing.assert_allclose((circulation.advection @ y).reshape(grid.shape), expected, atol=1e-18)


def test_what_flows_into_a_column_below_rises():
    """An eastward flow into one column in the lowest level and out of it above: w = u dz / dx between them."""
    grid = c_grid()
    field = 5.0 * np.arange(NZ)[:, None, None] * np.ones(grid.shape)  # so that the horizontal fluxes cancel
    circulation = balance_of(grid, field)
    u = np.zeros(grid.shape)
    u[0, 3, 2], u[1, 3, 2] = 0.1, -0.1  # through the eastern face of column (3, 2)
    y = np.zeros(circulation.balance.shape[0])
    of = circulation.unknowns
    y[: len(of.u)] = u.ravel()[of.u]
    found = (circulation.advection @ y).reshape(grid.shape)
    w = 0.1 * DZ / DX
    expected = np.zeros(grid.shape)
    # the flux form, by hand: the horizontal flux of each level, and the mean of 0 and 5 through the face between them
    expected[0, 3, 3], expected[1, 3, 3] = -w * 2.5 / DZ, (w * 2.5 - w * 5.0) / DZ
    expected[:2, 3, 2] = -expected[:2, 3, 3]
    np.testing.assert_allclose(found, expected, atol=1e-18)


@pytest.mark.parametrize(
    ("cyclic", "shape", "links"),
    [(True, (3, 10, 8), 10), (True, (3, 5, 8), 5), (False, (3, 10, 8), 10), (False, (3, 5, 8), 8)],
)
def test_a_chain_couples_neighbours_only(cyclic, shape, links):
    """The links of row and column of every entry of the extended matrix, beside the tracers' own."""
    columns = np.ones(shape[1:], dtype=bool)
    columns[2, 3:5] = False
    grid = c_grid(columns, cyclic=cyclic, shape=shape)
    circulation = balance_of(grid, some_density(grid))
    chain = chain_of_rows(grid, layers_of(grid, circulation.unknowns, 1))
    n = grid.mask.sum()
    assert chain.shape == (n + circulation.balance.shape[0],)
    np.testing.assert_array_equal(np.unique(chain), np.arange(links))
    x, y = chain[:n], chain[n:]
    for matrix, row, column in (
        (circulation.advection, x, y),
        (circulation.source, y, x),
        (circulation.balance, y, y),
    ):
        entries = matrix.tocoo()
        apart = np.abs(row[entries.row] - column[entries.col])[entries.data != 0]
        assert apart.max() == 1


def test_a_row_of_land_is_no_link():
    columns = np.ones((NY, NX), dtype=bool)
    columns[[0, 5]] = False
    grid = c_grid(columns)
    circulation = balance_of(grid)
    np.testing.assert_array_equal(
        np.unique(chain_of_rows(grid, layers_of(grid, circulation.unknowns, 1))), np.arange(NY - 2)
    )


def test_all_tracers_of_a_column_are_in_one_link():
    grid = c_grid(island())
    circulation = balance_of(grid)
    chain = chain_of_rows(grid, layers_of(grid, circulation.unknowns, 2))
    n = grid.mask.sum()
    np.testing.assert_array_equal(chain[:n], np.nonzero(grid.mask)[1])
    np.testing.assert_array_equal(chain[n : 2 * n], chain[:n])
    np.testing.assert_array_equal(chain[2 * n :], chain_of_rows(grid, layers_of(grid, circulation.unknowns, 1))[n:])


def test_each_unknown_is_in_a_layer_of_its_column():
    """Its variable, layer, row and column, from a grid of labels."""
    grid = c_grid(island())
    circulation = balance_of(grid)
    layers = layers_of(grid, circulation.unknowns, tracers=2)
    tracer = np.flatnonzero(grid.mask)
    of = circulation.unknowns
    level, row, column = np.unravel_index(np.concatenate([tracer, tracer, of.u, of.v, of.pressure]), grid.shape)
    sizes = (len(tracer), len(tracer), len(of.u), len(of.v), len(of.pressure))
    kind = np.repeat(np.arange(5), sizes)
    assert layers.row.shape == (2 * grid.mask.sum() + circulation.balance.shape[0],)
    for found, expected in ((layers.variable, kind), (layers.layer, level), (layers.row, row), (layers.column, column)):
        np.testing.assert_array_equal(found, expected)
    dz = np.broadcast_to(grid.dzt, grid.shape)[:, 0, 0]
    np.testing.assert_allclose(layers.thickness, dz[level])
    np.testing.assert_allclose(layers.height, (np.cumsum(dz) - 0.5 * dz)[level])


def test_two_tracers_act_by_their_density_alone():
    """Temperature and salinity that cancel in density move nothing; a tracer without density has no source."""
    grid = c_grid(island())
    shape = np.ones(grid.shape)
    tracers = {"temp": some_density(grid), "dye": shape, "salt": shape}
    circulation = circulation_balance(grid, shape * 1e-4, tracers, {"temp": -0.2 * shape, "salt": 0.8 * shape})
    n = grid.mask.sum()
    temp, dye, salt = (circulation.source[:, k * n : (k + 1) * n] for k in range(3))
    np.testing.assert_allclose((4 * temp + salt).toarray(), 0.0, atol=1e-18)
    assert np.abs(salt).max() > 0
    assert np.abs(dye).max() == 0
    alone = balance_of(grid, some_density(grid))
    assert np.abs(circulation.advection[:n] - alone.advection).max() == 0


@pytest.mark.parametrize(("lid", "of_u", "of_v"), [(True, 0.99, 0.97), (False, 0.98, 0.95)])
def test_the_circulation_of_a_real_ocean_answers_as_predicted(monkeypatch, lid, of_u, of_v):
    """The coarse ACC, from year 3 to year 6: its temperatures changed, and its velocities as the balance says, under a
    rigid lid and under a free surface, whose height is told as well."""
    monkeypatch.setattr(spinup, "VerosMap", partial(VerosMap, settings={"enable_streamfunction": lid}))
    model = spinup.load_case("acc-coarse").build()
    years = [model.start()]
    for _ in range(6):
        years.append(model.evaluate(years[-1]))
    before, after = years[3], years[6]
    border = model.operator(before, border=True).border
    warming = model.layout.pack(model.fields(after)) - model.layout.pack(model.fields(before))
    predicted = -spsolve(border.balance.tocsc(), border.source @ warming)
    masks = {n: getattr(model._grid, f"mask_{n}") for n in "uv"}
    ends = np.cumsum([masks["u"].sum(), masks["v"].sum()])
    for name, part, bound in (("u", slice(0, ends[0]), of_u), ("v", slice(*ends), of_v)):
        true = (interior(after[name][..., 1]) - interior(before[name][..., 1]))[masks[name]]
        assert np.corrcoef(true, predicted[part])[0, 1] > bound
        assert true @ predicted[part] / (true @ true) == pytest.approx(1.0, abs=0.02)
    if not lid:
        pressures = [interior(state["psi"][..., 1])[model._grid.mask.any(axis=0)] for state in (before, after)]
        assert np.corrcoef(pressures[1] - pressures[0], predicted[ends[1] :])[0, 1] > 0.999
