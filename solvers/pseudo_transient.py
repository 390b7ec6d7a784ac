"""Pseudo-transient continuation with a frozen one-step operator, and secants for what the operator misses.

Source: C. T. Kelley and D. E. Keyes, SIAM J. Numer. Anal. 35 (1998), 508-523: implicit Euler steps in a pseudo-time τ
that grow as the state nears the equilibrium. The multisecant correction in the preconditioned norm is that of
Anderson acceleration (H. Fang and Y. Saad, Numer. Linear Algebra Appl. 16 (2009), 197-221).

    r_k = T(x_k) - x_k,   P_k^-1 v = (n A_k - I / Δτ_k)^-1 v - v,   b_j = Δr_j - Δx_j / Δτ_k
    γ = argmin ||P_k^-1 (r_k - Σ γ_j b_j)||,   dx = -Σ γ_j Δx_j - P_k^-1 (r_k - Σ γ_j b_j)
    x_{k+1} = T(x_k + dx)

A = J - I is the Jacobian of one time step of the accelerated variables less the identity, sparse, and n the number of
steps of a period: n A is the tendency, linearised; P^-1 is the inverse of exp(n A) - I in its simplest form that does
not overflow, shifted by the pseudo-time step. What A does not know (in an ocean, how the circulation answers a change
of temperature) the secants learn.

Differs from the source: Δτ grows by a factor a step, not with the residual, which is larger right after a jump though
the error is smaller; T is applied once more after each step, so that the fast part of the model answers the jump
before the residual is taken.

Shapes: x, r, dx are (n,); at most `depth` secants are held, newest last. Δτ is in periods.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from solvers.chain_factors import SingularMatrix
from solvers.error_estimate import LEAST_RATE, tendency_inverse
from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.requests import Array, Checkpoint, Evaluate, Failure, Flow, Note, Operator, Outcome, StepOperator, Stop
from solvers.shock import left_alone
from solvers.stall import stalled

TRIES = 5  # failures in a row before giving up
SHRINK = 0.25  # of Δτ after a failure, and of a step that is taken back
BACK = 3.0  # growth of the estimate of the error for which a step is taken back, all but SHRINK of it


def pseudo_transient(
    x: Array,
    *,
    stop: Stop,
    checkpoint: Mapping[str, Any] | None = None,
    inner: InnerProduct = EUCLIDEAN,
    first: float = 20.0,
    growth: float = 1.3,
    largest: float = 1e4,
    depth: int = 6,
    cut: float = 0.05,
    rate: float = LEAST_RATE,
    shock: float = 0.7,
    stall_after: int = 8,
    project: Callable[[Array], Array] | None = None,
) -> Flow:
    """Equilibrium by pseudo-transient continuation from x, a NumPy vector of shape (n,).

    first: Δτ of the first step, in periods; growth: its factor a step; largest: where it stops growing.
    depth: secants held; 0 leaves the operator alone.
    cut: singular values of the secants below this share of the largest are left out.
    shock: before the first cycle the map is left alone while its residual falls below this share of the one before; 0:
    not at all.
    rate: the slowest decay, a period, at which the error is estimated; above 0 where the map conserves a total.
    stall_after: cycles whose estimates, in the geometric mean, are to be smaller than those of as many cycles before;
    where they are not, nor the last two than these, nothing is gained any more.
    project: applied to every candidate; `within(lower, upper)` keeps it within bounds.

    A Failure after a jump, or a singular operator, goes back to T(x) of the last good pair with a quarter of Δτ and no
    secants. A step after
    which the estimate of the error is more than three times as large is taken back but for a quarter, with a quarter of
    Δτ and no secants afterwards. UNSTABLE after 5 failures in a row or at the first evaluation, STALLED as above.
    """
    fresh = {"x": x, "shocked": 0.0} if shock else {"x": x}
    saved = fresh if checkpoint is None else checkpoint
    x = np.asarray(saved["x"])
    if "shocked" in saved:
        settled = yield from left_alone(x, float(saved["shocked"]), stop=stop, share=shock, inner=inner)
        if isinstance(settled, Outcome):
            return settled
        x, _ = settled
        saved = {"x": x}
    step = float(saved.get("step", first))
    dxs, drs = list(saved.get("dxs", [])), list(saved.get("drs", []))
    last = (saved["x_last"], saved["r_last"]) if "x_last" in saved else None
    estimate, history = float(saved.get("estimate", np.inf)), np.asarray(saved.get("history", np.empty(0)))
    before, jump = saved.get("before"), saved.get("jump")  # the state before the last step, and the step
    failures = 0

    while True:
        operator = yield Operator(x)
        g = yield Evaluate(x)
        if isinstance(g, Failure):
            return Outcome.UNSTABLE  # x is T of a good state, or the start: there is nothing to go back to
        if stop(x, g):
            return Outcome.CONVERGED
        r = g - x
        found = _size(operator, rate, r, inner)
        history = np.append(history, found)[-2 * stall_after :]
        if stalled(history, stall_after):
            return Outcome.STALLED
        if jump is not None and found > BACK * estimate:
            yield Note(
                f"the error estimate grew from {estimate:.3g} to {found:.3g}: the step is taken back but for a part"
            )
            x = yield Evaluate(before + SHRINK * jump)
            if isinstance(x, Failure):
                return Outcome.UNSTABLE
            step, dxs, drs, last, before, jump = SHRINK * step, [], [], None, None, None
            yield Checkpoint({"x": x, "step": step, "estimate": estimate, "history": history})
            continue
        estimate = found
        if last is not None and depth:
            dxs, drs = [*dxs, x - last[0]][-depth:], [*drs, r - last[1]][-depth:]
        last = (x, r)

        while True:
            try:
                candidate = x + secant_step(operator, r, dxs, drs, step, inner, cut)
            except SingularMatrix as error:
                relaxed = Failure(str(error))
            else:
                candidate = candidate if project is None else project(candidate)
                relaxed = yield Evaluate(candidate)
            if not isinstance(relaxed, Failure):
                break
            failures += 1
            if failures == TRIES:
                return Outcome.UNSTABLE
            step, dxs, drs = SHRINK * step, [], []
        failures = 0
        if stop(candidate, relaxed):
            return Outcome.CONVERGED
        before, jump = x, candidate - x
        x, step = relaxed, min(growth * step, largest)
        state = {"x": x, "step": step, "dxs": dxs, "drs": drs, "x_last": last[0], "r_last": last[1]}
        yield Checkpoint(state | {"estimate": estimate, "history": history, "before": before, "jump": jump})


def _size(operator: StepOperator, rate: float, r: np.ndarray, inner: InnerProduct) -> float:
    """Of the estimated error; infinite where the operator is singular."""
    try:
        return inner.norm(tendency_inverse(operator, rate)(r))
    except SingularMatrix:
        return np.inf


def secant_step(
    operator: StepOperator,
    r: np.ndarray,
    dxs: list[np.ndarray],
    drs: list[np.ndarray],
    step: float,
    inner: InnerProduct,
    cut: float,
) -> np.ndarray:
    """dx of the header, (n,)."""
    precondition = tendency_inverse(operator, 1 / step)
    if not dxs:
        return -precondition(r)
    X = np.stack(dxs, axis=1)
    B = np.stack(drs, axis=1) - X / step
    columns = [precondition(b) for b in B.T]
    Pr = precondition(r)
    gamma = least_squares(columns, Pr, inner, cut)
    return -(X @ gamma) - (Pr - np.stack(columns, axis=1) @ gamma)


def least_squares(columns: list[np.ndarray], b: np.ndarray, inner: InnerProduct, cut: float) -> np.ndarray:
    """The combination of the columns, (n,) each, that is nearest to b, by the normal equations: their singular values
    below `cut` of the largest, of columns of length one, are left out. One reduction over ranks."""
    products = inner.gram(columns, [*columns, b])
    scale = 1 / np.sqrt(np.maximum(np.diag(products), np.finfo(float).tiny))
    squares, vectors = np.linalg.eigh(products[:, :-1] * np.outer(scale, scale))
    kept = squares > cut**2 * squares[-1]
    along = vectors[:, kept].T @ (scale * products[:, -1])
    return scale * (vectors[:, kept] @ (along / squares[kept]))
