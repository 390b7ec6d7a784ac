"""What a state still gains and loses in a year: of every variable's mean, and of heat and salt where that is known.

A change of content is exact, the volume-weighted T(x) - x of the newest evaluation; it is what the fluxes through the
boundaries add up to, which the store does not hold one by one.
"""

from typing import Any

import numpy as np

from spinup.report import words
from spinup.report.reading import RunData

CENTURY = 100.0  # model years


def budgets(run: RunData) -> dict[str, dict[str, Any]]:
    """By variable, of its newest evaluation, in JSON types: per_century, the change of its volume mean in `units`;
    content, what it is the density of (None where the map does not say), and flux, the change of that by ocean surface
    and time in `flux_units`. Empty where no evaluation gave a residual."""
    found = {}
    for name in run.variables:
        residual = run.last_residual(name)
        if residual is None:
            return {}
        volume = run.volume(name)
        a_year = float(np.average(residual[volume > 0], weights=volume[volume > 0]))
        content = run.contents.get(name)
        found[name] = {
            "per_century": CENTURY * a_year,
            "units": words.difference_units(run.units(name)),
            "content": content and content["quantity"],
            "flux": content and content["factor"] * a_year,
            "flux_units": content and words.units(content["units"]),
        }
    return found


def budget_words(name: str, budget: dict[str, Any]) -> str:
    """temp: −0.012 K per century, heat −0.005 W m⁻²"""
    drift = f"{name}: {words.number(budget['per_century'])} {budget['units']}".rstrip() + " per century"
    if budget["content"] is None:
        return drift
    return f"{drift}, {budget['content']} {words.number(budget['flux'])} {budget['flux_units']}"
