"""Is a map deterministic? The first evaluation of a direct run is done again from the same state."""

from pathlib import Path

import numpy as np

from spinup.case import Case
from spinup.errors import ModelFailure
from spinup.report.reading import read_run, weighted_rms
from spinup.run import built
from spinup.store.view import open_state


def apart(case: Case, path: Path) -> dict[str, float]:
    """By variable, the rms distance, in its units, between the first T(x) of the direct run at `path` and another of
    the same state: 0 where the map is deterministic, infinite where it failed this time. Empty where the run no longer
    has the first."""
    run = read_run(path)
    start = open_state(path, -1)
    firsts = {name: run.data[name].values[0] for name in run.variables}
    if not all(np.isfinite(first[run.volume(name) > 0]).all() for name, first in firsts.items()):
        return {}
    model = built(case)
    try:
        again = model.fields(model.evaluate({str(name): np.asarray(start[name]) for name in start.variables}))
    except ModelFailure:
        return dict.fromkeys(run.variables, float("inf"))
    found = {}
    for name, first in firsts.items():
        difference = np.where(run.volume(name) > 0, np.asarray(again[name]) - first, 0.0)
        found[name] = weighted_rms(difference, run.volume(name))
    return found
