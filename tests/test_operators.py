"""Operators in a run's store come back as they were, also those that an older version wrote."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array, eye_array

from solvers import Border, StepOperator
from spinup.store import RunStore
from spinup.store.operators import operator_tree

ONE = csr_array(eye_array(6))
BORDER = Border(2 * ONE, 3 * ONE, 4 * ONE, np.arange(12) // 4)


@pytest.mark.parametrize("aggregates", [None, np.arange(12) // 2])
def test_what_is_lumped_is_kept_where_it_is_known(aggregates, linear_run, tmp_path):
    """Without it an operator is as older versions wrote it."""
    operator = StepOperator(ONE, 5, border=replace(BORDER, aggregates=aggregates))
    assert ("aggregates" in operator_tree(operator)) == (aggregates is not None)
    with RunStore.resume(shutil.copytree(linear_run, tmp_path / "run")) as store:
        store.save_operator(operator, 1.5)
        found, years = store.load_operator(len(store.records))
    assert (found.steps, years) == (5, 1.5)
    np.testing.assert_array_equal(found.border.chain, BORDER.chain)
    np.testing.assert_array_equal(found.border.balance.toarray(), BORDER.balance.toarray())
    if aggregates is None:
        assert found.border.aggregates is None
    else:
        np.testing.assert_array_equal(found.border.aggregates, aggregates)
