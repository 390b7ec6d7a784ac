"""The multigrid of `layered_multigrid.py` where every rank has rows of the matrix.

Matrices are PETSc's, with their Galerkin products (S. Balay et al., PETSc/TAO Users Manual, ANL-21/39). A patch is
solved by the rank that has the first of its columns: for each colour the residual is fetched from where it is, and the
steps are brought to all whose rows they change (`Exchange`, two messages between ranks next to each other). The cycle
is that of one process, to rounding, on any number of ranks; coarse matrices are factorised by all of them, by MUMPS. A
rank knows where its own unknowns are and those near it (`columns_on_ranks.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.chain_factors import SingularMatrix, Solve
from solvers.columns_on_ranks import Around, Columns, columns_of, with_columns
from solvers.krylov import answered, fgmres_flow
from solvers.layered_multigrid import Between, Parts, is_small, patch_inverses, patches, patches_across, v_cycle
from solvers.layers import Layers, Level
from solvers.lumped_columns import (
    Staggering,
    held_by_constraints,
    lateral_friction,
    tallies,
    what_is_staggered,
)
from solvers.petsc_factors import ITERATIONS, PetscFactors, distributed, row_scale
from solvers.rows import Rows

Smooth = Callable[[np.ndarray, np.ndarray], None]


class LayeredFactors:
    """What a matrix, and such as are like it, are solved with: flexible GMRES with a cycle before it.

    own: the rows of this rank (see `PetscFactors`), of a matrix whose rows were scaled by `scale`, (own rows,). layers:
    where its unknowns are; levels: as of `coarser_levels`, of all ranks. To be called by all of them, as `solve`.
    Raises SingularMatrix, on all ranks or on none.
    """

    def __init__(self, own: Any, comm: Any, layers: Layers, levels: list[Level], scale: np.ndarray) -> None:
        from petsc4py import PETSc

        self._own, self._comm, self._inner = own, comm, Rows(own, comm).inner
        self._matrix = distributed(own, own.shape[0], comm)
        columns = columns_of(layers, comm)
        around = columns.around
        local = around.local(own)
        staggered = what_is_staggered(comm.allgather(tallies(held_by_constraints(local), around.layers)))
        friction = lateral_friction(local, around.layers, staggered)
        friction = distributed(with_columns(friction, around.numbers, columns.number), own.shape[0], comm)
        whole = _OnRanks(self._matrix, friction, columns, np.ones_like(scale), layers.thickness / scale)
        del local, friction
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
        scale = row_scale(_rows_of(matrix))
        for made in (matrix, lateral):
            _scale_rows(made, scale)
        return _OnRanks(matrix, lateral, coarser[1], scale, 1 / scale)

    def factorised(self) -> Solve:
        factors, scale = PetscFactors(_rows_of(self.matrix), self.comm), self.scale
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
            _colours(matrix, self.columns),
            lambda x: _times(matrix, x).astype(np.float32),
            Rows(None, self.comm).inner.dot,
        )


@dataclass(frozen=True, eq=False)
class _Colour:
    """part: unknowns of its patches, among those that are known around the rank; patch, solver: of each its patch, and
    the rank that solves it. own: the numbers of those that this rank solves for, in the order of its patches."""

    part: np.ndarray
    patch: np.ndarray
    solver: np.ndarray
    own: np.ndarray


def _colours(matrix: Any, columns: Columns) -> list[Smooth]:
    """`Parts.colours` of a matrix of PETSc's."""
    from scipy.sparse import csc_array

    comm, around = columns.comm, columns.around
    me = comm.Get_rank()
    local = around.local(_rows_of(matrix))
    found = _known_colours(local, columns)
    wanted = np.unique(np.concatenate([np.zeros(0, int), *(colour.own for colour in found)]))
    block = _among(matrix, wanted)
    inverses: list[Solve] = []
    try:
        for colour in found:
            at = np.searchsorted(wanted, colour.own)
            inverses.append(patch_inverses(block[at][:, at], colour.patch[colour.solver == me]))
        failed = ""
    except SingularMatrix as error:
        failed = str(error)
    if words := next(filter(None, comm.allgather(failed)), ""):
        raise SingularMatrix(words)
    del block
    touched = np.zeros(len(around.layers.row), bool)  # by steps that own rows, or unknowns, have to know
    touched[local.indices] = touched[: around.own] = True
    needed = []
    for colour in found:
        of = np.flatnonzero(touched[colour.part])
        needed.append(of[np.argsort(colour.solver[of], kind="stable")])
    by_column = csc_array(local.astype(np.float32))
    index = _indices(found, needed, around, comm)
    return [
        _smooth(columns, colour, colour.part[of], (colour.solver[of], at), inverse, by_column)
        for colour, of, at, inverse in zip(found, needed, index, inverses, strict=True)
    ]


