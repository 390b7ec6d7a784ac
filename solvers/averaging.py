"""The mean state that a map wanders about where it never comes to rest, and its standard error.

Every period says where the equilibrium seemed to be,

    p_k = x_k - P^-1 r_k,   r_k = T(x_k) - x_k,

P^-1 the inverse of the tendency (`error_estimate`), x_k a direct run. Under noise each p_k is off by what the noise of
its period would do if it lasted; their mean is the linear answer to the mean residual.

A state that begins far from its mean would take decades to get there. Where the first few p_k differ by less than the
way to their mean, they agree on where that is, and the run goes on from there, once.

The sampling error of the mean, of numbers that are correlated in time, is found by blocking; where the map tells what
its forcing did in each period (control variates), what that accounts for is taken out of the mean (`blocking`).

Differs from the source: P is a linearisation, right within a factor of about two; half of the way from the mean of the
x_k to that of the p_k is added to the standard error, in quadrature.

Where the map has no operator p_k is x_k, and the way is that from the mean of the earlier half of the states to that of
the later one: of modes that hardly moved while they were averaged, it knows nothing.

Shapes: x, p are (n,), control variates (m,).
"""

from collections.abc import Generator, Mapping
from typing import Any

import numpy as np

from solvers.blocking import (
    BLOCKS,
    SUMS,
    add_block,
    block_state,
    blocks_of,
    controlled_mean,
    no_blocks,
    scatter,
    standard_error,
)
from solvers.chain_factors import SingularMatrix
from solvers.error_estimate import tendency_inverse
from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.requests import (
    Array,
    Checkpoint,
    ControlVariates,
    Evaluate,
    Failure,
    Flow,
    Mean,
    Note,
    Operator,
    Outcome,
    Stop,
)

SERVES = 8  # periods for which an operator serves
DOUBT = 0.5  # share of the way to the prediction that counts as not known
STEADY = 0.9  # residuals whose cosine with the one before is above this keep their direction: that is no noise
FALLING = 0.7  # residuals of the later half below this share of the earlier half's still fall: that is no noise


def mean_state(
    x: Array,
    *,
    stop: Stop,
    checkpoint: Mapping[str, Any] | None = None,
    inner: InnerProduct = EUCLIDEAN,
    periods: int = 24,
    operator: bool = True,
    border: bool = True,
    rate: float = 0.0,
    controls: int = 0,
) -> Flow:
    """Direct integration from x, a NumPy vector of shape (n,), that yields its `Mean` after every period from the
    fourth on; without operator, after `periods` of them.

    periods: after which the run ends as FLOOR where the way from its states' mean to the predicted one is shorter than
    the scatter of the predictions: what a period says of where to go is then noise. Where it is longer, or the
    residuals keep their direction, the run is still on its way, and the means are begun anew; one is yielded again
    where its standard error is the smaller. After the first four, where they say so, the run goes on from the mean of
    the predictions.
    operator: whether to ask for the operator. border: whether it is to come with the balance of what is carried.
    rate: the slowest decay, a period; above 0 where the map conserves a total, without which there is no inverse.
    controls: how many control variates the map tells; without operator they are not asked for.

    Periods whose operator is singular are integrated and predict nothing. UNSTABLE where the map fails.
    """
    if not operator:
        return (yield from _mean_of_states(np.asarray(x), stop, checkpoint, inner, periods))
    x, seen, least = np.asarray(x), _nothing(np.asarray(x), periods, controls), np.inf
    near = rate > 0  # a total that is conserved would not be that of the predictions
    if checkpoint is not None:
        x, seen = np.asarray(checkpoint["x"]), _restored(checkpoint, seen)
        least, near = float(checkpoint.get("least", np.inf)), bool(checkpoint.get("near", True))

    while True:
        own = {"x": x, "least": least, "near": near}
        yield Checkpoint(own | _saved(seen))
        made = yield Operator(x, border=border)
        try:
            inverse = tendency_inverse(made, rate)
        except SingularMatrix:
            inverse = None
        for _ in range(SERVES):
            g = yield from _period(x, stop)
            if isinstance(g, Outcome):
                return g
            told = (yield ControlVariates()) if controls else None
            before, x = x, g
            if inverse is None or (told is not None and not np.isfinite(told).all()):
                continue
            r = x - before
            seen["cosines"][int(seen["count"][0])] = _cosine(r, seen["residual"], inner)
            seen["residual"] = r
            try:
                predicted = before - inverse(r)
            except SingularMatrix:
                continue
            add_block(seen, predicted - seen["origin"], told)
            seen["states"] += before - seen["origin"]
            if (count := int(seen["count"][0])) < BLOCKS:
                continue
            mean, sampling = controlled_mean(seen, inner)
            states = seen["states"] / count
            plain = seen["sums"][0][: len(x)] / count
            way = states - plain
            error = np.hypot(sampling, DOUBT * (states - mean))
            if inner.norm(error) < least:
                yield Mean(seen["origin"] + mean, error, count)
            if count == BLOCKS and not near:
                near = True
                if inner.norm(way) > inner.norm(scatter(seen)):
                    g = yield Evaluate(seen["origin"] + mean)
                    if not isinstance(g, Failure):
                        x, seen = np.asarray(g), _nothing(x, periods, controls)
                        break
            if count == periods:
                if controls:
                    yield Note(
                        f"what is known of the forcing of these {count} periods accounts for "
                        f"{inner.norm(mean - plain):.3g} of the mean state, and is taken out of it"
                    )
                steady = np.median(seen["cosines"]) > STEADY
                if not steady and inner.norm(way) <= inner.norm(scatter(seen)):
                    return Outcome.FLOOR
                least = min(least, inner.norm(error))
                seen = _nothing(x, periods, controls)
                break


