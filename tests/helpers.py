"""What the tests of runs share."""

from pathlib import Path

import numpy as np

import spinup

LINEAR = Path(__file__).parent / "cases" / "linear.py"
NEWTON = Path(__file__).parent / "cases" / "newton.py"
PRECONDITIONED = Path(__file__).parent / "cases" / "preconditioned.py"


def assert_same_numbers(one: Path, other: Path) -> None:
    """Every number of two runs is the same to the bit, wall times apart."""
    a, b = spinup.open(one), spinup.open(other)
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        if name not in ("wall_seconds", "elapsed_seconds"):
            np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=str(name))
