"""The inverse of the tendency (`solvers.tendency`) where every rank has rows of the operator: PETSc's matrices and
solvers (S. Balay et al., PETSc/TAO Users Manual, Argonne National Laboratory, ANL-21/39).

The extended matrix is one distributed AIJ matrix, its rows scaled to a largest entry of one. A rank's unknowns are
those of its part of x, then those of its part of the border. It is factorised by MUMPS, or where the factors do not fit
into what all ranks have and it is known where the unknowns are, solved by multigrid (`layered_on_ranks.py`).
"""

from functools import cached_property
from typing import Any

import numpy as np

from solvers import memory
from solvers.any_rate import AnyRate
from solvers.chain_factors import SingularMatrix
from solvers.factors import in_words as size_in_words
from solvers.layered_multigrid import layers_in_words
from solvers.layered_on_ranks import LayeredFactors
from solvers.layers import Layers, Level, coarser_levels
from solvers.lumping import Lump, lumped_levels
from solvers.petsc_factors import LARGE, PetscFactors, in_words, is_asked_for, mumps_bytes, row_scale
from solvers.requests import StepOperator
from solvers.rows import Rows, with_columns

LINEAR_TOLERANCE = 1e-8  # of the linear solve, in rows scaled to a largest entry of one


class RanksInverse(AnyRate):
    """P_s^-1 as `solvers.tendency.TendencyInverse` has it; every method is to be called by all ranks.

    Raises SingularMatrix, on all ranks or on none.
    """

    def __init__(self, operator: StepOperator, rate: float = 0.0, tolerance: float = LINEAR_TOLERANCE) -> None:
        self._operator, self._tolerance = operator, tolerance
        self._extended = Extended(operator)
        self._own = self._matrix_at(rate)
        self._factors = self._factorised(self._own)

    def __call__(
        self,
        r: np.ndarray,
        *,
        steps: int | None = None,
        rate: float | np.ndarray | None = None,
        tolerance: float | None = None,
    ) -> np.ndarray:
        """P_s^-1 r, of this rank's part of r. Settings as those of `TendencyInverse`."""
        tolerance = tolerance or self._tolerance
        right = self._extended.right(r * (self._operator.steps / (steps or self._operator.steps)))
        if rate is None:
            z = self._solved(self._own, self._factors, right, tolerance)
        else:
            z = self._at_another(rate, right, tolerance)
        if z is None:
            raise SingularMatrix("the iterations did not get there: the operator is nearly singular")
        return z[: len(r)] - r

    def _matrix_at(self, rate: float | np.ndarray) -> Any:
        return self._extended.at(rate)

    def _factorised(self, matrix: Any) -> PetscFactors | LayeredFactors:
        extended = self._extended
        if extended.fewer_layers:
            return LayeredFactors(matrix, extended.comm, extended.layers, extended.fewer_layers, extended.scale)
        return PetscFactors(matrix, extended.comm, extended.levels)

    def _solved(
        self, matrix: Any, factors: PetscFactors | LayeredFactors, right: np.ndarray, tolerance: float
    ) -> np.ndarray | None:
        return factors.solve(matrix, right, tolerance)


def ranks_sentence(operator: StepOperator) -> str:
    """How the inverse of an operator is had, in a sentence for the user's log. To be called by all ranks."""
    extended = Extended(operator)
    solves = f"each solve has {extended.number} unknowns, on {extended.comm.Get_size()} ranks"
    if not extended.fewer_layers:
        return f"{solves}: by PETSc, {in_words(levels=bool(extended.levels))}"
    needed, allowed = size_in_words(mumps_bytes(extended.number)), size_in_words(extended.limit)
    return (
        f"{solves}; its LU factors, by MUMPS, would take {needed} of memory, and may have {allowed}: "
        f"{layers_in_words(extended.fewer_layers, extended.total(len(extended.fewer_layers[-1].members)))}"
    )


