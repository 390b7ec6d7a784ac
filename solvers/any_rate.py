"""Solves at a rate of decay that need not be that of the factors: `solvers.tendency`, `solvers.ranks_inverse`."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from solvers.requests import StepOperator


class AnyRate(ABC):
    """Of an operator whose factors at one rate are there: another rate is solved for by Krylov iterations that these
    precondition, or where that does not get there by factors of its own, the last of which are kept."""

    _operator: StepOperator
    _factors: Any  # at the rate of their own
    _other: tuple[np.ndarray, Any, Any] | None = None  # a rate, its matrix, its factors

    @abstractmethod
    def _matrix_at(self, rate: float | np.ndarray) -> Any: ...

    @abstractmethod
    def _factorised(self, matrix: Any) -> Any: ...

    @abstractmethod
    def _solved(self, matrix: Any, factors: Any, right: np.ndarray, tolerance: float) -> np.ndarray | None:
        """By iterations that the factors of a matrix nearby precondition; None where these do not get there."""

    def _at_another(self, rate: float | np.ndarray, right: np.ndarray, tolerance: float) -> np.ndarray | None:
        """The solution; None where the iterations do not get there. All ranks take the same way."""
        new = self._other is None or not np.array_equal(self._other[0], rate)
        if self._operator.inner.any(new):
            matrix = self._matrix_at(rate)
            z = self._solved(matrix, self._factors, right, tolerance)
            if z is not None:
                return z
            self._other = None  # not both at once in memory
            self._other = np.array(rate), matrix, self._factorised(matrix)
        assert self._other is not None
        _, matrix, factors = self._other
        return self._solved(matrix, factors, right, tolerance)
