"""What the benchmarks of all cases share: which methods can be run, the search of another library in a budget, and
model years to an error."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.peers import PEERS, Map

ONE_THREAD = {  # in the environment of a rank, so that several do not share a core
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def on_ranks(number: int, module: str, *words: str, **environment: str) -> str:
    """What a module prints on so many ranks of one thread each. CalledProcessError where it fails."""
    command = ["mpiexec", "--oversubscribe", "--bind-to", "none", "-n", str(number), sys.executable, "-m", module]
    everything = os.environ | ONE_THREAD | environment
    return subprocess.run([*command, *words], env=everything, stdout=subprocess.PIPE, text=True, check=True).stdout


def installed(methods: Sequence[str]) -> Iterator[str]:
    """Those of the methods and peers that can be run here; says of the others that they are left out."""
    for method in methods:
        if method in PEERS and not PEERS[method].installed:
            print(f"{method} is left out: {PEERS[method].module} is not installed (extra peers; make distributed)")
        else:
            yield method


def years_until_below(years: Sequence[float], errors: Sequence[float], level: float) -> float | None:
    """Model years after which the error never again exceeds the level; None where it still does at the end."""
    above = [i for i, error in enumerate(errors) if not error <= level]
    if not above:
        return years[0]
    return None if above[-1] + 1 == len(years) else float(f"{years[above[-1] + 1]:.4g}")


def timed(function: Callable[[Any], Any], argument: Any) -> float:
    """Seconds of function(argument), until what it gives is there."""
    import jax

    began = time.perf_counter()
    jax.block_until_ready(function(argument))
    return time.perf_counter() - began


def searched(name: str, T: Map, x: np.ndarray, most: int) -> tuple[str, list[np.ndarray], float]:
    """The outcome of a peer's search from x, (n,), within `most` evaluations; T(x) of each, (n,); wall seconds."""
    states: list[np.ndarray] = []

    class Spent(Exception):
        pass

    def counted(x: np.ndarray) -> np.ndarray:
        if len(states) == most:
            raise Spent
        states.append(T(x))
        return states[-1].copy()  # theirs to write into

    began, outcome = time.perf_counter(), "converged"
    try:
        PEERS[name].solve(counted, x)
    except Spent:
        outcome = "budget"
    except Exception as error:  # the peer, or the model at what the peer asks of it
        outcome = f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
    return outcome, states, time.perf_counter() - began
