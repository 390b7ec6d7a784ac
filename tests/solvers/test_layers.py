"""Layers made fewer: after the iterations it is what LU factors give."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import block_array, csr_array, diags_array, eye_array, kron

from solvers import SingularMatrix
from solvers.chain_factors import chain_bytes
from solvers.factors import (
    REFINEMENT,
    Factors,
    factorise,
    incomplete_factors,
    levels_that_fit,
    memory_sentence,
    refined,
)
from solvers.layered_multigrid import layered_factors
from solvers.layers import LEVELS, Layers, coarsened, coarser_levels, paired
from solvers.lumped_columns import held_by_constraints
from solvers.patches import patches
from solvers.petsc_factors import row_scale

NZ, NY, NX = 12, 6, 8
LAYER, ROW, COLUMN = (a.ravel() for a in np.indices((NZ, NY, NX)))
DEPTH = np.linspace(3.0, 0.4, NZ)  # thick below, as in an ocean
HEIGHT = np.cumsum(DEPTH) - 0.5 * DEPTH
TRACER = Layers(np.zeros(NZ * NY * NX, int), LAYER, ROW, COLUMN, DEPTH[LAYER], HEIGHT[LAYER])


def second(n: int) -> csr_array:
    return csr_array(diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(n, n)))


def diffusion(kappa: float) -> csr_array:
    """Horizontally, with walls at 0, and in the vertical, between layers, with no flux at floor and surface."""
    flux = kappa * diags_array(1 / np.diff(HEIGHT)) @ (eye_array(NZ - 1, NZ, k=1) - eye_array(NZ - 1, NZ))
    vertical = diags_array(1 / DEPTH) @ (eye_array(NZ, NZ - 1) - eye_array(NZ, NZ - 1, k=-1)) @ flux
    level = kron(eye_array(NY), second(NX)) + kron(second(NY), eye_array(NX))
    return csr_array(kron(vertical, eye_array(NY * NX)) + kron(eye_array(NZ), level))


def rigid_lid(seed: int | None = None) -> tuple[csr_array, Layers]:
    """u on eastern faces, v on northern ones, a pressure p in each column, and a tracer that they carry and that
    moves them; the depth-integrated flow has no divergence. A floor of several heights where there is a seed."""
    nz = np.full((NY, NX), 0) if seed is None else np.random.default_rng(seed).integers(0, NZ - 2, (NY, NX))
    wet = np.arange(NZ)[:, None, None] >= nz
    east, north = np.zeros_like(wet), np.zeros_like(wet)
    east[:, :, :-1], north[:, :-1] = wet[:, :, 1:] & wet[:, :, :-1], wet[:, 1:] & wet[:, :-1]
    wet, east, north = (np.flatnonzero(a) for a in (wet, east, north))
    cells, columns = NZ * NY * NX, NY * NX
    to_east, to_north = eye_array(cells, k=1) - eye_array(cells), eye_array(cells, k=NX) - eye_array(cells)
    of_column = csr_array(kron(np.ones((NZ, 1)), eye_array(columns)))
    integral = csr_array(of_column.T @ diags_array(DEPTH[LAYER]))
    weight = csr_array(kron(np.triu(np.ones((NZ, NZ))) * DEPTH, eye_array(columns)))  # of the water above
    friction = diffusion(0.3) - 0.1 * eye_array(cells)
    turning = 2.0 * eye_array(cells)

    def part(matrix, rows, of):
        return csr_array(matrix)[rows][:, of]

    every = np.arange(columns)
    held = csr_array(([1.0], ([0], [0])), shape=(columns, columns))
    gradient = {"u": to_east, "v": to_north}
    divergence = [part(integral @ gradient[name].T, every, faces) for name, faces in (("u", east), ("v", north))]
    carried = [part(0.05 * eye_array(cells), wet, faces) for faces in (east, north)]
    matrix = block_array(
        [
            [part(diffusion(0.1) - 0.02 * eye_array(cells), wet, wet), *carried, None],
            [
                part(-to_east @ weight, east, wet),
                part(friction, east, east),
                part(turning, east, north),
                part(-to_east @ of_column, east, every),
            ],
            [
                part(-to_north @ weight, north, wet),
                part(-turning, north, east),
                part(friction, north, north),
                part(-to_north @ of_column, north, every),
            ],
            [None, *divergence, held],
        ]
    )
    places = [wet, east, north, every]
    variable = np.repeat(np.arange(4), [len(p) for p in places])
    return csr_array(matrix), replace(TRACER.of(np.concatenate(places)), variable=variable)


def solved(
    matrix: csr_array, b: np.ndarray, layers: Layers, levels: list, coarse=lambda matrix, _: factorise(matrix)
) -> tuple[np.ndarray | None, int]:
    """The solution, and how many iterations it took. coarse: how coarse matrices are factorised."""
    counts = []
    solve = layered_factors(matrix, layers, levels, coarse)

    def counted(v):
        counts.append(1)
        return solve(v)

    return refined(matrix, Factors(counted, 100), b, 1e-10, row_scale(matrix)), len(counts)


@pytest.mark.parametrize("seed", [None, 1])
def test_ranks_have_the_cycle_of_one_process(seed):
    """One rank here; `tests/test_ranks.py` has several."""
    MPI = pytest.importorskip("mpi4py.MPI")
    pytest.importorskip("petsc4py")
    from solvers.layered_on_ranks import LayeredFactors

    matrix, layers = rigid_lid(seed)
    levels = coarser_levels(layers, lambda _: True)
    b = np.random.default_rng(2).standard_normal(len(layers.row))
    wanted, count = solved(matrix, b, layers, levels)
    assert wanted is not None
    scale = row_scale(matrix)
    own = csr_array(diags_array(scale) @ matrix)
    factors = LayeredFactors(own, MPI.COMM_SELF, layers, levels, scale)
    found = factors.solve(own, scale * b, 1e-10)
    assert found is not None
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-7 * np.abs(wanted).max())
    assert abs(factors.iterations - count) <= 1


def test_pairs_from_the_top_of_layers_that_are_thin():
    depth = np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 1.0])
    np.testing.assert_array_equal(paired(depth, 5.0), [0, 1, 2, 3, 3, 4, 4])
    np.testing.assert_array_equal(paired(depth, 9.0), [0, 1, 1, 2, 2, 3, 3])


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=30), st.floats(0.1, 30))
def test_groups_are_pairs_of_neighbours_or_one(depth, limit):
    depth = np.array(depth)
    group = paired(depth, limit)
    sizes = np.bincount(group)
    assert group[0] == 0
    assert set(np.diff(group).tolist()) <= {0, 1}
    assert sizes.max() <= 2
    assert (np.bincount(group, depth)[sizes == 2] <= limit * (1 + 1e-6)).all()


def test_layers_of_any_thickness_become_fewer():
    """A thick one above all others, and layers that are as thick as each other but for rounding."""
    for depth in (np.array([1.0, 1.0, 100.0]), np.full(30, 0.1)):
        nothing, layer = np.zeros(len(depth), int), np.arange(len(depth))
        layers = Layers(nothing, layer, nothing, nothing, depth, np.cumsum(depth) - 0.5 * depth)
        (level,) = coarser_levels(layers, lambda members: True)
        assert len(level.members) == -(-len(depth) // 2)


def test_linear_profiles_are_kept_between_the_centres():
    group = paired(DEPTH, 2 * DEPTH.mean())
    spread, first, coarse = coarsened(TRACER, group)
    assert len(first) == (group.max() + 1) * NY * NX
    np.testing.assert_allclose(spread.sum(axis=1), 1.0)
    profile = 3.0 * TRACER.height + TRACER.column
    found = spread @ (3.0 * coarse.height + coarse.column)
    inside = (TRACER.height >= coarse.height.min()) & (TRACER.height <= coarse.height.max())
    assert 0.5 < inside.mean() < 1
    np.testing.assert_allclose(found[inside], profile[inside])
    np.testing.assert_array_equal(coarse.row, ROW[first])
    assert coarse.thickness.sum() == pytest.approx(TRACER.thickness.sum())


def test_a_column_is_interpolated_within_itself():
    """Also where floors are of several heights, and of each variable alone."""
    _, layers = rigid_lid(seed=1)
    spread, _, coarse = coarsened(layers, paired(DEPTH, 2 * DEPTH.mean()))
    pairs = spread.tocoo()
    for name in ("variable", "row", "column"):
        np.testing.assert_array_equal(getattr(layers, name)[pairs.row], getattr(coarse, name)[pairs.col])
    assert pairs.data.min() >= 0
    np.testing.assert_allclose(spread.sum(axis=1), 1.0)


def test_levels_are_as_many_as_it_takes_to_fit():
    sizes = []
    coarser_levels(TRACER, lambda members: bool(sizes.append(len(members))))
    few = coarser_levels(TRACER, lambda members: True)
    more = coarser_levels(TRACER, lambda members: len(members) <= len(few[-1].members) / 2)
    assert len(few) == 1
    assert len(more) > LEVELS
    assert sizes[-1] == NY * NX  # one layer is left, which is as few as can be
    for level in more:
        np.testing.assert_array_equal(level.layers.row, ROW[level.members])
        np.testing.assert_array_equal(level.layers.column, COLUMN[level.members])


def test_there_is_a_second_level_where_the_first_is_large(monkeypatch):
    monkeypatch.setattr("solvers.layers.ENOUGH", NY * NX)
    assert len(coarser_levels(TRACER, lambda members: True)) == LEVELS


def test_diffusion_against_one_solve_of_lu():
    matrix, b = diffusion(1.0), np.cos(np.arange(NZ * NY * NX))
    found, iterations = solved(matrix, b, TRACER, coarser_levels(TRACER, lambda members: True))
    np.testing.assert_allclose(found, np.linalg.solve(matrix.toarray(), b), atol=1e-8)
    assert iterations < 15


def test_advection_against_one_solve_of_lu():
    upwind = csr_array(kron(eye_array(NZ * NY), eye_array(NX, k=-1) - eye_array(NX)))
    matrix, b = csr_array(diffusion(0.1) + 3.0 * upwind), np.cos(np.arange(NZ * NY * NX))
    found, iterations = solved(matrix, b, TRACER, coarser_levels(TRACER, lambda members: True))
    np.testing.assert_allclose(found, np.linalg.solve(matrix.toarray(), b), rtol=1e-6, atol=1e-8)
    assert iterations < 20


@pytest.mark.parametrize("small", [5000, 60])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_saddle_point_against_a_dense_solve(seed, small, monkeypatch):
    """Also where columns are lumped more than once."""
    monkeypatch.setattr("solvers.layered_multigrid.SMALL", small)
    monkeypatch.setattr("solvers.layers.ENOUGH", small)
    matrix, layers = rigid_lid(seed)
    assert (matrix.diagonal() == 0).sum() == NY * NX - 1
    b = np.cos(np.arange(len(layers.row)))
    dense = np.linalg.solve(matrix.toarray(), b)
    found, _ = solved(matrix, b, layers, coarser_levels(layers, lambda members: True))
    np.testing.assert_allclose(found, dense, atol=1e-6 * np.abs(dense).max())


def test_the_levels_are_what_brings_the_iterations_down():
    """The same patches without them take many more."""
    matrix, layers = rigid_lid()
    b = np.cos(np.arange(len(layers.row)))
    levels = coarser_levels(layers, lambda members: True)
    _, with_levels = solved(matrix, b, layers, levels)
    _, without = solved(matrix, b, layers, levels, lambda coarsest, _: lambda v: np.zeros(len(v)))
    assert 1.5 * with_levels < without


def test_a_correction_that_is_much_too_large_does_no_harm():
    """As that of a coarse matrix that is nearly singular: it is made as long as it ought to be."""
    matrix, layers = rigid_lid()
    b = np.cos(np.arange(len(layers.row)))
    levels = coarser_levels(layers, lambda members: True)
    _, iterations = solved(matrix, b, layers, levels)

    def far_too_large(coarse, _):
        exact = factorise(coarse)
        return lambda v: 1e8 * exact(v)

    found, with_it = solved(matrix, b, layers, levels, far_too_large)
    assert found is not None
    assert with_it < 1.5 * iterations


def test_a_level_of_fewer_layers_and_wider_columns_is_made_once(monkeypatch):
    """Whichever way it is come by. Each level that is factorised is of another place in the table of both."""
    monkeypatch.setattr("solvers.layered_multigrid.SMALL", 60)
    monkeypatch.setattr("solvers.layers.ENOUGH", 60)
    matrix, layers = rigid_lid(seed=1)
    sizes = []

    def counted(coarse, of):
        sizes.append((1 + of.layer.max(), 1 + of.column.max()))
        return factorise(coarse)

    levels = coarser_levels(layers, lambda members: True)
    layered_factors(matrix, layers, levels, counted)
    assert len(sizes) == len(set(sizes)) > 2
    assert (1 + levels[-1].layers.layer.max(), NX) in sizes


def test_a_patch_takes_in_what_its_constraints_hold():
    """The divergence of columns east of a patch's western wall holds the u on the wall, which is its neighbour's."""
    matrix, layers = rigid_lid()
    u = layers.variable == 1
    found = {}
    for part, patch in patches(held_by_constraints(matrix), layers).values():
        assert len(np.unique(part)) == len(part)
        found |= {number: part[patch == number] for number in np.unique(patch)}
    assert len(found) == -(-NY // 2) * -(-NX // 2)
    part = found[1]  # rows 0 and 1, columns 2 and 3
    own = np.flatnonzero((layers.row < 2) & (layers.column // 2 == 1))
    wall = np.flatnonzero(u & (layers.row < 2) & (layers.column == 1))
    np.testing.assert_array_equal(part, np.union1d(own, wall))


def test_patches_of_a_colour_share_nothing_where_the_grid_closes_upon_itself():
    """Five patches around: the last touches the first."""
    columns = 10
    across = (eye_array(columns) - eye_array(columns, k=-1)).tolil()
    across[0, columns - 1] = -1.0
    matrix = csr_array(block_array([[eye_array(columns), across.T], [across, None]]))
    where = np.tile(np.arange(columns), 2)
    none = np.zeros(2 * columns, int)
    layers = Layers(np.repeat([0, 1], columns), none, none, where, none + 1.0, none + 0.5)
    assert len(patches(held_by_constraints(matrix), layers)) == 3
    far = matrix.tolil()
    far[columns + 4, 0] = 1.0
    with pytest.raises(ValueError, match="constraint"):
        patches(held_by_constraints(csr_array(far)), layers)


def test_a_singular_patch_is_named():
    n = NZ * NY * NX
    with pytest.raises(SingularMatrix, match="patch"):
        layered_factors(
            csr_array(diags_array(np.where(COLUMN == 5, 0.0, 1.0)) + 0.0 * eye_array(n)),
            TRACER,
            coarser_levels(TRACER, lambda members: True),
            lambda coarsest, _: lambda b: b,
        )


def test_lu_factors_where_they_fit():
    matrix, layers = rigid_lid()
    b, limit = np.ones(len(layers.row)), chain_bytes(layers.row)
    fits, short = (factorise(matrix, layers.row, layers, limit=of) for of in (limit, limit - 1))
    assert (fits.dimension, short.dimension > REFINEMENT) == (REFINEMENT, True)
    np.testing.assert_array_equal(fits(b), factorise(matrix, layers.row)(b))
    expected = refined(matrix, fits, b, 1e-10, row_scale(matrix))
    np.testing.assert_allclose(refined(matrix, short, b, 1e-10, row_scale(matrix)), expected, atol=1e-6)


def test_incomplete_factors_where_no_layers_are_known():
    matrix, b = diffusion(1.0), np.cos(np.arange(NZ * NY * NX))
    expected = np.linalg.solve(matrix.toarray(), b)
    for chain, layers in ((None, None), (ROW, None), (LAYER, TRACER)):  # the last is a chain of layers
        factors = factorise(matrix, chain, layers, limit=0.0)
        assert not factors.exact
        np.testing.assert_allclose(refined(matrix, factors, b, 1e-10, row_scale(matrix)), expected, rtol=1e-6)


def test_singular_incomplete_factors_are_named():
    with pytest.raises(SingularMatrix, match="memory"):
        incomplete_factors(csr_array(np.ones((4, 4))))


def test_the_sentences_say_what_is_done():
    matrix, layers = rigid_lid()
    n, limit = len(layers.row), chain_bytes(layers.row) - 1
    assert memory_sentence(matrix, layers.row, layers, limit=limit + 1) == (
        f"each solve has {n} unknowns; its LU factors take 1.8 MB of memory"
    )
    assert memory_sentence(matrix, limit=1e9).startswith(f"each solve has {n} unknowns; its LU factors, by ")
    short = memory_sentence(matrix, layers.row, layers, limit=limit)
    assert "would take 1.8 MB of memory, and may have 1.8 MB: iterations instead" in short
    levels = levels_that_fit(layers.row, layers, limit)
    assert f"with {NZ}, {1 + levels[0].layers.layer.max()} layers" in short
    assert f"LU factors of {len(levels[-1].members)} unknowns (about " in short
    assert "incomplete factors" in memory_sentence(matrix, limit=0.0)
    assert "incomplete factors" in memory_sentence(matrix, layers.row, limit=0.0)
