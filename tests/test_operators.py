"""Operators in a run's store come back as they were, also those that an older version wrote."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array, eye_array

from solvers import Border, StepOperator
from solvers.layers import Layers
from solvers.seasons import of_seasons
from spinup.store import RunStore
from spinup.store.operators import operator_tree

ONE = csr_array(eye_array(6))
BORDER = Border(2 * ONE, 3 * ONE, 4 * ONE, np.arange(12) // 4)


@pytest.mark.parametrize("layers", [None, Layers(*np.arange(72).reshape(6, 12))])
def test_layers_are_kept_where_they_are_known(layers, linear_run, tmp_path):
    """Without them an operator is as older versions wrote it."""
    operator = StepOperator(ONE, 5, border=replace(BORDER, layers=layers))
    assert ("layers_row" in operator_tree(operator)) == (layers is not None)
    with RunStore.resume(shutil.copytree(linear_run, tmp_path / "run")) as store:
        store.save_operator(operator, 1.5)
        found, years = store.load_operator(len(store.records))
    assert (found.steps, years) == (5, 1.5)
    np.testing.assert_array_equal(found.border.chain, BORDER.chain)
    np.testing.assert_array_equal(found.border.balance.toarray(), BORDER.balance.toarray())
    assert found == operator


def test_the_seasons_of_a_year_are_kept(linear_run, tmp_path):
    parts = [StepOperator(k * ONE, 5, 6 * ONE, replace(BORDER, response=k * ONE)) for k in (1.0, 3.0)]
    with RunStore.resume(shutil.copytree(linear_run, tmp_path / "run")) as store:
        store.save_operator(of_seasons(parts, 4), 1.5)
        found, _ = store.load_operator(len(store.records))
    assert found.cycle_steps == 4
    for part, kept in zip(parts, found.seasons, strict=True):
        for name in ("matrix", "implicit"):
            np.testing.assert_array_equal(getattr(kept, name).toarray(), getattr(part, name).toarray())
        np.testing.assert_array_equal(kept.border.response.toarray(), part.border.response.toarray())
    np.testing.assert_array_equal(found.matrix.toarray(), 2 * ONE.toarray())
    np.testing.assert_array_equal(found.border.response.toarray(), 2 * ONE.toarray())
