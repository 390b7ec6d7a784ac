"""An approximate inverse of a sparse matrix of which the factors would not fit: two levels.

The unknowns are lumped, cells of 2 x 2 columns of a grid for instance, the lumped matrix P^T A P is factorised and the
result is spread back, as for the preconditioner of A. Bardin, F. Primeau and K. Lindsay, Ocean Modelling 73 (2014),
45-58. P is piecewise constant. Differs: before it and after it, strips of a few links of the chain (`chain_factors`)
are solved one after the other, there and back (multiplicative Schwarz: B. Smith, P. Bjorstad and W. Gropp, Domain
Decomposition, Cambridge University Press 1996).

A row without a diagonal entry is a constraint, as the divergence is on velocities under a rigid lid. A strip takes in
all unknowns that its constraints hold, also of its neighbours: without them it would be nearly singular (S. P. Vanka,
J. Comput. Phys. 65 (1986), 138-158).

The strips' factors grow with the unknowns only; the lumped chain, half as long with links half as wide, takes an eighth
of the memory of the chain.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from solvers.chain_factors import SingularMatrix, Solve, scaling
from solvers.memory import BYTES, sparse_bytes

STRIPS = (8, 4, 2)  # links of a strip: the more, the fewer iterations; with one they hardly converge
SINGLE = 8  # bytes of an entry of SuperLU's factors in single precision


def lumped_factors(
    matrix: Any, chain: np.ndarray, aggregates: np.ndarray, limit: float, factorise: Callable[[Any, np.ndarray], Solve]
) -> Solve:
    """A function b -> x, (n,) each, with matrix x = b roughly, for the sparse matrix (n, n).

    chain: (n,) link of each unknown. aggregates: (n,) integers from 0, the unknown of the lumped matrix that each is
    part of. limit: bytes for the strips (see `strip_width`). factorise: of the lumped matrix and its chain.

    Raises SingularMatrix.
    """
    from scipy.sparse import csr_array, diags_array

    n = len(chain)
    lump = csr_array((np.ones(n), (np.arange(n), aggregates)))
    lumped = factorise((lump.T @ csr_array(matrix) @ lump).tocsr(), lumped_chain(chain, aggregates))
    left, right = scaling(matrix)
    scaled = csr_array(diags_array(left) @ csr_array(matrix) @ diags_array(right))
    strips = strip_factors(scaled, chain, strip_width(scaled, chain, limit)[0])

    def smoothed(r: np.ndarray, *, back: bool) -> np.ndarray:
        x = np.zeros(n)
        for part, rows, solve in reversed(strips) if back else strips:
            x[part] += solve((r[part] - rows @ x).astype(np.float32))
        return x

    def solve(b: np.ndarray) -> np.ndarray:
        b = left * b
        x = smoothed(b, back=False)
        x = x + lump @ lumped(lump.T @ ((b - scaled @ x) / left)) / right
        return right * (x + smoothed(b - scaled @ x, back=True))

    return solve


def strip_factors(scaled: Any, chain: np.ndarray, width: int) -> list[tuple[np.ndarray, Any, Solve]]:
    """For each strip its unknowns, their rows of the scaled matrix, and a solve of them in single precision."""
    from scipy.sparse import csc_array
    from scipy.sparse.linalg import splu

    found = []
    for part in strips_of(scaled, chain, width):
        rows = scaled[part]
        try:
            found.append((part, rows, splu(csc_array(rows[:, part].astype(np.float32))).solve))
        except RuntimeError as error:
            raise SingularMatrix("a strip of the chain is singular") from error
    return found


def strips_of(matrix: Any, chain: np.ndarray, width: int) -> list[np.ndarray]:
    """The unknowns of each strip of `width` links, with those that its constraints hold."""
    constraints = np.flatnonzero(matrix.diagonal() == 0)
    found = []
    for strip in range(chain.max() // width + 1):
        inside = chain // width == strip
        inside[matrix[constraints[inside[constraints]]].indices] = True
        found.append(np.flatnonzero(inside))
    return found


def strip_width(matrix: Any, chain: np.ndarray, limit: float) -> tuple[int, float]:
    """The links of the widest strips whose factors fit into `limit` bytes, else of the narrowest, and at most how many
    bytes their factors take. Raises SingularMatrix."""
    from scipy.sparse import csr_array

    rows, size = csr_array(matrix), 0.0
    for width in STRIPS:
        enough, size = limit if width > STRIPS[-1] else np.inf, 0.0
        for part in strips_of(rows, chain, width):
            size += SINGLE / BYTES * sparse_bytes(rows[part][:, part], enough)
            if size > enough:
                break
        else:
            return width, size
    return STRIPS[-1], size


def lumped_chain(chain: np.ndarray, aggregates: np.ndarray) -> np.ndarray:
    """The link of each lumped unknown, in a chain of as many links as one may have that couples neighbours only."""
    first, last = np.full(aggregates.max() + 1, chain.max()), np.zeros(aggregates.max() + 1, dtype=int)
    np.minimum.at(first, aggregates, chain)
    np.maximum.at(last, aggregates, chain)
    across = int((last - first).max())  # the first links of coupled ones are at most 1 + across apart
    return np.unique(first // (1 + across), return_inverse=True)[1]
