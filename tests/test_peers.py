"""The adapters of other libraries' solvers, each on a small linear map: they get T, and find its fixed point."""

import numpy as np
import pytest

from benchmarks.peers import PEERS

RATES = np.linspace(-0.5, 0.9, 12)
ANSWER = np.linspace(1.0, 2.0, 12)


class Spent(Exception):
    pass


@pytest.fixture(params=PEERS)
def peer(request):
    found = PEERS[request.param]
    if not found.installed:
        pytest.skip(f"{found.module} is not installed")
    return found


def test_it_finds_the_fixed_point_and_leaves_its_start_alone(peer):
    calls, start = [], np.full(12, 3.0)

    def T(x):
        assert isinstance(x, np.ndarray)
        assert x.dtype == np.float64
        assert x.shape == (12,)
        calls.append(x)
        return ANSWER + RATES * (x - ANSWER)

    x = peer.solve(T, start)
    np.testing.assert_allclose(x, ANSWER, atol=1e-7)
    np.testing.assert_array_equal(calls[0], 3.0)
    np.testing.assert_array_equal(start, 3.0)
    assert 5 < len(calls) < 1000  # jaxopt's ridge is not relative: near the end it averages instead of accelerating


def test_an_exception_of_the_map_ends_it(peer):
    calls = []

    def T(x):
        calls.append(x)
        if len(calls) == 4:
            raise Spent
        return ANSWER + RATES * (x - ANSWER)

    with pytest.raises(Spent):
        peer.solve(T, np.full(12, 3.0))
    assert len(calls) == 4
