"""What the pages take from the code and from measurements, so that nothing is typed twice.

A page says `<!-- fill: NAME ARGUMENTS -->` where a table or a figure belongs; mkdocs calls
`on_page_markdown`. A name that is unknown, or a measurement that is missing, ends the build.

    drift-table            direct integration of the coarse ACC
    error-figure           its error beside that of Anderson acceleration, as SVG
    years-table            model years to a given error, both
    bench-table CASE       benchmarked runs: model years to each error
    peers-factor CASE      how many times sooner `auto` is at 0.1 K than the best solver of another library
    wall-factor CASE       how many times less wall time `auto` takes to 0.1 K than direct integration
    estimate-table, mean-table, rungs-table CASE   estimates, mean states and ends of these runs
    goals-table, honesty-table   the worst of four starts of each case against its goal, and how good estimates are
    algebra-table OPERATOR time and memory of what linear systems are solved with: `tracer`, `extended` or `acc`
    algebra-on-ranks-table OPERATOR   the same on ranks
    scaling-table          an Anderson step on many ranks
    global-table           how far the 4 degree ocean says that it is from equilibrium, direct and by `auto`
    part-table             time and memory of a part of a model year
    groups-table           an evaluation of an ensemble on several ranks
    methods-on-ranks-table   whether every method does the same on several ranks
    algebra-figure OPERATOR   the time against the number of unknowns, as SVG
    settings METHOD|store  of a method, or of what a run keeps
    options COMMAND        arguments and options of a command
    commands               every command in a line
    exit-codes             of the command line
"""

import inspect
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

