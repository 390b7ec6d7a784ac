"""Flexible GMRES: the Krylov method that allows another preconditioner in every iteration, or one that is not exact.

Source: Y. Saad, SIAM J. Sci. Comput. 14 (1993), 461-469, algorithm 2.2.

One reduction over ranks a vector, as in the low-synchronisation methods of K. Świrydowicz et al., Numer. Linear Algebra
Appl. 28 (2021), e2343: the products of the new vector with the basis are formed together with those of the last basis
vector, so that how far that one is from orthonormal is known one vector late. Differs from them: the basis stays as it
is, and what is known of it, its Gram matrix G = V^T V, goes into the projection (V G^-1 V^T) and into the least squares
(|V c|^2 = c^T G c). That presumes nothing of A or of the preconditioner, which may be another in every iteration.
"""

from collections.abc import Generator
from math import sqrt

import numpy as np

from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.recycling import Apply, Learnt
from solvers.vectors import combine

CANCELLED = 1e-12  # a vector's square that is less of what it was before its projection is formed anew


def fgmres(
    apply: Apply, b: np.ndarray, precondition: Apply, *, tolerance: float, dimension: int
) -> tuple[np.ndarray, float]:
    """x, (n,), with A x = b nearly, and what is left of it, |b - A x| / |b|.

    apply: A v; precondition: about A^-1 v. tolerance: of what is left. dimension: largest Krylov dimension.
    """
    return answered(fgmres_flow(b, precondition, tolerance=tolerance, dimension=dimension), apply)


Iteration = Generator[np.ndarray, np.ndarray | None, tuple[np.ndarray, float]]


def answered(flow: Iteration, apply: Apply) -> tuple[np.ndarray, float]:
    """What the iteration returns, each v that it yields answered by apply(v)."""
    try:
        v = next(flow)
        while True:
            v = flow.send(apply(v))
    except StopIteration as end:
        return end.value


def fgmres_flow(
    b: np.ndarray,
    precondition: Apply,
    *,
    tolerance: float,
    dimension: int,
    inner: InnerProduct = EUCLIDEAN,
    learnt: Learnt | None = None,
) -> Iteration:
    """The same as a generator: it yields v, is sent A v, and returns. Sent None, it makes do with what it has.

    learnt: products with A that are known, which `precondition` is improved by.
    """
    learnt = learnt or Learnt()
    known = len(learnt.images)
    products = inner.gram([*learnt.images, b], [b])
    size = sqrt(products[-1, 0])
    if size == 0:
        return np.zeros_like(b), 0.0
    basis, images, seen = [b / size], [], [products[:-1, 0] / size]  # seen: <c_i, v> of what is learnt
    gram, hessenberg = np.eye(dimension + 1), np.zeros((dimension + 1, dimension))
    y: np.ndarray = np.zeros(0)
    left = 1.0
    for k in range(dimension):
        image = learnt.apply(precondition, basis[k], seen[k])
        new = yield image
        if new is None:
            break
        images.append(image)
        products = inner.gram([*learnt.images, *basis, new], [basis[k], new])
        along_learnt, products = products[:known, 1], products[known:]
        gram[: k + 1, k] = gram[k, : k + 1] = products[:-1, 0]
        along = np.linalg.solve(gram[: k + 1, : k + 1], products[:-1, 1])
        new = combine([new, *basis], [1.0, *(-along)])
        square = products[-1, 1] - float(along @ products[:-1, 1])
        if not square > CANCELLED * products[-1, 1]:
            square = inner.dot(new, new)
        hessenberg[: k + 1, k], hessenberg[k + 1, k] = along, sqrt(square)
        root = np.linalg.cholesky(gram[: k + 2, : k + 2]).T  # |V c| = |root c|
        target = np.zeros(k + 2)
        target[0] = size
        small = hessenberg[: k + 2, : k + 1]
        y = np.linalg.lstsq(root @ small, root @ target, rcond=None)[0]
        left = float(np.linalg.norm(root @ (target - small @ y))) / size
        if left <= tolerance or not square > 0:
            break
        basis.append(new / hessenberg[k + 1, k])
        seen.append((along_learnt - along @ np.array(seen)) / hessenberg[k + 1, k])
    x = np.zeros_like(b)
    for c, image in zip(y, images, strict=True):
        x = x + c * image
    return x, left
