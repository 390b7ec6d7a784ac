"""Numbers, units and names as a person reads them."""

import math
from collections.abc import Sequence

METHODS = {
    "picard": "direct integration",
    "anderson": "Anderson acceleration",
    "ngmres": "nonlinear GMRES",
    "extrapolation": "vector extrapolation",
    "ptc": "pseudo-transient continuation",
    "extended": "pseudo-transient continuation with the circulation's balance",
    "snes": "PETSc's nonlinear solver",
    "mean": "direct integration for the mean state",
    "auto": "the automatic choice of method",
    "auto-keep-basin": "the automatic choice of method, on the direct run's way,",
}
OUTCOMES = {
    "converged": "converged",
    "floor": "noise floor",
    "budget": "budget spent",
    "stalled": "stalled",
    "unstable": "unstable",
    "stopped": "stopped by the user",
    "interrupted": "interrupted",
    "running": "still running",
}
NARROW = "\u202f"  # a space at which no line breaks
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SYMBOLS = {"degC": "°C", "degrees_north": "°N", "degrees_east": "°E", "year": "yr", "1": "", "1e6 m3 s-1": "Sv"}
_DIFFERENCES = {"degC": "K", "celsius": "K", "Celsius": "K", "degree_Celsius": "K"}


def method_words(method: str) -> str:
    return METHODS.get(method, method)


def outcome_words(outcome: str) -> str:
    return OUTCOMES.get(outcome, outcome)


def number(value: float | None, digits: int = 3) -> str:
    """0.00441, 193, 4.03 × 10¹⁸; a dash for what was not measured."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if not -4 <= exponent < 6:
        mantissa = f"{value / 10.0**exponent:.{digits - 1}f}"
        return f"{mantissa}{NARROW}×{NARROW}{power(exponent)}".replace("-", "−")
    return f"{value:.{max(0, digits - 1 - exponent)}f}".replace("-", "−")


def power(exponent: int) -> str:
    """10⁻³"""
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def plain(value: float) -> str:
    """A number that was typed in, as it was: 1e-4 as 0.0001, 70.0 as 70."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return f"{value:g}".replace("-", "−")
    return number(value, 3).replace(f".00{NARROW}×", f"{NARROW}×").removeprefix(f"1{NARROW}×{NARROW}")


def years(value: float) -> str:
    return f"{value:,.4g} model year{'' if value == 1 else 's'}"


def units(text: str) -> str:
    """CF units with their powers raised: "kg m-3" as "kg m⁻³"."""
    if text in _SYMBOLS:
        return _SYMBOLS[text]
    parts = []
    for part in text.split():
        stem = part.rstrip("-0123456789")
        exponent = part[len(stem) :]
        if part in _SYMBOLS or not stem:
            parts.append(_SYMBOLS.get(part, part))
        else:
            parts.append(_SYMBOLS.get(stem, stem) + exponent.translate(_SUPERSCRIPTS))
    return " ".join(p for p in parts if p)


def difference_units(text: str) -> str:
    """Units of a difference of two values: K for temperatures in °C."""
    return _DIFFERENCES.get(text, units(text))


def per_year(text: str) -> str:
    """Units of a drift: "K per year"; "per year" for what has no units."""
    return "years per year" if text == "year" else f"{difference_units(text)} per year".strip()


def duration(seconds: float | None) -> str:
    """41 s, 12.5 min, 3.2 h."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 120:
        return f"{number(seconds)} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def listed(parts: Sequence[str]) -> str:
    """a, b and c"""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def prose(text: str) -> str:
    """CF units in running text as signs."""
    return text.replace("degC", "°C")


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
