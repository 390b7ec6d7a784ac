"""What an evaluation costs beside the model where its vectors lie on JAX's devices, and where they lie on the host.

    python benchmarks/device_vectors.py [unknowns]

A map of a million unknowns if not given, with land, that costs next to nothing; Anderson acceleration of depth 10, each
evaluation logged; the time from one evaluation to the next, its median once the history is full, and the processor's
time. The devices are all that JAX finds: to have several of a processor,
XLA_FLAGS=--xla_force_host_platform_device_count=2.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import spinup
from spinup.function_map import FunctionMap
from spinup.run import Progress

DEPTH, EVALUATIONS, ROWS = 10, 30, 1000


class Clock(Progress):
    """When each evaluation was there, and the processor's time until then."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []

    def evaluated(self, record: dict[str, Any]) -> None:
        self.times.append((time.perf_counter(), time.process_time()))


def main(unknowns: int) -> None:
    jax.config.update("jax_enable_x64", True)
    columns = NamedSharding(Mesh(np.array(jax.devices()), ("x",)), PartitionSpec(None, "x"))
    print(f"JAX {jax.__version__} on {len(jax.devices())} x {jax.devices()[0].device_kind}, {unknowns:.0e} unknowns")
    host, devices = (costs(unknowns, place) for place in (np.asarray, lambda a: jax.device_put(a, columns)))
    for where, (wall, processor) in (("host", host), ("devices", devices)):
        print(f"vectors on the {where}: {wall * 1e3:.0f} ms an evaluation, {processor * 1e3:.0f} ms of the processor")
    print(f"ratio: {devices[0] / host[0]:.2f}, of the processor's time {devices[1] / host[1]:.2f}")


def costs(unknowns: int, place: Callable[[np.ndarray], Any]) -> tuple[float, float]:
    """Seconds from one evaluation to the next, history full; and those of the processor."""
    shape = (ROWS, unknowns // ROWS)
    ocean = np.ones(shape, bool)
    ocean[: ROWS // 10] = False
    decay = np.linspace(0.3, 0.999, ocean.size).reshape(shape)

    def year(c: Any) -> Any:
        return decay * c + (1 - decay) * (4 + 0.01 * jnp.sin(c))

    def build() -> FunctionMap:
        return FunctionMap(year, place(np.where(ocean, 10.0, 0.0)), mask=ocean, jit=True)

    clock = Clock()
    with TemporaryDirectory() as folder:
        spinup.run(
            spinup.Case("device-vectors", "Vectors on devices", build),
            out=Path(folder) / "run",
            method="anderson",
            settings={"depth": DEPTH},
            budget=EVALUATIONS,
            tolerance=1e-300,
            progress=clock,
        )
    wall, processor = np.median(np.diff(clock.times, axis=0)[DEPTH + 2 :], axis=0)
    return float(wall), float(processor)


if __name__ == "__main__":
    main(int(float(sys.argv[1])) if sys.argv[1:] else 1_000_000)
