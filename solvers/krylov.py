"""Flexible GMRES: the Krylov method that allows another preconditioner in every iteration, or one that is not exact.

Source: Y. Saad, SIAM J. Sci. Comput. 14 (1993), 461-469, algorithm 2.2. Vectors are orthogonalised twice.
"""

from collections.abc import Callable, Generator

import numpy as np

from solvers.inner import EUCLIDEAN, InnerProduct

Apply = Callable[[np.ndarray], np.ndarray]


def fgmres(
    apply: Apply, b: np.ndarray, precondition: Apply, *, tolerance: float, dimension: int
) -> tuple[np.ndarray, float]:
    """x, (n,), with A x = b nearly, and what is left of it, |b - A x| / |b|.

    apply: A v; precondition: about A^-1 v. tolerance: of what is left. dimension: largest Krylov dimension.
    """
    flow = fgmres_flow(b, precondition, tolerance=tolerance, dimension=dimension)
    try:
        v = next(flow)
        while True:
            v = flow.send(apply(v))
    except StopIteration as end:
        return end.value


def fgmres_flow(
    b: np.ndarray, precondition: Apply, *, tolerance: float, dimension: int, inner: InnerProduct = EUCLIDEAN
) -> Generator[np.ndarray, np.ndarray | None, tuple[np.ndarray, float]]:
    """The same as a generator: it yields v, is sent A v, and returns. Sent None, it makes do with what it has."""
    size = inner.norm(b)
    if size == 0:
        return np.zeros_like(b), 0.0
    basis, images = [b / size], []
    hessenberg = np.zeros((dimension + 1, dimension))
    y: np.ndarray = np.zeros(0)
    left = 1.0
    for k in range(dimension):
        image = precondition(basis[k])
        new = yield image
        if new is None:
            break
        images.append(image)
        for _ in range(2):
            for i, v in enumerate(basis):
                along = inner.dot(v, new)
                hessenberg[i, k] += along
                new = new - along * v
        hessenberg[k + 1, k] = inner.norm(new)
        target = np.zeros(k + 2)
        target[0] = size
        small = hessenberg[: k + 2, : k + 1]
        y = np.linalg.lstsq(small, target, rcond=None)[0]
        left = float(np.linalg.norm(target - small @ y)) / size
        if left <= tolerance or not hessenberg[k + 1, k] > 0:
            break
        basis.append(new / hessenberg[k + 1, k])
    x = np.zeros_like(b)
    for c, image in zip(y, images, strict=True):
        x = x + c * image
    return x, left