def _mean_of_states(
    x: np.ndarray, stop: Stop, checkpoint: Mapping[str, Any] | None, inner: InnerProduct, periods: int
) -> Flow:
    """`mean_state` without operator."""

    def nothing() -> dict[str, np.ndarray]:
        return {**_nothing(x, periods), "late": np.zeros(len(x)), "sizes": np.zeros(periods)}

    seen = nothing()
    if checkpoint is not None:
        x, seen = np.asarray(checkpoint["x"]), _restored(checkpoint, seen)
    while True:
        yield Checkpoint({"x": x} | _saved(seen))
        g = yield from _period(x, stop)
        if isinstance(g, Outcome):
            return g
        before, x = x, g
        number = int(seen["count"][0])
        seen["sizes"][number] = inner.norm(x - before)
        add_block(seen, before - seen["origin"])
        if number >= periods - periods // 2:
            seen["late"] += before - seen["origin"]
        if number + 1 < periods:
            continue
        mean, half = seen["sums"][0] / periods, periods // 2
        way = seen["late"] / half - (seen["sums"][0] - seen["late"]) / (periods - half)
        falls = seen["sizes"][-half:].mean() < FALLING * seen["sizes"][:half].mean()
        if not falls and inner.norm(way) <= inner.norm(scatter(seen)):
            yield Mean(seen["origin"] + mean, np.hypot(standard_error(seen, inner), DOUBT * way), periods)
            return Outcome.FLOOR
        seen = nothing()


def _period(x: np.ndarray, stop: Stop) -> Generator[Evaluate, Any, np.ndarray | Outcome]:
    """T(x), (n,), or how the run ends with it."""
    g = yield Evaluate(x)
    if isinstance(g, Failure):
        return Outcome.UNSTABLE
    return Outcome.CONVERGED if stop(x, g) else np.asarray(g)


def _cosine(a: np.ndarray, b: np.ndarray, inner: InnerProduct) -> float:
    """Of the angle between two vectors, (n,); 0 where one is nothing."""
    sizes = inner.norm(a) * inner.norm(b)
    return inner.dot(a, b) / sizes if sizes else 0.0


def _saved(seen: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What a checkpoint holds of the sums. Copies."""
    return {name: value.copy() for name, value in seen.items() if name not in SUMS} | block_state(seen)


def _restored(state: Mapping[str, Any], like: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The sums of `_saved`, of the same names as others. Copies."""
    return blocks_of(state) | {name: np.array(state[name]) for name in like if name not in SUMS}


def _nothing(x: np.ndarray, periods: int, controls: int = 0) -> dict[str, np.ndarray]:
    """Sums of nothing. They are of what is left when x is subtracted: squares of small numbers lose no digits."""
    vectors = {"origin": x.copy(), "states": np.zeros(len(x)), "residual": np.zeros(len(x))}
    return {**vectors, "cosines": np.zeros(periods), **no_blocks(len(x), periods, controls)}
