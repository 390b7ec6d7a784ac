"""On every rank: the operator of a map that is split, by a step or a tendency, is the rows of that of one process; and
runs with it, into folders of OUT: python stepping_program.py OUT. With --begin OUT these alone, for PART years, and
with --resume OUT from there."""

import os
import sys
from pathlib import Path

import spinup
from spinup.distributed import world
from spinup.distributed.operators import Stretched
from spinup.store.operators import parts_of

HERE = Path(__file__).parent
RUNS = {
    "ptc": ("step", "ptc", {}),
    "auto": ("step", "auto", {}),
    "anderson": ("step", "anderson", {"preconditioned": True}),
    "snes": ("tendency", "snes", {"kind": "newtonls", "preconditioned": True}),
    "mean": ("step", "mean", {}),
    "newton": ("tendency", "newton", {}),
    "newton-jvp": ("jvp", "newton", {"preconditioned": False, "products": "tangent"}),
}
PART = 9  # years


def main(stage: str, out: Path) -> None:
    case = spinup.load_case(str(HERE / "stepping_ring.py"))
    if not stage:
        check_operators(case)
    for name, (known, method, settings) in RUNS.items():
        os.environ["SPINUP_TEST_KNOWN"] = known
        if stage == "--resume":
            spinup.resume(out / name, budget=case.budget)
        elif stage == "--begin":
            kept = {"checkpoint_every": 2}
            spinup.run(case, out=out / name, method=method, settings=settings, store=kept, budget=PART)
        else:
            spinup.run(case, out=out / name, method=method, settings=settings)


def check_operators(case: spinup.Case) -> None:
    ranks = world()
    for known in ("step", "tendency"):
        os.environ["SPINUP_TEST_KNOWN"] = known
        model, alone = case.build(), case.build(parted=False)
        operator, wanted = model.operator(model.start()), alone.operator(alone.start())
        plain, parts = parts_of(operator)
        expected = parts_of(wanted)[1]
        assert plain == parts_of(wanted)[0]
        if ranks.size > 1:
            stretched = Stretched(model.places, ranks)
            parts, expected = stretched.of(parts), expected.rows(stretched.mine)
            assert abs(stretched.back(parts).matrices["matrix"].own - operator.matrix.own).max() == 0
        assert abs(parts.matrices["matrix"] - expected.matrices["matrix"]).max() < 1e-9
        assert model.operator_years == alone.operator_years


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[2:] else "", Path(sys.argv[-1]))
