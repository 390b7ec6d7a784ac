"""The measured tables of the page "How it works": drift and error of the coarse ACC, direct and accelerated.

    spinup run acc-coarse --method picard --budget "2500 years" --tolerance 1e-9 \\
        --set store.fields_every=10 --out runs/direct            # some 40 minutes
    spinup run acc-coarse --out runs/accelerated                   # two minutes
    python benchmarks/acc_coarse_table.py runs/direct runs/accelerated

The error is the volume-weighted rms distance of temperature to the end of the direct run.
"""

import json
import sys
from pathlib import Path

import numpy as np

import spinup

YEARS_DIRECT = (1, 10, 50, 100, 200, 300, 500, 700, 1000, 2000)
YEARS_ACCELERATED = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110)
DATA = Path(__file__).parent.parent / "docs" / "data"


def table(run, years, answer):
    """Rows of year, drift in K per year, error in K (None where the field was not kept)."""
    weights = run.temp_volume.values / run.temp_volume.values.sum()
    rows = []
    for year in years:
        i = int(np.flatnonzero(np.isclose(run.model_years.values, year))[0])
        # T(x) of evaluation i is x of the next; of every tenth evaluation both are kept
        field = run.temp.values[i] if np.isfinite(run.temp.values[i]).any() else run.temp_before.values[i + 1]
        error = float(np.sqrt(np.nansum(weights * (field - answer) ** 2)))
        rows.append({"year": year, "drift": float(f"{run.drift.values[i]:.3g}"), "error": float(f"{error:.3g}")})
    return rows


def main():
    direct, accelerated = (spinup.open(path) for path in sys.argv[1:3])
    answer = direct.temp.values[-1]
    DATA.mkdir(exist_ok=True)
    for name, run, years in (("direct", direct, YEARS_DIRECT), ("anderson", accelerated, YEARS_ACCELERATED)):
        rows = table(run, years, answer)
        (DATA / f"acc_coarse_{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
        print(name, *rows, sep="\n  ")


if __name__ == "__main__":
    main()
