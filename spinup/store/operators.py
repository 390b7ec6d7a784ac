"""One-step operators in a run: those that the method asked for, those that its error is estimated with, and the
targets, where estimates said that the equilibrium is."""

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from solvers import Border, StepOperator
from solvers.layers import Layers, links_along
from solvers.requests import BORDER_MATRICES
from solvers.seasons import of_seasons
from spinup.store.journal import Record, damaged, read_record
from spinup.store.pieces import Parts, Wanted, piece, read_pieces


def parts_of(operator: StepOperator) -> tuple[dict[str, Any], Parts]:
    """What it is made of: numbers and strings by name, and the rest."""
    plain: dict[str, Any] = {"steps": operator.steps}
    numbers: dict[str, np.ndarray] = {}
    if operator.border is not None:
        if operator.border.chain is not None:
            numbers["chain"] = operator.border.chain
        if operator.border.layers is not None:
            numbers |= {f"layers_{name}": known for name, known in vars(operator.border.layers).items()}
    matrices = _matrices(operator)
    if operator.seasons:
        plain |= {"seasons": len(operator.seasons), "cycle_steps": operator.cycle_steps}
        matrices = {
            f"{name}_{number}": matrix
            for number, season in enumerate(operator.seasons)
            for name, matrix in _matrices(season).items()
        }
    n = operator.matrix.shape[0]
    pairs = {name: (known[:n], known[n:]) for name, known in numbers.items()}
    return plain | {"names": " ".join(matrices)}, Parts(matrices, pairs)


def _matrices(operator: StepOperator) -> dict[str, Any]:
    matrices = {"matrix": operator.matrix}
    if operator.implicit is not None:
        matrices["implicit"] = operator.implicit
    if operator.border is not None:
        matrices |= {part: getattr(operator.border, part) for part in BORDER_MATRICES}
    return matrices


def operator_tree(operator: StepOperator) -> dict[str, Any]:
    """The whole of it as a run has it, in one piece."""
    plain, parts = parts_of(operator)
    border = 0 if operator.border is None else operator.border.balance.shape[0]
    counts = np.array([[operator.matrix.shape[0], border]])
    return plain | {"counts": counts} | {name: part[None] for name, part in piece(parts).items()}


def operator_of(plain: Mapping[str, Any], parts: Parts) -> StepOperator:
    """The operator that `parts_of` was given."""
    numbers = {name: np.concatenate(pair) for name, pair in parts.numbers.items()}
    layers = None
    if "layers_row" in numbers:
        layers = Layers(*(numbers[f"layers_{field.name}"] for field in fields(Layers)))

    def one(suffix: str = "") -> StepOperator:
        border = None
        if "balance" + suffix in parts.matrices:
            matrices = {name: parts.matrices[name + suffix] for name in BORDER_MATRICES}
            border = Border(**matrices, chain=numbers.get("chain"), layers=layers)
        implicit = parts.matrices.get("implicit" + suffix)
        return StepOperator(parts.matrices["matrix" + suffix], plain["steps"], implicit, border)

    if "seasons" not in plain:
        return one()
    return of_seasons([one(f"_{number}") for number in range(plain["seasons"])], plain["cycle_steps"])


def operator_record(path: Path, name: str) -> Path:
    """The file that says the operator is there, whole."""
    return path / "log" / f"operator-{name}.json"


def read_operator(path: Path, name: str) -> tuple[StepOperator, float] | None:
    """The operator of this name in the run at `path` and its model years; None where it is not there intact."""
    years = years_of_operator(path, name)
    return None if years is None else (_whole(path, name), years)


def _whole(path: Path, name: str) -> StepOperator:
    """An operator that is there, for one process."""
    return _chained(operator_of(*read_parts(path, name)))


def _chained(operator: StepOperator) -> StepOperator:
    """Of ranks, which know of no chain, with that of the grid's rows, which never closes upon itself."""
    border = operator.border
    if border is None or border.chain is not None or border.layers is None:
        return operator
    border = replace(border, chain=links_along(border.layers, "row"))
    return replace(operator, border=border, seasons=tuple(map(_chained, operator.seasons)))


def years_of_operator(path: Path, name: str) -> float | None:
    """The model years of an operator; None where it is not there intact, or as an older version wrote it: it is made
    again."""
    record = _intact(path, name)
    return None if record is None or not (path / "operators" / name / "counts").exists() else record["years"]


def read_parts(path: Path, name: str, wanted: Wanted | None = None) -> tuple[dict[str, Any], Parts]:
    """What `parts_of` an operator that is there gave; of the wanted rows, or of all."""
    group: Any = zarr.open_group(path / "operators" / name, mode="r", use_consolidated=False)
    plain = dict(group.attrs["values"])
    return plain, read_pieces(group, plain["names"].split(), wanted)


def _intact(path: Path, name: str) -> Record | None:
    """The record of what is kept under this name; None where it is not there intact."""
    try:
        record = read_record(operator_record(path, name))
    except (OSError, ValueError):
        return None
    return None if damaged(path, record["files"]) else record


def kept_before(path: Path, kind: str) -> list[int]:
    """The evaluations before which what the run still has of a kind, "estimate" or "target", was made."""
    return sorted(int(folder.name.split("-")[1]) for folder in (path / "operators").glob(f"{kind}-*"))


def newest_target(path: Path, count: int) -> str | None:
    """The name of the newest target of an evaluation before number `count`; None where none is there intact."""
    before = [number for number in kept_before(path, "target") if number < count]
    name = f"target-{max(before, default=0):06d}"
    return name if before and _intact(path, name) is not None else None


def newest_estimate(path: Path, count: float = math.inf) -> tuple[str, int] | None:
    """The name of the newest operator that the error of evaluation `count`, or of the last, of the run at `path` is
    estimated with, and the evaluation it was made before; None where none is there intact."""
    for number in reversed(kept_before(path, "estimate")):
        name = f"estimate-{number:06d}"
        if number <= count and years_of_operator(path, name) is not None:
            return name, number
    return None


def newest_estimate_operator(path: Path, count: float = math.inf) -> tuple[StepOperator, int] | None:
    """The same, the operator itself."""
    found = newest_estimate(path, count)
    return None if found is None else (_whole(path, found[0]), found[1])
