"""A small channel of Veros: acc_basic on 6 x 8 cells, three periods of three days: later a cell that begins to convect
makes 1e-8 K, of the solver of the streamfunction, 1e-3 K for a while."""

import spinup
from spinup.veros_map import VerosMap


def build():
    settings = {"nx": 6, "ny": 8, "dt_mom": 4800.0, "dt_tracer": 43200.0}
    return VerosMap("acc_basic", period=6, settings=settings, accelerate=("temp",))


CASE = spinup.Case(
    name="small-acc",
    title="A small channel",
    build=build,
    method="picard",
    budget=0.025,
    tolerance=1e-12,
)
