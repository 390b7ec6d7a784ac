"""Is a map deterministic? The first evaluation of a direct run is done again from the same state."""

from pathlib import Path

import numpy as np

from spinup.case import Case
from spinup.distributed.build import built
from spinup.errors import ModelFailure
from spinup.report.reading import read_run
from spinup.store.view import read_state


def apart(case: Case, path: Path) -> dict[str, float | None]:
    """By variable, the rms distance, in its units, between the first T(x) of the direct run at `path` and another of
    the same state: 0 where the map is deterministic, None where it failed this time. Empty where the run no longer has
    the first."""
    run = read_run(path)
    if (first := run.vector(0)) is None:
        return {}
    model = built(case)
    try:
        again = model.layout.pack(model.fields(model.evaluate(read_state(path, -1))))
    except ModelFailure:
        return dict.fromkeys(run.variables)
    return dict(run.rms(np.asarray(again) - first))
