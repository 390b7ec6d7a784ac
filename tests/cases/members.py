"""An ensemble for the tests of groups of ranks: each member a linear map under a noise of its own.

$SPINUP_TEST_FAIL ("2:3,2:4") names members and their periods that blow up; $SPINUP_TEST_BREAK those in which the code
has a mistake; $SPINUP_TEST_DIE those in which the process is killed, $SPINUP_TEST_TERM those in which it is to stop.
"""

import os
import signal

import numpy as np
from scipy.sparse import diags_array

import spinup

MEMBERS, N = 4, 30
DECAY = np.linspace(0.05, 0.9, N)
ANSWER = np.linspace(-4.0, 3.0, N)


def period(state):
    here = f"{int(state['seed'])}:{int(state['period'])}"
    if here in os.environ.get("SPINUP_TEST_DIE", "").split(","):
        os.kill(os.getpid(), signal.SIGKILL)
    if here in os.environ.get("SPINUP_TEST_TERM", "").split(","):
        os.kill(os.getpid(), signal.SIGTERM)
    if here in os.environ.get("SPINUP_TEST_BREAK", "").split(","):
        raise KeyError("a mistake")
    if here in os.environ.get("SPINUP_TEST_FAIL", "").split(","):
        raise FloatingPointError("blew up on purpose")
    noise = np.random.default_rng([int(state["seed"]), int(state["period"])]).standard_normal(N)
    c = state["c"] - DECAY * (state["c"] - ANSWER) + 1e-3 * noise
    return state | {"c": c, "period": state["period"] + 1}


def build():
    model = spinup.FunctionMap(
        period,
        {"c": np.zeros(N), "seed": np.array(0), "period": np.array(0)},
        accelerate=("c",),
        dims={"c": ("x",)},
        diagnostics={"largest": ("1", "largest value", lambda state: np.max(state["c"]))},
        tendency=lambda state: diags_array(-DECAY),
        name="noisy",
    )
    return spinup.Ensemble(model, MEMBERS, lambda member, state: state | {"seed": np.array(member)})


CASE = spinup.Case(
    name="members",
    title="Members of a noisy map",
    build=build,
    method="anderson",
    settings={"depth": 5},
    budget=80,
    tolerance=1e-12,
)
