"""Lumped unknowns and strips: after the iterations it is what LU factors give."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import block_array, csr_array, diags_array, eye_array, kron

from solvers import SingularMatrix
from solvers.chain_factors import chain_bytes, scaling
from solvers.factors import REFINEMENT, factorise, incomplete_factors, memory_sentence, refined
from solvers.lumped import STRIPS, lumped_chain, lumped_factors, strip_width, strips_of

NX, NY = 24, 32
ROW, COLUMN = (a.ravel() for a in np.indices((NY, NX)))
BLOCKS = np.unique((ROW // 2) * NX + COLUMN // 2, return_inverse=True)[1]


def second(n: int) -> csr_array:
    return csr_array(diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(n, n)))


def poisson() -> csr_array:
    return csr_array(kron(eye_array(NY), second(NX)) + kron(second(NY), eye_array(NX)))


def mode(i: int, j: int) -> tuple[np.ndarray, float]:
    """An eigenvector of `poisson` and its eigenvalue."""
    x, y = np.pi * i / (NX + 1), np.pi * j / (NY + 1)
    shape = np.sin(y * (ROW + 1)) * np.sin(x * (COLUMN + 1))
    return shape, -4 * np.sin(x / 2) ** 2 - 4 * np.sin(y / 2) ** 2


def stokes() -> tuple[csr_array, np.ndarray, np.ndarray]:
    """Flow without sources of its own on a C-grid, all walls closed but at pressure 0 in the south-west: the matrix of
    u on eastern faces, v on northern ones and pressure, the chain of rows and the aggregates."""
    cells = NX * NY
    east, north = COLUMN < NX - 1, ROW < NY - 1
    gradient_x = (eye_array(cells, k=1) - eye_array(cells)).tocsr()[east]
    gradient_y = (eye_array(cells, k=NX) - eye_array(cells)).tocsr()[north]
    friction = (poisson() - 0.1 * eye_array(cells)).tocsr()
    held = csr_array(([-1.0], ([0], [0])), shape=(cells, cells))
    matrix = block_array(
        [
            [friction[east][:, east], None, -gradient_x],
            [None, friction[north][:, north], -gradient_y],
            [gradient_x.T, gradient_y.T, held],
        ]
    )
    chain = np.concatenate([ROW[east], ROW[north], ROW])
    blocks = np.concatenate([BLOCKS[east], BLOCKS[north] + cells, BLOCKS + 2 * cells])
    return csr_array(matrix), chain, np.unique(blocks, return_inverse=True)[1]


def solved(matrix: csr_array, b: np.ndarray, *known, limit: float) -> np.ndarray | None:
    return refined(matrix, factorise(matrix, *known, limit=limit), b, 1e-10, scaling(matrix)[0])


def test_poisson_has_its_known_solution():
    matrix = poisson()
    for at in ((1, 1), (2, 3), (20, 30)):
        expected, eigenvalue = mode(*at)
        found = solved(matrix, eigenvalue * expected, ROW, BLOCKS, limit=0.9 * chain_bytes(ROW))
        np.testing.assert_allclose(found, expected, atol=1e-7)


def test_advection_against_one_solve_of_lu():
    upwind = csr_array(kron(eye_array(NY), eye_array(NX, k=-1) - eye_array(NX)))
    matrix = csr_array(0.1 * poisson() + 3.0 * upwind)
    b = np.cos(np.arange(NX * NY))
    dense = np.linalg.solve(matrix.toarray(), b)
    np.testing.assert_allclose(solved(matrix, b, ROW, BLOCKS, limit=0.0), dense, rtol=1e-6, atol=1e-8)


def test_a_saddle_point_against_a_dense_solve():
    matrix, chain, blocks = stokes()
    assert (matrix.diagonal() == 0).sum() == NX * NY - 1
    b = np.cos(np.arange(len(chain)))
    dense = np.linalg.solve(matrix.toarray(), b)
    np.testing.assert_allclose(solved(matrix, b, chain, blocks, limit=0.0), dense, atol=1e-6 * np.abs(dense).max())


def test_a_strip_takes_in_what_its_constraints_hold():
    """The divergence of cells north of a strip's southern wall holds the v on the wall, which is its neighbour's."""
    matrix, chain, _ = stokes()
    v = np.arange(len(chain)) >= (NX - 1) * NY
    v &= np.arange(len(chain)) < (NX - 1) * NY + NX * (NY - 1)
    for strip, part in enumerate(strips_of(matrix, chain, 4)):
        own = np.flatnonzero(chain // 4 == strip)
        wall = np.flatnonzero(v & (chain == 4 * strip - 1))
        np.testing.assert_array_equal(part, np.union1d(own, wall))


def test_lumping_is_what_brings_the_slow_modes_down():
    """The same strips without it take many more iterations: lumped to nothing but one unknown."""
    matrix, b = poisson(), mode(1, 1)[0]
    counts = []
    for aggregates in (BLOCKS, np.zeros(NX * NY, dtype=int)):
        factors = factorise(matrix, ROW, aggregates, limit=0.0)
        calls = []
        counted = type(factors)(lambda v, f=factors, c=calls: c.append(1) or f(v), factors.dimension)
        assert refined(matrix, counted, b, 1e-10, scaling(matrix)[0]) is not None
        counts.append(len(calls))
    assert counts[0] < counts[1]
    assert counts[0] < 20


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 3))
@settings(deadline=None)
def test_a_lumped_chain_couples_neighbours_only(links, height, shift):
    link = np.repeat(np.arange(links), 3)
    aggregates = np.unique((link + shift) // height, return_inverse=True)[1]
    lumped = lumped_chain(link, aggregates)
    np.testing.assert_array_equal(np.unique(lumped), np.arange(lumped.max() + 1))
    near = np.abs(link[:, None] - link) <= 1
    apart = np.abs(lumped[aggregates][:, None] - lumped[aggregates])
    assert apart[near].max() <= 1


def test_strips_are_as_wide_as_fits():
    matrix = poisson()
    sizes = {}
    for width in STRIPS:
        smallest = 0.0 if not sizes else min(sizes.values()) * 0.999
        found, size = strip_width(matrix, ROW, smallest or np.inf)
        assert found == width
        sizes[width] = size
    assert sorted(sizes.values(), reverse=True) == list(sizes.values())
    assert strip_width(matrix, ROW, 0.0) == (STRIPS[-1], sizes[STRIPS[-1]])


def test_lu_factors_where_they_fit():
    matrix, b = poisson(), np.ones(NX * NY)
    limit = chain_bytes(ROW)
    fits, short = factorise(matrix, ROW, BLOCKS, limit=limit), factorise(matrix, ROW, BLOCKS, limit=limit - 1)
    assert (fits.dimension, short.dimension > REFINEMENT) == (REFINEMENT, True)
    np.testing.assert_array_equal(fits(b), factorise(matrix, ROW)(b))


def test_incomplete_factors_where_it_is_not_known_what_to_lump():
    matrix, b = poisson(), np.cos(np.arange(NX * NY))
    expected = np.linalg.solve(matrix.toarray(), b)
    for chain in (None, ROW):
        factors = factorise(matrix, chain, limit=0.0)
        assert not factors.exact
        np.testing.assert_allclose(refined(matrix, factors, b, 1e-10, scaling(matrix)[0]), expected, rtol=1e-6)


def test_singular_incomplete_factors_are_named():
    with pytest.raises(SingularMatrix, match="memory"):
        incomplete_factors(csr_array(np.ones((4, 4))))


def test_a_singular_strip_is_named():
    alone = csr_array(
        np.kron(np.diag([1.0, 0.0, 1.0, 1.0]), np.eye(2)) + np.kron(np.diag([0, 1, 0, 0]), np.ones((2, 2)))
    )
    chain = np.repeat(np.arange(4), 2)
    with pytest.raises(SingularMatrix, match="strip"):
        lumped_factors(alone, chain, np.arange(8), 0.0, lambda lumped, links: lambda b: b)


def test_the_sentences_say_what_is_done():
    matrix, limit = poisson(), chain_bytes(ROW) - 1
    assert memory_sentence(matrix, ROW, BLOCKS, limit=limit + 1) == (
        "each solve has 768 unknowns; its LU factors take 77 kB of memory"
    )
    assert memory_sentence(matrix, limit=1e9).startswith("each solve has 768 unknowns; its LU factors, by ")
    short = memory_sentence(matrix, ROW, BLOCKS, limit=limit)
    assert "would take 77 kB of memory, and may have 77 kB: iterations instead" in short
    assert "192 lumped unknowns and strips of" in short
    assert "incomplete factors" in memory_sentence(matrix, limit=0.0)
