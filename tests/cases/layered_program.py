"""The extended operator of an ocean that ranks have and whose LU factors do not fit: mpiexec -n N python
layered_program.py. Prints how the inverse is had and how many iterations a solve takes, once."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from benchmarks.basin import basin
from solvers import SingularMatrix, layered_multigrid, memory
from solvers.columns_on_ranks import columns_of
from solvers.layered_on_ranks import LayeredFactors
from solvers.layers import Layers, coarser_levels
from solvers.petsc_factors import mumps_bytes
from solvers.ranks_inverse import RanksInverse, ranks_sentence
from solvers.tendency import TendencyInverse
from spinup.distributed.operators import Stretched, scattered_operator
from spinup.distributed.ranks import Ranks, world
from spinup.store.operators import parts_of

NX, NY = 17, 10  # patches and lumped columns go across the ranks' borders, and around the grid
RATE = 0.05


def main() -> None:
    ranks = world()
    whole = basin(NX, NY, border=True)
    assert whole.border is not None
    assert whole.border.layers is not None
    n, layers = whole.matrix.shape[0], whole.border.layers
    down = 2 if ranks.size == 4 else 1  # parts from north to south
    across = ranks.size // down
    mine = layers.column * across // NX + across * (layers.row * down // NY) == ranks.rank
    places = np.flatnonzero(mine[:n]), np.flatnonzero(mine[n:])
    part = scattered_operator(whole if ranks.rank == 0 else None, places, ranks)
    stretched = Stretched(places, ranks)
    back, wanted = stretched.of(parts_of(part)[1]), parts_of(whole)[1].rows(stretched.mine)
    for name, matrix in wanted.matrices.items():
        assert (back.matrices[name] != matrix).nnz == 0, name
    for name, numbers in back.numbers.items():
        for mine, other in zip(numbers, wanted.numbers[name], strict=True):
            np.testing.assert_array_equal(mine, other)

    layered_multigrid.SMALL = 300  # columns are lumped more than once
    memory.usable = lambda: 0.8 * mumps_bytes(len(layers.row))
    said = ranks_sentence(part)
    inverse = RanksInverse(part, RATE)
    factors = inverse._factors
    assert isinstance(factors, LayeredFactors)
    draw = np.random.default_rng(0)
    r, rates = draw.standard_normal(n), draw.uniform(0.05, 0.06, n)
    memory.usable = lambda: float("inf")
    alone = TendencyInverse(whole, RATE)
    for settings in ({}, {"rate": rates}):
        own = {name: rate[places[0]] for name, rate in settings.items()}
        found, wanted = inverse(r[places[0]], **own), alone(r, **settings)
        np.testing.assert_allclose(found, wanted[places[0]], rtol=0, atol=1e-5 * np.abs(wanted).max())
        if ranks.rank == 0:
            print(said if not settings else "another rate", factors.iterations)
    fails_on_all(ranks)
    what_cannot_be_had_is_named(ranks)


def what_cannot_be_had_is_named(ranks: Ranks) -> None:
    """A column that two ranks have, and a row that reaches too far."""
    nothing, column = np.zeros(40, int), np.arange(40)
    layers = Layers(nothing, nothing, nothing, column, np.ones(40), np.zeros(40))
    if ranks.size > 1:
        with pytest.raises(ValueError, match="two ranks have unknowns of the same water column"):
            columns_of(layers, ranks.comm)
    mine = ranks.part(40)
    known = columns_of(layers.of(column[mine]), ranks.comm).around
    np.testing.assert_array_equal(known.index(known.numbers), np.arange(len(known.numbers)))
    reach = np.isin((column[:, None] + np.arange(-4, 5)) % 40, column[mine]).any(axis=1)
    np.testing.assert_array_equal(np.sort(known.numbers), np.flatnonzero(reach))
    dense = csr_array(np.ones((mine.stop - mine.start, 40)))
    if not reach.all():
        with pytest.raises(ValueError, match="more than 4 columns away"):
            known.local(dense)


def fails_on_all(ranks: Ranks) -> None:
    """A patch that is singular, which one rank has, ends the set-up on all."""
    layer, column = (at.ravel() for at in np.indices((4, 24)))
    nothing = np.zeros(96, int)
    order = np.argsort(column, kind="stable")
    layers = Layers(nothing, layer, nothing, column, np.ones(96), layer + 0.5).of(order)
    matrix = np.eye(96)
    matrix[:2, :2] = 1.0
    own, levels = csr_array(matrix)[ranks.part(96)], coarser_levels(layers, lambda _: True)
    here = layers.of(np.arange(96)[ranks.part(96)])
    with pytest.raises(SingularMatrix, match="a patch of columns is singular"):
        LayeredFactors(own, ranks.comm, here, levels, np.ones(own.shape[0]))


if __name__ == "__main__":
    main()
