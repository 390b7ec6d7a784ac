"""The command line. Every command is a thin layer over the Python API.

Exit codes (also in the documentation):
    0  done: converged, or the budget is spent
    1  a bug in spinup
    2  the request is wrong; nothing was touched
    3  the method gave up: stalled or unstable
    4  the run on disk cannot be used now: locked, damaged, disk full
    5  stopped by Ctrl-C or SIGTERM; `spinup resume` goes on
    6  `spinup doctor` found something missing
"""

import contextlib
import json
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from spinup.distributed.launcher import launch
from spinup.distributed.ranks import everyone, started, world
from spinup.errors import STORE, USAGE, SpinupError, StoreError, UsageError
from spinup.methods import METHODS, check_method
from spinup.options import parse_sets
from spinup.progress import JsonProgress, LineProgress, LiveProgress

EXIT_CODES = {"converged": 0, "floor": 0, "budget": 0, "stalled": 3, "unstable": 3, "stopped": 5}
STOPPED, MISSING = 5, 6

app = typer.Typer(
    help="Take an ocean model to its equilibrium in fewer model years.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out_console = Console()
error_console = Console(stderr=True)

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")]
RunPaths = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs; the first is the subject.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document (of a run: one line an evaluation) on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Budget = Annotated[str | None, typer.Option(help='Model years, e.g. "60 years".')]
Launcher = Annotated[
    str | None,
    typer.Option(help='Start it on many ranks: "srun -n 64", mpiexec:4, slurm:64; local: in this process.'),
]
Groups = Annotated[
    int | None,
    typer.Option(
        help="So many groups of ranks, the model whole or split over those of each, share out an ensemble's members."
    ),
]
WallTime = Annotated[
    str | None, typer.Option(help='Stop, to be resumed, before so much time is over: 01:30:00 or "90 minutes".')
]
Tolerance = Annotated[
    str | None,
    typer.Option(
        help='Converged below this estimated error, "0.05 K", or this drift, a number (weighted rms per model year).'
    ),
]


@app.command()
def run(
    case: Annotated[str, typer.Argument(metavar="CASE", help="A case's name (`spinup cases`) or its file.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the run goes (default: runs/CASE-METHOD).")
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", "-m", help=", ".join(METHODS) + " (default: the case's).")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="A setting: anderson.depth=5, store.states_every=10. Repeatable.")
    ] = None,
    petsc: Annotated[
        str | None,
        typer.Option(
            help='Options of PETSc: for --method snes, "-snes_anderson_m 10"; else for linear solves with the '
            'operator, "-pc_type gamg".'
        ),
    ] = None,
    budget: Budget = None,
    tolerance: Tolerance = None,
    start: Annotated[
        Path | None, typer.Option(help="Start from the end of another run, or from a restart file of the model.")
    ] = None,
    start_periods: Annotated[int | None, typer.Option(help="Direct periods before the method begins.")] = None,
    wall_time: WallTime = None,
    groups: Groups = None,
    launcher: Launcher = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a case."""
    import spinup

    launch(launcher)
    chosen = spinup.load_case(case)
    name = method or chosen.method
    check_method(name)
    of_snes = petsc is not None and name == "snes"
    given = parse_sets([*(sets or []), *([f"snes.options={petsc}"] if of_snes else [])], name)
    path = out or Path("runs") / f"{chosen.name}-{name}"
    with _ending_at_once(path):
        result = spinup.run(
            chosen,
            out=path,
            method=name,
            settings=given[name],
            store=given["store"],
            budget=budget,
            tolerance=tolerance,
            start=start,
            start_periods=start_periods,
            wall_time=wall_time,
            petsc="" if of_snes else petsc or "",
            groups=groups,
            progress=_progress(as_json),
        )
    _finish(result, as_json)


@app.command("fetch-forcing")
def fetch_forcing(
    case: Annotated[str, typer.Argument(metavar="CASE", help="global-4deg or global-1deg.")],
    synthetic: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write idealised files of the same format there instead.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Fetch the forcing files of a case, once, with their checksums."""
    from spinup.forcing.fetch import fetch
    from spinup.forcing.files import FOLDER
    from spinup.forcing.synthetic import write_synthetic

    setup = case.replace("-", "_")
    if synthetic is None:
        print(f"the forcing of {case} is in {fetch(setup, print)}")
        return
    print(f"idealised forcing of {case} is in {write_synthetic(setup, synthetic)}: no observation is in it")
    print(f"use it with: export {FOLDER}={synthetic}")


@app.command()
def resume(
    run: RunPath,
    budget: Budget = None,
    tolerance: Tolerance = None,
    wall_time: WallTime = None,
    groups: Groups = None,
    launcher: Launcher = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Go on with a run that was stopped, killed, or has spent its budget."""
    import spinup

    launch(launcher)
    with _ending_at_once(run):
        result = spinup.resume(
            run, budget=budget, tolerance=tolerance, wall_time=wall_time, groups=groups, progress=_progress(as_json)
        )
    _finish(result, as_json)


@app.command()
def status(
    run: RunPath,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Repeat every two seconds until the run ends.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """How far a run has got, also while it goes on."""
    from spinup.store.view import run_status

    while True:
        found = run_status(run, verify=not watch)
        if as_json:
            print(json.dumps(found), flush=True)
        else:
            if watch and out_console.is_terminal:
                out_console.clear()
            out_console.print(_status_table(found))
        if not watch or found["state"] != "running":
            return
        try:
            time.sleep(2)
        except KeyboardInterrupt:  # the watching ends, not the run
            return


@app.command()
def report(
    runs: RunPaths,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The HTML file (default: RUN.html beside the run).")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the report of a run as one HTML file, next to other runs if given (a direct one, say)."""
    from spinup.report import report_numbers, write_report

    path = write_report(runs, out)
    if as_json:
        print(json.dumps(report_numbers(runs)))
    else:
        out_console.print(f"wrote {path}", soft_wrap=True, markup=False)


@app.command()
def compare(runs: RunPaths, as_json: Json = False, debug: Debug = False) -> None:
    """Compare runs: cost, drift, and how far apart their states are."""
    from spinup.compare import compare_runs, comparison_table

    found = compare_runs(runs)
    if as_json:
        print(json.dumps(found))
    else:
        tables = comparison_table(found)
        for table in tables if isinstance(tables, list) else [tables]:
            out_console.print(table)


@app.command()
def audit(
    run: RunPath,
    years: Annotated[float, typer.Option(help="Model years to integrate on directly.")] = 20,
    probe: Annotated[
        bool, typer.Option("--probe", help="Put its convection a level deeper and shallower, and see if it comes back.")
    ] = False,
    probe_years: Annotated[float, typer.Option(help="Model years of each of the two probes.")] = 20,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Is the end of a run an equilibrium? Integrate it on directly, and see."""
    from spinup.audit import audit as examined
    from spinup.report.audit_verdict import probe_words
    from spinup.report.budgets import budget_words
    from spinup.report.rung import rung_words

    progress = None if as_json else _progress(False)
    found = examined(run, years=years, probe_years=probe_years if probe else 0, progress=progress)
    if as_json:
        print(json.dumps(found.as_json()))
        return
    table = Table(box=None, show_header=False)
    for name, distance in found.moved.items():
        error = found.error[name]
        estimate = "" if error is None else f" (estimated error before: {error:.2g})"
        table.add_row(f"{name} moved", f"{distance:.2g} in {found.years:g} model years{estimate}")
    table.add_row("drift", f"{found.drift[0]:.2g}, then {found.drift[1]:.2g} per year")
    if found.decay_words:
        table.add_row("decay", found.decay_words)
    for name, budget in found.budgets.items():
        table.add_row("still changes", budget_words(name, budget))
    if found.rigid_lid:
        table.add_row("volume", "constant, under a rigid lid")
    if found.repeated_words:
        table.add_row("repeated", found.repeated_words)
    table.add_row("columns mixed to another depth", f"{found.columns_changed}")
    if found.rung:
        table.add_row("rung", rung_words(found.rung))
    for made in found.probes.values():
        table.add_row(f"probe, {made.name}", probe_words(asdict(made)))
    table.add_row("verdict", found.verdict)
    out_console.print(table)


@app.command()
def cases(as_json: Json = False, debug: Debug = False) -> None:
    """The cases that can be run by name."""
    from spinup.case import import_case, known_cases

    rows = []
    for name, file in known_cases().items():
        try:
            title = import_case(file).title
        except UsageError as error:
            title = f"broken: {error}"
        rows.append({"name": name, "title": title, "file": str(file)})
    if as_json:
        print(json.dumps(rows))
        return
    table = Table("case", "title", "file", box=None)
    for row in rows:
        table.add_row(*(escape(row[key]) for key in ("name", "title", "file")))
    out_console.print(table)


@app.command()
def doctor(as_json: Json = False, debug: Debug = False) -> None:
    """What is installed, what works, and how to mend what does not."""
    from spinup.doctor import examine

    checks = examine()
    if as_json:
        print(json.dumps([check.__dict__ for check in checks]))
    else:
        table = Table("", "what", "found", "to mend", box=None)
        for check in checks:
            mark = "[green]ok[/]" if check.ok else ("[yellow]--[/]" if check.optional else "[red]no[/]")
            table.add_row(mark, *(escape(text) for text in (check.what, check.found, check.mend)))
        out_console.print(table)
    if any(not check.ok and not check.optional for check in checks):
        raise typer.Exit(MISSING)


def main() -> None:
    """Run the command line; errors a user can cause become one sentence and an exit code."""
    try:
        app(standalone_mode=True)
    except _EndedAtOnce as error:
        error_console.print(str(error), soft_wrap=True, highlight=False, markup=False)
        sys.exit(STOPPED)
    except SpinupError as error:  # on several ranks one of all of them
        if "--debug" in sys.argv:
            traceback.print_exception(error)
        if _leads():
            error_console.print(f"spinup: {error}", soft_wrap=True, highlight=False, markup=False, style="red")
        sys.exit(STORE if isinstance(error, StoreError) else USAGE)
    except Exception as error:
        if started() == 1:
            raise
        traceback.print_exception(error)
        world().comm.Abort(1)  # the others would wait for this one for ever


def _leads() -> bool:
    """Whether this is the process that prints."""
    with contextlib.suppress(UsageError):  # without mpi4py, which is what is to be said then
        ranks = everyone()
        return ranks is None or ranks.rank == 0
    return True


class _EndedAtOnce(Exception):
    """The user pressed Ctrl-C twice."""


@contextlib.contextmanager
def _ending_at_once(run: Path) -> Iterator[None]:
    """A second Ctrl-C loses the evaluation in flight; say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        hint = f"next: spinup resume {run}" if (run / "zarr.json").exists() else "the run had not begun"
        raise _EndedAtOnce(f"ended at once; every evaluation on disk is safe\n{hint}") from None


def _progress(as_json: bool) -> Any:
    if as_json:
        return JsonProgress()
    return LiveProgress(out_console) if out_console.is_terminal and started() == 1 else LineProgress()


def _finish(result: Any, as_json: bool) -> None:
    code = EXIT_CODES[result.outcome.value]
    if not _leads():
        raise typer.Exit(code)
    if as_json:
        print(
            json.dumps(
                {
                    "run": str(result.path),
                    "outcome": result.outcome.value,
                    "message": result.message,
                    "evaluations": result.evaluations,
                    "model_years": result.model_years,
                    "drift": result.drift,
                    "best_drift": result.best_drift,
                    "error_estimate": result.error,
                    "error_interval": result.error_interval,
                    "exit_code": code,
                }
            ),
            flush=True,
        )
    else:
        drift = "" if result.drift is None else f", drift {result.drift:.3g} per year"
        error = ""
        if result.error is not None:
            error = f", estimated error {result.error['all']:.3g}{_between(result.error_interval, 'all')}"
        out_console.print(
            f"{result.outcome.value}: {result.message}, after {result.model_years:.4g} model years "
            f"({result.evaluations} evaluations){drift}{error}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
        follow = f"spinup report {result.path}"
        if result.outcome.value in ("budget", "stopped"):
            follow = f"spinup resume {result.path}" + (
                ' --budget "... years"' if result.outcome.value == "budget" else ""
            )
        out_console.print(f"next: {follow}", soft_wrap=True, highlight=False, markup=False)
    if code:
        raise typer.Exit(code)


def _between(interval: dict[str, tuple[float, float | None]] | None, name: str) -> str:
    if interval is None:
        return ""
    low, high = interval[name]
    return f" (at least {low:.3g})" if high is None else f" ({low:.2g} to {high:.2g})"


def _status_table(found: dict[str, Any]) -> Table:
    from spinup.report.words import outcome_words

    table = Table(box=None, show_header=False)

    def number(value: float | None, unit: str = "") -> str:
        return "-" if value is None else f"{value:.3g}{unit}"

    table.add_row("run", escape(found["run"]))
    table.add_row("case", escape(f"{found['case']}, {found['method']}"))
    table.add_row("state", outcome_words(found["state"]))
    table.add_row("model years", f"{found['model_years']:g} of {found['budget_years']:g}")
    failures = f" ({found['failures']} failed)" if found["failures"] else ""
    table.add_row("evaluations", f"{found['evaluations']}{failures}")
    on_drift, on_error = f", tolerance {found['tolerance']:g}", ""
    if found["tolerance_unit"]:
        on_drift, on_error = "", f" (tolerance {found['tolerance']:g} {found['tolerance_unit']})"
    table.add_row("drift", f"{number(found['drift'])} per year (best {number(found['best_drift'])}{on_drift})")
    for name, error in (found["error_estimate"] or {}).items():
        if name != "all":
            between = _between(found["error_interval"], name)
            table.add_row(f"estimated error of {name}", f"{number(error)}{between}{on_error}")
    left = "" if found["state"] == "converged" else f", to the end of the budget {number(found['seconds_left'], ' s')}"
    table.add_row("wall time", number(found["elapsed_seconds"], " s") + left)
    for problem in found["problems"]:
        table.add_row("[red]damage[/]", escape(problem))
    return table


if __name__ == "__main__":
    main()
