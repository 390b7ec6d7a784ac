"""Patches of 2 x 2 water columns, and their inverses: the smoother of `layered_multigrid.py`.

A row of a matrix without a diagonal entry is a constraint, as the divergence is on velocities under a rigid lid. A
patch takes in all unknowns that its constraints hold, also of its neighbours: without them it would be nearly singular
(S. P. Vanka, J. Comput. Phys. 65 (1986), 138-158). Patches of one colour have no unknown in common.
"""

from typing import Any

import numpy as np

from solvers.chain_factors import SingularMatrix, Solve
from solvers.layers import Layers
from solvers.lumped_columns import Constraints

WIDTH = 2  # columns of a patch each way
TINY = float(np.finfo(np.float32).tiny)


def patches(
    constraints: Constraints, layers: Layers, last_column: int | None = None
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """For each colour its unknowns, and the patch of each, in the order of the patches.

    last_column: of the grid, where the unknowns are of some of its columns. Raises ValueError where a constraint holds
    unknowns that are not of its own columns or those next to them.
    """
    n, across = len(layers.row), patches_across(layers.column.max() if last_column is None else last_column)
    patch = layers.row // WIDTH * across + layers.column // WIDTH
    constraint, held = constraints
    pairs = np.unique(np.concatenate([patch * n + np.arange(n), patch[constraint] * n + held]))
    patch, unknown = np.divmod(pairs, n)
    row, column = np.divmod(patch, across)
    # On a grid that closes upon itself an odd number of patches takes a third colour: the last touches the first.
    parity = np.where((column == across - 1) & (across % 2 == 1), 2, column % 2)
    colour = 3 * (row % 2) + parity
    found = {}
    for one in np.unique(colour):
        part = unknown[colour == one]
        if len(np.unique(part)) < len(part):
            raise ValueError(
                "a constraint holds unknowns beyond the columns next to its own: no patches of 2 x 2 columns"
            )
        found[int(one)] = part, patch[colour == one]
    return found


def patches_across(last_column: int) -> int:
    """How many patches lie in a row of them: a patch's number, divided by it, is its row, and what is left its place
    in that."""
    return last_column // WIDTH + 1


def patch_inverses(matrix: Any, patch: np.ndarray) -> Solve:
    """A solve, in single precision, of the unknowns of one colour, each patch as if the others were not there.

    By the inverses of the patches: their LU factors are nearly as full, and take longer to apply than to read.
    """
    from scipy.linalg.lapack import sgetrf, sgetri

    block = matrix.tocoo()
    inside = patch[block.row] == patch[block.col]
    row, column, entry = block.row[inside], block.col[inside], block.data[inside]
    first = np.unique(np.concatenate([[0], np.flatnonzero(np.diff(patch)) + 1, [len(patch)]]))  # one of none
    cuts = np.searchsorted(row, first)
    found = []
    for a, b, some in zip(first, first[1:], map(slice, cuts, cuts[1:]), strict=False):
        dense = np.zeros((b - a, b - a), dtype=np.float32)
        dense[row[some] - a, column[some] - a] = entry[some]
        scale = 1 / np.abs(dense).max(axis=0).clip(TINY)
        lu, pivots, info = sgetrf(dense * scale, overwrite_a=True)
        if info > 0:
            raise SingularMatrix("a patch of columns is singular")
        inverse, _ = sgetri(lu, pivots, overwrite_lu=True)  # in half the time of numpy.linalg.inv
        found.append((slice(a, b), scale[:, None] * inverse))

    def solve(b: np.ndarray) -> np.ndarray:
        x = np.empty_like(b)
        for of, inverse in found:
            np.dot(inverse, b[of], out=x[of])
        return x

    return solve
