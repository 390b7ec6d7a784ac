"""Find the equilibrium of an ocean model with far fewer model years than direct integration."""

from typing import TYPE_CHECKING, Any

from spinup.case import Case, load_case
from spinup.ensemble import Ensemble
from spinup.forcing import forcing_files
from spinup.function_map import FunctionMap
from spinup.run import RunResult, resume, run
from spinup.store import open_mean, open_state
from spinup.store import open_run as open

if TYPE_CHECKING:
    from spinup.veros_map import VerosMap

__all__ = [
    "Case",
    "Ensemble",
    "FunctionMap",
    "RunResult",
    "VerosMap",
    "forcing_files",
    "load_case",
    "open",
    "open_mean",
    "open_state",
    "resume",
    "run",
]


def __getattr__(name: str) -> Any:
    if name == "VerosMap":  # only when asked for: it imports Veros, and sets its runtime
        from spinup.veros_map import VerosMap

        return VerosMap
    raise AttributeError(f"module 'spinup' has no attribute {name!r}")
