"""A preconditioner that has learnt from products with the matrix: what earlier linear systems were solved with.

Source: J. M. Martínez, A theory of secant preconditioners, Math. Comp. 60 (1993), 681-698. The equations of the pairs
are met all at once; the Jacobian of an earlier Newton step stands for that of this one.

    P^-1 c_i = z_i for c_i = A z_i,    P^-1 v = P_0^-1 v for v orthogonal to all c_i

Differs from the recycling of M. L. Parks et al., SIAM J. Sci. Comput. 28 (2006), 1651-1674, in that no product has to
be made anew where A has changed: a flexible Krylov method allows any preconditioner.

The projection is that of the normal equations, so that all it needs of a v are its products with the c_i, which a
Krylov method forms together with its own: no reduction over ranks beside one for all pairs. It is exact to
eps cond(C)^2, which DEPENDENT keeps below 1e-3: a preconditioner need not be.

Shapes: z_i, c_i, v are (n,); m pairs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from solvers.inner import InnerProduct
from solvers.vectors import combine

DEPENDENT = 1e-6  # a pair whose c is explained by earlier ones but for this share is left out

Apply = Callable[[np.ndarray], np.ndarray]
Known = tuple[np.ndarray, np.ndarray]  # z, A z


@dataclass(frozen=True, eq=False)
class Learnt:
    """Pairs (z_i, c_i) whose c_i are independent, and the matrix of <c_i, c_j>, (m, m); by default none."""

    directions: list[np.ndarray] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)
    gram: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    def apply(self, precondition: Apply, v: np.ndarray, products: np.ndarray) -> np.ndarray:
        """P^-1 v of the header, from P_0^-1 and the products <c_i, v>, (m,)."""
        if not self.images:
            return precondition(v)
        along = np.linalg.solve(self.gram, products)
        rest = precondition(combine([v, *self.images], [1.0, *(-along)]))
        return combine([rest, *self.directions], [1.0, *along])


def learn(known: Sequence[Known], inner: InnerProduct) -> Learnt:
    """What pairs (z, A z) say; of pairs that say the same the first counts. One reduction."""
    images = [c for _, c in known]
    products = inner.gram(images, images)
    kept: list[int] = []
    for j in range(len(known)):
        square = products[j, j]
        explained = products[kept, j] @ np.linalg.solve(products[np.ix_(kept, kept)], products[kept, j])
        if square - explained > DEPENDENT**2 * square:
            kept.append(j)
    scale = 1 / np.sqrt(np.diag(products)[kept])
    directions, images = (
        [c * vector for c, vector in zip(scale, vectors, strict=True)]
        for vectors in ([known[j][0] for j in kept], [images[j] for j in kept])
    )
    return Learnt(directions, images, products[np.ix_(kept, kept)] * np.outer(scale, scale))
