"""Run the ring by every method that needs no operator, in one start of Python: mpiexec -n N python ring_program.py OUT;
with --begin OUT for PART years, and with --resume OUT from there.

METHODS are also what tests/test_ranks.py goes through.
"""

import sys
from pathlib import Path

METHODS = {
    "picard": ("picard", {}, 30),
    "anderson": ("anderson", {"depth": 10}, 150),
    "anderson-type-1": ("anderson", {"depth": 10, "type": 1}, 150),
    "ngmres": ("ngmres", {}, 150),
    "extrapolation": (
        "extrapolation",
        {"dimension": 4, "wait": 2},
        150,
    ),  # of degree ten it enlarges rounding 1e8 times
    "snes-anderson": ("snes", {"options": "-snes_anderson_m 10"}, 150),
    "snes-ngmres": ("snes", {"kind": "ngmres"}, 150),
    "mean": ("mean", {}, 30),
    "auto": ("auto", {}, 150),
}
TOLERANCE, PART = 1e-10, 17


def main(stage: str, out: Path) -> None:
    import spinup

    case = spinup.load_case(str(Path(__file__).with_name("ring.py")))
    for name, (method, settings, budget) in METHODS.items():
        run = out / name
        if stage == "--resume":
            spinup.resume(run, budget=budget)
            continue
        kept = {"checkpoint_every": 5} if stage == "--begin" else {}
        years = PART if stage == "--begin" else budget
        spinup.run(case, out=run, method=method, settings=settings, store=kept, budget=years, tolerance=TOLERANCE)


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[2:] else "", Path(sys.argv[-1]))
