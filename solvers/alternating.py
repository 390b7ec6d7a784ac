"""A method and direct integration in turn, so that a method that gets nowhere costs little.

Where `method` ends without an answer, `direct` goes on from the state whose residual was the least, for 1 / SHARE times
the evaluations that the method has made since; then the method is begun anew from where that led. What is lost in vain
is a tenth of all evaluations, however often it happens, and nothing is lost where the method gets nearer.
"""

from collections.abc import Mapping
from math import inf
from typing import Any

from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.requests import Array, Checkpoint, Evaluate, Failure, Flow, Method, Note, Outcome, Stop

SHARE = 0.1  # of the direct evaluations that follow, those in vain before them


def alternating(
    x: Array,
    *,
    stop: Stop,
    checkpoint: Mapping[str, Any] | None = None,
    method: Method,
    direct: Method,
    inner: InnerProduct = EUCLIDEAN,
) -> Flow:
    """Equilibrium by `method` from x, shape (n,), and by `direct` where it ends as STALLED or UNSTABLE.

    Ends with any other outcome of either of them, and as UNSTABLE where the map fails under `direct`, too.
    """
    turn = _Turn(x, checkpoint or {}, inner)
    while True:
        if turn.left == 0:
            outcome = yield from turn.of(method, stop)
            if outcome not in (Outcome.STALLED, Outcome.UNSTABLE) or turn.best is None:
                return outcome
            turn.left = max(1, round(turn.since / SHARE))
            turn.x, turn.own = turn.best, None
            yield Note(
                f"no nearer for {turn.since} evaluations: {turn.left} by direct integration, from the state whose "
                "residual was the least"
            )
        outcome = yield from turn.of(direct, stop)
        if outcome is not None:
            return outcome
        turn.x, turn.own = turn.latest, None
        yield Note("direct integration has made up for them: the method again")


class _Turn:
    """Whose turn it is, and what it knows. Vectors are replaced, never written into."""

    def __init__(self, x: Array, saved: Mapping[str, Any], inner: InnerProduct) -> None:
        mine = {name: saved[f"turn_{name}"] for name in ("left", "since", "least", "best") if f"turn_{name}" in saved}
        self.inner = inner
        self.x = self.latest = x
        self.own = {name: value for name, value in saved.items() if not name.startswith("turn_")} or None
        self.left = int(mine.get("left", 0))  # direct evaluations to make; 0: it is the method's turn
        self.since = int(mine.get("since", 0))  # evaluations since the least residual
        self.least = float(mine.get("least", inf))
        self.best: Array | None = mine.get("best")  # T(x) of the least residual

    def of(self, method: Method, stop: Stop) -> Any:
        """The method's requests. Its outcome; None where its evaluations are used up."""
        is_direct = self.left > 0
        flow = method(self.x, stop=stop, checkpoint=self.own)
        try:
            request = next(flow)
            while True:
                if isinstance(request, Checkpoint):
                    request = Checkpoint({**request.state, **self.saved()})
                reply = yield request
                if isinstance(request, Evaluate) and not isinstance(reply, Failure):
                    self._measure(request.x, reply)
                    if is_direct and not stop(request.x, reply):
                        self.left -= 1
                        if self.left == 0:
                            flow.close()
                            return None
                request = flow.send(reply)
        except StopIteration as end:
            return end.value

    def _measure(self, x: Array, g: Array) -> None:
        size, self.latest = self.inner.norm(g - x), g
        self.since += 1
        if size < self.least:
            self.least, self.since, self.best = size, 0, g

    def saved(self) -> dict[str, Any]:
        """All that `__init__` reads."""
        best = {} if self.best is None else {"turn_best": self.best}
        return {"turn_left": self.left, "turn_since": self.since, "turn_least": self.least} | best
