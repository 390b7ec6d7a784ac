"""States of any structure, as models hand them over, by dotted names."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from solvers.fused import is_jax
from spinup.errors import UsageError
from spinup.state import State
from spinup.suggest import did_you_mean


class Structure:
    """The structure of a state: a plain dict of arrays, one array, or a JAX pytree, by dotted names."""

    def __init__(self, start: Any) -> None:
        self._treedef: Any = None
        self._bare = _is_array(start)
        if self._bare:
            self.values: dict[str, Any] = {"x": _array("x", start)}
            return
        if isinstance(start, Mapping) and all(isinstance(k, str) and _is_array(v) for k, v in start.items()):
            self.values = {name: _array(name, value) for name, value in start.items()}
        else:
            leaves, self._treedef = _flatten(start)
            self.values = {name: _array(name, value) for name, value in leaves}
            if len(self.values) < len(leaves):
                raise UsageError("start: two variables have the same dotted name; rename one of them")
        if not self.values:
            raise UsageError("start holds no array: give a dictionary of arrays by name")

    def nested(self, values: State) -> Any:
        """Values by name in the structure of the start."""
        if self._bare:
            return values["x"]
        if self._treedef is None:
            return dict(values)
        import jax

        return jax.tree_util.tree_unflatten(self._treedef, list(values.values()))

    def flatten_like_start(self, returned: Any, who: str) -> dict[str, Any]:
        """What the function returned, by name in the order of the start. UsageError where names differ."""
        if self._bare:
            if not _is_array(returned):
                raise UsageError(f"{who} returned {type(returned).__name__}: it must return one array")
            return {"x": returned}
        if self._treedef is None:
            if not isinstance(returned, Mapping):
                raise UsageError(f"{who} returned {type(returned).__name__}: it must return a dictionary of arrays")
            out = dict(returned)
        else:
            out = dict(_flatten(returned)[0])
        for name in self.values:
            if name not in out:
                raise UsageError(f"{who} returned no {name!r}{did_you_mean(name, set(out) - set(self.values))}")
        for name in out:
            if name not in self.values:
                raise UsageError(f"{who} returned {name!r}, which the start does not have: add it to the start")
        return {name: out[name] for name in self.values}


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic | float | int) or (
        hasattr(value, "dtype") and hasattr(value, "shape")
    )


def _array(name: str, value: Any) -> Any:
    array = value if is_jax(value) else np.asarray(value)
    if array.dtype == object or array.dtype.kind in "USmM":
        raise UsageError(f"start: {name!r} is of type {array.dtype}, not a number: leave it out of the state")
    return array


def _flatten(tree: Any) -> tuple[list[tuple[str, Any]], Any]:
    import jax

    leaves, treedef = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in leaves], treedef
