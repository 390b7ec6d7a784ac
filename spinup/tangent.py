"""The derivative of a function of a whole period along a direction, by JAX."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Values = Mapping[str, Any]  # arrays by dotted name


class JaxTangent:
    """Forward-mode derivative of the accelerated variables, compiled when it is first asked for.

    function: values of the whole state in, values of the whole state out. accelerate: the names differentiated.
    """

    def __init__(self, function: Callable[[dict[str, Any]], Values], accelerate: Sequence[str]) -> None:
        import jax

        def derivative(values: Values, changes: Values) -> Any:
            def of(moved: Values) -> dict[str, Any]:
                after = function({**values, **moved})
                return {name: after[name] for name in accelerate}

            return jax.jvp(of, ({name: values[name] for name in accelerate},), (changes,))[1]

        self._derivative, self._compiled = derivative, jax.jit(derivative)
        self._compiled_many = jax.jit(jax.vmap(derivative, in_axes=(None, 0)))
        self._accelerate = tuple(accelerate)

    def exists_at(self, values: Values) -> bool:
        """Whether JAX can differentiate it: not where it calls out of JAX, or has a rule for the backward mode only."""
        import jax

        try:
            jax.eval_shape(self._derivative, dict(values), {name: values[name] for name in self._accelerate})
        except Exception:  # each kind of function that has no derivative raises another
            return False
        return True

    def __call__(self, values: Values, changes: Values) -> dict[str, Any]:
        """The derivative at `values` along `changes` of the accelerated variables."""
        return self._compiled(dict(values), dict(changes))

    def many(self, values: Values, changes: Values) -> dict[str, Any]:
        """The same along several directions at once: arrays have one axis more, in front."""
        return self._compiled_many(dict(values), dict(changes))
