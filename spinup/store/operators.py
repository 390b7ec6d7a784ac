"""One-step operators in a run: those that the method asked for, those that its error is estimated with, and the
targets, where estimates said that the equilibrium is."""

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from solvers import Border, StepOperator
from solvers.layers import Layers
from solvers.requests import BORDER_MATRICES
from solvers.seasons import of_seasons
from spinup.store.journal import Record, damaged, read_record
from spinup.store.tree import read_sparse, read_tree, sparse_tree


def operator_tree(operator: StepOperator) -> dict[str, Any]:
    """Its parts as arrays and numbers by name."""
    tree: dict[str, Any] = {"steps": operator.steps}
    if operator.border is not None:
        if operator.border.chain is not None:
            tree["chain"] = operator.border.chain
        if operator.border.layers is not None:
            tree |= {f"layers_{name}": known for name, known in vars(operator.border.layers).items()}
    if not operator.seasons:
        return tree | sparse_tree(_matrices(operator))
    tree |= {"seasons": len(operator.seasons), "cycle_steps": operator.cycle_steps}
    return tree | sparse_tree(
        {
            f"{name}_{number}": matrix
            for number, season in enumerate(operator.seasons)
            for name, matrix in _matrices(season).items()
        }
    )


def _matrices(operator: StepOperator) -> dict[str, Any]:
    matrices = {"matrix": operator.matrix}
    if operator.implicit is not None:
        matrices["implicit"] = operator.implicit
    if operator.border is not None:
        matrices |= {part: getattr(operator.border, part) for part in BORDER_MATRICES}
    return matrices


def operator_record(path: Path, name: str) -> Path:
    """The file that says the operator is there, whole."""
    return path / "log" / f"operator-{name}.json"


def read_operator(path: Path, name: str) -> tuple[StepOperator, float] | None:
    """The operator of this name in the run at `path` and its model years; None where it is not there intact."""
    kept = _read(path, name)
    if kept is None or "names" not in kept[0]:  # as an older version wrote it: it is made again
        return None
    tree, record = kept
    matrices = read_sparse(tree)
    if "seasons" not in tree:
        return _operator(tree, matrices), record["years"]
    seasons = [_operator(tree, matrices, f"_{number}") for number in range(tree["seasons"])]
    return of_seasons(seasons, tree["cycle_steps"]), record["years"]


def _operator(tree: dict[str, Any], matrices: dict[str, Any], suffix: str = "") -> StepOperator:
    """The operator of the matrices whose names have this suffix."""
    border = None
    if "balance" + suffix in matrices:  # an older version knows of no layers, its ranks of no chain
        parts = {part: matrices[part + suffix] for part in BORDER_MATRICES}
        known = "layers_row" in tree
        layers = Layers(*(tree[f"layers_{field.name}"] for field in fields(Layers))) if known else None
        border = Border(**parts, chain=tree.get("chain"), layers=layers)
    return StepOperator(matrices["matrix" + suffix], tree["steps"], matrices.get("implicit" + suffix), border)


def _read(path: Path, name: str) -> tuple[dict[str, Any], Record] | None:
    """What is kept under this name, and its record; None where it is not there intact."""
    try:
        record = read_record(operator_record(path, name))
    except (OSError, ValueError):
        return None
    if damaged(path, record["files"]):
        return None
    group: Any = zarr.open_group(path, mode="r", use_consolidated=False)
    return read_tree(group["operators"][name]), record


def kept_before(path: Path, kind: str) -> list[int]:
    """The evaluations before which what the run still has of a kind, "estimate" or "target", was made."""
    return sorted(int(folder.name.split("-")[1]) for folder in (path / "operators").glob(f"{kind}-*"))


def newest_target(path: Path, count: int) -> np.ndarray | None:
    """The newest target of an evaluation before number `count`, (n,); None where none is there intact."""
    number = max((n for n in kept_before(path, "target") if n < count), default=None)
    kept = None if number is None else _read(path, f"target-{number:06d}")
    return None if kept is None else kept[0]["target"]


def newest_estimate_operator(path: Path, count: float = math.inf) -> tuple[StepOperator, int] | None:
    """The newest that the error of evaluation `count`, or of the last, of the run at `path` is estimated with, and the
    evaluation it was made before; None where none is there intact."""
    for number in reversed(kept_before(path, "estimate")):
        if number <= count and (kept := read_operator(path, f"estimate-{number:06d}")) is not None:
            return kept[0], number
    return None
