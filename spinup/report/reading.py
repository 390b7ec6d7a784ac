"""A run as reports and comparisons read it."""

import contextlib
import json
import re
import warnings
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr

from spinup.case import import_case, known_cases
from spinup.errors import SpinupError
from spinup.report.thinned import THINNED, open_thinned
from spinup.store.columns import COMMON, INTERVAL
from spinup.store.lock import is_locked
from spinup.store.view import open_mean, open_run


@dataclass(frozen=True, eq=False)
class RunData:
    """What a store holds, by evaluation.

    outcome: that of the run; "running" or "interrupted" where it has not ended.
    trust: whether the case as stored in the run may be imported to get at its exact answer.
    notes: what could not be read, in sentences.
    mean: the mean state and its standard error, where the run found one.
    """

    name: str
    data: xr.Dataset
    outcome: str
    trust: bool = False
    notes: list[str] = field(default_factory=list)
    mean: xr.Dataset | None = None

    @cached_property
    def header(self) -> dict[str, Any]:
        return json.loads(self.data.attrs["header"])

    @property
    def variables(self) -> list[str]:
        return list(self.data.attrs["variables"])

    @property
    def diagnostics(self) -> dict[str, dict[str, str]]:
        return {name: dict(self.data[name].attrs) for name in self.data.attrs["diagnostics"]}

    @property
    def contents(self) -> dict[str, dict[str, Any]]:
        """What variables are the densities of: `spinup.maps.Content` by name, where the map says so."""
        return json.loads(self.data.attrs.get("contents", "{}"))

    @property
    def rigid_lid(self) -> bool:
        """Whether the volume of water cannot change."""
        return bool(self.data.attrs.get("rigid_lid", 0))

    @property
    def years(self) -> float:
        """Model years of one evaluation, of a single member."""
        return float(self.header["years_per_evaluation"])

    @property
    def members(self) -> int:
        """Of an ensemble; 1 of any other map."""
        return int(self.header["map"].get("members", 1))

    @property
    def watched_years(self) -> float:
        """Model years that each member went through in a direct run."""
        return float(self.model_years[-1]) / self.members

    @property
    def direct(self) -> bool:
        """Whether the whole run is direct integration."""
        return self.header["method"] == "picard"

    def column(self, name: str) -> np.ndarray:
        """Numbers of each evaluation, (evaluations,); NaN where the model failed or an older spinup kept none."""
        if name in COMMON and name not in self.data:
            return np.full(self.data.sizes["evaluation"], np.nan)
        return np.asarray(self.data[name].values, dtype="f8")

    @cached_property
    def model_years(self) -> np.ndarray:
        return self.column("model_years")

    @cached_property
    def drift(self) -> np.ndarray:
        return self.column("drift")

    @cached_property
    def failed(self) -> np.ndarray:
        return self.column("failed") > 0

    @cached_property
    def direct_phase(self) -> np.ndarray:
        """True for direct integration before the method began."""
        return self.column("direct") > 0

    @property
    def last_good(self) -> int | None:
        """The newest evaluation that gave a state."""
        good = np.flatnonzero(~self.failed)
        return int(good[-1]) if good.size else None

    def volume(self, name: str) -> np.ndarray:
        """Cell volume, 0 on land, on the variable's grid."""
        return np.asarray(self.data[f"{name}_volume"].values, dtype="f8")

    def dims(self, name: str) -> tuple[str, ...]:
        return tuple(str(d) for d in self.data[f"{name}_volume"].dims)

    def units(self, name: str) -> str:
        return str(self.data[name].attrs.get("units", "1"))

    def long_name(self, name: str) -> str:
        return str(self.data[name].attrs.get("long_name", name)).removesuffix(" after the evaluation") or name

    def fields(self, name: str, number: int, *, before: bool = False) -> np.ndarray | None:
        """Variable after (before) an evaluation, NaN on land; None where the run no longer has it."""
        try:
            values = np.asarray(self.data[name + ("_before" if before else "")][number].values, dtype="f8")
        except Exception as error:  # zarr's codecs raise many kinds for a damaged chunk
            note = f"{self.name}: {name} of evaluation {number} cannot be read ({error})"
            if note not in self.notes:
                self.notes.append(note)
            return None
        return values if np.isfinite(values[self.volume(name) > 0]).any() else None

    def end(self, name: str) -> np.ndarray | None:
        """Variable at the end of the run."""
        return None if self.last_good is None else self.fields(name, self.last_good)

    @cached_property
    def parts(self) -> dict[str, slice]:
        """Where each variable lies in the solver's vector."""
        ends = np.cumsum([int((self.volume(name) > 0).sum()) for name in self.variables])
        begins = [0, *ends[:-1]]
        return {n: slice(int(a), int(b)) for n, a, b in zip(self.variables, begins, ends, strict=True)}

    def vector(self, number: int, *, before: bool = False) -> np.ndarray | None:
        """The solver's vector after (before) an evaluation, (n,); None where the run no longer has it."""
        parts = []
        for name in self.variables:
            if (values := self.fields(name, number, before=before)) is None:
                return None
            parts.append(values[self.volume(name) > 0])
        return np.concatenate(parts)

    def residual_vector(self, number: int) -> np.ndarray | None:
        """T(x) - x of an evaluation, (n,); None where the run no longer has it."""
        after, before = self.vector(number), self.vector(number, before=True)
        return None if after is None or before is None else after - before

    def rms(self, x: np.ndarray) -> dict[str, float]:
        """Volume-weighted rms of each variable of a vector of the solver's, (n,), in its units."""
        found = {}
        for name, part in self.parts.items():
            volume = self.volume(name)
            found[name] = weighted_rms(x[part], volume[volume > 0])
        return found

    @property
    def last_measured(self) -> int | None:
        """The newest evaluation that gave a state and a residual."""
        measured = np.flatnonzero(~self.failed & np.isfinite(self.drift))
        return int(measured[-1]) if measured.size else None

    def last_residual(self, name: str) -> np.ndarray | None:
        """T(x) - x of the last evaluation that has one, per model year, NaN on land."""
        if (last := self.last_measured) is None:
            return None
        after, before = self.fields(name, last), self.fields(name, last, before=True)
        if after is None or before is None:
            return None
        return (after - before) / (
            self.column("evaluation_years")[last] if "evaluation_years" in self.data else self.years
        )

    @property
    def estimates_by_operator(self) -> bool:
        """Whether errors were estimated with an operator of the map's; if not, by how the residual changed alone."""
        return not {"steps", "tendency"}.isdisjoint(self.header["map"])

    def error_estimate(self, name: str) -> np.ndarray | None:
        """Estimated distance of a variable to the equilibrium, (evaluations,), NaN where there was nothing to go by;
        None where there never was."""
        column = f"{name}_error_estimate"
        values = self.column(column) if column in self.data else np.array([])
        return values if np.isfinite(values).any() else None

    def interval(self, name: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Between what the distance of a variable is expected, (evaluations,) each, NaN where it has no end; None
        for a run of an earlier format."""
        ends = [f"{name}_error_estimate_{suffix}" for suffix in INTERVAL]
        return (self.column(ends[0]), self.column(ends[1])) if ends[0] in self.data else None

    @cached_property
    def errors(self) -> dict[str, np.ndarray] | None:
        """Volume-weighted rms distance of each variable's T(x) to the exact answer, (evaluations,) each; NaN
        where the fields were not kept. None where the case has no exact answer, or it can't be had."""
        return None if self.exact is None else {v: self._errors(v, exact) for v, exact in self.exact.items()}

    def last_error(self, name: str) -> np.ndarray | None:
        """Variable at the end of the run minus the exact answer, NaN on land."""
        end = self.end(name)
        return None if end is None or self.exact is None or name not in self.exact else end - self.exact[name]

    def _errors(self, name: str, exact: np.ndarray) -> np.ndarray:
        found = np.full(self.failed.shape, np.nan)
        for number in np.flatnonzero(~self.failed):
            values = self.fields(name, int(number))
            if values is not None:
                found[number] = weighted_rms(values - exact, self.volume(name))
        return found

    @cached_property
    def exact(self) -> dict[str, np.ndarray] | None:
        """The case's exact answer by variable, on the grid; None where there is none, or it can't be had.

        The case is imported only from a file of this machine that still is what the run was started with,
        unless `trust` is set: a store that came from elsewhere runs no code here.
        """
        text = self.header["case_text"]
        if self.last_good is None or text is None or "exact" not in text or not re.search(r"^CASE\b", text, re.M):
            return None  # among them a script that runs a case of its own: importing it would run it again
        file = _unchanged(self.header["case_file"], self.header["case"], text)
        if file is None and not self.trust:
            self.notes.append(
                f"{self.name}: the case's file is gone or has changed since the run; the distance to an exact answer "
                "is shown only with trust=True, which imports the case as stored in the run"
            )
            return None
        try:
            answer = _exact_of(file, text)
            if answer is None:
                return None
            found = {v: np.asarray(answer[v], dtype="f8") for v in self.variables if v in answer}
            for name, values in found.items():
                if values.shape != self.volume(name).shape:
                    raise ValueError(f"{name} has shape {values.shape}, the run {self.volume(name).shape}")
            return {name: np.where(self.volume(name) > 0, values, np.nan) for name, values in found.items()}
        except Exception as error:  # whatever a case's own code raises: the report does without
            why = f"{type(error).__name__}: {error}".replace(str(file), file.name if file else "")
            self.notes.append(f"{self.name}: the case's exact answer could not be computed ({why})")
            return None


def read_run(path: str | Path, *, trust: bool = False) -> RunData:
    """The run at `path`, also while it is being written; or what `thinned` kept of one.

    Raises UsageError or StoreError.
    """
    path = Path(path).resolve()
    if path.name.endswith(THINNED):
        data = open_thinned(path)
        return RunData(path.name.removesuffix(THINNED), data, data.attrs.get("outcome") or "interrupted")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = open_run(path, verify=False)
    notes = [str(w.message).replace(f"run {path}", path.name) for w in caught if str(path) in str(w.message)]
    running = is_locked(path / "log" / "lock")
    outcome = "running" if running else data.attrs.get("outcome") or "interrupted"
    mean = None
    with contextlib.suppress(KeyError):
        mean = open_mean(path)
    return RunData(path.name, data, outcome, trust, notes, mean)


def weighted_rms(values: np.ndarray, volume: np.ndarray) -> float:
    """Volume-weighted rms over the ocean."""
    ocean = volume > 0
    return float(np.sqrt(np.average(values[ocean] ** 2, weights=volume[ocean])))


def same_grid(a: RunData, b: RunData, name: str) -> bool:
    """Whether both runs have the variable on the same cells."""
    if name not in a.variables or name not in b.variables:
        return False
    one, other = a.volume(name), b.volume(name)
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-6, atol=0.0))


@lru_cache(maxsize=8)
def _exact_of(file: Path | None, text: str) -> dict[str, Any] | None:
    """Of the case in a file with this text, or as stored in the run. Once for all its runs: it may take a minute."""
    with TemporaryDirectory() as folder:  # the file must be there as long as the case is used
        if file is None:
            file = Path(folder) / "stored_case.py"
            file.write_text(text)
        case = import_case(file)
        return None if case.exact is None else case.exact()


def _unchanged(file: str | None, case: str, text: str) -> Path | None:
    candidates = [Path(file)] if file else []
    candidates += [p for p in (known_cases().get(case.replace("_", "-")),) if p is not None]
    for candidate in candidates:
        with contextlib.suppress(OSError, UnicodeDecodeError, SpinupError):
            if candidate.read_text() == text:
                return candidate
    return None
