"""The mean of numbers that are correlated in time, and its standard error, from running sums.

Source: H. Flyvbjerg and H. G. Petersen, J. Chem. Phys. 91 (1989), 461-466, eqs. 20-28. Neighbours are averaged in pairs
again and again; the standard error that the blocks would have, were they independent, grows until they are. The largest
is taken, over all block lengths of which there are at least four.

Control variates c, numbers whose expectation is known to be 0 and that the values p follow, take out of the mean what
they account for (S. S. Lavenberg and P. D. Welch, Manage. Sci. 27 (1981), 322-335):

    p_k = m + β c_k + ε_k,   m = mean(p) - β mean(c),   β by least squares

The standard error is that of the mean of ε by blocking, with a degree of freedom less for each control variate, and the
error of β: a factor sqrt(1 + mean(c)^T S^-1 mean(c)), S the covariance of c.

Shapes: p is (n,), c is (m,), m may be 0; sums of blocks are (levels, n + m), a value with its control variates after
it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from solvers.inner import InnerProduct

SUMS = ("sums", "squares", "pending", "products")  # the last where there are control variates
BLOCKS = 4  # the least whose scatter says something
STILL = 1e-10  # variance of a control variate, in units of its mean square, below which it never changed


def no_blocks(size: int, values: int, controls: int = 0) -> dict[str, np.ndarray]:
    """Sums of nothing, of vectors of `size` unknowns with so many control variates, for up to so many values."""
    levels = max(1, int(np.log2(max(values, 1) / BLOCKS)) + 1)
    found = {name: np.zeros((levels, size + controls)) for name in ("sums", "squares", "pending")}
    if controls:
        found["products"] = np.zeros((levels, controls, size + controls))
    return {"count": np.zeros(levels, int), **found}


def add_block(blocks: dict[str, np.ndarray], value: np.ndarray, controls: np.ndarray | None = None) -> None:
    """Take a value, (n,), with its control variates, (m,), into the sums of blocks of 1, 2, 4, … values."""
    value = value if controls is None else np.concatenate([value, controls])
    for level in range(len(blocks["count"])):
        blocks["count"][level] += 1
        blocks["sums"][level] += value
        blocks["squares"][level] += value**2
        if controls is not None:
            blocks["products"][level] += np.outer(value[-len(controls) :], value)
        if blocks["count"][level] % 2:
            blocks["pending"][level] = value
            return
        value = (blocks["pending"][level] + value) / 2


def block_state(blocks: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What a checkpoint holds of the sums: lists of vectors, (n,), of which each rank has its part, and what goes with
    the control variates, which every rank has. Copies."""
    n = _size(blocks)
    state: dict[str, Any] = {"count": blocks["count"].copy()}
    for name in SUMS:
        if name in blocks:
            rows = blocks[name].reshape(-1, blocks[name].shape[-1]).copy()
            state[name] = list(rows[:, :n])
            if rows.shape[1] > n:
                state[f"{name}_controls"] = rows[:, n:]
    return state


def blocks_of(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The sums of `block_state`. Copies."""
    blocks = {"count": np.array(state["count"])}
    for name in SUMS:
        if name in state:
            rows = np.array(state[name])
            if f"{name}_controls" in state:
                rows = np.concatenate([rows, state[f"{name}_controls"]], axis=1)
            blocks[name] = rows.reshape(len(blocks["count"]), -1, rows.shape[-1]) if name == "products" else rows
    return blocks


def scatter(blocks: Mapping[str, np.ndarray]) -> np.ndarray:
    """The standard deviation of the single values, (n,), control variates or not."""
    n = _size(blocks)
    return np.sqrt(_variance(*(blocks[name][0] for name in ("count", "sums", "squares"))))[:n]


def standard_error(blocks: Mapping[str, np.ndarray], inner: InnerProduct) -> np.ndarray:
    """Of the mean of the values, (n,), control variates or not: that of the block length whose norm is largest."""
    found = []
    n = _size(blocks)
    for count, sums, squares in zip(blocks["count"], blocks["sums"], blocks["squares"], strict=True):
        if count >= BLOCKS:
            found.append(np.sqrt(_variance(count, sums, squares) / (count - 1))[:n])
    return max(found, key=inner.norm)


def controlled_mean(blocks: Mapping[str, np.ndarray], inner: InnerProduct) -> tuple[np.ndarray, np.ndarray]:
    """m of the header and its standard error, (n,) each; without control variates, or with too few values to tell what
    they account for, the mean and its own."""
    n, controls = _size(blocks), blocks["sums"].shape[1] - _size(blocks)
    mean = blocks["sums"][0] / blocks["count"][0]
    if not controls or blocks["count"][0] < BLOCKS + controls:
        return mean[:n], standard_error(blocks, inner)
    spread = _covariance(blocks, 0)
    still = np.diag(spread[:, n:]) <= STILL * blocks["squares"][0, n:] / blocks["count"][0]
    spread[still], controls = 0.0, controls - int(still.sum())
    inverse = np.linalg.pinv(spread[:, n:], hermitian=True)
    slopes = inverse @ spread[:, :n]
    unknown = 1 + mean[n:] @ inverse @ mean[n:]
    found = []
    for level, count in enumerate(blocks["count"]):
        if count < BLOCKS + controls:
            break
        variance = _variance(count, blocks["sums"][level], blocks["squares"][level])[:n]
        spread = _covariance(blocks, level)
        left = variance - 2 * (slopes * spread[:, :n]).sum(axis=0) + (slopes * (spread[:, n:] @ slopes)).sum(axis=0)
        found.append(np.sqrt(unknown * np.maximum(left, 0.0) / (count - 1 - controls)))
    return mean[:n] - mean[n:] @ slopes, max(found, key=inner.norm)


def _size(blocks: Mapping[str, np.ndarray]) -> int:
    """n of the header."""
    return blocks["sums"].shape[1] - (blocks["products"].shape[1] if "products" in blocks else 0)


def _covariance(blocks: Mapping[str, np.ndarray], level: int) -> np.ndarray:
    """Of the control variates with the values and each other, of blocks of this level, (m, n + m)."""
    mean = blocks["sums"][level] / blocks["count"][level]
    return blocks["products"][level] / blocks["count"][level] - np.outer(mean[_size(blocks) :], mean)


def _variance(count: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> np.ndarray:
    return np.maximum(squares / count - (sums / count) ** 2, 0.0)
