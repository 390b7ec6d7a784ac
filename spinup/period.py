"""Model time: periods and budgets in words, steps and years."""

import math
import re
from dataclasses import dataclass

from spinup.errors import UsageError

SECONDS_PER_DAY = 86400.0
_UNITS = {"second": 1.0, "hour": 3600.0, "day": SECONDS_PER_DAY}
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
_FORM = re.compile(rf"\s*({_NUMBER})\s*([a-z]+?)s?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Period:
    """The model time of one evaluation."""

    steps: int
    years: float


def parse_duration(text: str, *, days_per_year: float) -> float:
    """ "60 years", "90 days", "6 hours" in seconds. Raises UsageError for anything else."""
    match = _FORM.fullmatch(text)
    units = _UNITS | {"year": days_per_year * SECONDS_PER_DAY}
    if match is None or match[2].lower() not in units:
        raise UsageError(f"{text!r} is not a model time: write it like '60 years' or '90 days' ({', '.join(units)})")
    return float(match[1]) * units[match[2].lower()]


def parse_years(text: str | float) -> float:
    """A budget in model years: a number, or "60 years", "90 days" (of a 365-day year)."""
    if not isinstance(text, str) or re.fullmatch(rf"\s*{_NUMBER}\s*", text, re.IGNORECASE):
        years = float(text)
    else:
        years = parse_duration(text, days_per_year=365.0) / (365.0 * SECONDS_PER_DAY)
    if not 0 < years < math.inf:
        raise UsageError(f"a budget of {text!r} must be positive and finite")
    return years


def parse_period(period: str | int, *, dt: float, days_per_year: float) -> Period:
    """A period as a whole number of steps of dt seconds. Raises UsageError where it is none."""
    year = days_per_year * SECONDS_PER_DAY
    if isinstance(period, int):
        if period < 1:
            raise UsageError(f"a period of {period} steps must be at least 1")
        return Period(period, period * dt / year)
    seconds = parse_duration(period, days_per_year=days_per_year)
    if not seconds > 0:
        raise UsageError(f"a period of {period!r} must be positive")
    steps = round(seconds / dt)
    if steps < 1 or abs(steps * dt - seconds) > 1e-6 * dt:
        below, above = max(1, int(seconds // dt)), int(seconds // dt) + 1
        raise UsageError(
            f"a period of {period!r} is {seconds / dt:.6g} steps of {dt:g} s, not a whole number: "
            f"take {below} or {above} steps"
        )
    return Period(steps, seconds / year)
