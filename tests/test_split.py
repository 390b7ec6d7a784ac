"""Parts of a grid: whether they are the whole of it."""

import pytest

from spinup.distributed import Ranks
from spinup.distributed.split import split
from spinup.errors import UsageError


class Told:
    """A communicator of which the others' words are known."""

    def __init__(self, *words):
        self.words = words

    def allgather(self, mine):
        return list(self.words)

    def Get_rank(self):
        return 0

    def Get_size(self):
        return len(self.words)


def parts(*told):
    first = told[0]
    return split(Ranks(Told(*told)), {dim: (slice(a, b), size) for dim, (a, b, size) in first.items()})


def test_quarters_of_a_rectangle_are_the_whole():
    found = parts(
        {"x": (0, 3, 6), "y": (0, 2, 5)},
        {"x": (3, 6, 6), "y": (0, 2, 5)},
        {"x": (0, 3, 6), "y": (2, 5, 5)},
        {"x": (3, 6, 6), "y": (2, 5, 5)},
    )
    assert found.shape((3, 7, 2), ("x", "z", "y")) == (6, 7, 5)


@pytest.mark.parametrize(
    "told",
    [
        [{"x": (0, 3, 6)}, {"x": (2, 6, 6)}],
        [{"x": (0, 3, 6)}, {"x": (4, 6, 6)}],
        [{"x": (0, 3, 6)}, {"x": (3, 7, 6)}],
        [{"x": (0, 2, 4), "y": (0, 4, 4)}, {"x": (0, 2, 4), "y": (0, 4, 4)}],
    ],
)
def test_parts_that_overlap_or_leave_out_are_named(told):
    with pytest.raises(UsageError, match=r"the parts of x.* that the ranks hold overlap, or are not the whole"):
        parts(*told)


def test_ranks_that_speak_of_different_grids():
    with pytest.raises(UsageError, match="not told of the same grid"):
        parts({"x": (0, 3, 6)}, {"x": (3, 6, 8)})


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_shares_are_even(ranks):
    shares = []
    for rank in range(ranks):
        told = Told(*range(ranks))
        told.Get_rank = lambda rank=rank: rank
        shares.append(Ranks(told).part(17))
    assert [i for share in shares for i in range(17)[share]] == list(range(17))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_more_ranks_than_cells():
    with pytest.raises(UsageError, match="2 cells are too few for 3 ranks"):
        Ranks(Told(0, 1, 2)).part(2)