def _known_colours(local: Any, columns: Columns) -> list[_Colour]:
    """The colours of all ranks, those patches that a rank knows of. local: its rows, with columns for what is known."""
    comm, around, last = columns.comm, columns.around, columns.last["column"]
    constraints = around.constraints(held_by_constraints(local), comm)
    nothing = np.zeros(0, int)
    failed, known = "", {}
    try:
        known = patches(constraints, around.layers, last)
    except ValueError as error:
        failed = str(error)
    told = comm.allgather((failed, list(known)))
    if words := next(filter(None, (words for words, _ in told)), ""):
        raise ValueError(words)
    found = []
    for one in sorted({colour for _, colours in told for colour in colours}):
        part, patch = known.get(one, (nothing, nothing))
        solver = columns.lumped_owner[np.divmod(patch, patches_across(last))]
        own = around.numbers[part[solver == comm.Get_rank()]]
        found.append(_Colour(part, patch, solver, own))
    return found


def _indices(found: list[_Colour], needed: list[np.ndarray], around: Around, comm: Any) -> list[np.ndarray]:
    """Which of those that their rank solves for the needed of each colour are, by asking it; they are in the order of
    the ranks."""

    def of_rank(rank: int) -> list[np.ndarray]:
        every = zip(found, needed, strict=True)
        return [around.numbers[colour.part[of[colour.solver[of] == rank]]] for colour, of in every]

    def answer(asked: list[np.ndarray]) -> list[np.ndarray]:
        answers = []
        for colour, numbers in zip(found, asked, strict=True):
            order = np.argsort(colour.own)
            answers.append(order[np.searchsorted(colour.own, numbers, sorter=order)])
        return answers

    asked = comm.alltoall([of_rank(rank) for rank in range(comm.Get_size())])
    answered = comm.alltoall([answer(numbers) for numbers in asked])
    return [np.concatenate(parts) for parts in zip(*answered, strict=True)]


def _smooth(
    columns: Columns,
    colour: _Colour,
    needed: np.ndarray,
    at: tuple[np.ndarray, np.ndarray],
    inverse: Solve,
    by_column: Any,
) -> Smooth:
    """One of `Parts.colours`. needed: the unknowns whose steps change own rows or unknowns. at: the rank that solves
    for each, and which of its own it is. by_column: own rows."""
    around, comm = columns.around, columns.comm
    fetch = Exchange(around.own, *columns.where(colour.own), comm)
    bring = Exchange(len(colour.own), *at, comm)
    rows = by_column[:, needed]
    here = np.flatnonzero(needed < around.own)
    places = needed[here]

    def smooth(x: np.ndarray, rest: np.ndarray) -> None:
        step = bring(inverse(fetch(rest)))
        x[places] += step[here]
        rest -= rows @ step

    return smooth


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


def _rows_of(matrix: Any) -> Any:
    """This rank's rows of a matrix of PETSc's, with the columns of all ranks."""
    from scipy.sparse import csr_array

    indptr, indices, data = matrix.getValuesCSR()
    found = csr_array((data, indices, indptr), shape=(len(indptr) - 1, matrix.getSize()[1]))
    found.eliminate_zeros()
    return found


def _among(matrix: Any, which: np.ndarray) -> Any:
    """The rows and columns of some unknowns, of any ranks, whole."""
    from petsc4py import PETSc

    these = PETSc.IS().createGeneral(which.astype(PETSc.IntType), comm=PETSc.COMM_SELF)
    (part,) = matrix.createSubMatrices(these, these)
    found = _rows_of(part)
    part.destroy()
    return found
