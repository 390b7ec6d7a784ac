"""Linear systems by PETSc (S. Balay et al., PETSc/TAO Users Manual, Argonne National Laboratory, ANL-21/39): flexible
GMRES with what the options say before it, by default LU factors by MUMPS.

MUMPS (P. R. Amestoy et al., SIAM J. Matrix Anal. Appl. 23 (2001), 15-41) orders by nested dissection or the like.
Columns are not permuted beforehand and pivots may be small, which leaves it the symmetric pattern that the order is
for: two thirds of the time on an ocean's extended operator (n = 54,000: 2.7 s instead of 4.0; SciPy's SuperLU 32 s).
What is lost in digits the iterations get back.
"""

from typing import Any

import numpy as np

PREFIX = "tendency_"  # of the options
KRYLOV = {"ksp_type": "fgmres", "ksp_gmres_restart": 100, "ksp_max_it": 300}
LU = {
    "pc_type": "lu",
    "pc_factor_mat_solver_type": "mumps",
    "mat_mumps_icntl_6": 0,  # columns stay where they are
    "mat_mumps_cntl_1": 1e-4,  # the least pivot, in units of the largest that could be
}


class PetscFactors:
    """What a matrix, and such as are like it, are solved with.

    own: the rows of this rank, a sparse array (own rows, columns of all ranks), numbered through the ranks; comm: their
    communicator, mpi4py's or PETSc's. To be called by all ranks, as `solve`.

    Other options than KRYLOV and LU: those of PETSc's database that begin with PREFIX, "-tendency_pc_type gamg".
    """

    def __init__(self, own: Any, comm: Any) -> None:
        from petsc4py import PETSc

        self._comm = comm
        PETSc.garbage_cleanup(comm)  # on several ranks nothing of PETSc's goes by itself
        database = PETSc.Options(PREFIX)
        ours = KRYLOV if database.hasName("pc_type") else KRYLOV | LU
        given = [name for name in ours if not database.hasName(name)]
        for name in given:
            database[name] = ours[name]
        self._matrix = self._distributed(own)
        self._solver = PETSc.KSP().create(comm)
        self._solver.setOptionsPrefix(PREFIX)
        self._solver.setOperators(self._matrix)
        self._solver.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
        self._solver.setFromOptions()
        try:
            self._solver.setUp()
        finally:
            for name in given:
                database.delValue(name)

    def solve(self, own: Any, b: np.ndarray, tolerance: float) -> np.ndarray | None:
        """x with matrix x = b, of this rank, its rows `own` those of the factors or nearby; None where what is left of
        b is not below `tolerance` of it."""
        matrix = self._distributed(own)
        solver = self._solver
        solver.setOperators(matrix, self._matrix)
        solver.setTolerances(rtol=tolerance, atol=0.0)
        right, x = matrix.createVecs("left"), matrix.createVecs("right")
        right.array[:] = b
        solver.solve(right, x)
        return x.array.copy() if solver.getConvergedReason() > 0 else None

    def _distributed(self, own: Any) -> Any:
        from petsc4py import PETSc

        csr = own.indptr.astype(PETSc.IntType), own.indices.astype(PETSc.IntType), own.data
        rows = own.shape[0]
        matrix = PETSc.Mat().createAIJ(((rows, None), (rows, None)), csr=csr, comm=self._comm)
        matrix.assemble()
        return matrix


def in_words() -> str:
    """What the options say of the preconditioner."""
    from petsc4py import PETSc

    database = PETSc.Options(PREFIX)
    kind = database.getString("pc_type", "")
    return f"preconditioned by {kind}" if kind else "LU factors by MUMPS"
