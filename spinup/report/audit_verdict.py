"""What kind of a state the end of a run is, from what its direct continuation showed."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from spinup.report import words
from spinup.report.equilibria import NEAR
from spinup.report.rung import rung_words

LEAVING = 1.5  # growth of the drift that says a state leaves where it is
NEUTRAL_RATE = 1e-5  # a model year, slower than which nothing in an ocean decays
AGREES = 1.5  # factor within which a prediction came true

Rates = tuple[tuple[float, float], ...]


class Kind(StrEnum):
    """What an audit calls the end of a run."""

    STABLE = "stable equilibrium"
    ONE_OF_SEVERAL = "one of several"
    UNSTABLE = "unstable"
    NEUTRAL = "neutral direction"
    CYCLE = "limit cycle"
    FLOOR = "noise floor"
    NOT_THERE = "not there yet"
    NOT_TOLD = "not told"


@dataclass(frozen=True)
class Seen:
    """What the kind is told by.

    moved, error, drift, years, rates: those of `spinup.audit.Audit`. failed: whether the model failed on the way.
    cycle: model years after which the states come back, None where they do not. noise: whether the yearly residuals
    are noise. floor, converged: whether the run itself ended at its noise floor, at its tolerance. elsewhere: the
    probes of `spinup.probe` that went to another equilibrium. rung: that of this end, in words.
    """

    moved: dict[str, float]
    error: dict[str, float | None]
    drift: tuple[float, float]
    years: float
    rates: Rates = ()
    failed: bool = False
    cycle: float | None = None
    noise: bool = False
    floor: bool = False
    converged: bool = False
    elsewhere: tuple[str, ...] = ()
    rung: str = ""

    @property
    def within(self) -> bool:
        """Whether the run was good enough as asked and stayed so: what noise there is lies below that."""
        return self.converged and not self.far and None not in self.error.values()

    @property
    def far(self) -> list[str]:
        """Variables that moved farther than their estimated errors allow."""
        return [v for v, far in self.moved.items() if (error := self.error[v]) is not None and far > NEAR * error]


def kind_of(seen: Seen) -> Kind:
    """The kind, by one continuation alone. What was seen counts before what the linearised step says."""
    growth = seen.rates[0][0] if seen.rates else None
    first, last = seen.drift
    if seen.failed:
        return Kind.UNSTABLE
    if seen.cycle is not None:
        return Kind.CYCLE
    if seen.noise and not seen.within:
        return Kind.FLOOR
    if last > LEAVING * first:
        return Kind.UNSTABLE
    if seen.floor:
        return Kind.FLOOR
    if growth is not None and growth > NEUTRAL_RATE:
        return Kind.UNSTABLE if last > first else Kind.NOT_TOLD
    if seen.far:
        return Kind.NOT_THERE
    if growth is not None and growth > -NEUTRAL_RATE:
        return Kind.NEUTRAL
    if any(limit is None for limit in seen.error.values()):
        return Kind.NOT_TOLD
    return Kind.ONE_OF_SEVERAL if seen.elsewhere else Kind.STABLE


def sentence(kind: Kind, seen: Seen) -> str:
    """The kind and why, without a capital or a full stop."""
    years = f"{seen.years:,.4g} model years"
    match kind:
        case Kind.UNSTABLE if seen.failed:
            return "unstable: integrated on, the model failed"
        case Kind.UNSTABLE:
            return f"unstable: integrated on, the state leaves where it is, ever faster{slowest_words(seen.rates)}"
        case Kind.CYCLE:
            return (
                f"limit cycle: integrated on, the state goes round once in about {seen.cycle:,.4g} model years, as far "
                "in each round as in the one before"
            )
        case Kind.FLOOR if seen.noise:
            return (
                "noise floor: its yearly changes neither grow nor decay, and one says nothing of those long after: the "
                "state wanders about its mean"
            )
        case Kind.FLOOR:
            return "noise floor: the run ended at its own noise, and integrated on the drift does not grow"
        case Kind.NOT_THERE:
            why = f"{words.listed(seen.far)} moved on by more than twice its estimated error"
            return f"not there yet, or the estimate was too small: {why}{slowest_words(seen.rates)}"
        case Kind.NEUTRAL:
            return f"neutral direction: integrated on for {years}, the state stayed{slowest_words(seen.rates)}"
        case Kind.NOT_TOLD if seen.rates and seen.rates[0][0] > NEUTRAL_RATE:
            return f"not told: its drift does not grow{slowest_words(seen.rates)}"
        case Kind.NOT_TOLD:
            return f"not told: its drift does not grow, but how far it has to go is not known: {years} do not say"
        case Kind.ONE_OF_SEVERAL:
            away = words.listed([f"one level {way}" for way in seen.elsewhere])
            return (
                f"one of several, this one: {seen.rung}; integrated on, it stayed within twice its estimated error, "
                f"but with its convection mixed {away} it goes to another equilibrium{slowest_words(seen.rates)}"
            )
    return (
        "stable equilibrium, as far as was seen: integrated on, the state stayed within twice its estimated error"
        f"{slowest_words(seen.rates)}"
    )


def slowest_words(rates: Rates) -> str:
    """What the least damped mode does, to follow the verdict."""
    if not rates:
        return ""
    real, imaginary = rates[0]
    if abs(real) < NEUTRAL_RATE:
        return "; one direction is neutral: nothing decides where along it the state ends, a conserved total perhaps"
    swings = f", swinging once in {2 * math.pi / abs(imaginary):,.3g} years" if abs(imaginary) > abs(real) else ""
    if real > 0:
        return f"; but a mode of the linearised step grows by e in {1 / real:,.3g} model years{swings}: watch it longer"
    return f"; its slowest mode decays by e in {-1 / real:,.3g} model years{swings}"


def repeated_words(apart: dict[str, float | None]) -> str:
    """That a map is not deterministic, by how far apart one period ends when it is repeated, None where it failed; ""
    where it is."""
    known = "the map is not deterministic: one period, done twice from one state"
    if None in apart.values():
        return f"{known}, failed the second time; a run that is resumed may go another way"
    differing = [f"{name} {words.number(distance)}" for name, distance in apart.items() if distance]
    if not differing:
        return ""
    return (
        f"{known}, ended {words.listed(differing)} rms apart; no equilibrium can be known better than that, and a run "
        "that is resumed may go another way"
    )


def probe_words(probe: dict[str, Any]) -> str:
    """What came of a probe (`spinup.probe.Probe`, as a dictionary)."""
    units = probe["units"]

    def listed(distances: dict[str, float]) -> str:
        return ", ".join(f"{words.number(far)} {units[v]} of {v}".replace("  ", " ") for v, far in distances.items())

    what = f"{probe['mixed']} columns mixed one level {probe['name']}, {listed(probe['size'])} away"
    came = {True: "comes back", False: "goes elsewhere", None: "where it goes is not told"}[probe["back"]]
    found = f"{what}: {came}"
    if probe["goes"]:
        found += (
            f", to an equilibrium {listed(probe['goes'])} off where {listed(probe['allowed'])} may be the same one, by "
            f"what is foreseen after {words.years(probe['years'])}"
        )
    found += f"; {probe['columns_changed']} columns are mixed to another depth"
    return found + (f"; by then {rung_words(probe['rung'])}" if probe["rung"] else "")


def decay_words(observed: dict[str, float], predicted: dict[str, float]) -> str:
    """What became of the drift of each variable, as shares of the first, and what the linearised step says of it."""
    found = []
    for name, share in observed.items():
        if (foreseen := predicted.get(name)) is None:
            continue
        if 1 / AGREES <= share / foreseen <= AGREES:
            how = "as its linearised step says"
        else:
            how = f"{'less' if share > foreseen else 'more'} than its linearised step says"
        found.append(f"the drift of {name} went to {words.number(share)} of the first, {how}, {words.number(foreseen)}")
    return "; ".join(found)
