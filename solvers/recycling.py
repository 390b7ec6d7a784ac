"""A preconditioner that has learnt from products with the matrix: what earlier linear systems were solved with.

Source: J. M. Martínez, A theory of secant preconditioners, Math. Comp. 60 (1993), 681-698. The equations of the pairs
are met all at once; the Jacobian of an earlier Newton step stands for that of this one.

    P^-1 c_i = z_i for c_i = A z_i,    P^-1 v = P_0^-1 v for v orthogonal to all c_i

Differs from the recycling of M. L. Parks et al., SIAM J. Sci. Comput. 28 (2006), 1651-1674, in that no product has to
be made anew where A has changed: a flexible Krylov method allows any preconditioner.

Shapes: z_i, c_i, v are (n,).
"""

from collections.abc import Sequence

import numpy as np

from solvers.inner import InnerProduct
from solvers.krylov import Apply

DEPENDENT = 1e-6  # a pair whose c is explained by earlier ones but for this share is left out

Known = tuple[np.ndarray, np.ndarray]  # z, A z


def secant_preconditioner(precondition: Apply, known: Sequence[Known], inner: InnerProduct) -> Apply:
    """P^-1 of the header, from P_0^-1 and pairs (z, A z); of pairs that say the same the first counts."""
    directions: list[np.ndarray] = []
    images: list[np.ndarray] = []  # orthonormal
    for z, c in known:
        size = inner.norm(c)
        for _ in range(2):
            for direction, image in zip(directions, images, strict=True):
                along = inner.dot(image, c)
                z, c = z - along * direction, c - along * image
        left = inner.norm(c)
        if left > DEPENDENT * size:
            directions.append(z / left)
            images.append(c / left)

    def apply(v: np.ndarray) -> np.ndarray:
        found = np.zeros_like(v)
        for direction, image in zip(directions, images, strict=True):
            along = inner.dot(image, v)
            found, v = found + along * direction, v - along * image
        return found + precondition(v)

    return apply
