"""Wider columns: what is spread over them, and the friction that they are given."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from solvers.layers import Layers
from solvers.lumped_columns import Staggering, held_by_constraints, lateral_friction, lumped, staggering
from tests.solvers.test_layers import NX, NY, rigid_lid


@pytest.mark.parametrize("seed", [None, 1])
def test_the_faces_are_known_by_the_divergence(seed):
    matrix, layers = rigid_lid(seed)
    found = staggering(held_by_constraints(matrix), layers)
    assert found.faces == {1: "column", 2: "row"}
    assert found.of_columns.tolist() == [3]


def test_a_matrix_without_constraints_has_no_faces():
    _, layers = rigid_lid()
    assert staggering(held_by_constraints(csr_array(np.eye(len(layers.row)))), layers).faces == {}


def test_the_divergence_of_a_lumped_cell_is_spread_evenly():
    matrix, layers = rigid_lid()
    spread, wide = lumped(layers, staggering(held_by_constraints(matrix), layers))
    velocities = np.isin(wide.variable, [1, 2])
    flow = spread @ np.where(velocities, np.random.default_rng(0).standard_normal(len(wide.row)), 0.0)
    columns = layers.variable == 3
    divergence = (matrix[np.flatnonzero(columns)] @ flow).reshape(NY // 2, 2, NX // 2, 2)
    np.testing.assert_allclose(divergence, divergence[:, :1, :, :1] + np.zeros((1, 2, 1, 2)), atol=1e-12)
    assert abs(divergence).max() > 0.1


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_values_are_constant_on_lumped_cells_with_one_pressure_a_column(seed):
    matrix, layers = rigid_lid(seed)
    spread, wide = lumped(layers, staggering(held_by_constraints(matrix), layers))
    entries = spread.tocoo()
    whole = np.isin(layers.variable[entries.row], [0, 3])
    np.testing.assert_array_equal(entries.data[whole], 1.0)
    finer, wider = layers.of(entries.row[whole]), wide.of(entries.col[whole])
    np.testing.assert_array_equal(finer.variable, wider.variable)
    np.testing.assert_array_equal(finer.row // 2, wider.row)
    np.testing.assert_array_equal(finer.column // 2, wider.column)
    np.testing.assert_array_equal(np.unique(entries.row[whole]), np.flatnonzero(np.isin(layers.variable, [0, 3])))
    assert (wide.variable == 3).sum() == NY * NX // 4
    places = np.stack([wide.variable, wide.layer, wide.row, wide.column])
    np.testing.assert_array_equal(np.lexsort(places[::-1]), np.arange(len(wide.row)))


def test_an_odd_number_of_columns_around():
    """The face east of the last column, where the grid closes upon itself, is one of a lumped cell too."""
    where, none = np.arange(5), np.zeros(5, int)
    layers = Layers(none + 1, none, none, where, none + 1.0, none + 0.5)
    spread, wide = lumped(layers, Staggering({1: "column"}, np.array([])))
    expected = [[0.5, 0, 0.5], [1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]
    np.testing.assert_array_equal(spread.toarray(), expected)
    np.testing.assert_array_equal(wide.column, [0, 1, 2])


def test_lateral_friction_is_that_between_columns():
    matrix, layers = rigid_lid()
    found = lateral_friction(matrix, layers, staggering(held_by_constraints(matrix), layers))
    np.testing.assert_allclose(found @ np.ones(len(layers.row)), 0.0, atol=1e-12)
    u = np.flatnonzero((layers.variable == 1) & (layers.layer == 3) & (layers.row == 2) & (layers.column == 4))[0]
    around = {(1, 4): 1.0, (3, 4): 1.0, (2, 3): 1.0, (2, 5): 1.0, (2, 4): -4.0}
    mine = found[[u]].tocoo()
    assert {(layers.row[j], layers.column[j]): a for j, a in zip(mine.col, mine.data, strict=True)} == around
    assert not found[np.flatnonzero(np.isin(layers.variable, [0, 3]))].nnz
