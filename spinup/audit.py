"""Is the end of a run an equilibrium? It is integrated on directly, as a run of its own, and watched."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from solvers import SingularMatrix
from solvers.decay import predicted_residuals
from solvers.ritz import slowest_rates
from spinup import probe, repeated
from spinup.case import Case
from spinup.errors import SpinupError, UsageError
from spinup.probe import WAYS, Probe
from spinup.report.audit_verdict import Kind, Rates, Seen, decay_words, kind_of, repeated_words, sentence
from spinup.report.budgets import budgets
from spinup.report.equilibria import changed_columns
from spinup.report.reading import RunData, read_run, weighted_rms
from spinup.report.rung import rung, rung_words
from spinup.report.summary import error_estimates
from spinup.run import Change, Progress, resume, run, stored_case
from spinup.store.header import read_header
from spinup.store.operators import newest_estimate_operator
from spinup.trajectory import is_noise, period

RATES = "slowest_rates"  # attribute of the audit's run, a period: finding them may take a minute, reading them no time
FORESEEN = "foreseen"  # likewise, what the linearised step says of the audit's years
REPEATED = "repeated"  # likewise, how far apart its first year and the same year again end
MODES = 4  # whose rates are found

PROBED = (Kind.STABLE, Kind.ONE_OF_SEVERAL, Kind.NEUTRAL)  # the kinds that a state may be put out of

Foreseen = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Audit:
    """What was seen.

    moved: rms distance of each variable over the years, in its units. error: the estimate at the run's end, None where
    there is none but a lower bound. drift: rms of T(x) - x per model year of the first and the last year watched.
    decay: by variable, the share of its first drift that the last one is.
    foreseen: by variable, what the linearised step said of `moved` and of `decay`. Empty where there is no operator.
    columns_changed: water columns whose mixed depth, from the surface, is another than before.
    rates: of the slowest modes of the step at the audit's end, linearised, with the circulation where its balance is
    known; (real, imaginary) parts a model year, the least damped first. Empty where there is no operator.
    cycle: model years after which the states come back; None where they do not.
    rung: what tells it from other equilibria (`spinup.report.rung.rung`); None where there are no water columns.
    probes: by name, what came of them (`spinup.probe`), those that were made.
    budgets: by variable, what its state still gains or loses (`spinup.report.budgets.budgets`). rigid_lid: whether its
    volume of water cannot change.
    repeated: by variable, how far apart the first period of the audit and the same one again ended, rms in its units; 0
    where the map is deterministic; None where it failed the second time. Empty where that was not tried.
    kind, verdict: what this makes the end of the run, in a word and in a sentence.
    """

    path: Path
    years: float
    moved: dict[str, float]
    error: dict[str, float | None]
    drift: tuple[float, float]
    decay: dict[str, float]
    foreseen: Foreseen
    columns_changed: int
    rates: Rates
    cycle: float | None
    rung: dict[str, Any] | None
    probes: dict[str, Probe]
    budgets: dict[str, dict[str, Any]]
    rigid_lid: bool
    repeated: dict[str, float | None]
    kind: Kind
    verdict: str

    @property
    def decay_words(self) -> str:
        """What became of the drift, and what should have, in words; "" where nothing said what should have."""
        return decay_words(self.decay, {name: said["decay"] for name, said in self.foreseen.items()})

    @property
    def repeated_words(self) -> str:
        """What came of the same period again, in words; "" where it was the same."""
        return repeated_words(self.repeated)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"path": str(self.path), "kind": self.kind.value}


def audit(path: str | Path, *, years: float = 20, probe_years: float = 0, progress: Progress | None = None) -> Audit:
    """Integrate the end of the run at `path` directly for `years` model years, into PATH-audit, and judge it. The
    years are those of each member where it is of an ensemble.

    probe_years: where it is an equilibrium, integrate on as long from its end with the convection a level deeper, into
    PATH-probe-deeper, and a level shallower, into PATH-probe-shallower; 0 for no probes.

    An audit that was stopped goes on. Raises UsageError where the run has no end to go on from, or is to be probed and
    has no water columns.
    """
    path = Path(path)
    header, on, progress = read_header(path), beside(path, "audit"), progress or Progress()
    if probe_years:
        probe.require_columns(read_run(path))
    with stored_case(header, None, progress) as case:
        integrate_on(case, on, path, years, progress)
        rates, said = slowest(on), foreseen(on)
        attrs = zarr.open_group(on, mode="r+", use_consolidated=False).attrs
        attrs.update({RATES: json.dumps([[rate.real, rate.imag] for rate in rates]), FORESEEN: json.dumps(said)})
        if REPEATED not in attrs:
            progress.note("its first period again: is the map deterministic?")
            attrs[REPEATED] = json.dumps(repeated.apart(case, on))
        seen = judge(path, read_run(path), read_run(on), rates, said)
        if probe_years and seen.kind not in PROBED:
            progress.note(f"no probe: its end is no equilibrium to be put out of ({seen.kind.value})")
        elif probe_years:
            cost = f"{len(WAYS)} probes of {probe_years:g} model years each, as direct integration goes"
            progress.note(f"{cost}: the convection of its end a level deeper, a level shallower")
            for name in WAYS:
                change = probe.change(name, read_run(on))
                there = beside(path, f"probe-{name}")
                integrate_on(case, there, on, probe_years, progress, change)
                probe.judge(name, there, on, seen.error)
            seen = judge(path, read_run(path), read_run(on), rates, said)
    return seen


def beside(path: Path, what: str) -> Path:
    """Where a run that is made of the run at `path` goes."""
    return path.with_name(f"{path.name}-{what}")


def integrate_on(
    case: Case, on: Path, start: Path, years: float, progress: Progress, change: Change | None = None
) -> None:
    """Direct integration from the end of the run at `start`, changed or not, to `years` model years of each member, in
    the run `on`; one that is there goes on, and one that went farther stays. Raises UsageError where `on` is another
    run."""
    budget = years * read_header(start).members
    if (on / "zarr.json").is_file():
        origin = str(start) if change is None else f"{start}, {change.words}"
        if Path(read_header(on).start).name != Path(origin).name:  # from another folder the same run has another path
            raise UsageError(f"{on} does not begin at the end of {origin}: move it away")
        done = read_run(on).model_years
        if done.size and done[-1] >= budget * (1 - 1e-12):
            return
        resume(on, case=case, budget=budget, progress=progress)
        return
    run(
        case,
        out=on,
        method="picard",
        settings={},
        budget=budget,
        tolerance=1e-300,
        start=start,
        start_periods=0,
        change=change,
        progress=progress,
    )


def found(path: Path) -> Audit | None:
    """The audit that was made of the run at `path`, as far as it went; None where there is none to read."""
    on = beside(path, "audit")
    try:
        if Path(read_header(on).start).name != path.name:
            return None
        after = read_run(on)
        rates = tuple(complex(*parts) for parts in json.loads(after.data.attrs.get(RATES, "[]")))
        return judge(path, read_run(path), after, rates, json.loads(after.data.attrs.get(FORESEEN, "{}")))
    except SpinupError:
        return None


def slowest(path: Path) -> tuple[complex, ...]:
    """The rates of the slowest modes, a period, by the newest operator that the run at `path` was estimated with."""
    kept = newest_estimate_operator(path)
    if kept is None or kept[0].matrix.shape[0] < MODES + 2:
        return ()
    try:
        return tuple(complex(rate) for rate in slowest_rates(kept[0], MODES))
    except (SingularMatrix, ArithmeticError):
        return ()


def foreseen(path: Path) -> Foreseen:
    """By variable, how far the direct run at `path` should have moved, rms in its units, and the share of its first
    drift that should be left, by its linearised step. Empty where there is no operator."""
    kept, after = newest_estimate_operator(path), read_run(path)
    first = after.residual_vector(0) if after.failed.size and not after.failed[0] else None
    if kept is None or first is None:
        return {}
    try:
        residuals = predicted_residuals(kept[0], first, int((~after.failed).sum()))
    except SingularMatrix:
        return {}
    begun, moved, left = after.rms(first), after.rms(residuals.sum(axis=0)), after.rms(residuals[-1])
    return {name: {"moved": moved[name], "decay": left[name] / size} for name, size in begun.items() if size}


def judge(
    path: Path, before: RunData, after: RunData, rates: tuple[complex, ...] = (), said: Foreseen | None = None
) -> Audit:
    """What the run `after`, from the end of `before`, says of it, the rates, a period, of its slowest modes, and what
    its linearised step said of those years. Raises UsageError where one has no state."""
    if before.last_good is None or after.last_good is None:
        raise UsageError(f"{before.name if before.last_good is None else after.name} has no state to judge")
    moved = {}
    for name in before.variables:
        start, end = before.end(name), after.end(name)
        if start is None or end is None:
            raise UsageError(f"the fields of {name} at the end of {path} or of its audit cannot be read")
        moved[name] = weighted_rms(end - start, before.volume(name))
    estimates = error_estimates(before) if before.estimates_by_operator else {}
    error = {name: estimates[name]["last"] if name in estimates else None for name in before.variables}
    drifts = after.drift[np.isfinite(after.drift)]
    if not drifts.size:
        raise UsageError(f"{after.name} has no drift to judge by")
    states, here, probes = _states(after), rung(after), _probes(path, after)
    seen = Seen(
        moved=moved,
        error=error,
        drift=(float(drifts[0]), float(drifts[-1])),
        years=after.watched_years,
        rates=tuple((rate.real / after.years, rate.imag / after.years) for rate in rates),
        failed=bool(after.failed.any()),
        cycle=None if (back := period(states)) is None else back * after.years,
        noise=is_noise(states),
        floor=before.outcome == "floor",
        converged=before.outcome == "converged",
        elsewhere=tuple(name for name, made in probes.items() if made.back is False),
        rung="" if here is None else rung_words(here),
    )
    kind = kind_of(seen)
    return Audit(
        path=path,
        years=seen.years,
        moved=moved,
        error=error,
        drift=seen.drift,
        decay={name: share for name in after.variables if (share := _decay(after, name)) is not None},
        foreseen=said or {},
        columns_changed=len(changed_columns(before, after)),
        rates=seen.rates,
        cycle=seen.cycle,
        rung=here,
        probes=probes,
        budgets=budgets(after, _restless(seen)),
        rigid_lid=after.rigid_lid,
        repeated=json.loads(after.data.attrs.get(REPEATED, "{}")),
        kind=kind,
        verdict=sentence(kind, seen),
    )


def _restless(seen: Seen) -> str:
    """Why one state's fluxes say nothing of a year's, in words; "" where they may."""
    if seen.cycle is not None:
        return "the state goes round"
    return "the state wanders" if seen.noise or seen.floor else ""


def _probes(path: Path, after: RunData) -> dict[str, Probe]:
    """What came of the probes that were made from the end of the audit `after` of the run at `path`."""
    seen = {name: probe.found(beside(path, f"probe-{name}"), name, beside(path, "audit"), after) for name in WAYS}
    return {name: found for name, found in seen.items() if found is not None}


def _decay(run: RunData, name: str) -> float | None:
    """The last residual of a variable as a share of the first."""
    sizes = run.column(f"{name}_residual")
    sizes = sizes[np.isfinite(sizes)]
    return float(sizes[-1] / sizes[0]) if sizes.size and sizes[0] else None


def _states(run: RunData) -> np.ndarray:
    """The states of a direct run from its start on, (periods + 1, m): distances are volume-weighted rms, each variable
    in units of the farthest it came. Those before the first evaluation that failed or was not kept."""
    rows = []
    for number in range(-1, run.failed.size):
        row = run.vector(max(number, 0), before=number < 0)
        if row is None:
            break
        rows.append(row)
    if not rows:
        return np.zeros((1, 1))
    x = np.array(rows)
    for name, part in run.parts.items():
        weights = run.volume(name)[run.volume(name) > 0]
        x[:, part] *= np.sqrt(weights / weights.sum())
        farthest = np.linalg.norm(x[:, part] - x[0, part], axis=1).max()
        x[:, part] /= farthest if farthest > 0 else 1.0
    return x
