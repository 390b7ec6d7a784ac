"""Whether the estimates of a search no longer fall."""

import numpy as np

LAST = 2  # estimates that, where they are smaller than those of late, say that it is on its way again
PROGRESS = 0.9  # estimates are smaller than earlier ones below this share of them


def stalled(history: np.ndarray, after: int) -> bool:
    """Whether the last `after` estimates of a history of all, or of the last 2 after, are no smaller, in the geometric
    mean, than as many before them, nor the last two than these. False as long as there are too few."""
    late, early = history[-after:], history[-2 * after : -after]
    return len(early) == after and not (_smaller(late, early) or _smaller(late[-LAST:], late))


def _smaller(late: np.ndarray, early: np.ndarray) -> bool:
    with np.errstate(divide="ignore"):
        return bool(np.log(late).mean() < np.log(early).mean() + np.log(PROGRESS))
