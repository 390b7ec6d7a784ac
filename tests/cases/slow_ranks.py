"""On two ranks: one whose model fails waits for the other as long as the model took before, and no longer."""

import sys
import time

from spinup.distributed import ranks as told
from spinup.distributed import world
from spinup.errors import ModelFailure

told.PATIENCE = 0.3
SLOW = 1.5  # s


def period(fails: bool, seconds: float) -> None:
    if fails:
        raise ModelFailure("no salt left")
    time.sleep(seconds)


def main(known: bool) -> None:
    ranks = world()
    if known:
        told.within_model(ranks, lambda: period(False, SLOW))
    try:
        told.within_model(ranks, lambda: period(ranks.rank == 0, SLOW))
    except ModelFailure as failure:
        print(f"rank {ranks.rank}: {failure}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1] == "known")
