"""The audit: an equilibrium stays, another state moves on, and an unstable one leaves."""

import textwrap

import numpy as np
import pytest
from helpers import LINEAR
from scipy.sparse import csr_array, diags_array

import spinup
from solvers import StepOperator
from spinup.audit import audit, judge, slowest, slowest_words
from spinup.function_map import FunctionMap
from spinup.report import report_numbers
from spinup.report.reading import read_run


def test_the_end_of_a_converged_run_stays(linear_run, tmp_path):
    run = tmp_path / "run"
    run.symlink_to(linear_run)
    found = audit(run, years=5)
    moved = spinup.open(tmp_path / "run-audit").c.values[-1] - read_run(linear_run).end("c")
    assert found.moved["c"] == np.sqrt(np.mean(moved**2)) < 1e-5
    assert found.years == 5
    assert found.drift[1] <= found.drift[0]
    assert audit(run, years=8).years == 8  # goes on from where it was


def test_a_state_that_leaves_is_no_equilibrium(tmp_path):
    def build():
        return FunctionMap(lambda s: {"x": 1.3 * s["x"]}, start={"x": np.full(3, 1e-6)})

    case = spinup.Case(name="leaving", title="x grows", build=build, method="picard", budget=2, tolerance=1e-30)
    spinup.run(case, out=tmp_path / "run")
    spinup.run(case, out=tmp_path / "on", start=tmp_path / "run", budget=10)
    found = judge(tmp_path / "run", read_run(tmp_path / "run"), read_run(tmp_path / "on"))
    assert "leaves where it is" in found.verdict


def test_the_command_line_says_it(tmp_path):
    from test_cli import spinup_command

    assert spinup_command("run", LINEAR, "--out", tmp_path / "run").returncode == 0
    done = spinup_command("audit", tmp_path / "run", "--years", "3")
    assert done.returncode == 0, done.stderr
    assert "c moved" in done.stdout
    assert "verdict" in done.stdout


def test_the_report_says_what_the_audit_saw(linear_run, tmp_path):
    run = tmp_path / "run"
    run.symlink_to(linear_run)
    assert report_numbers([run])["audit"] is None
    seen = audit(run, years=5)
    numbers = report_numbers([run])
    assert numbers["audit"] == seen.as_json() | {"path": "run"}
    (sentence,) = [s for s in numbers["verdict"] if "integrated on" in s]
    assert seen.verdict in sentence
    assert f"c by {seen.moved['c']:.3g}"[:8] in sentence
    other = tmp_path / "other"
    other.symlink_to(linear_run)
    (tmp_path / "run-audit").rename(tmp_path / "other-audit")
    assert report_numbers([other])["audit"] is None  # an audit of another run


RATES = np.linspace(0.02, 1.0, 12)


@pytest.fixture
def decay(tmp_path):
    """A case file: x' = rates (1 - x), given as a tendency: the least damped decays by e in fifty years."""
    file = tmp_path / "decay.py"
    file.write_text(
        textwrap.dedent("""
            import numpy as np, spinup
            from scipy.sparse import csr_array, diags_array
            from spinup.function_map import FunctionMap

            RATES = np.linspace(0.02, 1.0, 12)

            def build():
                return FunctionMap(
                    lambda s: {"x": 1 + np.exp(-RATES) * (s["x"] - 1)},
                    start={"x": np.zeros(12)},
                    tendency=lambda s: csr_array(diags_array(-RATES)),
                )

            CASE = spinup.Case(name="decay", title="x", build=build, method="newton", budget=40, tolerance="1e-6")
        """)
    )
    return str(file)


def test_the_slowest_mode_is_found_and_said(decay, tmp_path):
    case = spinup.load_case(decay)
    spinup.run(case, out=tmp_path / "run")
    spinup.run(case, out=tmp_path / "on", start=tmp_path / "run", method="picard", budget=5, tolerance=1e-300)
    modes = slowest(tmp_path / "on")
    np.testing.assert_allclose(modes, -RATES[:4], rtol=1e-4)
    found = judge(tmp_path / "run", read_run(tmp_path / "run"), read_run(tmp_path / "on"), modes)
    assert found.verdict.endswith("its slowest mode decays by e in 50 model years")
    np.testing.assert_allclose(found.rates[0], (-0.02, 0.0), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ((), ""),
        (((-0.005, 0.0),), "; its slowest mode decays by e in 200 model years"),
        (((-0.1, 0.5),), "; its slowest mode decays by e in 10 model years, swinging once in 12.6 years"),
        (((0.02, 0.0),), "; but a mode of the linearised step grows by e in 50 model years: watch it longer"),
        (((1e-9, 0.0),), "; one direction is neutral: nothing decides where along it the state ends, a conserved"),
    ],
)
def test_modes_in_words(rates, words):
    assert slowest_words(rates).startswith(words)
    assert bool(slowest_words(rates)) == bool(words)


def test_a_report_does_not_look_for_modes_again(decay, tmp_path, monkeypatch):
    spinup.run(decay, out=tmp_path / "run")
    seen = audit(tmp_path / "run", years=5)
    np.testing.assert_allclose([real for real, _ in seen.rates], -RATES[:4], rtol=1e-4)
    monkeypatch.setattr("spinup.audit.slowest", None)
    assert report_numbers([tmp_path / "run"])["audit"]["rates"] == seen.rates


def test_an_audit_does_without_modes_that_are_not_found(linear_run, tmp_path, monkeypatch):
    """ARPACK may fail to converge: the verdict comes all the same."""
    from scipy.sparse import linalg

    def fails(*_, **__):
        raise linalg.ArpackNoConvergence("no convergence", np.zeros(0), np.zeros((0, 0)))

    operator = StepOperator(csr_array(diags_array(-np.linspace(0.02, 1.0, 12))), 1)
    monkeypatch.setattr("spinup.audit.newest_estimate_operator", lambda path: (operator, 0))
    assert len(slowest(tmp_path)) == 4
    monkeypatch.setattr(linalg, "eigs", fails)
    assert slowest(tmp_path) == ()
    run = tmp_path / "run"
    run.symlink_to(linear_run)
    assert audit(run, years=5).rates == ()
