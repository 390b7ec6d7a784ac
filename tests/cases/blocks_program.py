"""Run the blocks into a folder, or go on with them there, up to a number of model years; what is wrong is printed by
every rank."""

import sys
from pathlib import Path

import spinup
from spinup.distributed import world
from spinup.errors import SpinupError

CASE, STORE = Path(__file__).parent / "blocks.py", {"checkpoint_every": 2, "states_every": 1}

if __name__ == "__main__":
    path, budget = Path(sys.argv[1]), float(sys.argv[2])
    try:
        if path.exists():
            spinup.resume(path, budget=budget)
        else:
            spinup.run(CASE, out=path, budget=budget, store=STORE)
    except SpinupError as error:
        # Text and line's end in one piece: between two, another rank's may come.
        sys.stdout.write(f"rank {world().rank}: {type(error).__name__}: {error}\n")
