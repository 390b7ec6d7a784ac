"""What a sparse matrix is solved with: LU factors where they fit into memory, else an approximate inverse.

    LU down the chain of links     single precision       `chain_factors`
    LU by MUMPS, `petsc_factors`   double precision       where a link is wide, and PETSc is there
    sparse LU, `sparse_lu`         double precision       without a chain, or where a link is too wide to be dense
    lumped levels, `lumping`       double precision       where there are many unknowns but no border
    what PETSc's options say       double precision       where there are some
    layers made fewer              where LU does not fit  `layered_multigrid`
    incomplete LU                  the same, where no layers are known

All but sparse LU without a chain need `refined`, which says so where an inverse is not good enough.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers import memory
from solvers.chain_factors import SingularMatrix, Solve, chain_bytes, chain_factors
from solvers.krylov import fgmres
from solvers.layered_multigrid import ITERATIVE, layered_bytes, layered_factors, layers_in_words
from solvers.layers import Layers, Level, coarser_levels, links_along
from solvers.lumping import Cells
from solvers.petsc_factors import (
    ITERATIONS,
    LARGE,
    REFINEMENT,
    has_mumps,
    is_asked_for,
    kind_asked_for,
    mumps_bytes,
    petsc_solve,
)
from solvers.petsc_factors import in_words as in_petsc_words
from solvers.sparse_lu import has_umfpack, sparse_factors

LARGEST_LINK = 6000  # unknowns; above it the sparse LU takes over
WIDE_LINK = 1500  # unknowns; above it MUMPS does, where it is: it takes less time
DROPPED, FILL = 1e-4, 10.0  # of incomplete factors: entries left out, in units of the largest; entries, in the matrix's


@dataclass(frozen=True, eq=False)
class Factors:
    """A function b -> x, (n,) each, with matrix x = b nearly.

    dimension: largest Krylov dimension of `refined` with it. exact: whether it needs none of it.
    """

    solve: Solve
    dimension: int = REFINEMENT
    exact: bool = False

    def __call__(self, b: np.ndarray) -> np.ndarray:
        return self.solve(b)


def factorise(
    matrix: Any,
    chain: np.ndarray | None = None,
    layers: Layers | None = None,
    cells: Cells | None = None,
    *,
    limit: float | None = None,
) -> Factors:
    """What the sparse matrix (n, n) is solved with.

    chain: (n,) link of each unknown. layers: where the unknowns are, for where LU factors do not fit. cells: the same,
    for lumped levels where they are many. limit: bytes that LU factors may take, by default `memory.usable()`. Raises
    SingularMatrix.
    """
    limit = memory.usable() if limit is None else limit
    if is_asked_for() or by_levels(cells):
        by_lu = kind_asked_for(levels=cells is not None) == "lu"
        return Factors(petsc_solve(matrix, cells), REFINEMENT if by_lu else ITERATIONS)
    if by_mumps(chain) and mumps_bytes(matrix.shape[0]) <= limit:
        return Factors(petsc_solve(matrix))
    if memory.BYTES * matrix.shape[0] ** 2 <= limit or lu_bytes(matrix, chain, limit) <= limit:
        if (links := dense_links(chain)) is not None:
            return Factors(chain_factors(matrix, links))
        return Factors(sparse_factors(matrix), exact=chain is None)
    if chain is None or layers is None or not (levels := levels_that_fit(chain, layers, limit)):
        return Factors(incomplete_factors(matrix), ITERATIONS)
    axis = chain_axes(chain, layers)[0]

    def coarsest(matrix: Any, layers: Layers) -> Factors:
        return factorise(matrix, links_along(layers, axis), limit=limit)

    return Factors(layered_factors(matrix, layers, levels, coarsest), ITERATIONS)


def chain_axes(chain: np.ndarray, layers: Layers) -> list[str]:
    """What of the layers the links of a chain are, one after the other: "row" or "column", or both."""
    return [axis for axis in ("row", "column") if np.array_equal(links_along(layers, axis), chain)]


def memory_sentence(
    matrix: Any,
    chain: np.ndarray | None = None,
    layers: Layers | None = None,
    cells: Cells | None = None,
    *,
    limit: float | None = None,
) -> str:
    """The memory that `factorise` will take, and what it does where LU factors do not fit, for the user's log.

    Raises SingularMatrix.
    """
    limit = memory.usable() if limit is None else limit
    n, dense = matrix.shape[0], dense_links(chain) is not None
    if is_asked_for() or by_levels(cells):
        return f"each solve has {n} unknowns: by PETSc, {in_petsc_words(levels=by_levels(cells))}"
    solves = f"each solve has {n} unknowns; its LU factors"
    if by_mumps(chain) and (size := mumps_bytes(n)) <= limit:
        return f"{solves}, by MUMPS, take about {in_words(size)} of memory"
    size = lu_bytes(matrix, chain, limit)
    if size <= limit:
        if dense:
            return f"{solves} take {in_words(size)} of memory"
        return f"{solves}, by {'UMFPACK' if has_umfpack() else 'SuperLU'}, take at most {in_words(size)} of memory"
    short = (
        f"{solves} {'would' if dense else 'might'} take {in_words(size)} of memory{'' if dense else ' or more'}, and "
        f"may have {in_words(limit)}"
    )
    vectors = 2 * ITERATIONS * n * 8.0  # the most that flexible GMRES keeps
    if chain is None or layers is None or not (levels := levels_that_fit(chain, layers, limit)):
        size = FILL * matrix.nnz * memory.BYTES + vectors
        return f"{short}: {ITERATIVE} and may not get there, with incomplete factors (at most {in_words(size)})"
    coarsest = levels[-1].members
    size = layered_bytes(matrix, layers, levels, coarse_bytes(chain[coarsest])) + vectors
    return f"{short}: {layers_in_words(levels, len(coarsest))} (about {in_words(size)})"


def levels_that_fit(chain: np.ndarray, layers: Layers, limit: float) -> list[Level]:
    """The levels of `layers.coarser_levels`, the coarsest of which has LU factors of at most `limit` bytes, if any.

    None of a chain of neither rows nor columns: there is none known then of the coarsest.
    """
    if not chain_axes(chain, layers):
        return []
    return coarser_levels(layers, lambda members: coarse_bytes(chain[members]) <= limit)


def coarse_bytes(chain: np.ndarray) -> float:
    """About how many bytes LU factors of a level with this chain take."""
    return mumps_bytes(len(chain)) if by_mumps(chain) else chain_bytes(chain)


def by_levels(cells: Cells | None) -> bool:
    """Whether it is known where the unknowns are, and they are so many that lumped levels take less than LU factors."""
    return cells is not None and len(cells.kind) > LARGE and has_mumps()


def by_mumps(chain: np.ndarray | None) -> bool:
    """Whether a chain's links are so wide that MUMPS takes less time than dense links, and MUMPS is there."""
    return chain is not None and int(np.bincount(chain).max()) > WIDE_LINK and has_mumps()