DATA = Path(__file__).parent / "data"
RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
FILL = re.compile(r"^<!-- fill: (.+?) -->$", re.MULTILINE)
SHOWN_YEARS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 700, 1000, 1500, 2000)
LEVELS = (2.5, 2.0, 1.5, 1.0, 0.5, 0.2, 0.1)  # K
STARTS = ("rest", "year 10", "year 30", "year 100")
GOALS = (  # case, method, error, model years
    ("acc-coarse", "auto", "0.1 K", 4.0),
    ("acc-coarse", "auto", "0.01 K", 6.0),
    ("acc-coarse", "auto-keep-basin", "0.05 K", 12.0),
    ("acc-coarse-seasonal", "auto", "0.1 K", 8.0),
    ("acc-coarse-seasonal", "auto", "0.01 K", 12.0),
    ("acc", "auto", "0.1 K", 3.5),
    ("acc", "auto", "0.01 K", 5.0),
    ("acc-coarse-eke", "auto", "0.1 K", 10.0),
    ("acc-coarse-salt", "auto", "0.1 K", 15.0),
    ("acc-coarse-salt", "auto", "0.02 psu", 15.0),
)
MEAN_GOAL = (40.0, 2.0)  # acc-coarse-wind: model years, standard errors from a direct mean
RUNS = {
    "direct": "direct integration",
    "anderson": "Anderson acceleration",
    "ptc": "pseudo-transient continuation",
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs' hook: the page with everything filled in."""
    return FILL.sub(lambda found: fill(found[1]), markdown)


def fill(text: str) -> str:
    """What belongs where a page says `<!-- fill: text -->`."""
    name, *arguments = text.split()
    if name not in FILLS:
        raise PluginError(f"fill: {name!r} is unknown; known: {', '.join(FILLS)}")
    return FILLS[name](*arguments)


# --- measurements --------------------------------------------------------------------------------


def measured(run: str) -> list[dict[str, float | None]]:
    """Year, drift (K per year) and error (K, None where unknown) of a run of RUNS."""
    file = DATA / f"acc_coarse_{run}.json"
    try:
        return sorted(json.loads(file.read_text()), key=lambda row: row["year"])
    except (OSError, ValueError) as error:
        raise PluginError(f"{file} cannot be read ({error}): it is a list of year, drift, error") from error


def drift_table() -> str:
    """Direct integration at round years."""
    rows = [row for row in measured("direct") if row["year"] in SHOWN_YEARS]
    cells = [(f"{row['year']:g}", number(row["drift"]), number(row["error"])) for row in rows]
    return table(("model year", "drift, K per year", "error, K"), cells)


def years_table() -> str:
    """Model years from which on the error stays at or below each level."""
    runs = {run: measured(run) for run in RUNS}
    cells = []
    for level in LEVELS:
        direct, *others = (years_to(runs[run], level) for run in RUNS)
        if direct is None:
            continue
        faster = [f"{years:.3g} ({direct / years:.1f} times fewer)" if years else "not reached" for years in others]
        cells.append((f"{level:g}", f"{direct:g}", *faster))
    return table(("error, K", *RUNS.values()), cells)


def years_to(rows: Sequence[dict[str, Any]], level: float) -> float | None:
    """The first year from which on no error is above `level`; None if there is none."""
    found = None
    for row in rows:
        if row["error"] is None or row["error"] > level:
            found = None
        elif found is None:
            found = row["year"]
    return found


def bench_rows(case: str, command: str = "") -> list[dict[str, Any]]:
    """Rows of benchmarks/results. command: the one that writes them, by default that of a case."""
    file = RESULTS / f"{case}.json"
    try:
        return json.loads(file.read_text())["rows"]
    except (OSError, ValueError, KeyError) as error:
        command = command or f"python -m benchmarks {case}"
        raise PluginError(f"{file} cannot be read ({error}): {command} writes it") from error


def bench_table(case: str) -> str:
    """Model years of every benchmarked run to each error, and what else its rows know."""
    rows = bench_rows(case)
    levels = next(list(row["model_years_to"]) for row in rows if row["model_years_to"])

    def years(row: dict[str, Any]) -> list[str]:
        to = row["model_years_to"] or dict.fromkeys(levels)
        return ["–" if y is None else f"{y:.3g}" if y < 100 else f"{y:.0f}" for y in to.values()]

    columns: list[tuple[str, str, Callable[[Any], str]]] = [
        ("least_error", "least error", number),
        ("equilibrium", "equilibrium", str),
        ("moved_when_continued", "moved, K", number),
        ("total_change", "change of total", number),
        ("factorisations", "factorisations", lambda count: "–" if count is None else str(count)),
        ("wall_seconds", "wall, s", lambda seconds: f"{seconds:.0f}"),
    ]
    shown = [column for column in columns if any(row.get(column[0]) is not None for row in rows)]
    if {row["equilibrium"] for row in rows} == {"exact"}:
        shown = [column for column in shown if column[0] != "equilibrium"]
    starts = len({row["start"] for row in rows}) > 1
    cells = [
        (
            f"`{row['method']}`",
            *([row["start"]] if starts else []),
            *years(row),
            *(words(row.get(name)) for name, _, words in shown),
        )
        for row in rows
    ]
    heads = ["method", *(["start"] if starts else []), *levels, *(head for _, head, _ in shown)]
    return table(heads, cells)


def peers_factor(case: str, level: str = "0.1 K") -> str:
    """A sentence: model years that the best solver of another library needs to an error, over those of `auto`."""
    rows, found, late = bench_rows(case), [], False
    peers = [row for row in rows if "." in row["method"]]  # library.function
    for start in dict.fromkeys(row["start"] for row in peers):
        own = next((r for r in rows if (r["method"], r["start"]) == ("auto", start)), None)
        ours = own and own["model_years_to"][level]
        if not ours:
            raise PluginError(f"{case}: no run of auto from {start} that comes to {level}: python -m benchmarks {case}")
        those = [row for row in peers if row["start"] == start]
        best = min(those, key=lambda row: row["model_years_to"][level] or math.inf)
        theirs = best["model_years_to"][level]
        late = late or theirs is None
        factor = (theirs or max(row["model_years"] for row in those)) / ours
        found.append(
            f"{factor:.2g} from {start} (`{best['method']}`)" if theirs else f"at least {factor:.2g} from {start}"
        )
    if not found:
        raise PluginError(f"{case}: no solver of another library was run: python -m benchmarks {case} runs them")
    budget = max(row["model_years"] for row in peers)
    why = f"; where it says at least, none of them gets there within {budget:g} model years" if late else ""
    return (
        f"To come within {level} from the same start, the best of the other libraries' solvers in the table takes "
        f"longer than `auto` by a factor of {', '.join(found)}{why}.\n"
    )


def wall_factor(case: str, level: str = "0.1 K") -> str:
    """A sentence: wall time of direct integration to an error, at what a year of it took in the same process, over that
    of `auto` from the four starts."""
    rows = bench_rows(case)
    years = next((r["model_years_to"][level] for r in rows if r["method"] == "direct" and r["model_years_to"]), None)
    if years is None:
        raise PluginError(f"{case}: no direct run that comes to {level}: python -m benchmarks {case}")
    found = []
    for row in rows:
        of_goal = row["method"] == "auto" and row["start"] in STARTS
        seconds = row.get("wall_seconds_to", {}).get(level) if of_goal else None
        if seconds:
            a_year = row["direct_wall_seconds_a_year"]
            found.append(f"{seconds:.2g} s from {row['start']} ({years * a_year / seconds:.2g} times less)")
    if not found:
        raise PluginError(f"{case}: no run of auto with its wall time to {level}: python -m benchmarks {case}")
    return (
        f"To come within {level}, all algebra and all files included, `auto` took {', '.join(found)}, where the direct "
        f"run's {years:g} years would have taken what a year of it took in the same process times {years:g}.\n"
    )


def mean_table(case: str) -> str:
    """The mean states of benchmarked runs against direct means."""
    cells = []
    for row in bench_rows(case):
        if mean := row.get("mean_state"):
            names = "distance_to_direct_mean", "standard_error", "standard_error_of_direct_mean", "in_standard_errors"
            cells.append((row["start"], f"{row['model_years']:.3g}", *(number(mean[name]) for name in names)))
    heads = "distance", "standard error", "that of the direct mean", "distance in these"
    return table(("start", "model years", *heads), cells)


def estimate_table(case: str) -> str:
    """How far the estimates of benchmarked runs were from the truth."""
    from spinup.estimate import BY_OPERATOR

    cells = []
    both = "`auto`, `auto-keep-basin`"
    groups = {"direct": "direct integration", "auto": both, "auto-keep-basin": both}
    for name in ("direct integration", both, "other methods"):
        rows = [r for r in bench_rows(case) if groups.get(r["method"], "other methods") == name]
        ratios = sorted(q for r in rows for q in r.get("estimate_over_truth", []))
        if not ratios:
            continue
        at = [ratios[round(share * (len(ratios) - 1))] for share in (0.05, 0.5, 0.95)]
        low, high = BY_OPERATOR
        within = [sum(a <= 1 / q <= b for q in ratios) / len(ratios) for a, b in ((0.5, 2), (1 / 3, 3), (low, high))]
        cells.append((name, str(len(ratios)), *(f"{q:.2f}" for q in at), *(f"{100 * w:.0f} %" for w in within)))
    heads = "5 % below", "median", "5 % above", "within a factor 2", "within 3", "in the interval"
    return table(("runs", "estimates", *heads), cells)


def of_starts(case: str, method: str) -> list[dict[str, Any]]:
    """The rows of a method from the four starts that goals are about."""
    rows = {row["start"]: row for row in bench_rows(case) if row["method"] == method}
    if missing := [start for start in STARTS if start not in rows]:
        raise PluginError(f"{case}: no run of {method} from {', '.join(missing)}: python -m benchmarks {case}")
    return [rows[start] for start in STARTS]


def goals_table() -> str:
    """The worst of four starts against each goal."""
    cells = []
    for case, method, level, goal in GOALS:
        years = [row["model_years_to"][level] for row in of_starts(case, method)]
        worst = max(math.inf if y is None else y for y in years)
        reached = "not reached" if math.isinf(worst) else f"{worst:.1f} years"
        cells.append((f"`{case}`", f"`{method}`", f"to {level}", f"{goal:g} years", reached, verdict(worst <= goal)))
    rows = of_starts("acc-coarse-wind", "auto")
    longest = max(row["model_years"] for row in rows)
    away = max(row["mean_state"]["in_standard_errors"] for row in rows)
    most_years, most_errors = MEAN_GOAL
    goal, reached = f"{most_years:g} years, {most_errors:g} standard errors", f"{longest:.1f} years, {away:.2g}"
    met = longest <= most_years and away <= most_errors
    cells.append(("`acc-coarse-wind`", "`auto`", "the mean state", goal, reached, verdict(met)))
    return table(("case", "method", "error", "goal", "worst of four", ""), cells)


def verdict(met: bool) -> str:
    return "met" if met else "**not met**"


def honesty_table() -> str:
    """Estimates of the error within a factor of two, and below half of it, of each case."""
    cells = []
    for case, method in dict.fromkeys((*(goal[:2] for goal in GOALS), ("acc-coarse-wind", "auto"))):
        ratios = [q for row in of_starts(case, method) for q in row["estimate_over_truth"]]
        within, below = sum(0.5 <= q <= 2 for q in ratios), sum(q < 0.5 for q in ratios)
        shares = (f"{100 * count / len(ratios):.1f} %" for count in (within, below))
        cells.append((f"`{case}`", f"`{method}`", str(len(ratios)), *shares))
    return table(("case", "method", "estimates", "within a factor 2", "below half"), cells)


def rungs_table(case: str) -> str:
    """Where stable ends are, by transport."""
    ends: dict[float, list[dict[str, Any]]] = {}
    for row in bench_rows(case):
        if row.get("stable"):
            ends.setdefault(round(row["diagnostics"]["barotropic_transport"]), []).append(row)
    cells = []
    for transport in sorted(ends, reverse=True):
        rows = ends[transport]
        away = [row["distance_to_direct"] for row in rows]
        who = ", ".join(f"`{row['method']}` from {row['start']}" for row in rows)
        cells.append((f"{transport:g}", f"{min(away):.2f}–{max(away):.2f}", who))
    return table(("transport, Sv", "K from the direct run’s end", "runs"), cells)


def algebra_rows(operator: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of benchmarks/algebra.py by choice, by number of unknowns."""
    rows = bench_rows("algebra", "python -m benchmarks.algebra")
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["operator"] == operator:
            found.setdefault(row["choice"], []).append(row)
    return {choice: sorted(of, key=lambda r: r.get("unknowns", math.inf)) for choice, of in found.items()}


def algebra_table(operator: str) -> str:
    """Seconds, MB and iterations of each choice and size; how they grow between its two largest."""
    choices = algebra_rows(operator)
    grids = {row["grid"]: row["unknowns"] for of in choices.values() for row in of if "unknowns" in row}
    heads = ["", *(f"{n:,}" for n in sorted(grids.values())), "time, memory grow as"]
    rows = []
    for choice, of in choices.items():
        by_grid = {row["grid"]: row for row in of}
        cells = [_algebra_cell(by_grid.get(grid)) for grid in sorted(grids, key=lambda g: grids[g])]
        rows.append((choice, *cells, _growth([row for row in of if "unknowns" in row])))
    return table(heads, rows)


def _algebra_cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    if "failed" in row:
        return row["failed"]
    return f"{number(row['setup_s'] + row['own_s'])} s, {number(row['held_mb'])} MB, {_iterations(row)}"


def _iterations(row: dict[str, Any]) -> str:
    """For the rate of the factors, and for the other."""
    counts = (row[f"{of}_iterations"] for of in ("own", "other"))
    return "/".join("–" if count is None else str(count) for count in counts)


def _growth(rows: list[dict[str, Any]]) -> str:
    """The exponents of the time of a solve, factors included, and of the memory, between the two largest."""
    if len(rows) < 2:
        return "–"
    small, large = rows[-2:]
    sizes = math.log(large["unknowns"] / small["unknowns"])
    times = [row["setup_s"] + row["own_s"] for row in (small, large)]
    memory = [row["held_mb"] for row in (small, large)]
    exponents = [math.log(b / a) / sizes for a, b in (times, memory)]
    return " ".join(f"n^{e:.2f}" for e in exponents)


def algebra_figure(operator: str) -> str:
    """Time of factors and a solve against the number of unknowns, logarithmic in both."""
    curves = {
        choice: [(row["unknowns"], row["setup_s"] + row["own_s"]) for row in of if row.get("own_iterations")]
        for choice, of in algebra_rows(operator).items()
    }
    return _figure({c: of for c, of in curves.items() if len(of) > 1}, "unknowns", "s", f"Time of a solve ({operator})")


def algebra_on_ranks_table(operator: str) -> str:
    """Rows of benchmarks/algebra_on_ranks.py."""
    rows = bench_rows("algebra-on-ranks", "python -m benchmarks.algebra_on_ranks")
    rows = [row for row in rows if row["operator"] == operator]
    cells = []
    for row in sorted(rows, key=lambda r: (r["unknowns"], r["choice"], r["ranks"])):
        times = [f"{number(row[name])} s" for name in ("setup_s", "own_s")]
        memory = [f"{number(row[name])} MB" for name in ("held_mb", "peak_mb")]
        cells.append((f"{row['unknowns']:,}", row["choice"], str(row["ranks"]), *times, _iterations(row), *memory))
    heads = ("unknowns", "", "ranks", "set-up", "a solve", "iterations, own/other rate")
    return table((*heads, "held by a rank", "its peak"), cells)


def scaling_table() -> str:
    """Rows of benchmarks/scaling.py, and how well the largest number of ranks does against the least."""
    rows = bench_rows("scaling", "python -m benchmarks.scaling")
    cells = []
    for row in rows:
        times = [f"{number(1e3 * row[name])} ms" for name in ("step_s", "read_s", "reduction_s")]
        unknowns = f"{row['ranks'] * row['unknowns_a_rank']:,}"
        ratio = row["step_s"] / row["read_s"]
        efficiency = rows[0]["step_s"] / row["step_s"]
        relative = rows[0]["step_s"] / rows[0]["read_s"] / ratio
        cells.append((str(row["ranks"]), unknowns, *times, f"{ratio:.2f}", f"{efficiency:.2f}", f"{relative:.2f}"))
    heads = ("ranks", "unknowns", "step", "one pass over its history", "reduction alone", "step/pass")
    return table((*heads, "weak scaling, time", "in passes"), cells)


def global_table() -> str:
    """Rows of benchmarks/global_ocean.py: each of `auto`, some of direct integration."""
    rows = bench_rows("global-4deg", "python -m benchmarks.global_ocean")
    longest = max((row["model_years"] for row in rows if row["method"] == "direct"), default=0)
    cells = []
    for row in rows:
        method, years = row["method"], row["model_years"]
        if method == "direct" and years not in (*SHOWN_YEARS, longest):
            continue
        method = method.replace("auto", "`auto`")
        estimates = f"{number(row['temp_error_estimate'])} K", f"{number(row['salt_error_estimate'])} psu"
        drifts = (f"{number(row[name])} K" for name in ("temp_drift", "temp_drift_elsewhere"))
        cells.append((method, number(years), *estimates, *drifts, "–" if row["wall"] is None else f"{row['wall']:,}"))
    heads = ("estimated error", "of salinity", "temperature, a year", "elsewhere", "seconds")
    return table(("", "model years", *heads), cells)


def part_table() -> str:
    """Rows of benchmarks/part_of_year.py."""
    cells = []
    for row in bench_rows("part-of-year", "python -m benchmarks.part_of_year"):
        sizes = f"{row['state_bytes_a_rank'] / 1e9:.1f} GB", f"{row['peak_bytes_a_rank'] / 1e9:.1f} GB"
        step, year = f"{number(row['step_s'])} s", f"{number(row['year_hours'])} h"
        cells.append((f"`{row['case']}`", str(row["ranks"]), f"{row['unknowns']:,}", *sizes, step, year))
    heads = ("ranks", "unknowns", "state, of a rank", "peak, of a rank", "a step", "a year, extrapolated")
    return table(("case", *heads), cells)


def groups_table() -> str:
    """Rows of benchmarks/groups.py, and how many times faster the ranks are than one process."""
    cells = []
    for row in bench_rows("groups", "python -m benchmarks.groups"):
        times = [f"{number(row[name])} s" for name in ("alone_s", "spread_s", "exchange_s")]
        faster = [row[f"alone{of}"] / row[f"spread{of}"] for of in ("_s", "_processor_s")]
        counts = (str(row["members"]), str(row["ranks"]), f"{number(row['member_mb'])} MB")
        cells.append((*counts, *times, *(f"{factor:.2f}" for factor in faster)))
    heads = ("members", "ranks", "a member", "one process", "shared out", "of that exchange")
    return table((*heads, "times faster", "in processor time"), cells)


def methods_on_ranks_table() -> str:
    """Rows of benchmarks/methods_on_ranks.py."""
    cells = []
    for row in bench_rows("methods-on-ranks", "python -m benchmarks.methods_on_ranks"):
        evaluations = ", ".join(map(str, row["evaluations"]))
        largest = "none" if row["beyond"] is None else str(row["beyond"])
        ends, replays = ([f"{apart:.0e}" for apart in row[name]] for name in ("apart", "replayed"))
        cells.append((f"`{row['method']}`", evaluations, *replays, *ends, largest))
    apart = ("replay apart, 2 ranks", "4 ranks", "ends apart, 2 ranks", "4 ranks", "first apart by 1e-9")
    heads = ("method", "evaluations on 1, 2, 4 ranks", *apart)
    return table(heads, cells)


def error_figure() -> str:
    """Error against model years of all runs, logarithmic in both."""
    curves = {RUNS[r]: [(m["year"], m["error"]) for m in measured(r) if m["year"] and m["error"]] for r in RUNS}
    classes = {words: run for run, words in RUNS.items()}
    return _figure(curves, "model years", "error, K", "Error of the coarse ACC against model years", classes)


def _figure(
    curves: dict[str, list[tuple[float, float]]],
    along: str,
    up: str,
    title: str,
    classes: dict[str, str] | None = None,
) -> str:
    """Curves of x and y > 0, named at their ends or, where they have classes of the style sheet, in a legend."""
    points = [point for curve in curves.values() for point in curve]
    width, height, left, bottom = 640, 300, 50, 260
    years = decades([x for x, _ in points])
    errors = decades([y for _, y in points])

    def place(year: float, error: float) -> str:
        x = left + (width - left - 10) * (math.log10(year) - years[0]) / (years[-1] - years[0])
        y = bottom - (bottom - 15) * (math.log10(error) - errors[0]) / (errors[-1] - errors[0])
        return f"{x:.1f},{y:.1f}"

    parts = []
    for power in years:
        x = place(10**power, 10 ** errors[0]).split(",")[0]
        parts.append(f'<path class="grid" d="M{x} 15V{bottom}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{10**power:g}</text>')
    for power in errors:
        y = place(10 ** years[0], 10**power).split(",")[1]
        parts.append(f'<path class="grid" d="M{left} {y}H{width - 10}"/>')
        parts.append(f'<text x="{left - 6}" y="{y}" text-anchor="end" dominant-baseline="middle">{10**power:g}</text>')
    for row, name in enumerate(name for name, curve in curves.items() if curve):
        line = " ".join(place(*point) for point in curves[name])
        if classes is not None:
            parts.append(f'<polyline class="{classes[name]}" points="{line}"/>')
            parts.append(f'<text class="{classes[name]}" x="{left + 10}" y="{bottom - 46 + 16 * row}">{name}</text>')
        else:
            x, y = place(*curves[name][-1]).split(",")
            parts.append(f'<polyline class="plain" points="{line}"/>')
            parts.append(f'<text x="{float(x) + 4:.1f}" y="{y}" dominant-baseline="middle">{name}</text>')
    parts.append(f'<text x="{width - 10}" y="{bottom + 34}" text-anchor="end">{along}</text>')
    parts.append(f'<text x="{left + 4}" y="11">{up}</text>')
    return f'<svg class="decay" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">{"".join(parts)}</svg>\n'


def decades(values: Sequence[float]) -> list[int]:
    """Powers of ten around the values."""
    logs = [math.log10(value) for value in values]
    return list(range(math.floor(min(logs)), math.ceil(max(logs)) + 1))


def number(value: float | None) -> str:
    """Two digits: 0.79, 3.1, 1.2 × 10⁻⁴; a dash for what is not known."""
    if value is None:
        return "–"
    if value == 0 or 1e-3 <= value < 1e6:
        return f"{float(f'{value:.2g}'):g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


# --- the code ------------------------------------------------------------------------------------


def settings(owner: str) -> str:
    """The settings of a method, or of the store."""
    from spinup.methods import METHODS
    from spinup.store.header import StoreSettings

    models: dict[str, Any] = {**METHODS, "store": StoreSettings}
    if owner not in models:
        raise PluginError(f"fill: there are no settings of {owner!r}; known: {', '.join(models)}")
    fields = models[owner].model_fields
    if not fields:
        return f"{inspect.getdoc(models[owner])}\n"
    rows = [
        (f"`{owner}.{name}`", f"`{typed(field.default)}`", rules(field), field.description or "")
        for name, field in fields.items()
    ]
    return table(("setting", "default", "values", "what it is"), rows)


def typed(value: Any) -> str:
    """A value as it is typed after `--set NAME=`: 1e8, null, bounds."""
    if isinstance(value, float):
        return f"{value:g}".replace("e+0", "e").replace("e-0", "e-")
    return value if isinstance(value, str) else json.dumps(value)


def rules(field: Any) -> str:
    """The values a setting may have, in signs."""
    kinds = {int: "whole number", float: "number", bool: "`true` or `false`"}
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    alternatives = getattr(field.annotation, "__args__", ())
    kind = next((kinds[k] for k in (field.annotation, *alternatives) if k in kinds), None)
    kind = kind or ", ".join(f"`{value}`" for value in alternatives) or "text"
    limits = [
        f"{sign} {getattr(limit, key):g}"
        for limit in field.metadata
        for key, sign in signs.items()
        if hasattr(limit, key)
    ]
    return " ".join([kind, *limits, *(["or `null`"] if type(None) in alternatives else [])])


def commands() -> str:
    """Every command in a line."""
    return table(
        ("command", "what it does"),
        [(f"[`spinup {name}`](#spinup-{name})", command.help) for name, command in command_line().items()],
    )


def options(name: str) -> str:
    """Arguments and options of a command."""
    rows = []
    for parameter in command_line()[name].params:
        flags = ", ".join(f"`{flag}`" for flag in sorted(parameter.opts, key=len))
        if parameter.param_type_name == "argument":
            flags = f"`{parameter.metavar}`"
        rows.append((flags, (parameter.help or "").replace("\\[", "[")))
    return table(("", "what it is"), rows)


def command_line() -> dict[str, Any]:
    """The commands as Typer knows them."""
    from typer.main import get_command

    from spinup.cli import app

    return get_command(app).commands  # type: ignore[attr-defined]


def exit_codes() -> str:
    """From the docstring of the command line."""
    import spinup.cli

    found = re.findall(r"^ {4}(\d+) +(.+)$", spinup.cli.__doc__ or "", re.MULTILINE)
    if not found:
        raise PluginError("fill: spinup/cli.py's docstring names no exit code")
    return table(("code", "meaning"), found)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "&#124;") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


FILLS: dict[str, Callable[..., str]] = {
    "drift-table": drift_table,
    "error-figure": error_figure,
    "years-table": years_table,
    "bench-table": bench_table,
    "peers-factor": peers_factor,
    "wall-factor": wall_factor,
    "estimate-table": estimate_table,
    "mean-table": mean_table,
    "goals-table": goals_table,
    "honesty-table": honesty_table,
    "rungs-table": rungs_table,
    "algebra-on-ranks-table": algebra_on_ranks_table,
    "scaling-table": scaling_table,
    "global-table": global_table,
    "part-table": part_table,
    "groups-table": groups_table,
    "methods-on-ranks-table": methods_on_ranks_table,
    "algebra-table": algebra_table,
    "algebra-figure": algebra_figure,
    "settings": settings,
    "options": options,
    "commands": commands,
    "exit-codes": exit_codes,
}
