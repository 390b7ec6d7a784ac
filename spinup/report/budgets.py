"""What a state still gains and loses in a year: of every variable's mean, and of heat and salt where that is known.

A change of content is exact, the volume-weighted T(x) - x of the newest evaluation. What goes through the surface is
known of the states between which that evaluation leads, where the map has diagnostics of it.
"""

from typing import Any

import numpy as np

from spinup.report import words
from spinup.report.reading import RunData

CENTURY = 100.0  # model years
CLOSED = 1e-4  # of what goes in and out, what a budget that closes may lack
ROUNDING = 1e-12  # of the content, what it may change by in a year where nothing changes it


def budgets(run: RunData, restless: str = "") -> dict[str, dict[str, Any]]:
    """By variable, of its newest evaluation, in JSON types: per_century, the change of its volume mean in `units`;
    content, what it is the density of (None where the map does not say), and flux, the change of that by ocean surface
    and time in `flux_units`; surface, what goes through the surface (`_surface`). Empty where no evaluation gave a
    residual.

    restless: why the state's fluxes are not those of the year before, in words; "" for a state that rests.
    """
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
            "surface": content and _surface(run, name, content, content["factor"] * a_year, restless),
        }
    return found


def _surface(run: RunData, name: str, content: dict[str, Any], change: float, restless: str) -> dict[str, Any] | None:
    """What goes through the surface, positive into the ocean, in the units of the change: net, gain and loss where the
    ocean gains and loses, of the newest state, and interior, what sources add within. None where the run has none.

    The mean of net and interior over the evaluation's two ends should be the change: lacking is by how much the change
    is more. closes: whether that is at most half of what the two ends differ by, as where the fluxes change steadily in
    between, or 1e-4 of what goes in and out; both are None where untold says why this is not known.
    """
    number = run.last_measured
    names = dict(zip(("net", "gain", "loss", "interior"), _diagnostics(content), strict=False))
    if number is None or not names:
        return None
    values = {key: run.column(diagnostic) for key, diagnostic in names.items()}
    state = {key: float(column[number]) for key, column in values.items()}
    if not np.isfinite(list(state.values())).all():
        return None
    added = values["net"] + values.get("interior", 0.0)
    found: dict[str, Any] = {"interior": None, "lacking": None, "closes": None} | state
    if untold := _untold(run, number, added, restless):
        return found | {"untold": untold}
    begin, end = float(added[number - 1]), float(added[number])
    lacking, total = change - (begin + end) / 2, content["factor"] * run.column(f"{name}_mean")[number]
    allowed = max(abs(end - begin) / 2, CLOSED * (state["gain"] - state["loss"]) / 2, ROUNDING * abs(total))
    return found | {"lacking": lacking, "closes": bool(abs(lacking) <= allowed), "untold": ""}


def _diagnostics(content: dict[str, Any]) -> list[str]:
    """Those of what changes a content; none in runs of an earlier format."""
    surface = content.get("surface", ())
    return [*surface, content["interior"]] if surface and content["interior"] else list(surface)


def _untold(run: RunData, number: int, added: np.ndarray, restless: str) -> str:
    """Why the fluxes at the two ends of an evaluation say nothing of those between; "" where they do."""
    if run.header["map"].get("cycle_steps"):
        return "the forcing has seasons"
    if number == 0 or not run.direct or not np.isfinite(added[number - 1]):
        return restless or "the fluxes at the beginning of the evaluation are not known"
    return restless


def budget_words(name: str, budget: dict[str, Any]) -> str:
    """temp: −0.012 K per century, heat −0.00623 W m⁻², through the surface −0.00621 W m⁻², gaining 4.84 and losing
    4.85: it closes within 2.1 × 10⁻⁵ W m⁻²"""
    drift = f"{name}: {words.number(budget['per_century'])} {budget['units']}".rstrip() + " per century"
    if budget["content"] is None:
        return drift
    units = budget["flux_units"]
    drift += f", {budget['content']} {words.number(budget['flux'])} {units}"
    return drift if budget["surface"] is None else f"{drift}{_surface_words(budget['surface'], units)}"


def _surface_words(surface: dict[str, Any], units: str) -> str:
    net, gain, loss = (words.number(value) for value in (surface["net"], surface["gain"], -surface["loss"]))
    found = f", through the surface {net} {units}, gaining {gain} and losing {loss}"
    if surface["interior"] is not None:
        found += f", from sources within {words.number(surface['interior'])} {units}"
    lacking = surface["lacking"]
    if lacking is None:
        return f"{found} at that moment: whether it closes is not told, as {surface['untold']}"
    if surface["closes"]:
        return f"{found}: it closes within {words.number(abs(lacking), 2)} {units}"
    return (
        f"{found}: it does not close: {words.number(lacking)} {units} come otherwise, by a forcing that changes within "
        "the year, or by what else the setup does"
    )
