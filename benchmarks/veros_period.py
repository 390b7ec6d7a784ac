"""What a period costs through `VerosMap`, and through a whole run, over the bare scanned step loop.

The bare loop is `jax.lax.scan` over Veros' own step, compiled, on the same state; both are timed in turn
in one process, so the ratios do not depend on how busy the machine is. Goals: map 1.05.
"""

import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import spinup
from benchmarks.measure import timed
from spinup import veros_setup
from spinup.run import Progress

REPEATS = 15


def bare_loop(model):
    """Scan over the stock step, nothing else: no canonical order, no check, no record."""
    leaves, structure = jax.tree_util.tree_flatten(model._template)

    def body(carry, _):
        state = jax.tree_util.tree_unflatten(structure, leaves)
        with state.variables.unlock():
            for name, value in carry.items():
                setattr(state.variables, name, value)
        model._setup.step(state)
        return {name: getattr(state.variables, name) for name in carry}, None

    with veros_setup.traceable():
        loop = jax.jit(lambda carry: jax.lax.scan(body, carry, None, length=model.period.steps)[0])
        return loop.lower(model.start()).compile()


class Clock(Progress):
    """When each evaluation of a run was done, and what its map took."""

    def __init__(self):
        self.times, self.evaluation = [], []

    def evaluated(self, record):
        self.times.append(time.perf_counter())
        self.evaluation.append(record["wall_seconds"])


def main():
    model = spinup.load_case("acc-coarse").build()
    model.prepare()
    bare, state = bare_loop(model), model.start()
    pairs = [(timed(bare, state), timed(model.evaluate, state)) for _ in range(REPEATS + 1)]
    loop, period = np.array(pairs[1:]).T  # the first pair warms up

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        case = spinup.Case("acc-coarse", "", lambda: model, method="picard", budget=REPEATS + 1)
        spinup.run(case, out=Path(folder) / "run", progress=clock)
    whole, inside = np.diff(clock.times), np.array(clock.evaluation[1:])

    table = Table("what", "s per model year", "ratio to the bare loop")
    table.add_row("bare scanned step loop", f"{np.median(loop):.3f}", "1")
    table.add_row("VerosMap.evaluate", f"{np.median(period):.3f}", f"{np.median(period / loop):.3f}")
    ratio = f"{np.median(whole / inside):.3f} (to its map)"
    table.add_row("a run: map, driver, store", f"{np.median(whole):.3f}", ratio)
    Console().print(table)


if __name__ == "__main__":
    main()
