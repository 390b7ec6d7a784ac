"""Many ranks, each with a part of the state: `mpiexec -n 4 spinup run CASE`.

PETSc and MPI are installed apart from the rest (`stack`).
"""

from spinup.distributed.on_ranks import OnRanks
from spinup.distributed.ranks import Ranks, world

__all__ = ["OnRanks", "Ranks", "world"]
