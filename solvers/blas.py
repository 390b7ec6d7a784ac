"""The processor, for an OpenBLAS that is older than it.

OpenBLAS takes an Intel processor that it does not know for a Pentium 4 (core type Prescott). That of a distribution,
which PETSc's libraries load, is years old: MUMPS then takes two to three times as long (the extended operator of Veros'
`acc_basic`, 54,193 unknowns: 11 instead of 4 s). NumPy and SciPy bring newer ones of their own.
"""

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

VARIABLE = "OPENBLAS_CORETYPE"  # read when the library is loaded
CORES = {"SkylakeX": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}, "Haswell": {"avx2", "fma"}}  # best first


def name_processor(
    environment: MutableMapping[str, str] = os.environ, file: Path = Path("/proc/cpuinfo"), loaded: str = "petsc4py"
) -> None:
    """Tell OpenBLAS, if it is loaded after this, whose instructions an Intel processor has.

    Does nothing where the user has said so already, where `loaded` is imported already, on other processors, and where
    the system does not say what it has.
    """
    if VARIABLE in environment or loaded in sys.modules:
        return
    try:
        lines = dict(line.split(":", 1) for line in file.read_text().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return
    known = {name.strip(): value.split() for name, value in lines.items()}
    if known.get("vendor_id") != ["GenuineIntel"]:
        return
    for core, needed in CORES.items():
        if needed <= set(known.get("flags", [])):
            environment[VARIABLE] = core
            return
