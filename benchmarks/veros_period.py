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
from spinup import veros_map

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

    with veros_map._traceable():
        loop = jax.jit(lambda carry: jax.lax.scan(body, carry, None, length=model.period.steps)[0])
        return loop.lower(model.start()).compile()


def timed(function, argument):
    began = time.perf_counter()
    jax.block_until_ready(function(argument))
    return time.perf_counter() - began


def main():
    model = spinup.load_case("acc-coarse").build()
    model.prepare()
    bare, state = bare_loop(model), model.start()
    pairs = [(timed(bare, state), timed(model.evaluate, state)) for _ in range(REPEATS + 1)]
    loop, period = np.array(pairs[1:]).T  # the first pair warms up

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        case = spinup.Case("acc-coarse", "", lambda: model, method="picard", budget=REPEATS)
        spinup.run(case, out=Path(folder) / "run")
        whole = (time.perf_counter() - began) / REPEATS

    table = Table("what", "s per model year", "ratio to the bare loop")
    table.add_row("bare scanned step loop", f"{np.median(loop):.3f}", "1")
    table.add_row("VerosMap.evaluate", f"{np.median(period):.3f}", f"{np.median(period / loop):.3f}")
    table.add_row("a run: map, driver, store", f"{whole:.3f}", f"{whole / np.median(loop):.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
