"""A case: what a scientist runs. One Python file that defines `CASE`."""

import ast
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spinup.errors import UsageError
from spinup.maps import FixedPointMap
from spinup.suggest import did_you_mean


@dataclass(frozen=True)
class Case:
    """A model, a start and a method.

    build: makes the map; called once, so that listing cases imports no model.
    start_periods: direct periods before the method begins (they count as model years of the run).
    settings: of the method, e.g. {"depth": 5}.
    budget: model years, a number or "60 years".
    tolerance: "0.05 K", the estimated error below which the run has converged; or a drift, weighted rms per model year.
    exact: the known answer on the grid, by variable, where there is one; the report shows the error.
    """

    name: str
    title: str
    build: Callable[[], FixedPointMap]
    method: str = "auto"
    settings: dict[str, Any] = field(default_factory=dict)
    start_periods: int = 0
    budget: str | float = "100 years"
    tolerance: str | float = 1e-6
    exact: Callable[[], dict[str, Any]] | None = None

    @property
    def file(self) -> Path | None:
        """The file `build` was written in; None where it was typed in, or is no plain function."""
        try:
            name = inspect.getsourcefile(self.build)
        except TypeError:
            return None
        return Path(name).resolve() if name and Path(name).is_file() else None


def case_folders() -> list[Path]:
    """Where cases are looked for by name: $SPINUP_CASES, the checkout, the installed copies."""
    package = Path(__file__).resolve().parent
    found = [Path(p) for p in os.environ.get("SPINUP_CASES", "").split(os.pathsep) if p]
    return [p for p in (*found, package.parent / "cases", package / "_cases") if p.is_dir()]


def known_cases() -> dict[str, Path]:
    """File of every case by name, `cases/acc_coarse.py` being `acc-coarse`."""
    found: dict[str, Path] = {}
    for folder in case_folders():
        for file in sorted(folder.glob("*.py")):
            if not file.stem.startswith("_"):
                found.setdefault(file.stem.replace("_", "-"), file)
    return found


def load_case(name: str | os.PathLike[str]) -> Case:
    """The case of that name, or in that file. Raises UsageError where there is none or it does not import."""
    text = os.fspath(name)
    if text.endswith(".py") or os.sep in text:
        file = Path(text)
        if not file.is_file():
            raise UsageError(f"case file {file} does not exist")
    else:
        known = known_cases()
        key = text.replace("_", "-")
        if key not in known:
            raise UsageError(
                f"unknown case {text!r}{did_you_mean(key, known)}; known: {', '.join(known)}, or give a file (.py)"
            )
        file = known[key]
    return import_case(file)


def defines_case(text: str) -> bool:
    """Whether a file's text sets CASE at its top level: only such a file may be imported for its case."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return False
    names = [t for node in body if isinstance(node, ast.Assign) for t in node.targets]
    return any(isinstance(name, ast.Name) and name.id == "CASE" for name in names)


def import_case(file: Path) -> Case:
    """The `CASE` of a file. Raises UsageError where it does not import or defines none."""
    spec = importlib.util.spec_from_file_location(f"spinup_case_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UsageError(f"case file {file} cannot be imported: is it Python?")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        where = _line_in(error, file)
        raise UsageError(f"case file {file} does not import{where}: {type(error).__name__}: {error}") from error
    case = getattr(module, "CASE", None)
    if not isinstance(case, Case):
        raise UsageError(f"case file {file} defines no CASE: it must set CASE = spinup.Case(...)")
    return case


def _line_in(error: BaseException, file: Path) -> str:
    if isinstance(error, SyntaxError):
        return f" (line {error.lineno})"
    trace, line = error.__traceback__, None
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == file.resolve():
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {line})" if line else ""
