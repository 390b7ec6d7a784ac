"""The 4 degree global ocean: how far from equilibrium direct integration and `auto` say that they are, year by year.

    spinup fetch-forcing global-4deg           # or idealised: --synthetic forcing; export SPINUP_FORCING=forcing
    spinup run global-4deg --method picard --budget "30 years" --tolerance 1e-9 --out runs/global-direct
    spinup run global-4deg --budget "25 years" --out runs/global-auto                     # an hour or more
    python -m benchmarks.global_ocean runs/global-direct runs/global-auto                 # results/global-4deg.json

The true error is not known: the direct run that would show it takes thousands of years.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import spinup

RESULTS = Path(__file__).parent / "results" / "global-4deg.json"
FIGURES = ("drift", "temp_error_estimate", "salt_error_estimate")


def rows_of(run: Any, method: str) -> list[dict[str, Any]]:
    """Figures of each evaluation that has an estimate; wall: seconds in the model until then."""
    wall = np.cumsum(run.wall_seconds.values)
    found = []
    for i, years in enumerate(run.model_years.values):
        figures = {name: float(run[name].values[i]) for name in FIGURES}
        if all(np.isfinite(value) for value in figures.values()):
            rounded = {name: float(f"{value:.3g}") for name, value in figures.items()}
            found.append({"method": method, "model_years": float(f"{years:.4g}"), **rounded, "wall": round(wall[i])})
    return found


def main(*folders: str) -> None:
    rows: list[dict[str, Any]] = []
    for folder in folders:
        run = spinup.open(folder)
        header = json.loads(run.attrs["header"])
        rows += rows_of(run, header["method"])
        described = header["map"]["veros_settings"]["description"]
    found = {"case": "global-4deg", "date": header["created"][:10], "git": header["git"], "description": described}
    RESULTS.write_text(json.dumps(found | {"rows": rows}, indent=1) + "\n")
    print(*rows, sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
