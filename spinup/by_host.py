"""A method that works on NumPy's vectors, in a run whose vectors lie on JAX's devices."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from solvers import Evaluate, Flow, Mean, Stop
from solvers.requests import Array, Failure
from spinup.state import Layout


def by_host(method: Callable[..., Flow], layout: Layout) -> Callable[..., Flow]:
    """The method; its vectors, in the host's order, are brought to the devices for every evaluation and back."""

    def flow(x: Array, *, stop: Stop, checkpoint: Mapping[str, Any] | None = None, **settings: Any) -> Flow:
        own = method(layout.on_host(x), stop=stop, checkpoint=checkpoint, **settings)
        reply: Any = None
        try:
            while True:
                request = own.send(reply)
                if isinstance(request, Evaluate):
                    request = replace(request, x=layout.placed(request.x))
                elif isinstance(request, Mean):
                    error = layout.placed(request.standard_error)
                    request = replace(request, x=layout.placed(request.x), standard_error=error)
                reply = yield request
                if isinstance(request, Evaluate) and not isinstance(reply, Failure):
                    reply = layout.on_host(reply)
        except StopIteration as end:
            return end.value
        finally:
            own.close()

    return flow
