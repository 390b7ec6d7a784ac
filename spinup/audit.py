"""Is the end of a run an equilibrium? It is integrated on directly, as a run of its own, and watched."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from solvers import SingularMatrix
from solvers.decay import predicted_residuals
from solvers.ritz import slowest_rates
from spinup.case import Case
from spinup.errors import SpinupError, UsageError
from spinup.report.audit_verdict import Kind, Rates, Seen, decay_words, kind_of, sentence
from spinup.report.budgets import budgets
from spinup.report.equilibria import changed_columns
from spinup.report.reading import RunData, read_run, weighted_rms
from spinup.report.summary import error_estimates
from spinup.run import Progress, resume, run, stored_case
from spinup.store.header import read_header
from spinup.store.operators import newest_estimate_operator
from spinup.trajectory import is_noise, period

RATES = "slowest_rates"  # attribute of the audit's run, a period: finding them may take a minute, reading them no time
FORESEEN = "foreseen"  # likewise, what the linearised step says of the audit's years
MODES = 4  # whose rates are found

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
    budgets: by variable, what its state still gains or loses (`spinup.report.budgets.budgets`). rigid_lid: whether its
    volume of water cannot change.
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
    budgets: dict[str, dict[str, Any]]
    rigid_lid: bool
    kind: Kind
    verdict: str

    @property
    def decay_words(self) -> str:
        """What became of the drift, and what should have, in words; "" where nothing said what should have."""
        return decay_words(self.decay, {name: said["decay"] for name, said in self.foreseen.items()})

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"path": str(self.path), "kind": self.kind.value}


def audit(path: str | Path, *, years: float = 20, progress: Progress | None = None) -> Audit:
    """Integrate the end of the run at `path` directly for `years` model years, into PATH-audit, and judge it.

    An audit that was stopped goes on. Raises UsageError where the run has no end to go on from.
    """
    path = Path(path)
    header, on = read_header(path), beside(path, "audit")
    with stored_case(header, None, progress or Progress()) as case:
        integrate_on(case, on, path, years, progress)
    rates, said = slowest(on), foreseen(on)
    zarr.open_group(on, mode="r+", use_consolidated=False).attrs.update(
        {RATES: [[rate.real, rate.imag] for rate in rates], FORESEEN: said}
    )
    return judge(path, read_run(path), read_run(on), rates, said)


def beside(path: Path, what: str) -> Path:
    """Where a run that is made of the run at `path` goes."""
    return path.with_name(f"{path.name}-{what}")


def integrate_on(case: Case, on: Path, start: Path, years: float, progress: Progress | None) -> None:
    """Direct integration from the end of the run at `start` to `years` model years, in the run `on`; one that is there
    goes on. Raises UsageError where `on` is another run."""
    if (on / "zarr.json").is_file():
        if read_header(on).start != str(start):
            raise UsageError(f"{on} does not begin at the end of {start}: move it away")
        resume(on, case=case, budget=years, progress=progress)
        return
    run(
        case,
        out=on,
        method="picard",
        settings={},
        budget=years,
        tolerance=1e-300,
        start=start,
        start_periods=0,
        progress=progress,
    )


def found(path: Path) -> Audit | None:
    """The audit that was made of the run at `path`, as far as it went; None where there is none to read."""
    on = beside(path, "audit")
    try:
        if Path(read_header(on).start).name != path.name:
            return None
        after = read_run(on)
        rates = tuple(complex(*parts) for parts in after.data.attrs.get(RATES, ()))
        return judge(path, read_run(path), after, rates, after.data.attrs.get(FORESEEN, {}))
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
    along = {}
    for name, part in after.parts.items():
        weights = after.volume(name)[after.volume(name) > 0]

        def rms(values: np.ndarray, weights: np.ndarray = weights) -> float:
            return float(np.sqrt(np.average(values**2, weights=weights)))

        if begun := rms(first[part]):
            along[name] = {"moved": rms(residuals[:, part].sum(axis=0)), "decay": rms(residuals[-1, part]) / begun}
    return along


def judge(
    path: Path, before: RunData, after: RunData, rates: tuple[complex, ...] = (), said: Foreseen | None = None
) -> Audit:
    """What the run `after`, from the end of `before`, says of it, the rates, a period, of its slowest modes, and what
    its linearised step said of those years. Raises UsageError where one has no state."""
    if before.last_good is None or after.last_good is None:
        raise UsageError(f"{before.name if before.last_good is None else after.name} has no state to judge")
    moved = {}
    for name in before.variables:
        here, there = before.end(name), after.end(name)
        if here is None or there is None:
            raise UsageError(f"the fields of {name} at the end of {path} or of its audit cannot be read")
        moved[name] = weighted_rms(there - here, before.volume(name))
    estimates = error_estimates(before) if before.estimates_by_operator else {}
    error = {name: estimates[name]["last"] if name in estimates else None for name in before.variables}
    drifts = after.drift[np.isfinite(after.drift)]
    if not drifts.size:
        raise UsageError(f"{after.name} has no drift to judge by")
    states = _states(after)
    seen = Seen(
        moved=moved,
        error=error,
        drift=(float(drifts[0]), float(drifts[-1])),
        years=float(after.model_years[-1]),
        rates=tuple((rate.real / after.years, rate.imag / after.years) for rate in rates),
        failed=bool(after.failed.any()),
        cycle=None if (back := period(states)) is None else back * after.years,
        noise=is_noise(states),
        floor=before.outcome == "floor",
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
        budgets=budgets(after),
        rigid_lid=after.rigid_lid,
        kind=kind,
        verdict=sentence(kind, seen),
    )


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
