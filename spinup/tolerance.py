"""When a run is near enough: its drift, or the estimate of its error, is below a tolerance."""

import math
from collections.abc import Callable
from typing import Any

from spinup.errors import UsageError
from spinup.state import Layout
from spinup.store.journal import Record

SAME = {"k": "degc", "kelvin": "degc", "celsius": "degc", "deg c": "degc", "°c": "degc"}  # as units of a difference
IN_A_ROW = 2  # estimates below the tolerance: one alone may be a lucky one


def parse_tolerance(given: str | float) -> dict[str, Any]:
    """ "0.05 K" is an error, 1e-4 or "1e-4" a drift per model year. Raises UsageError."""
    number, _, unit = str(given).strip().partition(" ")
    try:
        value = float(number)
    except ValueError:
        raise UsageError(f'tolerance = {given!r} must be a drift, a number, or an error like "0.05 K"') from None
    if not 0 < value < math.inf:
        raise UsageError(f"tolerance = {given!r} must be positive and finite")
    return {"tolerance": value, "tolerance_unit": unit.strip()}


def converged_below(tolerance: float, unit: str, layout: Layout) -> Callable[[list[Record]], bool]:
    """Whether the records end in an evaluation that is near enough. Raises UsageError where no variable has it."""
    if not unit:
        return lambda records: records[-1]["drift"] is not None and records[-1]["drift"] <= tolerance
    names = [v.name for v in layout.variables if _plain(v.units) == _plain(unit)]
    if not names:
        known = ", ".join(f"{v.name} ({v.units})" for v in layout.variables)
        example = layout.variables[0].units
        raise UsageError(
            f"tolerance = {tolerance:g} {unit}: no accelerated variable has this unit; there are {known}: write it "
            f'like "{tolerance:g} {example}", or without a unit for a drift per year'
        )

    def near_enough(records: list[Record]) -> bool:
        errors = [r["error"] for r in records if r["drift"] is not None][-IN_A_ROW:]
        return len(errors) == IN_A_ROW and all(e is not None and max(e[n] for n in names) <= tolerance for e in errors)

    return near_enough


def _plain(unit: str) -> str:
    plain = unit.strip().lower()
    return SAME.get(plain, plain)
