"""What operators of different dates of the year say of the error, from the end of a run of a case with seasons.

    python -m benchmarks.operator_dates global-4deg runs/global-auto 5    # left alone for five years before

Months are counted from the run's end on. Each row: the dates of the first and of the second half of the year, how far
the equilibrium is by them, rms by variable, and the cosine, of the first variable, with what all twelve months say, six
for each half.
"""

import sys
from typing import Any

import numpy as np

import spinup
from solvers import SingularMatrix, StepOperator
from solvers.error_estimate import tendency_inverse
from solvers.seasons import of_dates, of_seasons
from spinup.state import State
from spinup.store.view import read_state

MONTHS = 12
HALVES = {
    "all": (range(6), range(6, 12)),
    "all, from month 3 on": (range(3, 9), range(9, 15)),
    **{f"{k}; {k + 6}": ([k], [k + 6]) for k in range(3, 9)},
    **{f"{k}, {k + 3}; {k + 6}, {k + 9}": ([k, k + 3], [k + 6, k + 9]) for k in range(3)},
    **{
        f"{k}, {k + 2}, {k + 4}; {k + 6}, {k + 8}, {k + 10}": (range(k, k + 6, 2), range(k + 6, k + 12, 2))
        for k in range(4)
    },
}


def of_months(model: Any, state: State) -> tuple[list[StepOperator], np.ndarray]:
    """The operator of the begin of each month, and the residual of the year that begins at `state`."""
    month = model.cycle_steps // MONTHS
    year = model.advance(state, model.cycle_steps)
    found: dict[int, StepOperator] = {}
    begin = model.layout.pack(model.fields(state))
    for number in range(MONTHS // 2):
        for quarter, one in zip((3, 9), model.operator(state, border=True).seasons, strict=True):
            found[(number + quarter) % MONTHS] = one
        state = model.advance(state, month)
    return [found[number] for number in range(MONTHS)], model.layout.pack(model.fields(year)) - begin


def main(case: str, run: str, years: str = "0") -> None:
    model = spinup.load_case(case).build()
    state = read_state(run)
    for _ in range(int(years)):
        state = model.advance(state, model.cycle_steps)
    months, r = of_months(model, state)
    variables = model.layout.variables
    weights = [v.volume[v.mask] / v.volume[v.mask].sum() for v in variables]
    ends = np.cumsum([len(share) for share in weights])[:-1]
    whole = None
    for name, halves in HALVES.items():
        seasons = [of_dates([months[number % MONTHS] for number in half]) for half in halves]
        try:
            e = np.split(tendency_inverse(of_seasons(seasons, model.cycle_steps), 0.0)(r), ends)
        except SingularMatrix as error:
            print(f"{name}: {error}")
            continue
        scaled = [np.sqrt(share) * part for share, part in zip(weights, e, strict=True)]
        sizes = [float(np.linalg.norm(part)) for part in scaled]
        whole = scaled[0] / sizes[0] if whole is None else whole
        words = ", ".join(f"{size:.3g} {v.units}" for size, v in zip(sizes, variables, strict=True))
        print(f"{name}: {words}, cosine {whole @ scaled[0] / sizes[0]:.2f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
