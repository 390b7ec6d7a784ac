"""Water columns of known equilibria, in NumPy, for the tests of the probe: temp decays by 5 % a year to a profile.

With $SPINUP_TEST_LADDER set, the profile is mixed as deep as the column is, so that every depth of convection is an
equilibrium of its own; without, the southern row is mixed three cells deep whatever it was, and there is one. Depth
goes downward where $SPINUP_TEST_DOWNWARD is set.
"""

import os

import numpy as np
from scipy.sparse import csr_array, eye_array

import spinup
from spinup.convection import mix, mixed_levels
from spinup.function_map import FunctionMap
from spinup.state import Coordinate

RATE = 0.05  # a year
DEPTH = np.array([2000.0, 1000.0, 500.0, 200.0, 100.0, 50.0])  # upward
SHAPE = (6, 2, 3)
ALL = np.ones(SHAPE, bool)
VOLUME = np.broadcast_to(DEPTH[:, None, None], SHAPE)
PROFILE = np.broadcast_to(np.array([1.0, 2.0, 4.0, 7.0, 11.0, 16.0])[:, None, None], SHAPE)
SOUTH = np.array([[2, 2, 2], [0, 0, 0]])  # steps down from the surface that are mixed
LADDER = "SPINUP_TEST_LADDER" in os.environ
UP = slice(None, None, -1 if "SPINUP_TEST_DOWNWARD" in os.environ else 1)


def equilibrium(levels):
    """The profile mixed so many steps down, (nz, ny, nx), upward."""
    return mix(PROFILE, VOLUME, levels)


def year(state):
    temp = state["temp"][UP]
    end = equilibrium(mixed_levels(temp, ALL, 0.05) if LADDER else SOUTH)
    return {"temp": (end + np.exp(-RATE) * (temp - end))[UP]}


def build():
    return FunctionMap(
        year,
        start={"temp": (equilibrium(SOUTH) + 1e-4)[UP].copy()},
        dims=("z", "y", "x"),
        coords={
            "z": Coordinate(("z",), (DEPTH if UP.step == -1 else -DEPTH)[UP], {"axis": "Z", "units": "m"}),
            "y": Coordinate(("y",), np.array([-42.0, -38.0]), {"axis": "Y", "units": "degrees_north"}),
            "x": Coordinate(("x",), np.array([0.0, 4.0, 8.0]), {"axis": "X", "units": "degrees_east"}),
        },
        volume=VOLUME[UP],
        units={"temp": "degC"},
        tendency=lambda state: csr_array(-RATE * eye_array(36)),
        diagnostics={"transport": ("1e6 m3 s-1", "transport", lambda s: 100 + s["temp"].mean())},
        name="columns",
    )


CASE = spinup.Case("columns", "Water columns", build, method="picard", budget=4, tolerance="0.001 K")
