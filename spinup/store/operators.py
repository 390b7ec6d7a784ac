"""One-step operators in a run: those that the method asked for, and those that its error is estimated with."""

import math
from pathlib import Path
from typing import Any

import zarr

from solvers import Border, StepOperator
from spinup.store.journal import damaged, read_record
from spinup.store.tree import read_sparse, read_tree, sparse_tree

BORDER = ("response", "source", "balance")


def operator_tree(operator: StepOperator) -> dict[str, Any]:
    """Its parts as arrays and numbers by name."""
    matrices = {"matrix": operator.matrix}
    tree: dict[str, Any] = {"steps": operator.steps}
    if operator.implicit is not None:
        matrices["implicit"] = operator.implicit
    if operator.border is not None:
        matrices |= {part: getattr(operator.border, part) for part in BORDER}
        tree["chain"] = operator.border.chain
    return tree | sparse_tree(matrices)


def operator_record(path: Path, name: str) -> Path:
    """The file that says the operator is there, whole."""
    return path / "log" / f"operator-{name}.json"


def read_operator(path: Path, name: str) -> tuple[StepOperator, float] | None:
    """The operator of this name in the run at `path` and its model years; None where it is not there intact."""
    try:
        record = read_record(operator_record(path, name))
    except (OSError, ValueError):
        return None
    if damaged(path, record["files"]):
        return None
    group: Any = zarr.open_group(path, mode="r", use_consolidated=False)
    tree = read_tree(group["operators"][name])
    if "names" not in tree:  # as an older version wrote it: it is made again
        return None
    matrices = read_sparse(tree)
    border = Border(**{part: matrices[part] for part in BORDER}, chain=tree["chain"]) if "chain" in tree else None
    return StepOperator(matrices["matrix"], tree["steps"], matrices.get("implicit"), border), record["years"]


def estimate_operators(path: Path) -> list[int]:
    """The evaluations before which an operator of the estimate's own was made that the run still has."""
    return sorted(int(folder.name.split("-")[1]) for folder in (path / "operators").glob("estimate-*"))


def newest_estimate_operator(path: Path, count: float = math.inf) -> tuple[StepOperator, int] | None:
    """The newest that the error of evaluation `count`, or of the last, of the run at `path` is estimated with, and the
    evaluation it was made before; None where none is there intact."""
    for number in reversed(estimate_operators(path)):
        if number <= count and (kept := read_operator(path, f"estimate-{number:06d}")) is not None:
            return kept[0], number
    return None
