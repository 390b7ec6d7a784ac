"""Is the end of a run an equilibrium? It is integrated on directly, as a run of its own, and watched."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from solvers import SingularMatrix
from solvers.ritz import slowest_rates
from spinup.errors import SpinupError, UsageError
from spinup.report.equilibria import NEAR, changed_columns
from spinup.report.reading import RunData, read_run, weighted_rms
from spinup.report.summary import error_estimates
from spinup.run import Progress, resume, run, stored_case
from spinup.store.header import read_header
from spinup.store.operators import newest_estimate_operator

LEAVING = 1.5  # growth of the drift that says a state leaves where it is
RATES = "slowest_rates"  # attribute of the audit's run, a period: finding them may take a minute, reading them no time
MODES = 4  # whose rates are found
NEUTRAL_RATE = 1e-5  # a model year, slower than which nothing in an ocean decays


@dataclass(frozen=True)
class Audit:
    """What was seen.

    moved: rms distance of each variable over the years, in its units. error: the estimate at the run's end, None where
    there is none but a lower bound. drift: rms of T(x) - x per model year of the first and the last year watched.
    columns_changed: water columns whose mixed depth, from the surface, is another than before.
    rates: of the slowest modes of the step at the audit's end, linearised, with the circulation where its balance is
    known; (real, imaginary) parts a model year, the least damped first. Empty where there is no operator.
    """

    path: Path
    years: float
    moved: dict[str, float]
    error: dict[str, float | None]
    drift: tuple[float, float]
    columns_changed: int
    rates: tuple[tuple[float, float], ...]
    verdict: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"path": str(self.path)}


def audit(path: str | Path, *, years: float = 20, progress: Progress | None = None) -> Audit:
    """Integrate the end of the run at `path` directly for `years` model years, into PATH-audit, and judge it.

    An audit that was stopped goes on. Raises UsageError where the run has no end to go on from.
    """
    path = Path(path)
    header, on = read_header(path), path.with_name(path.name + "-audit")
    with stored_case(header, None, progress or Progress()) as case:
        if (on / "zarr.json").is_file():
            if read_header(on).start != str(path):
                raise UsageError(f"{on} is no audit of {path}: move it away")
            resume(on, case=case, budget=years, progress=progress)
        else:
            run(
                case,
                out=on,
                method="picard",
                settings={},
                budget=years,
                tolerance=1e-300,
                start=path,
                start_periods=0,
                progress=progress,
            )
    rates = slowest(on)
    zarr.open_group(on, mode="r+", use_consolidated=False).attrs[RATES] = [[rate.real, rate.imag] for rate in rates]
    return judge(path, read_run(path), read_run(on), rates)


def found(path: Path) -> Audit | None:
    """The audit that was made of the run at `path`, as far as it went; None where there is none to read."""
    on = path.with_name(path.name + "-audit")
    try:
        if Path(read_header(on).start).name != path.name:
            return None
        after = read_run(on)
        rates = tuple(complex(*parts) for parts in after.data.attrs.get(RATES, ()))
        return judge(path, read_run(path), after, rates)
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


def judge(path: Path, before: RunData, after: RunData, rates: tuple[complex, ...] = ()) -> Audit:
    """What the run `after`, from the end of `before`, says of it, and the rates, a period, of its slowest modes. Raises
    UsageError where one has no state."""
    if before.last_good is None or after.last_good is None:
        raise UsageError(f"{before.name if before.last_good is None else after.name} has no state to judge")
    moved = {}
    for name in before.variables:
        here, there = before.end(name), after.end(name)
        if here is None or there is None:
            raise UsageError(f"the fields of {name} at the end of {path} or of its audit cannot be read")
        moved[name] = weighted_rms(there - here, before.volume(name))
    changed = len(changed_columns(before, after))
    estimates = error_estimates(before) if before.estimates_by_operator else {}
    error = {name: estimates[name]["last"] if name in estimates else None for name in before.variables}
    drifts = after.drift[np.isfinite(after.drift)]
    if not drifts.size:
        raise UsageError(f"{after.name} has no drift to judge by")
    drift = (float(drifts[0]), float(drifts[-1]))
    years = float(after.model_years[-1])
    a_year = tuple((rate.real / after.years, rate.imag / after.years) for rate in rates)
    verdict = f"{_verdict(moved, error, drift, years)}{slowest_words(a_year)}"
    return Audit(path, years, moved, error, drift, changed, a_year, verdict)


def slowest_words(rates: tuple[tuple[float, float], ...]) -> str:
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


def _verdict(moved: dict[str, float], error: dict[str, float | None], drift: tuple[float, float], years: float) -> str:
    """In a sentence."""
    if drift[1] > LEAVING * drift[0]:
        return "not an equilibrium: integrated on, the state leaves where it is, ever faster"
    far = [name for name, distance in moved.items() if (limit := error[name]) is not None and distance > NEAR * limit]
    if far:
        return (
            f"not there yet, or the estimate was too small: {', '.join(far)} moved on by more than its estimated error"
        )
    if all(limit is None for limit in error.values()):
        return f"its drift does not grow, but how far it has to go is not known: {years:g} years do not say"
    return "an equilibrium, stable as far as was seen: integrated on, the state stayed within twice its estimated error"
