"""Vector extrapolation of a direct run: reduced rank (RRE), minimal polynomial (MPE), dynamic modes (DMD).

Source of RRE and MPE: D. A. Smith, W. F. Ford and A. Sidi, SIAM Rev. 29 (1987), 199-233; by QR as in A. Sidi, Vector
Extrapolation Methods with Applications, SIAM 2017, chapters 2 and 4, in cycling mode. Of DMD: P. J. Schmid, J. Fluid
Mech. 656 (2010), 5-28.

    x_{j+1} = T(x_j),   u_j = x_{j+1} - x_j,   j = 0..k,   U = [u_0 .. u_k] = Q R
    RRE, MPE:  s = sum_j γ_j x_{j+1},   sum_j γ_j = 1
    RRE:       γ = argmin ||sum_j γ_j u_j||
    MPE:       γ = c / sum_j c_j,   c_k = 1,   c = argmin ||sum_j c_j u_j||
    DMD:       u_{j+1} = A u_j,   s = x_{k+1} + sum_i b_i φ_i λ_i / (1 - λ_i),   A φ_i = λ_i φ_i,   u_k = sum_i b_i φ_i

All three are s = x_{k+1} + Q R a, a from R alone.

Differs from the sources:
1. The combination is of the x_{j+1}, not of the x_j, as the authors allow: it is T of their answer where T is affine,
   and costs nothing.
2. Singular values below RANK of the largest are left out of the small problems: near the end of a minimal polynomial
   they are rounding. Larger ones, of noise, are no better left out.
3. Of the dynamic modes only those with |λ| < 1 go to their limit. The rest stay where the direct run has brought them,
   and so does what the modes do not span.
4. A candidate is judged by its residual, and given up for the direct run's state where that is too large.

Shapes: x, u_j are flat vectors (n,); Q has at most k + 1 columns. Requests: Evaluate, then Checkpoint, at each step.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite
from typing import Any

import numpy as np

from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.ranges import require
from solvers.requests import Array, Checkpoint, Evaluate, Failure, Flow, Note, Outcome, Stop
from solvers.vectors import combine

EPS = float(np.finfo(float).eps)
RANK = 1e-10
ROUNDING = 1e-12  # what is this near to having no limit has none


def extrapolation(
    x: Array,
    *,
    stop: Stop,
    checkpoint: Mapping[str, Any] | None = None,
    inner: InnerProduct = EUCLIDEAN,
    kind: str = "mpe",
    dimension: int = 10,
    wait: int = 5,
    growth: float = 100.0,
    project: Callable[[Array], Array] | None = None,
) -> Flow:
    """Direct integration from x, shape (n,), extrapolated to its limit again and again.

    A cycle is `wait` evaluations that let fast modes decay, a window of dimension + 1 that is extrapolated, and a jump.

    kind: "mpe", "rre" or "dmd".
    dimension: k, the degree of the polynomial, or the number of modes.
    growth: a candidate whose residual is more than this many times that of the evaluation before is given up, as is
        one at which the map fails: the run goes on from where direct integration was, with a new cycle.
    project: applied to every candidate; `within(lower, upper)` keeps it within bounds.

    UNSTABLE where the map fails in the direct run. ValueError: a setting out of range.
    """
    _check(kind, dimension, wait, growth)
    saved = {"x": x} if checkpoint is None else checkpoint
    asarray = x.__array_namespace__().asarray
    x = asarray(saved["x"])
    waited = int(saved.get("waited", 0))
    window = [asarray(u) for u in saved.get("window", [])]  # u_j
    direct = asarray(saved["direct"]) if "direct" in saved else None  # where to go back to from a candidate
    least = float(saved.get("least", inf))  # the residual norm before the candidate

    while True:
        g = yield Evaluate(x)
        failed = isinstance(g, Failure)
        if not failed and stop(x, g):
            return Outcome.CONVERGED
        u = None if failed else g - x
        norm = inf if u is None else inner.norm(u)

        if direct is not None and not norm <= growth * least:
            yield Note("the extrapolation " + ("failed" if failed else "went too far") + ": back to the direct run")
            x, direct = direct, None
        elif u is None or not isfinite(norm):
            return Outcome.UNSTABLE
        else:
            x, direct = g, None
            if waited < wait:
                waited += 1
            else:
                window = [*window, u]
            if len(window) == dimension + 1:
                x, direct, least = extrapolated(kind, g, window, inner), g, norm
                if project is not None:
                    x = project(x)
                window, waited = [], 0

        state = {"x": x, "waited": waited, "window": window, "least": least}
        yield Checkpoint(state if direct is None else state | {"direct": direct})


def extrapolated(kind: str, x: Array, window: Sequence[Array], inner: InnerProduct, cut: float = RANK) -> Array:
    """s of the header, (n,), from x_{k+1} and u_0 .. u_k; x itself where the window says nothing of a limit."""
    Q, R = orthogonalised(window, inner)
    return combine([x, *Q], [1.0, *(R @ KINDS[kind](R, cut)).tolist()])


def orthogonalised(vectors: Sequence[Array], inner: InnerProduct) -> tuple[list[Array], np.ndarray]:
    """Q, orthonormal in the inner product, and R, (len(Q), len(vectors)), of vectors = Q R.

    Gram-Schmidt, each vector twice. A vector that depends on those before to rounding adds no column to Q.
    """
    Q: list[Array] = []
    R = np.zeros((len(vectors), len(vectors)))
    for j, vector in enumerate(vectors):
        size = inner.norm(vector)
        for _ in range(2 if Q else 0):
            along = inner.gram(Q, [vector])[:, 0]
            R[: len(Q), j] += along
            vector = combine([vector, *Q], [1.0, *(-along).tolist()])
        rest = inner.norm(vector) if Q else size
        if rest > len(vectors) * EPS * size:
            R[len(Q), j] = rest
            Q.append(vector / rest)
    return Q, R[: len(Q)]


def reduced_rank(R: np.ndarray, cut: float) -> np.ndarray:
    """a of the header for RRE, (k + 1,): γ = e_k + D ξ sums to one whatever ξ, D the differences of neighbours."""
    D = np.diff(np.eye(R.shape[1]), axis=0).T
    differences = R @ D
    equal = np.linalg.norm(differences, axis=0) <= ROUNDING * np.linalg.norm(R[:, :-1], axis=0)
    differences[:, equal] = 0.0  # what is left is rounding, which `cut` cannot know where all of them are equal
    return _from_weights(np.eye(R.shape[1])[-1] - D @ np.linalg.lstsq(differences, R[:, -1], rcond=cut)[0])


def minimal_polynomial(R: np.ndarray, cut: float) -> np.ndarray:
    """a of the header for MPE, (k + 1,)."""
    c = np.append(-np.linalg.lstsq(R[:, :-1], R[:, -1], rcond=cut)[0], 1.0)
    if abs(c.sum()) <= ROUNDING * abs(c).sum():
        return np.zeros(len(c))
    return _from_weights(c / c.sum())


def _from_weights(gamma: np.ndarray) -> np.ndarray:
    """x_{j+1} = x_{k+1} - sum_{i>j} u_i."""
    return np.append(0.0, -np.cumsum(gamma)[:-1])


def dynamic_modes(R: np.ndarray, cut: float) -> np.ndarray:
    """a of the header for DMD, (k + 1,): φ_i = sum_j g_ij u_j, j < k."""
    before, after = R[:, :-1], R[:, 1:]
    W, s, Vt = np.linalg.svd(before, full_matrices=False)
    kept = s > cut * s.max(initial=0.0)
    basis = Vt[kept].T / s[kept]
    rates, y = np.linalg.eig(W[:, kept].T @ after @ basis)
    g, modes = basis @ y, W[:, kept] @ y  # modes are of unit length
    b = np.linalg.lstsq(modes, R[:, -1].astype(complex), rcond=None)[0]
    decays = (abs(rates) < 1) & (abs(1 - rates) > ROUNDING)
    share = np.where(decays, b * rates / np.where(decays, 1 - rates, 1.0), 0.0)
    return np.append((g @ share).real, 0.0)


KINDS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "rre": reduced_rank,
    "mpe": minimal_polynomial,
    "dmd": dynamic_modes,
}


def _check(kind: str, dimension: int, wait: int, growth: float) -> None:
    """ValueError: a setting out of range."""
    require(
        ("kind", kind, kind in KINDS, f"one of {', '.join(KINDS)}"),
        ("dimension", dimension, dimension >= 1, "at least 1"),
        ("wait", wait, wait >= 0, "at least 0"),
        ("growth", growth, growth > 0, "above 0"),
    )
