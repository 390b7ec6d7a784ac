"""Fixed-point accelerators as generators. They know nothing of oceans, models or files."""

from solvers.inner import InnerProduct
from solvers.picard import picard
from solvers.requests import Checkpoint, Evaluate, Failure, Flow, Method, Outcome, Stop

__all__ = ["Checkpoint", "Evaluate", "Failure", "Flow", "InnerProduct", "Method", "Outcome", "Stop", "picard"]
