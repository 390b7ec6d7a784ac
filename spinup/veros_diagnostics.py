"""Scalars of a Veros state: energy, tracer content and what changes it, barotropic transport, overturning."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spinup.maps import Content, Diagnostic

HEAT_CAPACITY = 3991.86795711963  # J kg-1 K-1, TEOS-10
SV = 1e6  # m3 s-1

DIAGNOSTICS = {
    "kinetic_energy": Diagnostic("J", "kinetic energy of the ocean"),
    "heat_content": Diagnostic("J", "heat content of the ocean relative to 0 degC"),
    "salt_content": Diagnostic("kg", "salt content of the ocean"),
    "barotropic_transport": Diagnostic("1e6 m3 s-1", "range of the barotropic streamfunction"),
    "overturning_max": Diagnostic(
        "1e6 m3 s-1", "maximum of the Eulerian meridional overturning streamfunction below 500 m"
    ),
}
OVERTURNING_DEPTH = 500.0  # m; above it wind-driven cells hide the overturning


#: Veros' names of each tracer's flux through the surface, (tracer) m s-1, and of its source within, (tracer) s-1
FORCING = {"temp": ("forc_temp_surface", "temp_source"), "salt": ("forc_salt_surface", "salt_source")}


@dataclass(frozen=True)
class Over:
    """All cells, of which these are some: sums and largest values over ranks, and the rows of the whole that are here.

    total: an array's sum over ranks. largest: of a number of each. row: the first one here. rows: of the whole.
    """

    row: int
    rows: int
    total: Callable[[np.ndarray], np.ndarray] = np.asarray
    largest: Callable[[float], float] = float

    def sum(self, values: np.ndarray) -> float:
        """Of all values on all ranks."""
        return float(self.total(np.array([values.sum()]))[0])

    def by_row(self, here: np.ndarray) -> np.ndarray:
        """The sums of each row, (rows, ...), from what this rank's columns add to its own."""
        whole = np.zeros((self.rows, *here.shape[1:]))
        whole[self.row : self.row + len(here)] = here
        return self.total(whole)


def make_diagnose(variables: Any, settings: Any, tau: int, over: Over) -> Callable[[dict[str, Any]], dict[str, float]]:
    """The function from a full state (halo of 2, time level `tau`) to the values of DIAGNOSTICS.

    Only those the setup can have: without a streamfunction there is no barotropic transport.
    """
    inner = (slice(2, -2), slice(2, -2))
    dzt = np.asarray(variables.dzt)
    volume = np.asarray(variables.area_t)[inner][..., None] * dzt * np.asarray(variables.maskT)[inner]
    u_volume = np.asarray(variables.area_u)[inner][..., None] * dzt * np.asarray(variables.maskU)[inner]
    v_volume = np.asarray(variables.area_v)[inner][..., None] * dzt * np.asarray(variables.maskV)[inner]
    dx_v = (np.asarray(variables.dxt)[2:-2, None] * np.asarray(variables.cosu)[None, 2:-2])[..., None]
    section = dx_v * dzt * np.asarray(variables.maskV)[inner]
    deep = np.asarray(variables.zw) <= -OVERTURNING_DEPTH
    rho_0 = float(settings.rho_0)
    has_psi = bool(settings.enable_streamfunction)

    def diagnose(state: dict[str, Any]) -> dict[str, float]:
        temp, salt, u, v = (np.asarray(state[name])[inner][..., tau] for name in ("temp", "salt", "u", "v"))
        overturning = -np.cumsum(over.by_row((v * section).sum(axis=0)), axis=1) / SV
        values = {
            "kinetic_energy": 0.5 * rho_0 * (over.sum(u**2 * u_volume) + over.sum(v**2 * v_volume)),
            "heat_content": rho_0 * HEAT_CAPACITY * over.sum(temp * volume),
            "salt_content": 1e-3 * rho_0 * over.sum(salt * volume),
            "overturning_max": float(overturning[:, deep].max(initial=0.0)),
        }
        if has_psi:
            psi = np.asarray(state["psi"])[inner][..., tau]
            values["barotropic_transport"] = (over.largest(float(psi.max())) + over.largest(float(-psi.min()))) / SV
        return values

    return diagnose


def make_fluxes(
    variables: Any, found: Mapping[str, Content], seconds_per_year: float, over: Over
) -> Callable[[dict[str, Any]], dict[str, float]]:
    """The function from Veros' forcing (`FORCING`, with a halo of 2) to the values of the diagnostics that the contents
    of a metre of water, by tracer, name: by ocean surface, positive into the ocean."""
    inner = (slice(2, -2), slice(2, -2))
    wet = np.asarray(variables.maskT)[inner] > 0.5
    area = np.asarray(variables.area_t)[inner] * wet[..., -1]
    share, thickness = area / over.sum(area), np.asarray(variables.dzt)

    def fluxes(forcing: dict[str, Any]) -> dict[str, float]:
        values: dict[str, float] = {}
        for tracer, content in found.items():
            surface, source = FORCING[tracer]
            to_units = content.factor * seconds_per_year
            if content.surface:
                through = to_units * share * np.where(wet[..., -1], np.asarray(forcing[surface])[inner], 0.0)
                parts = (through, np.maximum(through, 0.0), np.minimum(through, 0.0))
                values |= {name: over.sum(part) for name, part in zip(content.surface, parts, strict=True)}
            if content.interior:
                made = (np.where(wet, np.asarray(forcing[source])[inner], 0.0) * thickness).sum(axis=-1)
                values[content.interior] = to_units * over.sum(share * made)
        return values

    return fluxes


def contents(density: float, seconds_per_year: float, forced: tuple[str, ...], *, sources: bool) -> dict[str, Content]:
    """Of a water column a metre deep: heat by temperature and salt by salinity, their `factor` of a change a year.

    forced: the tracers that have a flux through the surface. sources: whether there are any in the interior.
    """

    def content(tracer: str, quantity: str, units: str, factor: float) -> Content:
        net, gain, loss = (f"surface_{quantity}_{what}" for what in ("flux", "gain", "loss"))
        surface = (net, gain, loss) if tracer in forced or sources else ()
        return Content(quantity, units, factor, surface, f"interior_{quantity}_source" if sources else "")

    return {
        "temp": content("temp", "heat", "W m-2", density * HEAT_CAPACITY / seconds_per_year),
        "salt": content("salt", "salt", "kg m-2 year-1", 1e-3 * density),
    }


def available(settings: Any, found: Mapping[str, Content]) -> dict[str, Diagnostic]:
    """The diagnostics a setup with these settings can have, those that its contents name among them."""
    there = {
        name: d for name, d in DIAGNOSTICS.items() if name != "barotropic_transport" or settings.enable_streamfunction
    }
    for content in found.values():
        for name, part in zip(content.surface, ("", " where the ocean gains", " where it loses"), strict=False):
            words = f"{content.quantity} flux into the ocean{part}, mean over its whole surface"
            there[name] = Diagnostic(content.units, words)
        if content.interior:
            words = f"sources of {content.quantity} within the ocean, by its surface"
            there[content.interior] = Diagnostic(content.units, words)
    return there
