"""The multigrid of `layered_multigrid.py` where every rank has rows of the matrix.

Matrices are PETSc's, with their Galerkin products (S. Balay et al., PETSc/TAO Users Manual, ANL-21/39). A patch is
solved by one rank for all (`patches_on_ranks.py`), a rank knows where its own unknowns are and those near it
(`columns_on_ranks.py`). The cycle is that of one process, to rounding, on any number of ranks; coarse matrices are
factorised by all of them, by MUMPS.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.chain_factors import Solve
from solvers.columns_on_ranks import Columns, columns_of
from solvers.krylov import answered, fgmres_flow
from solvers.layered_multigrid import Between, Parts, is_small, v_cycle
from solvers.layers import Layers, Level
from solvers.lumped_columns import (
    Staggering,
    held_by_constraints,
    lateral_friction,
    tallies,
    what_is_staggered,
)
from solvers.patches_on_ranks import colours_on_ranks, rows_of
from solvers.petsc_factors import ITERATIONS, PetscFactors, distributed, row_scale
from solvers.rows import Rows, with_columns


class LayeredFactors:
    """What a matrix, and such as are like it, are solved with: flexible GMRES with a cycle before it.

    own: the rows of this rank (see `PetscFactors`), of a matrix whose rows were scaled by `scale`, (own rows,). layers:
    where its unknowns are; levels: as of `coarser_levels`, of all ranks. To be called by all of them, as `solve`.
    Raises SingularMatrix, on all ranks or on none, and ValueError where two ranks have unknowns of one water column, or
    rows of the matrix reach over more than `columns_on_ranks.NEAR` columns.
    """

    def __init__(self, own: Any, comm: Any, layers: Layers, levels: list[Level], scale: np.ndarray) -> None:
        from petsc4py import PETSc

        PETSc.garbage_cleanup(comm)  # on several ranks nothing of PETSc's goes by itself, nor factors that were before
        self._own, self._comm, self._inner = own, comm, Rows(own, comm).inner
        self._matrix = distributed(own, own.shape[0], comm)
        columns = columns_of(layers, comm)
        around = columns.around
        local = around.local(own)
        staggered = what_is_staggered(comm.allgather(tallies(held_by_constraints(local), around.layers)))
        friction = lateral_friction(local, around.layers, staggered)
        friction = distributed(
            with_columns(friction, around.numbers[friction.indices], columns.number), own.shape[0], comm
        )
        whole = _OnRanks(self._matrix, friction, columns, np.ones_like(scale), layers.thickness / scale)
        del local, friction
        self._cycle = v_cycle(whole, [level.group for level in levels], staggered)
        PETSc.garbage_cleanup(comm)
        self.iterations = 0  # of the last solve

    def solve(self, own: Any, b: np.ndarray, tolerance: float) -> np.ndarray | None:
        """x with matrix x = b, as `PetscFactors.solve` has it."""
        matrix = self._matrix if own is self._own else distributed(own, own.shape[0], self._comm)
        self.iterations = 0

        def precondition(v: np.ndarray) -> np.ndarray:
            self.iterations += 1
            return self._cycle(v)

        flow = fgmres_flow(b, precondition, tolerance=tolerance, dimension=ITERATIONS, inner=self._inner)
        x, rest = answered(flow, lambda v: _times(matrix, v))
        if matrix is not self._matrix:
            matrix.destroy()
        return x if rest <= tolerance else None


_Coarser = tuple[Any, Columns]  # the own rows of `spread`, and the columns of a coarser level


@dataclass(frozen=True, eq=False)
class _OnRanks:
    """A `System`, its matrices PETSc's, of rows whose largest entry is one.

    scale: of own rows, what a right side has to be scaled by. weights: what they are summed up by.
    """

    matrix: Any
    friction: Any
    columns: Columns
    scale: np.ndarray
    weights: np.ndarray

    @property
    def layers(self) -> Layers:
        return self.columns.layers

    @property
    def comm(self) -> Any:
        return self.columns.comm

    def fewer(self, group: np.ndarray) -> _Coarser:
        return self.columns.fewer(group)

    def wider(self, staggered: Staggering) -> _Coarser:
        return self.columns.wider(staggered)

    def is_small(self, wider: _Coarser) -> bool:
        return is_small(wider[1].number, self.columns.number)

    def onto(self, coarser: _Coarser, friction: float = 1.0) -> "_OnRanks":
        spread = self._spread(coarser)
        lateral = _galerkin(self.friction, self.weights, spread)
        matrix = _galerkin(self.matrix, self.weights, spread)
        spread.destroy()
        matrix.axpy(friction - 1, lateral)
        lateral.scale(friction)
        scale = row_scale(rows_of(matrix))
        for made in (matrix, lateral):
            _scale_rows(made, scale)
        return _OnRanks(matrix, lateral, coarser[1], scale, 1 / scale)

    def factorised(self) -> Solve:
        factors, scale = PetscFactors(rows_of(self.matrix), self.comm), self.scale
        return lambda b: factors.apply(scale * b)

    def between(self, coarser: _Coarser, layers: Layers) -> Between:
        spread, weights = self._spread(coarser), self.weights

        def down(rest: np.ndarray) -> np.ndarray:
            v, right = spread.createVecs("left"), spread.createVecs("right")
            v.array[:] = weights * rest
            spread.multTranspose(v, right)
            return right.array.copy()

        return Between(down, lambda x: _times(spread, x).astype(np.float32))

    def _spread(self, coarser: _Coarser) -> Any:
        spread, columns = coarser
        return distributed(spread, len(columns.layers.row), self.comm)

    def parts(self) -> Parts:
        from petsc4py import PETSc

        PETSc.garbage_cleanup(self.comm)
        matrix = self.matrix
        return Parts(
            self.scale,
            colours_on_ranks(matrix, self.columns),
            lambda x: _times(matrix, x).astype(np.float32),
            Rows(None, self.comm).inner.dot,
        )


def _times(matrix: Any, x: np.ndarray) -> np.ndarray:
    """The product with a matrix of PETSc's, of this rank."""
    v, product = matrix.createVecs("right"), matrix.createVecs("left")
    v.array[:] = x
    matrix.mult(v, product)
    return product.array.copy()


def _galerkin(matrix: Any, weights: np.ndarray, spread: Any) -> Any:
    weighted = matrix.copy()
    _scale_rows(weighted, weights)
    product = weighted.ptap(spread)
    found = product.copy()  # without what PETSc keeps to form the product anew
    for made in (weighted, product):
        made.destroy()
    return found


def _scale_rows(matrix: Any, scale: np.ndarray) -> None:
    by = matrix.createVecs("left")
    by.array[:] = scale
    matrix.diagonalScale(L=by)
