"""Veros on several ranks: its own decomposition of the grid, and which cells of it each of them has."""

from math import inf
from typing import Any

from spinup.distributed.ranks import Ranks
from spinup.errors import UsageError


def decomposition(nx: int, ny: int, ranks: int) -> tuple[int, int]:
    """How many ranks there are along x and along y: what divides the grid evenly, as Veros wants it, with the shortest
    edges. Raises UsageError where nothing does."""
    best, shortest = None, inf
    for along_x in range(1, ranks + 1):
        along_y = ranks // along_x
        if along_x * along_y == ranks and nx % along_x == 0 and ny % along_y == 0:
            edge = ny // along_y * (along_x > 1) + nx // along_x * (along_y > 1)
            if edge < shortest:
                best, shortest = (along_x, along_y), edge
    if best is None:
        possible = [str(n) for n in range(1, 2 * ranks) if _divides(nx, ny, n)]
        raise UsageError(
            f"Veros wants equal parts: {nx} x {ny} cells have none for {ranks} ranks; possible: {', '.join(possible)}"
        )
    return best


def _divides(nx: int, ny: int, ranks: int) -> bool:
    return any(ranks % n == 0 and nx % n == 0 and ny % (ranks // n) == 0 for n in range(1, ranks + 1))


def decompose(cls: type, settings: dict[str, Any], ranks: Ranks | None) -> None:
    """Have Veros split the grid of this setup over the ranks; None: one process has it, whatever others there are."""
    from veros import runtime_settings as rs

    # Veros locks its settings once its core is imported, before the size of a grid is known; it reads these two
    # whenever a grid is made, or cells are exchanged.
    object.__setattr__(rs, "mpi_comm", None if ranks is None else ranks.comm)
    if ranks is None:
        return
    trial = cls(override=settings)
    with trial.state.settings.unlock():
        trial.set_parameter(trial.state)
        for name, value in settings.items():
            setattr(trial.state.settings, name, value)
    found = decomposition(trial.state.settings.nx, trial.state.settings.ny, ranks.size)
    object.__setattr__(rs, "num_proc", found)


def cells(nx: int, ny: int) -> dict[str, tuple[slice, int]]:
    """Those of this rank, by dimension, and how many there are in all."""
    from veros import distributed as vd
    from veros import runtime_state as rst

    (x, y), (width, height) = vd.proc_rank_to_index(rst.proc_rank), vd.get_chunk_size(nx, ny)
    along_x = slice(x * width, (x + 1) * width), nx
    along_y = slice(y * height, (y + 1) * height), ny
    return {"xt": along_x, "yt": along_y}
