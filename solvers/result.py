"""What a run in memory came to."""

from dataclasses import dataclass, field

from solvers.requests import Array, Outcome


@dataclass(frozen=True, eq=False)
class Result:
    """The end of a run.

    x: the best state whose residual was measured, shape (n,).
    residual: its residual norm; nan if no evaluation came back.
    history: the residual norm of each evaluation in order; nan where the map failed.
    """

    outcome: Outcome
    x: Array = field(repr=False)
    residual: float
    evaluations: int
    history: list[float] = field(repr=False)

    def __str__(self) -> str:
        plural = "" if self.evaluations == 1 else "s"
        return (
            f"{self.outcome.value}: {self.outcome.message}; "
            f"residual {self.residual:.3e} after {self.evaluations} evaluation{plural}"
        )
