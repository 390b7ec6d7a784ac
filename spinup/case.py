"""A case: what a scientist runs. One Python file that defines `CASE`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from spinup.maps import FixedPointMap


@dataclass(frozen=True)
class Case:
    """A model, a start and a method.

    build: makes the map; called once, so that listing cases imports no model.
    start_periods: direct periods before the method begins (they count as model years of the run).
    settings: of the method, e.g. {"depth": 5}.
    budget: model years, a number or "60 years".
    tolerance: drift below which the run has converged, weighted rms per model year.
    exact: the known answer on the grid, by variable, where there is one; errors against it are logged.
    """

    name: str
    title: str
    build: Callable[[], FixedPointMap]
    method: str = "anderson"
    settings: dict[str, Any] = field(default_factory=dict)
    start_periods: int = 0
    budget: str | float = "100 years"
    tolerance: float = 1e-6
    exact: Callable[[], dict[str, Any]] | None = None
