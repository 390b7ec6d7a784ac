"""What a direct run does, seen from its states alone: does it come round, or only wander?

States are rows of x, (n + 1, m), a period apart, the distance between two of them being Euclidean.
"""

import numpy as np

RETURN = 0.25  # a cycle comes back to within this share of the farthest it was in between
KEEPS = 0.9  # and goes as far in each round as in the one before, to this share: what is damped by less passes for one
DECAYS = 1.5  # factor from which on the residuals of a run's second half are smaller: the state is on its way
GROWS = 2.5  # and larger: under red noise half as much again is chance, and what grows does not forget its direction
FORGETS = 0.4  # mean cosine of residuals that are far apart in time, below which one says nothing of the other
SHORTEST = 8  # residuals that can be told to be noise
ROUNDING = 1e-12  # of the states' size, below which nothing is seen


def period(x: np.ndarray) -> int | None:
    """The number of periods of the map after which the states come back; None where they do not, or go less far from
    round to round. x holds two rounds and a period more. A cycle of 5.3 periods is found as one of 5."""
    n = len(x) - 1
    steps = np.linalg.norm(np.diff(x, axis=0), axis=1)
    apart = [0.0]  # the last k states from those k periods before them
    for k in range(1, n // 2 + 1):
        late, early = x[n - k + 1 :], x[n - 2 * k + 1 : n - k + 1]
        apart.append(float(np.sqrt(np.mean(np.sum((late - early) ** 2, axis=1)))))
    if max(apart) <= _rounding(x):
        return None
    for k in range(2, len(apart) - 1):
        nearest = apart[k] <= min(apart[k - 1], apart[k + 1])
        if nearest and apart[k] < RETURN * max(apart[:k]):
            now, before = steps[-k:].mean(), steps[-2 * k : -k].mean()
            return k if KEEPS <= now / before <= 1 / KEEPS else None
    return None


def is_noise(x: np.ndarray) -> bool:
    """Whether the residuals neither decay nor grow, and after a quarter of the run have forgotten where they went."""
    r = np.diff(x, axis=0)
    size = np.linalg.norm(r, axis=1)
    n = len(r)
    if n < SHORTEST or not (size > 0).all() or size.max() <= _rounding(x):
        return False
    level = np.sqrt(np.mean(size[n // 2 :] ** 2) / np.mean(size[: n // 2] ** 2))
    if not 1 / DECAYS <= level <= GROWS:
        return False
    along = (r @ r.T) / np.outer(size, size)
    return bool(np.mean([abs(np.diagonal(along, lag).mean()) for lag in range(n // 4, n // 2 + 1)]) < FORGETS)


def _rounding(x: np.ndarray) -> float:
    return ROUNDING * float(np.linalg.norm(x, axis=1).max())
