"""Fixed-point accelerators as generators. They know nothing of oceans, models or files."""

from solvers.alternating import alternating
from solvers.anderson import anderson
from solvers.averaging import mean_state
from solvers.bounds import within
from solvers.chain_factors import SingularMatrix
from solvers.error_estimate import error_estimate
from solvers.extended import extended_continuation
from solvers.extrapolation import extrapolation
from solvers.inner import InnerProduct
from solvers.newton_krylov import newton_krylov
from solvers.ngmres import ngmres
from solvers.picard import picard
from solvers.preconditioned import preconditioned
from solvers.pseudo_transient import pseudo_transient
from solvers.requests import (
    Border,
    Checkpoint,
    ControlVariates,
    Evaluate,
    Failure,
    Flow,
    Mean,
    Method,
    Note,
    Operator,
    Outcome,
    StepOperator,
    Stop,
    Tangent,
)
from solvers.result import Result
from solvers.snes import snes
from solvers.solve import solve

__all__ = [
    "Border",
    "Checkpoint",
    "ControlVariates",
    "Evaluate",
    "Failure",
    "Flow",
    "InnerProduct",
    "Mean",
    "Method",
    "Note",
    "Operator",
    "Outcome",
    "Result",
    "SingularMatrix",
    "StepOperator",
    "Stop",
    "Tangent",
    "alternating",
    "anderson",
    "error_estimate",
    "extended_continuation",
    "extrapolation",
    "mean_state",
    "newton_krylov",
    "ngmres",
    "picard",
    "preconditioned",
    "pseudo_transient",
    "snes",
    "solve",
    "within",
]
