"""The patches of a matrix of which every rank has rows, as `layered_on_ranks.py` smooths with them.

A patch is solved by the rank that has the first of its columns: for each colour the residual is fetched from where it
is, and the steps are brought to all whose rows they change, two messages between ranks next to each other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.chain_factors import SingularMatrix, Solve
from solvers.columns_on_ranks import Around, Columns
from solvers.lumped_columns import held_by_constraints
from solvers.patches import patch_inverses, patches, patches_across

Smooth = Callable[[np.ndarray, np.ndarray], None]  # as one of `layered_multigrid.Parts.colours`


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
class _Colour:
    """part: unknowns of its patches, among those that are known around the rank; patch, solver: of each its patch, and
    the rank that solves it. own: the numbers of those that this rank solves for, in the order of its patches."""

    part: np.ndarray
    patch: np.ndarray
    solver: np.ndarray
    own: np.ndarray


def colours_on_ranks(matrix: Any, columns: Columns) -> list[Smooth]:
    """`Parts.colours` of a matrix of PETSc's."""
    from scipy.sparse import csc_array

    comm, around = columns.comm, columns.around
    me = comm.Get_rank()
    local = around.local(rows_of(matrix))
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


def rows_of(matrix: Any) -> Any:
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
    found = rows_of(part)
    part.destroy()
    return found
