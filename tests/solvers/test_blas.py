"""What an old OpenBLAS is told of the processor."""

import pytest

from solvers.blas import name_processor

WIDE = "avx2 fma avx512f avx512bw avx512dq avx512vl"


def told(tmp_path, text: str, loaded: str = "nothing_of_the_kind", **environment: str) -> dict[str, str]:
    (tmp_path / "cpuinfo").write_text(text)
    name_processor(environment, tmp_path / "cpuinfo", loaded)
    return environment


def processor(flags: str, vendor: str = "GenuineIntel") -> str:
    one = f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: some\nflags\t\t: fpu sse2 {flags}\n"
    return f"{one}\n{one}\n"


@pytest.mark.parametrize(("flags", "core"), [(WIDE, "SkylakeX"), ("avx2 fma", "Haswell")])
def test_an_intel_processor_by_its_instructions(tmp_path, flags, core):
    assert told(tmp_path, processor(flags)) == {"OPENBLAS_CORETYPE": core}


def test_others_and_old_ones_are_left_to_the_library(tmp_path):
    assert told(tmp_path, processor(WIDE, vendor="AuthenticAMD")) == {}
    assert told(tmp_path, processor("")) == {}
    assert told(tmp_path, "CPU implementer : 0x41\n") == {}
    environment: dict[str, str] = {}
    name_processor(environment, tmp_path / "none", "nothing_of_the_kind")
    assert environment == {}


def test_what_the_user_said_holds_and_what_is_loaded_stays(tmp_path):
    assert told(tmp_path, processor(WIDE), OPENBLAS_CORETYPE="Zen") == {"OPENBLAS_CORETYPE": "Zen"}
    assert told(tmp_path, processor(WIDE), loaded="pytest") == {}