class Extended:
    """The extended matrix of an operator of `Rows`, at any rate."""

    def __init__(self, operator: StepOperator) -> None:
        self._operator = operator
        self._left: Rows = operator.left
        self.comm = self._left.comm
        self._n, self._m = operator.matrix.shape[0], 0
        if operator.border is not None:
            self._m = operator.border.balance.shape[0]
        self._vector, self._border = self._left.firsts(self._n), self._left.firsts(self._m)
        self._first = int(self._vector[self.comm.Get_rank()])
        self._scale: np.ndarray | None = None
        self._cells = operator.cells if operator.border is None and self.number > LARGE else None

    @cached_property
    def levels(self) -> list[Lump]:
        """By which it is preconditioned, where it is lumped."""
        return [] if self._cells is None else list(lumped_levels(self._cells, self.comm))

    @property
    def _largest(self) -> float:
        """The size of the largest cell of all ranks."""
        assert self._cells is not None
        return max(self.comm.allgather(float(self._cells.size.max())))

    @cached_property
    def limit(self) -> float:
        """Bytes that LU factors may take on all ranks: those of a machine share its memory."""
        from mpi4py import MPI

        here = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
        mine = memory.usable() / here.Get_size()
        here.Free()
        return float(self._left.total(np.array([mine]))[0])

    @cached_property
    def fewer_layers(self) -> list[Level]:
        """The levels of multigrid where LU factors do not fit and it is known where unknowns are, else none."""
        border = self._operator.border
        if border is None or border.layers is None or is_asked_for() or mumps_bytes(self.number) <= self.limit:
            return []
        return self.levels_of_layers(self.limit)

    def levels_of_layers(self, limit: float) -> list[Level]:
        """Levels of which the last has factors of at most so many bytes, of an operator with known layers."""
        return coarser_levels(
            self.layers,
            lambda members: mumps_bytes(self.total(len(members))) <= limit,
            total=self.total,
            most=self._most,
        )

    @property
    def layers(self) -> Layers:
        """Where this rank's unknowns are; to be known of the operator."""
        border = self._operator.border
        assert border is not None
        assert border.layers is not None
        return border.layers

    def _most(self, mine: np.ndarray) -> np.ndarray:
        told = self.comm.allgather(mine)
        found = np.zeros(max(map(len, told)))
        for one in told:
            np.maximum(found[: len(one)], one, out=found[: len(one)])
        return found

    def total(self, mine: int) -> int:
        """The sum over ranks."""
        return int(self._left.total(np.array([float(mine)]))[0])

    def at(self, rate: float | np.ndarray) -> Any:
        """This rank's rows at a rate s, or one for each of its unknowns of x, (n,); its columns are of all ranks."""
        from scipy.sparse import csr_array, diags_array, vstack

        operator = self._operator
        rates = np.zeros(self._left.own.shape[1])
        rates[self._first : self._first + self._n] = rate  # M is of single water columns: others' are not asked for
        matrix = self._of_vector(operator.steps * operator.matrix.own - self._left.own @ diags_array(rates))
        if (border := operator.border) is not None:
            upper = matrix + self._of_border(operator.steps * border.response.own)
            lower = self._of_vector(border.source.own) + self._of_border(border.balance.own)
            matrix = csr_array(vstack([upper, lower]))
        if self._scale is None:
            self._scale = row_scale(matrix) if self._cells is None else self._cells.size / self._largest
        return csr_array(diags_array(self._scale) @ matrix)

    @property
    def scale(self) -> np.ndarray:
        """Of this rank's rows, once there is a matrix."""
        assert self._scale is not None
        return self._scale

    def right(self, r: np.ndarray) -> np.ndarray:
        """The scaled right side for a residual, of this rank."""
        own = self._left.own[:, self._first : self._first + self._n]
        return self.scale * np.concatenate([own @ r, np.zeros(self._m)])

    def _of_vector(self, own: Any) -> Any:
        """Rows whose columns are unknowns of x, with the columns of the extended matrix."""
        return self._numbered(own, self._vector, self._border[:-1])

    def _of_border(self, own: Any) -> Any:
        """The same of the border."""
        return self._numbered(own, self._border, self._vector[1:])

    @property
    def number(self) -> int:
        """Of unknowns on all ranks."""
        return int(self._vector[-1] + self._border[-1])

    def _numbered(self, own: Any, firsts: np.ndarray, shift: np.ndarray) -> Any:
        from scipy.sparse import csr_array

        own = csr_array(own)
        owner = np.searchsorted(firsts[1:-1], own.indices, side="right")
        return with_columns(own, own.indices + shift[owner], self.number)
