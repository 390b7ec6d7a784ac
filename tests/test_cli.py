"""The command line as a user meets it: every wrong input gives one sentence, exit code 2, and touches nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from helpers import LINEAR

import spinup
from spinup.doctor import petsc_blas
from spinup.errors import UsageError
from spinup.stopping import parse_wall_time


def spinup_command(*arguments, **options):
    command = [sys.executable, "-m", "spinup", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **options)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(message: str, *arguments, **options) -> None:
    """Exit code 2, one sentence on stderr with `message` in it, no traceback."""
    done = spinup_command(*arguments, **options)
    assert done.returncode == 2, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr


# --- the good day ---


def test_run_status_resume_report_compare(tmp_path):
    run, direct = tmp_path / "run", tmp_path / "direct"
    done = spinup_command("run", LINEAR, "--budget", "20 years", "--set", "anderson.depth=4", "--out", run)
    assert done.returncode == 0, done.stderr
    assert "budget: the budget is spent, after 20 model years" in done.stdout
    assert "evaluation 19" in done.stdout
    status = json.loads(spinup_command("status", run, "--json").stdout)
    assert (status["evaluations"], status["state"], status["method"]) == (20, "budget", "anderson")
    done = spinup_command("resume", run, "--budget", "25 years", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [e["evaluation"] for e in events if e.get("event") == "evaluation"] == [20, 21, 22, 23, 24]
    assert events[-1]["outcome"] == "budget"
    assert spinup_command("run", LINEAR, "-m", "picard", "--budget", 25, "-o", direct).returncode == 0
    html = tmp_path / "report.html"
    assert spinup_command("report", run, direct, "--out", html).returncode == 0
    assert "Linear map" in html.read_text()
    compared = spinup_command("compare", run, direct)
    assert compared.returncode == 0, compared.stderr
    assert "picard" in compared.stdout
    json.loads(spinup_command("compare", run, direct, "--json").stdout)


def test_cases_and_doctor():
    names = {row["name"] for row in json.loads(spinup_command("cases", "--json").stdout)}
    assert {
        "acc-coarse",
        "acc-coarse-eke",
        "acc-coarse-salt",
        "acc-coarse-seasonal",
        "acc-coarse-wind",
        "acc",
        "ideal-age",
        "phosphorus",
    } <= names
    done = spinup_command("doctor", "--json")
    checks = {check["what"]: check for check in json.loads(done.stdout)}
    assert done.returncode == 0
    assert checks["veros"]["ok"]
    assert all(check["mend"] for check in checks.values() if not check["ok"])


@pytest.mark.parametrize(
    ("libraries", "found", "mend"),
    [
        ([("numpy.libs/libscipy_openblas64.so", "SkylakeX"), ("libopenblas.so", "Zen")], "openblas 0.3 Zen", ""),
        ([("numpy.libs/libscipy_openblas64.so", "Zen"), ("libopenblas.so", "Prescott")], "Prescott", "CORETYPE="),
        ([("numpy.libs/libscipy_openblas64.so", "Zen")], "neither OpenBLAS, BLIS nor MKL", "apt-get install"),
    ],
)
def test_doctor_judges_the_blas_that_petsc_uses_not_numpys(libraries, found, mend):
    common = {"user_api": "blas", "internal_api": "openblas", "version": "0.3"}
    check = petsc_blas([common | {"filepath": file, "architecture": name} for file, name in libraries])
    assert found in check.found
    assert mend in check.mend
    assert check.ok == (not mend)


def test_a_run_starts_from_the_end_of_another(tmp_path, linear_run):
    run = tmp_path / "run"
    spinup.run(LINEAR, out=run, start=linear_run, start_periods=0, method="picard", budget=1)
    assert spinup.open(run).drift.values[0] < 1e-5


# --- signals ---


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_which_resumes(tmp_path, linear_run, number):
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "spinup.cli", "run", str(LINEAR), "--out", str(run)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"SPINUP_TEST_SECONDS": "0.1"},
    )
    while not list(run.glob("log/00000[3-9].json")):
        time.sleep(0.02)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 5
    assert f"next: spinup resume {run}" in output
    assert json.loads(spinup_command("status", run, "--json").stdout)["state"] == "stopped"
    done = spinup_command("resume", run)
    assert done.returncode == 0, done.stderr
    assert (spinup.open(run).drift.values == spinup.open(linear_run).drift.values).all()


def test_a_run_stops_before_the_wall_time_is_over_and_resumes(tmp_path, linear_run):
    run, began = tmp_path / "run", time.monotonic()
    environment = os.environ | {"SPINUP_TEST_SECONDS": "1"}
    limit = ("--wall-time", "00:00:12")
    done = spinup_command("run", LINEAR, "--out", run, *limit, env=environment)
    assert done.returncode == 5, done.stderr
    assert time.monotonic() - began < 20  # with the start of Python
    assert "the wall-time limit of 12 s is near" in done.stdout
    assert spinup.open(run).sizes["evaluation"] >= 2
    done = spinup_command("resume", run, "--wall-time", "1 hour")
    assert done.returncode == 0, done.stderr
    assert (spinup.open(run).drift.values == spinup.open(linear_run).drift.values).all()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("01:30:00", 5400), ("1-00:00:30", 86430), ("90 minutes", 5400), ("1.5 h", 5400), (12, 12)],
)
def test_wall_times(text, seconds):
    assert parse_wall_time(text) == seconds


@pytest.mark.parametrize("text", ["soon", "5 parsecs", "-3", "0 s", "1:2:3:4", "02:05"])
def test_what_is_no_wall_time_is_named(text):
    with pytest.raises(UsageError, match="is no time: write it like 01:30:00"):
        parse_wall_time(text)


def test_a_second_signal_ends_at_once(tmp_path):
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "spinup.cli", "run", str(LINEAR), "--out", str(run)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"SPINUP_TEST_SECONDS": "2"},
    )
    while not list(run.glob("log/000001.json")):
        time.sleep(0.02)
    time.sleep(0.3)  # into the next evaluation
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 5
    assert f"next: spinup resume {run}" in errors


# --- a bad day ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "acc-coarce"], "unknown case 'acc-coarce' (did you mean 'acc-coarse'?)"),
        (["run", "nothing.py"], "case file nothing.py does not exist"),
        (["run", LINEAR, "--method", "andersen"], "unknown method 'andersen' (did you mean 'anderson'?)"),
        (["run", LINEAR, "--set", "anderson.dept=3"], "unknown setting anderson.dept (did you mean 'depth'?)"),
        (
            ["run", LINEAR, "--set", "anderson.depth=0"],
            "anderson.depth = 0: input should be greater than or equal to 1",
        ),
        (["run", LINEAR, "--set", "andersn.depth=3"], "'andersn' has no settings (did you mean 'anderson'?)"),
        (["run", LINEAR, "--set", "depth=3"], "write it like --set anderson.depth=5"),
        (["run", LINEAR, "--set", "picard.x=3"], "the method is 'anderson', not 'picard'"),
        (
            ["run", LINEAR, "--set", "store.state_every=3"],
            "unknown setting store.state_every (did you mean 'states_every'?)",
        ),
        (["run", LINEAR, "--budget", "a while"], "'a while' is not a model time"),
        (["run", LINEAR, "--budget", "-3"], "must be positive"),
        (["run", LINEAR, "--budget", "0.5"], "a budget of 0.5 model years is less than one evaluation, 1: raise it"),
        (["run", LINEAR, "--tolerance", "0"], "tolerance = '0' must be positive"),
        (["run", LINEAR, "--start", "nowhere"], "nowhere is not a run"),
        (["resume", "nowhere"], "nowhere is not a run"),
        (["status", "nowhere"], "nowhere is not a run"),
        (["report", "nowhere"], "nowhere is not a run"),
        (["compare", "nowhere", "nowhere"], "nowhere is not a run"),
    ],
)
def test_a_wrong_request_is_refused(tmp_path, arguments, message):
    refused(message, *arguments, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_like_it\n", "does not import (line 1): ModuleNotFoundError"),
        ("x = (\n", "does not import (line 1): SyntaxError"),
        ("x = 1\n", "defines no CASE"),
        (
            LINEAR.read_text().replace("np.zeros(N)", "np.full(N, np.nan)"),
            "not finite",
        ),
        (
            "import spinup\n\ndef build():\n    from spinup.veros_map import VerosMap\n"
            '    return VerosMap("acc_basic", period="100000 seconds")\n\nCASE = spinup.Case("x", "x", build)\n',
            "take 2 or 3 steps",
        ),
    ],
)
def test_a_broken_case_file(tmp_path, text, message):
    file = tmp_path / "mine.py"
    file.write_text(text)
    before = snapshot(tmp_path)
    refused(message, "run", file, "--out", tmp_path / "run", env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
    assert snapshot(tmp_path) == before


def test_a_case_that_cannot_be_built(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import spinup\n\ndef build():\n    import nothing_like_it\n\nCASE = spinup.Case('x', 'x', build)\n"
    )
    refused("case x cannot be built: ModuleNotFoundError: No module named 'nothing_like_it'", "run", file, cwd=tmp_path)


def test_a_device_that_is_not_there(tmp_path):
    environment = os.environ | {"JAX_PLATFORMS": "cuda"}
    refused("pip install 'spinup[gpu]'", "run", "acc-coarse", "--out", tmp_path / "run", env=environment)


def test_several_ranks_without_mpi4py(tmp_path, monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(UsageError, match=r"several ranks need mpi4py and MPI .*`spinup doctor` says how to get them"):
        spinup.run(LINEAR, out=tmp_path / "run")


def test_completion_knows_the_commands():
    environment = os.environ | {"_SPINUP_COMPLETE": "complete_bash", "COMP_WORDS": "spinup re", "COMP_CWORD": "1"}
    script = "import sys; sys.argv = ['spinup']; from spinup.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["resume", "report"]


def test_an_output_that_exists_is_left_alone(tmp_path, linear_run):
    before = snapshot(linear_run)
    refused(f"{linear_run} is already a run: `spinup resume {linear_run}`", "run", LINEAR, "--out", linear_run)
    assert snapshot(linear_run) == before
    (tmp_path / "notes.txt").write_text("mine")
    refused(f"{tmp_path} exists and is not empty", "run", LINEAR, "--out", tmp_path)
    assert snapshot(tmp_path) == {"notes.txt": b"mine"}


def test_a_report_never_lands_in_a_run(tmp_path, linear_run):
    before = snapshot(linear_run)
    refused("lies in the run", "report", linear_run, "--out", linear_run / "zarr.html")
    assert snapshot(linear_run) == before


@pytest.mark.parametrize(
    "arguments", [["--budget", "1e999"], ["--tolerance", "inf"], ["--set", "anderson.mixing=Infinity"]]
)
def test_infinite_numbers_are_refused(tmp_path, arguments):
    refused("finite", "run", LINEAR, *arguments, cwd=tmp_path)


def test_a_script_is_not_run_again_to_resume(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(LINEAR.read_text().replace("CASE = ", "case = ") + "\nspinup.run(case, out='run', budget=2)\n")
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True)
    refused("by a script or session that defines no CASE", "resume", "run", "--budget", 5, cwd=tmp_path)


def test_a_start_with_nan_in_a_carried_variable(tmp_path):
    start = {"c": np.zeros(60), "memory": np.array(np.nan)}
    with pytest.raises(UsageError, match="memory holds NaN"):
        spinup.run(LINEAR, out=tmp_path / "run", start=start)
    assert not (tmp_path / "run").exists()


def test_an_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    refused("cannot write the run to", "run", LINEAR, "--out", tmp_path / "file" / "run")


def test_a_start_of_another_shape(tmp_path, linear_run):
    file = tmp_path / "smaller.py"
    file.write_text(LINEAR.read_text().replace("N = 60", "N = 50"))
    refused("c has shape (60,), the model needs (50,)", "run", file, "--start", linear_run, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_case_that_no_longer_fits_its_run(tmp_path):
    run = tmp_path / "run"
    spinup.run(LINEAR, out=run, budget=2)
    smaller = LINEAR.read_text().replace("N = 60", "N = 50")
    (tmp_path / "smaller.py").write_text(smaller)
    case = spinup.load_case(tmp_path / "smaller.py")
    with pytest.raises(UsageError, match=r"of run .* c has shape \(60,\), the model needs \(50,\)"):
        spinup.resume(run, case=case)


def test_a_wrong_budget_leaves_the_run_alone(tmp_path, linear_run):
    before = snapshot(linear_run)
    refused("'a while' is not a model time", "resume", linear_run, "--budget", "a while")
    assert snapshot(linear_run) == before


def test_a_store_from_a_newer_version(tmp_path):
    run = tmp_path / "run"
    spinup.run(LINEAR, out=run, budget=2)
    zarr.open_group(run, mode="r+").attrs["spinup_format"] = 99
    before = snapshot(run)
    for command in ("resume", "status", "report"):
        refused("was written by a newer spinup (format 99", command, run)
    assert snapshot(run) == before


def test_debug_shows_the_traceback():
    done = spinup_command("run", "acc-coarce", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "did you mean 'acc-coarse'" in done.stderr


def test_a_locked_run_has_an_exit_code_of_its_own(tmp_path):
    from spinup.store.lock import locked

    run = tmp_path / "run"
    spinup.run(LINEAR, out=run, budget=2)
    with locked(run / "log" / "lock", run):
        done = spinup_command("resume", run)
    assert done.returncode == 4
    assert "is being written by process" in done.stderr
