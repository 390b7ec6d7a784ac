"""The multigrid of `layered_multigrid.py` where every rank has rows of the matrix.

Matrices are PETSc's, with their Galerkin products (S. Balay et al., PETSc/TAO Users Manual, ANL-21/39). A patch is
solved by the rank that has most of it: for each colour the residual is fetched from where it is, and the steps are
brought to all whose rows they change (`Exchange`, two messages between ranks that are next to each other). The cycle is
that of one process, to rounding, on any number of ranks; coarse matrices are factorised by all of them, by MUMPS.

Every rank knows where all unknowns of a level are, which are some hundred bytes of each; what takes memory, the
patches' inverses and the factors, some ten thousand, is shared out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from solvers.chain_factors import SingularMatrix, Solve
from solvers.krylov import answered, fgmres_flow
from solvers.layered_multigrid import Between, Parts, patch_inverses, patches, v_cycle
from solvers.layers import Layers, Level
from solvers.lumped_columns import Constraints, held_by_constraints, lateral_friction, staggering
from solvers.petsc_factors import ITERATIONS, PetscFactors, distributed, row_scale
from solvers.rows import Rows


class LayeredFactors:
    """What a matrix, and such as are like it, are solved with: flexible GMRES with a cycle before it.

    own: the rows of this rank (see `PetscFactors`), of a matrix whose rows were scaled by `scale`, (own rows,). layers:
    where the unknowns of all ranks are, in the order of the ranks; levels: as of `coarser_levels`. To be called by all
    ranks, as `solve`. Raises SingularMatrix, on all ranks or on none.
    """

    def __init__(self, own: Any, comm: Any, layers: Layers, levels: list[Level], scale: np.ndarray) -> None:
        from petsc4py import PETSc

        self._own, self._comm, self._inner = own, comm, Rows(own, comm).inner
        self._matrix = distributed(own, own.shape[0], comm)
        firsts = Rows(own, comm).firsts(own.shape[0])
        first = int(firsts[comm.Get_rank()])
        staggered = staggering(_of_all(held_by_constraints(own, first), comm), layers)
        friction = distributed(lateral_friction(own, layers, staggered, first), own.shape[0], comm)
        weights = layers.thickness[first : first + own.shape[0]] / scale
        whole = _OnRanks(self._matrix, friction, layers, np.ones_like(weights), weights, firsts, comm)
        self._cycle = v_cycle(whole, [level.group for level in levels], staggered)
        PETSc.garbage_cleanup(comm)  # on several ranks nothing of PETSc's goes by itself
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


class Exchange:
    """Numbers of all ranks to those that want them (PETSc's star forest). here: how many this rank has. owner, index:
    of each that it wants the rank that has it, and which of its own it is there."""

    def __init__(self, here: int, owner: np.ndarray, index: np.ndarray, comm: Any) -> None:
        from petsc4py import PETSc

        self._wanted = len(owner)
        self._forest = PETSc.SF().create(comm)
        self._forest.setGraph(here, None, np.stack([owner, index], axis=1).astype(PETSc.IntType).ravel())

    def __call__(self, own: np.ndarray) -> np.ndarray:
        """The wanted of single-precision numbers, (here,) to (wanted,)."""
        from mpi4py import MPI

        found = np.empty(self._wanted, dtype=np.float32)
        self._forest.bcastBegin(MPI.FLOAT, own, found, MPI.REPLACE)
        self._forest.bcastEnd(MPI.FLOAT, own, found, MPI.REPLACE)
        return found


@dataclass(frozen=True, eq=False)
class _OnRanks:
    """A `System`, its matrices PETSc's, of rows whose largest entry is one.

    layers: of all unknowns, in the order of the ranks. scale: of own rows, what a right side has to be scaled by;
    weights: what they are summed up by. firsts: the number of each rank's first unknown, and of all, (ranks + 1,).
    """

    matrix: Any
    friction: Any
    layers: Layers
    scale: np.ndarray
    weights: np.ndarray
    firsts: np.ndarray
    comm: Any

    @property
    def first(self) -> int:
        """The number of this rank's first unknown."""
        return int(self.firsts[self.comm.Get_rank()])

    @property
    def end(self) -> int:
        return int(self.firsts[self.comm.Get_rank() + 1])

    @cached_property
    def owners(self) -> np.ndarray:
        """The rank of each unknown."""
        return np.repeat(np.arange(self.comm.Get_size()), np.diff(self.firsts))

    def onto(self, spread: Any, layers: Layers, friction: float = 1.0) -> "_OnRanks":
        owners = self._coarse_owners(spread)
        order = np.argsort(owners, kind="stable")
        firsts = np.searchsorted(owners[order], np.arange(self.comm.Get_size() + 1))
        ours = self._own_part(spread[:, order], firsts)
        lateral = _galerkin(self.friction, self.weights, ours)
        matrix = _galerkin(self.matrix, self.weights, ours)
        matrix.axpy(friction - 1, lateral)
        lateral.scale(friction)
        ours.destroy()
        scale = row_scale(_rows_of(matrix))
        for made in (matrix, lateral):
            _scale_rows(made, scale)
        return _OnRanks(matrix, lateral, layers.of(order), scale, 1 / scale, firsts, self.comm)

    def _coarse_owners(self, spread: Any) -> np.ndarray:
        """The rank of each coarser unknown: the first that has a part of it."""
        found = np.full(spread.shape[1], self.comm.Get_size())
        np.minimum.at(found, spread.indices, np.repeat(self.owners, np.diff(spread.indptr)))
        return found

    def _own_part(self, spread: Any, firsts: np.ndarray) -> Any:
        """PETSc's matrix of a spread whose columns are in the order of the ranks; firsts: of the columns."""
        rank = self.comm.Get_rank()
        return distributed(spread[self.first : self.end], int(firsts[rank + 1] - firsts[rank]), self.comm)

    def factorised(self) -> Solve:
        factors, scale = PetscFactors(_rows_of(self.matrix), self.comm), self.scale
        return lambda b: factors.apply(scale * b)

    def parts(self) -> Parts:
        from petsc4py import PETSc

        PETSc.garbage_cleanup(self.comm)
        matrix, own = self.matrix, _rows_of(self.matrix)
        mine = self._mine(_of_all(held_by_constraints(own, self.first), self.comm))
        wanted = np.unique(np.concatenate([part[solver == self.comm.Get_rank()] for part, _, solver in mine]))
        around = _among(matrix, wanted)
        columns = _columns(own)
        touched = np.zeros(len(self.owners), bool)
        touched[own.indices] = touched[self.first : self.end] = True
        failed, colours = "", []
        for part, patch, solver in mine:
            ours = solver == self.comm.Get_rank()
            at = np.searchsorted(wanted, part[ours])
            try:
                solve = patch_inverses(around[at][:, at], patch[ours])
            except SingularMatrix as error:
                failed = str(error)
                continue
            colours.append(self._colour(part, solver, solve, columns, touched))
        if words := next(filter(None, self.comm.allgather(failed)), ""):
            raise SingularMatrix(words)
        inner = Rows(None, self.comm).inner
        return Parts(self.scale, colours, lambda x: _times(matrix, x).astype(np.float32), inner.dot)

    def _mine(self, constraints: Constraints) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For each colour its unknowns, the patch of each, and the rank that solves it."""
        found = []
        for part, patch in patches(constraints, self.layers):
            begin = np.concatenate([[0], np.flatnonzero(np.diff(patch)) + 1, [len(patch)]])
            middle = self.owners[part[(begin[:-1] + begin[1:]) // 2]]
            found.append((part, patch, np.repeat(middle, np.diff(begin))))
        return found

    def _colour(
        self, part: np.ndarray, solver: np.ndarray, solve: Solve, columns: Any, touched: np.ndarray
    ) -> Callable[[np.ndarray, np.ndarray], None]:
        """One of `Parts.colours`. columns: own rows by columns; touched: whether an unknown is in
        these rows, (n,)."""
        ours = part[solver == self.comm.Get_rank()]
        fetch = Exchange(self.end - self.first, self.owners[ours], ours - self.firsts[self.owners[ours]], self.comm)
        order = np.argsort(solver, kind="stable")
        number = np.empty_like(order)  # of an unknown among those that its rank solves for
        number[order] = np.arange(len(order)) - np.searchsorted(solver[order], solver[order])
        needed = touched[part]
        bring = Exchange(len(ours), solver[needed], number[needed], self.comm)
        part = part[needed]
        rows = columns[:, part]
        here = np.flatnonzero((part >= self.first) & (part < self.end))
        places = part[here] - self.first

        def smooth(x: np.ndarray, rest: np.ndarray) -> None:
            step = bring(solve(fetch(rest)))
            x[places] += step[here]
            rest -= rows @ step

        return smooth

    def between(self, spread: Any) -> Between:
        owners = self._coarse_owners(spread)
        ours = self._own_part(spread, np.searchsorted(owners, np.arange(self.comm.Get_size() + 1)))
        weights = self.weights

        def down(rest: np.ndarray) -> np.ndarray:
            v, right = ours.createVecs("left"), ours.createVecs("right")
            v.array[:] = weights * rest
            ours.multTranspose(v, right)
            return right.array.copy()

        return Between(down, lambda x: _times(ours, x).astype(np.float32))


def _times(matrix: Any, x: np.ndarray) -> np.ndarray:
    """The product with a matrix of PETSc's, of this rank."""
    v, product = matrix.createVecs("right"), matrix.createVecs("left")
    v.array[:] = x
    matrix.mult(v, product)
    return product.array.copy()


def _galerkin(matrix: Any, weights: np.ndarray, spread: Any) -> Any:
    weighted = matrix.copy()
    _scale_rows(weighted, weights)
    found = weighted.ptap(spread)
    weighted.destroy()
    return found


def _scale_rows(matrix: Any, scale: np.ndarray) -> None:
    by = matrix.createVecs("left")
    by.array[:] = scale
    matrix.diagonalScale(L=by)


def _rows_of(matrix: Any) -> Any:
    """This rank's rows of a matrix of PETSc's, with the columns of all ranks."""
    from scipy.sparse import csr_array

    indptr, indices, data = matrix.getValuesCSR()
    found = csr_array((data, indices, indptr), shape=(len(indptr) - 1, matrix.getSize()[1]))
    found.eliminate_zeros()
    return found


def _columns(own: Any) -> Any:
    from scipy.sparse import csc_array

    return csc_array(own.astype(np.float32))


def _among(matrix: Any, which: np.ndarray) -> Any:
    """The rows and columns of some unknowns, of any ranks, whole."""
    from petsc4py import PETSc

    these = PETSc.IS().createGeneral(which.astype(PETSc.IntType), comm=PETSc.COMM_SELF)
    (part,) = matrix.createSubMatrices(these, these)
    found = _rows_of(part)
    part.destroy()
    return found


def _of_all(constraints: Constraints, comm: Any) -> Constraints:
    """Those of all ranks."""
    told = comm.allgather(constraints)
    return np.concatenate([one for one, _ in told]), np.concatenate([held for _, held in told])
