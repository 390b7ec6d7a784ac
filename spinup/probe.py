"""Is the end of a run one of several equilibria? Its convection is put a level deeper, and a level shallower.

The audited end, with the mixed water of every convecting column mixed one level deeper, or one level shallower (see
`spinup.convection`), is integrated on directly, as a run of its own beside the audit. The slowest modes of an ocean
take centuries to decay, so where such a state is after some decades says little of where it goes. That is foreseen:

    p = x - P^-1 r,   r = T(x) - x

(`solvers.error_estimate`). In the basin of the audited end its p comes back at once, to what the linearised step is
worth; on its way to another equilibrium it stays off.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from solvers import SingularMatrix
from solvers.error_estimate import tendency_inverse
from spinup.convection import convecting, mix_deeper, mix_shallower
from spinup.errors import SpinupError, UsageError
from spinup.estimate import least_rate
from spinup.maps import FixedPointMap
from spinup.report import words
from spinup.report.equilibria import NEAR, changed_columns
from spinup.report.reading import RunData, read_run
from spinup.report.rung import NEUTRAL, rung, upward
from spinup.run import Change
from spinup.state import State
from spinup.store.header import read_header
from spinup.store.operators import newest_estimate_operator

WAYS = {"deeper": mix_deeper, "shallower": mix_shallower}
DOUBT = 0.5  # share of the way to a prediction that counts as not known, as in `solvers.averaging`
CLOSING = 0.8  # a prediction that came so much nearer in half of the years is still on its way back
TOLD = 0.5  # share of a probe's own size within which its end must be known for it to have come back
RESULT = "probe"  # attribute of the probe's run: judging takes factorisations, reading no time


@dataclass(frozen=True)
class Probe:
    """What came of one probe.

    name: of WAYS. years: model years watched. mixed: columns that it mixed. By variable, volume-weighted rms in
    `units`: size, how far it put the state; apart, how far from the audited end it was at last; goes, how far apart lie
    the states that both are on their way to, and halfway, the same in the middle of the years; allowed, how far these
    may be apart in one equilibrium. The last three are empty where there is no operator. columns_changed: columns that
    are mixed to another level at last. rung: that of `spinup.report.rung` at last. back: whether it comes back, None
    where that cannot be told.
    """

    name: str
    years: float
    mixed: int
    units: dict[str, str]
    size: dict[str, float]
    apart: dict[str, float]
    goes: dict[str, float]
    halfway: dict[str, float]
    allowed: dict[str, float]
    columns_changed: int
    rung: dict[str, Any] | None
    back: bool | None


def require_columns(run: RunData) -> None:
    """Raise UsageError where the run is of a map without water columns."""
    if upward(run) is None:
        raise UsageError(
            f"{run.name} has no water columns to mix: the probe needs a first variable of three dimensions, depth "
            f"first; {run.variables[0]} has {', '.join(run.dims(run.variables[0])) or 'none'}"
        )


def change(name: str, after: RunData) -> Change:
    """What the probe of this name does to the end of the audit `after`. Raises UsageError where it has no columns."""
    require_columns(after)
    up, way = upward(after), WAYS[name]

    def of(model: FixedPointMap, state: State) -> State:
        fields, first = model.fields(state), model.layout.variables[0]
        field = np.where(first.mask, fields[first.name], 0.0)
        levels = convecting(field[up], first.mask[up], NEUTRAL)
        if not levels.any():
            raise UsageError(f"no water column of {after.name} convects at its end: there is nothing to probe")
        changed = {}
        for v in model.layout.variables:
            volume = np.where(v.mask, v.volume, 0.0)
            changed[v.name] = way(np.where(v.mask, fields[v.name], 0.0)[up], volume[up], levels)[up]
        return model.replace(state, changed)

    return Change(f"mixed one level {name} after {after.watched_years:g} model years", of)


def found(on: Path, name: str, audited: Path, after: RunData) -> Probe | None:
    """What came of the probe in the run `on`, from the end of the audit `after` at `audited`; None where it was not
    judged, or either has gone on since."""
    try:
        if Path(read_header(on).start).name != f"{audited.name}, {change(name, after).words}":
            return None
        probe = read_run(on)
        kept = Probe(**json.loads(probe.data.attrs.get(RESULT, "null") or "null") or {})
        return kept if kept.years == probe.watched_years else None
    except (SpinupError, TypeError, IndexError):  # no such run, no result or one of another version, no evaluation
        return None


def judge(name: str, on: Path, audited: Path, error: dict[str, float | None]) -> Probe | None:
    """The probe of this name in the run `on`, from the end of the audit at `audited`, the estimated errors of whose
    own end are `error`; kept with the run. None where one of the two has no state."""
    after, probe = read_run(audited), read_run(on)
    first, last = after.last_measured, probe.last_measured
    if first is None or last is None:
        return None
    here, x0, end = after.vector(first), probe.vector(0, before=True), probe.vector(last)
    if here is None or x0 is None or end is None:
        return None
    goes: dict[str, float] = {}
    halfway: dict[str, float] = {}
    allowed: dict[str, float] = {}
    home, ways = destinations(audited, after, [first]), destinations(on, probe, [last, last // 2])
    if home and ways:
        goes, halfway = (probe.rms(there - home[0]) for there in ways)
        way = probe.rms(end - ways[0])
        allowed = {v: NEAR * math.hypot(e, DOUBT * way[v]) for v, e in error.items() if e is not None}
    size, apart, columns = probe.rms(x0 - here), probe.rms(end - here), _columns(probe, x0 - here)
    changed = len(changed_columns(after, probe))
    result = Probe(
        name=name,
        years=probe.watched_years,
        mixed=columns,
        units={v: words.difference_units(probe.units(v)) for v in probe.variables},
        size=size,
        apart=apart,
        goes=goes,
        halfway=halfway,
        allowed=allowed,
        columns_changed=changed,
        rung=rung(probe),
        back=came_back(size, goes, halfway, allowed, changed / max(columns, 1)),
    )
    zarr.open_group(on, mode="r+", use_consolidated=False).attrs[RESULT] = json.dumps(asdict(result))
    return result


def came_back(
    size: dict[str, float],
    goes: dict[str, float],
    halfway: dict[str, float],
    allowed: dict[str, float],
    changed: float,
) -> bool | None:
    """True where the state goes to within `allowed` of where the audited end goes, this being little beside the probe,
    and the share of mixed columns that are at another depth is below a half; False where it goes elsewhere and is not
    closing in; None where that cannot be told."""
    if not goes or allowed.keys() != goes.keys():
        return None
    off = [v for v in goes if goes[v] > allowed[v]]
    if off:
        return False if any(goes[v] > CLOSING * halfway[v] for v in off) else None
    told = all(allowed[v] <= TOLD * size[v] or not size[v] for v in goes)
    return True if told and changed < 0.5 else None


def destinations(path: Path, run: RunData, numbers: Sequence[int]) -> list[np.ndarray]:
    """The states, (n,) each, that these evaluations of the run at `path` say it is on its way to, by its newest
    operator; none where it has no operator, or not the fields of all of them."""
    kept, found = newest_estimate_operator(path), []
    if kept is None:
        return []
    try:
        about = run.header["map"]
        has_steps = "step" not in about and kept[0].steps > 1  # a step of the operator's alone is none of the map's
        inverse = tendency_inverse(kept[0], least_rate(about.get("conserved", ()), has_steps=has_steps))
        for number in numbers:
            x, r = run.vector(number, before=True), run.residual_vector(number)
            if x is None or r is None:
                return []
            found.append(x - inverse(r))
    except SingularMatrix:
        return []
    return found


def _columns(run: RunData, x: np.ndarray) -> int:
    """How many water columns of the first variable a vector is not zero in."""
    name = run.variables[0]
    field = np.zeros(run.volume(name).shape)
    field[run.volume(name) > 0] = x[run.parts[name]]
    return int((np.abs(field) > 0).any(axis=0).sum())
