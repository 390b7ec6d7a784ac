"""Find the equilibrium of an ocean model with far fewer model years than direct integration."""

from spinup.case import Case, load_case
from spinup.run import RunResult, resume, run
from spinup.store import open_run as open

__all__ = ["Case", "RunResult", "load_case", "open", "resume", "run"]
