"""Fixed-point accelerators as generators. They know nothing of oceans, models or files."""

from solvers.anderson import anderson
from solvers.bounds import within
from solvers.inner import InnerProduct
from solvers.picard import picard
from solvers.pseudo_transient import pseudo_transient
from solvers.requests import Checkpoint, Evaluate, Failure, Flow, Method, Operator, Outcome, StepOperator, Stop
from solvers.result import Result
from solvers.solve import solve

__all__ = [
    "Checkpoint",
    "Evaluate",
    "Failure",
    "Flow",
    "InnerProduct",
    "Method",
    "Operator",
    "Outcome",
    "Result",
    "StepOperator",
    "Stop",
    "anderson",
    "picard",
    "pseudo_transient",
    "solve",
    "within",
]
