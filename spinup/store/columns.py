"""The numbers measured of each evaluation: from the journal's records to columns with units."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from spinup.maps import Diagnostic
from spinup.state import Layout
from spinup.store.journal import Record

INTERVAL = ("low", "high")  # suffixes of the ends of an estimate's interval

#: Units and long names of the columns that every run has.
COMMON: dict[str, dict[str, str]] = {
    "evaluation": {"units": "1", "long_name": "number of the evaluation of the fixed-point map"},
    "model_years": {"units": "year", "long_name": "model years integrated so far, those of all members"},
    "wall_seconds": {"units": "s", "long_name": "wall time of the evaluation"},
    "elapsed_seconds": {
        "units": "s",
        "long_name": "wall time since the evaluation before, of operators, solves and the store, too",
    },
    "drift": {
        "units": "year-1",
        "long_name": "weighted rms of T(x) - x per model year, in units of the variables' scales",
    },
    "error_estimate": {
        "units": "1",
        "long_name": "estimated weighted rms distance to equilibrium, in units of the variables' scales",
    },
    "evaluation_years": {"units": "year", "long_name": "model years of the evaluation itself, of a single member"},
    "estimate_years": {"units": "year", "long_name": "model years that the estimate took beside those of the run"},
    "spread": {"units": "1", "long_name": "1 where a change was spread over the evaluation: no residual then"},
    "tangent": {
        "units": "1",
        "long_name": "1 for a derivative: the state is the same before and after",
    },
    "failed": {"units": "1", "long_name": "1 where the model failed"},
    "direct": {"units": "1", "long_name": "1 for direct integration before the method began"},
}


def columns(records: list[Record], diagnostics: list[str], variables: list[str]) -> dict[str, np.ndarray]:
    """The numbers measured of each evaluation, (evaluations,) each, by the name they have in the store."""

    def column(*keys: str, default: float = np.nan) -> np.ndarray:
        values = []
        for record in records:
            value: Any = record
            for key in keys:
                value = value.get(key) if value is not None else None
            values.append(default if value is None else value)
        return np.asarray(values, dtype="f8")

    found = {name: column(name) for name in ("model_years", "wall_seconds", "elapsed_seconds", "drift")}
    between = [record.get("error_between") or (None, None) for record in records]
    ends = {
        suffix: np.asarray([np.nan if pair[end] is None else pair[end] for pair in between], dtype="f8")
        for end, suffix in enumerate(INTERVAL)
    }

    def estimate(name: str, key: str) -> None:
        found[name] = column("error", key)
        for suffix, factor in ends.items():
            found[f"{name}_{suffix}"] = factor * found[name]

    estimate("error_estimate", "all")
    found["evaluation_years"] = column("years")
    found["estimate_years"] = column("estimate_years", default=0.0)
    found["spread"] = np.asarray([bool(record.get("spread")) for record in records], dtype="i1")
    found["evaluation"] = np.arange(len(records))
    found["tangent"] = np.asarray([bool(record.get("tangent")) for record in records], dtype="i1")
    found["failed"] = np.asarray([record["failure"] is not None for record in records], dtype="i1")
    found["direct"] = np.asarray([record["phase"] == "direct" for record in records], dtype="i1")
    for name in variables:
        found[f"{name}_residual"] = column("residual", name)
        estimate(f"{name}_error_estimate", name)
        found[f"{name}_mean"] = column("mean", name)
    for name in diagnostics:
        found[name] = column("diagnostics", name)
    return found


def column_attrs(layout: Layout, diagnostics: Mapping[str, Diagnostic], years: float) -> dict[str, dict[str, str]]:
    """Units and long names of `columns`."""
    attrs = dict(COMMON)
    for v in layout.variables:
        attrs[f"{v.name}_residual"] = {
            "units": v.units,
            "long_name": f"volume-weighted rms of T(x) - x of {v.name} ({years:g} model years)",
        }
        attrs[f"{v.name}_error_estimate"] = {
            "units": v.units,
            "long_name": f"estimated volume-weighted rms distance of {v.name} to the equilibrium being approached",
        }
        attrs[f"{v.name}_mean"] = {"units": v.units, "long_name": f"volume mean of {v.name} after the evaluation"}
    for name in [name for name in attrs if name.endswith("error_estimate")]:
        for suffix in INTERVAL:
            attrs[f"{name}_{suffix}"] = attrs[name] | {
                "long_name": f"{suffix} end of the interval of the {attrs[name]['long_name']}"
            }
    for name, diagnostic in diagnostics.items():
        attrs[name] = {"units": diagnostic.units, "long_name": diagnostic.long_name}
    return attrs
