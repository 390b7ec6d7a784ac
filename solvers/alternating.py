"""A method and direct integration in turn, so that a method that gets nowhere costs little.

Where `method` ends without an answer, `direct` goes on from the state whose residual was the least, for 1 / SHARE times
the evaluations that the method has made since; then the method is begun anew from where that led. What is lost in vain
is a tenth of all evaluations, however often it happens, and nothing is lost where the method gets nearer.
"""

from collections.abc import Generator, Mapping
from math import inf
from typing import Any

from solvers.inner import EUCLIDEAN, InnerProduct
from solvers.relay import relay
from solvers.requests import Array, Flow, Method, Note, Outcome, Request, Stop

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
            outcome = yield from turn.of_method(method, stop)
            if outcome not in (Outcome.STALLED, Outcome.UNSTABLE) or turn.best is None:
                return outcome
            turn.left = max(1, round(turn.since / SHARE))
            turn.x, turn.own = turn.best, None
            yield Note(
                f"no nearer for {turn.since} evaluations: {turn.left} by direct integration, from the state whose "
                "residual was the least"
            )
        ended = yield from turn.of_direct(direct, stop)
        if ended is not None:
            return ended
        turn.x, turn.own = turn.latest, None
        yield Note("direct integration has made up for them: the method again")


class _Turn:
    """Whose turn it is, and what it knows. Vectors are replaced, never written into."""

    def __init__(self, x: Array, saved: Mapping[str, Any], inner: InnerProduct) -> None:
        self.inner = inner
        self.x = self.latest = x
        self.own = {name: value for name, value in saved.items() if not name.startswith("turn_")} or None
        self.left = int(saved.get("turn_left", 0))  # direct evaluations to make; 0: it is the method's turn
        self.since = int(saved.get("turn_since", 0))  # evaluations since the least residual
        self.least = float(saved.get("turn_least", inf))
        self.best: Array | None = saved.get("turn_best")  # T(x) of the least residual

    def of_method(self, method: Method, stop: Stop) -> Flow:
        """The method's turn."""
        flow = method(self.x, stop=stop, checkpoint=self.own)
        return relay(flow, seen=self._measure, failed=self._fail, mark=self.saved)

    def of_direct(self, direct: Method, stop: Stop) -> Generator[Request, Any, Outcome | None]:
        """The turn of direct integration. None where its evaluations are used up."""

        def over(x: Array, g: Array) -> bool:
            if stop(x, g):
                return True
            self.left -= 1
            return self.left == 0

        flow = direct(self.x, stop=over, checkpoint=self.own)
        outcome = yield from relay(flow, seen=self._measure, failed=self._fail, mark=self.saved)
        return outcome if self.left else None

    def _measure(self, x: Array, g: Array) -> None:
        size, self.latest = self.inner.norm(g - x), g
        self.since += 1
        if size < self.least:
            self.least, self.since, self.best = size, 0, g

    def _fail(self) -> None:
        self.since += 1

    def saved(self) -> dict[str, Any]:
        """All that `__init__` reads."""
        best = {} if self.best is None else {"turn_best": self.best}
        return {"turn_left": self.left, "turn_since": self.since, "turn_least": self.least} | best
