"""What an Anderson step costs beside the map, in units of one pass over its history.

    python benchmarks/anderson_overhead.py [n]

A step is timed from the reply to the next request; the map is outside. The history is every vector that the method
holds between steps. Two yardsticks for one pass over it: `read`, NumPy's fastest reduction (the maximum), which goes
at the speed of memory and keeps nothing; and `copy`, which also writes as much as it reads. Steps and passes alternate
in one process, so that a neighbour on the machine slows both; the ratio is of the two minima.

A step reads each vector of the history once, in cache-sized blocks, and beside them reads x and T(x) and writes a
difference and the candidate: five or so vectors more, which is what keeps a shallow history from a ratio of 1.
"""

import sys
from time import perf_counter

import numpy as np

from solvers import Checkpoint, anderson

REPEATS = 20


def main(n: int) -> None:
    print(f"n = {n}, {n * 8 / 2**20:.0f} MiB a vector")
    print("depth mixing vectors  step ms  read ms  copy ms step/read step/copy")
    for depth in (5, 10, 20):
        for mixing in (1.0, 0.5):
            vectors, step, read, copy = measure(n, depth, mixing)
            times = " ".join(f"{t * 1e3:8.1f}" for t in (step, read, copy))
            print(f"{depth:5d} {mixing:6.1f} {vectors:7d} {times} {step / read:9.2f} {step / copy:9.2f}")


def measure(n: int, depth: int, mixing: float) -> tuple[int, float, float, float]:
    """Vectors held, and the least time of a step, of reading them and of copying them, in seconds."""
    random = np.random.default_rng(1)
    flow = anderson(random.random(n), stop=lambda x, g: False, depth=depth, mixing=mixing)
    request, target = next(flow), np.empty(n)
    steps, reads, copies = [], [], []
    for k in range(depth + 2 + REPEATS):
        g = request.x + random.random(n)  # residuals that are far from dependent: the normal case, nothing to correct
        began = perf_counter()
        checkpoint = flow.send(g)
        request = next(flow)
        elapsed = perf_counter() - began
        assert isinstance(checkpoint, Checkpoint)
        if k >= depth + 2:  # the history is full
            history = held(checkpoint.state)
            steps.append(elapsed)
            reads.append(timed(lambda vectors: [v.max() for v in vectors], history))
            copies.append(timed(lambda vectors: [np.copyto(target, v) for v in vectors], history))
        del checkpoint
    return len(history), min(steps), min(reads), min(copies)


def held(state: dict) -> list[np.ndarray]:
    """The distinct vectors of a checkpoint, but for the candidate: that is the map's."""
    vectors = [*state["columns"], *state["damped"], state["x_last"], state["g_last"]]
    return list({id(v): v for v in vectors}.values())


def timed(work, vectors: list[np.ndarray]) -> float:  # type: ignore[no-untyped-def]
    began = perf_counter()
    work(vectors)
    return perf_counter() - began


if __name__ == "__main__":
    main(int(float(sys.argv[1])) if len(sys.argv) > 1 else 4_000_000)
