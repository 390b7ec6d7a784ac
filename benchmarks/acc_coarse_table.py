"""The measured tables of the page "How it works": drift and error of the coarse ACC, direct and accelerated.

    spinup run acc-coarse --method picard --budget "2500 years" --tolerance 1e-9 \\
        --set store.fields_every=10 --out runs/direct            # some 40 minutes
    spinup run acc-coarse --out runs/anderson                      # a minute or two
    spinup run acc-coarse --method ptc --budget "60 years" --out runs/ptc
    python benchmarks/acc_coarse_table.py runs/direct runs/anderson runs/ptc

The error is the volume-weighted rms distance of temperature to the end of the direct run.
"""

import json
import sys
from pathlib import Path

import numpy as np

import spinup

YEARS = (1, *range(10, 2001, 10))
DATA = Path(__file__).parent.parent / "docs" / "data"


def table(run, answer, numbers):
    """Rows of year, drift in K per year, error in K of the given evaluations."""
    weights = run.temp_volume.values / run.temp_volume.values.sum()
    rows = []
    for i in numbers:
        # T(x) of evaluation i is x of the next under direct integration: of every tenth evaluation both are kept
        field = run.temp.values[i] if np.isfinite(run.temp.values[i]).any() else run.temp_before.values[i + 1]
        error = float(np.sqrt(np.nansum(weights * (field - answer) ** 2)))
        year = float(f"{run.model_years.values[i]:.4g}")
        rows.append({"year": year, "drift": float(f"{run.drift.values[i]:.3g}"), "error": float(f"{error:.3g}")})
    return rows


def main():
    direct, anderson, ptc = (spinup.open(path) for path in sys.argv[1:4])
    answer = direct.temp.values[-1]
    DATA.mkdir(exist_ok=True)
    chosen = {
        "direct": (direct, [y - 1 for y in YEARS if y <= direct.sizes["evaluation"]]),
        "anderson": (anderson, [y - 1 for y in YEARS if y <= anderson.sizes["evaluation"]]),
        "ptc": (ptc, range(ptc.sizes["evaluation"])),
    }
    for name, (run, numbers) in chosen.items():
        rows = table(run, answer, numbers)
        (DATA / f"acc_coarse_{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
        print(name, *rows, sep="\n  ")


if __name__ == "__main__":
    main()
