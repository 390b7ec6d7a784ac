"""Two members of the small channel of small_acc.py, three days apart, each on one process or on ranks of its own."""

import spinup
from spinup.veros_map import VerosMap


def build():
    settings = {"nx": 6, "ny": 8, "dt_mom": 4800.0, "dt_tracer": 43200.0}
    model = VerosMap("acc_basic", period=6, settings=settings, accelerate=("temp",))
    return spinup.Ensemble(model, 2)


CASE = spinup.Case(
    name="small-acc-members",
    title="Two members of a small channel",
    build=build,
    method="picard",
    budget=0.05,
    tolerance=1e-12,
)
