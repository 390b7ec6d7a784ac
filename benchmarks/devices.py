"""What a step of Veros and a step of Anderson acceleration cost on the device that JAX finds, at several sizes.

    python benchmarks/devices.py [refinement ...]
    JAX_PLATFORMS=cpu python benchmarks/devices.py [refinement ...]

Grids are that of the case `acc-coarse` refined horizontally by the given factors (1 4 16 if not given), with viscosity
to fit, and steps of 4800 s for momentum and tracers where the factor is 1; 40 steps are timed, thrice, after they were
compiled; the least counts. Anderson acceleration holds 10 vectors of 10 million unknowns, as JAX arrays, which stay on
the device, and as NumPy's. On a machine that does nothing else.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import spinup
from benchmarks.measure import timed
from solvers import anderson

STEPS, REPEATS = 40, 3
UNKNOWNS, DEPTH = 10_000_000, 10


def main(refinements: list[int]) -> None:
    print(f"JAX {jax.__version__} on {jax.devices()[0].device_kind}")
    for refinement in refinements:
        model = spinup.VerosMap(setup(refinement), period=STEPS, accelerate=("temp",))
        state = model.evaluate(model.start())
        cost = min(timed(model.evaluate, state) for _ in range(REPEATS)) / STEPS
        print(f"Veros, {15 * refinement} x {21 * refinement} x 15 cells: {cost * 1e3:.1f} ms a step")
    for kind, asarray in (("JAX", jnp.asarray), ("NumPy", np.asarray)):
        cost = anderson_step(asarray)
        print(f"Anderson, depth {DEPTH}, {UNKNOWNS:.0e} unknowns, {kind} arrays: {cost * 1e3:.1f} ms a step")


def setup(refinement: int) -> Any:
    """The Veros setup acc_basic with cells of 4/refinement degrees, (15, 21, 15) cells where it is 1."""
    from veros import veros_routine
    from veros.core.operators import at, update
    from veros.setups.acc_basic.acc_basic import ACCBasicSetup

    def bundled(name: str) -> Any:  # what the parent's routine does, without its own start-up
        return ACCBasicSetup.__dict__[name].function

    class Refined(ACCBasicSetup):
        @veros_routine
        def set_parameter(self, state):
            bundled("set_parameter")(self, state)
            settings = state.settings
            settings.nx, settings.ny, settings.nz = 15 * refinement, 21 * refinement, 15
            settings.dt_mom = settings.dt_tracer = 4800.0 / refinement  # s
            settings.A_h = (4 / refinement * settings.degtom) ** 3 * 2e-11  # m2 s-1, lateral viscosity

        @veros_routine
        def set_grid(self, state):
            bundled("set_grid")(self, state)
            vs = state.variables
            vs.dxt = update(vs.dxt, at[...], 4.0 / refinement)  # degrees
            vs.dyt = update(vs.dyt, at[...], 4.0 / refinement)  # degrees

    return Refined


def anderson_step(asarray: Callable[[Any], Any]) -> float:
    """Least seconds from a reply to the next request, history full."""
    decay, source = asarray(np.linspace(0.0, 0.99, UNKNOWNS)), asarray(np.ones(UNKNOWNS))
    flow = anderson(asarray(np.zeros(UNKNOWNS)), stop=lambda x, g: False, depth=DEPTH)
    request, costs = next(flow), []
    for _ in range(2 * DEPTH):
        reply = jax.block_until_ready(decay * request.x + source)
        began = time.perf_counter()
        flow.send(reply)
        request = next(flow)
        jax.block_until_ready(request.x)
        costs.append(time.perf_counter() - began)
    return min(costs[DEPTH:])


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [1, 4, 16])
