"""Linear systems by PETSc (S. Balay et al., PETSc/TAO Users Manual, Argonne National Laboratory, ANL-21/39): flexible
GMRES with what the options say before it, by default LU factors by MUMPS.

MUMPS (P. R. Amestoy et al., SIAM J. Matrix Anal. Appl. 23 (2001), 15-41) orders by nested dissection or the like.
Columns are not permuted beforehand and pivots may be small, which leaves it the symmetric pattern that the order is
for: two thirds of the time on an ocean's extended operator (n = 54,000: 2.7 s instead of 4.0; SciPy's SuperLU 32 s).
What is lost in digits the iterations get back.
"""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from solvers.blas import name_processor
from solvers.chain_factors import SingularMatrix
from solvers.lumping import Cells, Lump, lumped_levels

name_processor()  # before anything loads PETSc
PREFIX = "tendency_"  # of the options
ENTRIES, GROWTH = 8.6e6, 1.26  # of an extended operator with 10,000 unknowns, and how they grow with them
LARGE = 30_000  # unknowns above which lumped levels take less than LU factors
WORKSPACE = 1.2  # what MUMPS allots, in units of the factors
REFINEMENT = 40  # largest Krylov dimension where the factors are of single precision, or of a matrix nearby
ITERATIONS = 300  # the same where an inverse is approximate
KRYLOV = {"ksp_type": "fgmres", "ksp_gmres_restart": 100, "ksp_max_it": ITERATIONS}
LU = {
    "pc_type": "lu",
    "pc_factor_mat_solver_type": "mumps",
    "mat_mumps_icntl_6": 0,  # columns stay where they are
    "mat_mumps_cntl_1": 1e-4,  # the least pivot, in units of the largest that could be
}
LEVELS = {
    "pc_type": "mg",
    "pc_mg_galerkin": "both",
    "pc_mg_cycle_type": "w",
    "mg_levels_ksp_type": "richardson",
    "mg_levels_ksp_max_it": 1,
    "mg_levels_pc_type": "bjacobi",
    "mg_levels_sub_pc_type": "ilu",
} | {f"mg_coarse_{name}": value for name, value in LU.items()}


class PetscFactors:
    """What a matrix, and such as are like it, are solved with.

    own: the rows of this rank, a sparse array (own rows, columns of all ranks), numbered through the ranks; comm: their
    communicator, mpi4py's or PETSc's. To be called by all ranks, as `solve` and `apply`.

    levels: matrices P (see `lumping`), with which it is preconditioned by multigrid instead of LU factors: a W-cycle,
    smoothed by incomplete LU of each rank's rows.

    Other options than KRYLOV and LU or LEVELS: those of PETSc's database that begin with PREFIX (see `options_given`).

    Raises SingularMatrix where PETSc has no such preconditioner for the matrix.
    """

    def __init__(self, own: Any, comm: Any, levels: Sequence[Lump] = ()) -> None:
        from petsc4py import PETSc

        self._comm, self._own = comm, own
        PETSc.garbage_cleanup(comm)  # on several ranks nothing of PETSc's goes by itself
        database = PETSc.Options(PREFIX)
        kind = kind_asked_for(levels=bool(levels))
        by_lu = LU | {"ksp_max_it": REFINEMENT}  # PETSc's own LU does not pivot
        ours = KRYLOV | {"mg": LEVELS if levels else {}, "lu": by_lu}.get(kind, {})
        given = [name for name in ours if not database.hasName(name)]
        for name in given:
            database[name] = ours[name]
        self._matrix = distributed(own, own.shape[0], comm)
        self._solver = PETSc.KSP().create(comm)
        self._solver.setOptionsPrefix(PREFIX)
        self._solver.setOperators(self._matrix)
        self._solver.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        self._solver.setFromOptions()
        if levels and self._solver.getPC().getType() == "mg":
            self._set(levels)
        try:
            self._solver.setUp()
        except PETSc.Error as error:
            raise SingularMatrix(f"PETSc: {str(error).splitlines()[-1]}") from error
        finally:
            for name in given:
                database.delValue(name)

    def _set(self, levels: Sequence[Lump]) -> None:
        """Have multigrid work on these."""
        pc = self._solver.getPC()
        pc.setMGLevels(len(levels) + 1)
        for number, lump in enumerate(levels):
            pc.setMGInterpolation(len(levels) - number, distributed(*lump, self._comm))
        pc.setFromOptions()

    def solve(self, own: Any, b: np.ndarray, tolerance: float) -> np.ndarray | None:
        """x with matrix x = b, of this rank, its rows `own` those of the factors or nearby; None where what is left of
        b is not below `tolerance` of it."""
        matrix = self._matrix if own is self._own else distributed(own, own.shape[0], self._comm)
        solver = self._solver
        solver.setOperators(matrix, self._matrix)
        solver.setTolerances(rtol=tolerance, atol=0.0)
        right, x = matrix.createVecs("left"), matrix.createVecs("right")
        right.array[:] = b
        solver.solve(right, x)
        return x.array.copy() if solver.getConvergedReason() > 0 else None

    @property
    def iterations(self) -> int:
        """Krylov vectors of the last solve."""
        return self._solver.getIterationNumber()

    def apply(self, b: np.ndarray) -> np.ndarray:
        """x with matrix x = b, nearly, of this rank: the preconditioner alone. Not finite where it failed."""
        right, x = self._matrix.createVecs("left"), self._matrix.createVecs("right")
        right.array[:] = b
        self._solver.getPC().apply(right, x)
        return x.array.copy()


