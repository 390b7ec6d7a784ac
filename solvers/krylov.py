"""Flexible GMRES: the Krylov method that allows another preconditioner in every iteration, or one that is not exact.

Source: Y. Saad, SIAM J. Sci. Comput. 14 (1993), 461-469, algorithm 2.2.
"""

from collections.abc import Callable

import numpy as np

Apply = Callable[[np.ndarray], np.ndarray]


def fgmres(
    apply: Apply, b: np.ndarray, precondition: Apply, *, tolerance: float, dimension: int
) -> tuple[np.ndarray, float]:
    """x, (n,), with A x = b nearly, and what is left of it, |b - A x| / |b|.

    apply: A v; precondition: about A^-1 v. tolerance: of what is left. dimension: largest Krylov dimension.
    """
    size = float(np.linalg.norm(b))
    if size == 0:
        return np.zeros_like(b), 0.0
    basis, images = [b / size], []
    hessenberg = np.zeros((dimension + 1, dimension))
    for k in range(dimension):
        images.append(precondition(basis[k]))
        new = apply(images[k])
        for _ in range(2):  # orthogonal to working precision
            for i, v in enumerate(basis):
                along = v @ new
                hessenberg[i, k] += along
                new = new - along * v
        hessenberg[k + 1, k] = np.linalg.norm(new)
        target = np.zeros(k + 2)
        target[0] = size
        small = hessenberg[: k + 2, : k + 1]
        y = np.linalg.lstsq(small, target, rcond=None)[0]
        left = float(np.linalg.norm(target - small @ y)) / size
        if left <= tolerance or not hessenberg[k + 1, k] > 0:
            break
        basis.append(new / hessenberg[k + 1, k])
    return sum(c * z for c, z in zip(y, images, strict=True)), left
