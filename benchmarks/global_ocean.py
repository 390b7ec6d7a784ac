"""The 4 degree global ocean: how far from equilibrium direct integration and `auto` say that they are, year by year.

    spinup fetch-forcing global-4deg           # or idealised: --synthetic forcing; export SPINUP_FORCING=forcing
    spinup run global-4deg --method picard --budget "20 years" --tolerance 1e-9 --out runs/global-direct
    spinup run global-4deg --start runs/global-direct --start-periods 0 --budget "60 years" --out runs/global-auto
    spinup run global-4deg --method picard --start runs/global-auto --start-periods 0 --budget "10 years" \
        --tolerance 1e-9 --out runs/global-after
    spinup resume runs/global-direct --budget "40 years"
    python -m benchmarks.global_ocean runs/global-direct runs/global-auto runs/global-after  # results/global-4deg.json

Model years are those since the set-up's initial state. What `auto` came to is integrated on directly, to see it settle.
The true error is not known: the direct run that would show it takes thousands of years.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import spinup
from spinup.run import OWN_START

RESULTS = Path(__file__).parent / "results" / "global-4deg.json"
YEARS = 20.0  # of direct integration before the others
FIGURES = ("drift", "temp_error_estimate", "salt_error_estimate")
SOUTHERN = -64.0, -40.0  # degrees north, between which the circumpolar current is


def rows_of(run: Any, method: str, before: float) -> list[dict[str, Any]]:
    """Figures of each evaluation that has an estimate; wall: seconds until then, operators and solves included,
    None for runs from before these were kept. before: model years."""
    wall = np.cumsum(run.elapsed_seconds.values)
    found = []
    for i, years in enumerate(run.model_years.values):
        figures = {name: float(run[name].values[i]) for name in FIGURES}
        if all(np.isfinite(value) for value in figures.values()):
            rounded = {name: float(f"{value:.3g}") for name, value in figures.items()}
            total = float(f"{before + years:.4g}")
            seconds = round(wall[i]) if np.isfinite(wall[i]) else None
            row = {"method": method, "model_years": total, **rounded, "wall": seconds}
            found.append(row | temperature_drift(run, i))
    return found


def temperature_drift(run: Any, i: int) -> dict[str, float]:
    """The rms of how temperature changed in an evaluation, K a year, of all the ocean and without the latitudes of the
    circumpolar current: its root is of the squares over the same volume."""
    change = (run.temp.isel(evaluation=i) - run.temp_before.isel(evaluation=i)) / float(run.evaluation_years[i])
    squares = change**2 * run.temp_volume / run.temp_volume.sum()
    south, north = SOUTHERN
    elsewhere = squares.where((run.yt < south) | (run.yt > north))
    parts = {"temp_drift": squares, "temp_drift_elsewhere": elsewhere}
    return {name: float(f"{float(part.sum()) ** 0.5:.3g}") for name, part in parts.items()}


def main(*folders: str) -> None:
    rows: list[dict[str, Any]] = []
    total = YEARS
    for folder in folders:
        run = spinup.open(folder)
        header = json.loads(run.attrs["header"])
        if header["start"] == OWN_START:
            rows += rows_of(run, "direct", 0.0)
        else:
            rows += rows_of(run, "auto" if header["method"] == "auto" else "direct after auto", total)
            total += float(run.model_years[-1])
        described = header["map"]["veros_settings"]["description"]
    found = {"case": "global-4deg", "date": header["created"][:10], "git": header["git"], "description": described}
    RESULTS.write_text(json.dumps(found | {"rows": rows}, indent=1) + "\n")
    print(*rows, sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