def distributed(own: Any, columns: int, comm: Any) -> Any:
    """PETSc's matrix of which a rank has these rows, sparse (own rows, columns of all ranks), and has the unknowns of
    so many columns."""
    from petsc4py import PETSc

    csr = own.indptr.astype(PETSc.IntType), own.indices.astype(PETSc.IntType), own.data
    matrix = PETSc.Mat().createAIJ(((own.shape[0], None), (columns, None)), csr=csr, comm=comm)
    matrix.assemble()
    return matrix


def petsc_solve(matrix: Any, cells: Cells | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """A function b -> x, (n,) each, with matrix x = b nearly, for a sparse matrix (n, n) that one process has whole.
    cells: where the unknowns are, if they are to be lumped."""
    from petsc4py import PETSc
    from scipy.sparse import csr_array, diags_array

    scale = row_scale(matrix) if cells is None else cells.size / cells.size.max()
    levels = [] if cells is None else list(lumped_levels(cells))
    factors = PetscFactors(csr_array(diags_array(scale) @ matrix), PETSc.COMM_SELF, levels)
    return lambda b: factors.apply(scale * b)


def row_scale(matrix: Any) -> np.ndarray:
    """What brings the largest entry of each row to one, (rows,)."""
    from scipy.sparse import csr_array

    largest = abs(csr_array(matrix)).max(axis=1).toarray().ravel()
    return 1 / np.where(largest > 0, largest, 1.0)


def mumps_bytes(n: int) -> float:
    """About how much MUMPS' factors of the extended operator of an ocean with n unknowns take: measured, to 6 %, for
    n = 13,000 to 120,000 with 15 and 20 levels."""
    return ENTRIES * (n / 1e4) ** GROWTH * 8 * WORKSPACE


def has_mumps() -> bool:
    """Whether PETSc is there, with MUMPS."""
    try:
        from petsc4py import PETSc
    except (ImportError, RuntimeError):
        return False
    return bool(PETSc.Sys.hasExternalPackage("mumps"))


def is_asked_for() -> bool:
    """Whether PETSc was given options, and so is to be used wherever it can be."""
    if "petsc4py.PETSc" not in sys.modules:
        return False
    from petsc4py import PETSc

    return bool(PETSc.Options(PREFIX).getAll())


@contextmanager
def options_given(options: str, prefix: str = PREFIX) -> Iterator[None]:
    """PETSc's own options, which are of the whole process, "-pc_type asm -sub_pc_type ilu", while it lasts.

    prefix: what they are of; by default linear solves with operators, "" for all.
    """
    if not options.strip():
        yield
        return
    from petsc4py import PETSc

    words = shlex.split(options)
    names = [word[1:] for word in words if is_name(word)]
    database = PETSc.Options()
    database.insertString(" ".join(f"-{prefix}{word[1:]}" if is_name(word) else word for word in words))
    try:
        yield
    finally:
        for name in names:
            database.delValue(prefix + name)


def wrong_option(options: str) -> str:
    """What PETSc says against the options for linear solves; "" where nothing."""
    from petsc4py import PETSc

    solver = PETSc.KSP().create(PETSc.COMM_SELF)
    solver.setOptionsPrefix(PREFIX)
    matrix = PETSc.Mat().createAIJ((1, 1), csr=([0, 1], [0], [1.0]), comm=PETSc.COMM_SELF)
    solver.setOperators(matrix)
    with options_given(f"-pc_type lu {options}"):  # which it is where they do not say
        try:
            solver.setFromOptions()
        except PETSc.Error as error:
            return str(error).splitlines()[-1]
    return ""


def is_name(word: str) -> bool:
    """Whether a word of PETSc's options names one, rather than being its value."""
    return word.startswith("-") and not word[1:2].isdigit() and word[1:2] != "."


def in_words(*, levels: bool = False) -> str:
    """What the options say of the preconditioner; levels: whether there are some."""
    from petsc4py import PETSc

    database = PETSc.Options(PREFIX)
    kind = kind_asked_for(levels=levels)
    if kind == "lu":
        return f"LU factors by {database.getString('pc_factor_mat_solver_type', 'mumps').upper()}"
    return f"preconditioned by {kind}" if database.hasName("pc_type") else "multigrid on lumped water columns"


def kind_asked_for(*, levels: bool = False) -> str:
    """PETSc's name of the preconditioner: what the options say; levels: whether there are some, if they do not."""
    from petsc4py import PETSc

    return PETSc.Options(PREFIX).getString("pc_type", "mg" if levels else "lu")
