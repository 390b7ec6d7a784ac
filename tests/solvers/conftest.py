import array_api_strict
import jax
import jax.numpy
import numpy as np
import pytest


@pytest.fixture(params=["numpy", "jax", "strict"])
def xp(request):
    """The array libraries, in double precision."""
    if request.param == "jax":
        with jax.enable_x64(True):
            yield jax.numpy
    else:
        yield {"numpy": np, "strict": array_api_strict}[request.param]