def lu_bytes(matrix: Any, chain: np.ndarray | None, enough: float) -> float:
    """The bytes of the LU factors of the matrix, or an upper bound of them; beyond `enough`, some number beyond."""
    links = dense_links(chain)
    return memory.sparse_bytes(matrix, enough) if links is None else chain_bytes(links)


def dense_links(chain: np.ndarray | None) -> np.ndarray | None:
    """The chain, where its links are not too wide to be dense."""
    return None if chain is None or np.bincount(chain).max() > LARGEST_LINK else chain


def in_words(size: float) -> str:
    """So many bytes, to two digits."""
    for unit in ("bytes", "kB", "MB"):
        if size < 999.5:
            return f"{float(f'{size:.2g}'):g} {unit}"
        size /= 1000
    return f"{float(f'{size:.2g}'):g} GB"


def incomplete_factors(matrix: Any) -> Solve:
    """A function b -> x, (n,) each, with matrix x = b roughly, by incomplete LU.

    Raises SingularMatrix, also where the incomplete factors alone are singular.
    """
    from scipy.sparse import csc_array  # in the function: importing it takes longer than all the rest
    from scipy.sparse.linalg import spilu

    try:
        return spilu(csc_array(matrix), drop_tol=DROPPED, fill_factor=FILL).solve
    except RuntimeError as error:
        raise SingularMatrix(
            f"LU factors do not fit into memory and incomplete ones are singular ({error}): more memory is needed"
        ) from error


def refined(matrix: Any, factors: Factors, b: np.ndarray, tolerance: float, rows: np.ndarray) -> np.ndarray | None:
    """x with matrix x = b, (n,), by flexible GMRES with `factors` before it; None where what is left of b, its rows
    times `rows` (see `row_scale`), is not below `tolerance` of it. Raises SingularMatrix.
    """

    def precondition(v: np.ndarray) -> np.ndarray:
        x = factors(v / rows)
        if not np.isfinite(x).all():
            raise SingularMatrix("the factors are nearly singular")
        return x

    x, rest = fgmres(
        lambda v: rows * (matrix @ v), rows * b, precondition, tolerance=tolerance, dimension=factors.dimension
    )
    return x if rest <= tolerance else None
