"""What ranks have of an operator against the whole of it: mpiexec -n N python operator_program.py."""

from dataclasses import replace

import numpy as np
from scipy.sparse import block_diag, csr_array, eye_array, random_array

from solvers import Border, StepOperator, lumping, ranks_inverse
from solvers.error_estimate import tendency_inverse
from solvers.lumping import Cells
from solvers.rows import Rows
from solvers.seasons import of_dates, of_seasons
from spinup.distributed.operators import Stretched, scattered_operator
from spinup.distributed.ranks import world
from spinup.distributed.split import split
from spinup.patch import Patch
from spinup.store.operators import operator_of, parts_of

N, M = 60, 24  # unknowns of the vector, of the border


def some_operator(seed: int) -> StepOperator:
    """Diagonally dominant, M of blocks of two; its border a saddle point."""
    draw = np.random.default_rng(seed)

    def some(rows: int, columns: int) -> csr_array:
        return csr_array(random_array((rows, columns), density=0.1, rng=draw))

    left = csr_array(block_diag([np.array([[1.5, -0.5], [-0.5, 1.5]])] * (N // 2)))
    balance = some(M, M) + 2 * eye_array(M) - csr_array(([2.0], ([M - 1], [M - 1])), shape=(M, M))
    border = Border(0.01 * some(N, M), some(M, N), csr_array(balance), chain=None)
    return StepOperator(csr_array(0.01 * some(N, N) - 0.05 * left), 12, left, border)


def compare(whole: StepOperator, part: StepOperator, mine: np.ndarray, draw: np.random.Generator) -> None:
    """The inverse of the whole with that of ranks."""
    r, rates = draw.normal(size=N), draw.uniform(0.1, 1.0, N)
    alone, together = tendency_inverse(whole, 0.1), tendency_inverse(part, 0.1)
    for settings in ({}, {"steps": 5, "tolerance": 1e-10}, {"tolerance": 1e-10, "rate": rates}):
        own = settings | ({"rate": rates[mine]} if "rate" in settings else {})
        found, expected = together(r[mine], **own), alone(r, **settings)
        allowed = 0.02 if whole.seasons else 1e-6  # iterations over the seasons go no further
        assert np.abs(found - expected[mine]).max() < allowed * np.abs(expected).max(), settings


def stretch_of(whole: StepOperator, stretched: Stretched) -> StepOperator:
    plain, parts = parts_of(whole)
    return operator_of(plain, parts.rows(stretched.mine))


def main() -> None:
    ranks_inverse.LARGE = lumping.FEW = 20
    ranks = world()
    draw = np.random.default_rng(1)
    mine = ranks.part(N // 2), ranks.part(M)
    vector = np.arange(2 * mine[0].start, 2 * mine[0].stop)
    # In the whole the unknowns are shuffled: a rank's are not next to each other.
    shuffled = np.sort(draw.permutation(N // 2)[mine[0]])
    places = (2 * shuffled[:, None] + [0, 1]).ravel(), np.sort(draw.permutation(M)[mine[1]])
    whole = some_operator(2)
    for operator in (whole, of_seasons([whole, some_operator(3)], 12)):
        part = scattered_operator(operator if ranks.rank == 0 else None, places, ranks)
        assert isinstance(part.matrix, Rows)
        stretched = Stretched(places, ranks)
        back = operator_of(parts_of(part)[0], stretched.of(parts_of(part)[1]))
        where = Cells(vector % 2, np.zeros_like(vector), vector // 2, 1.0 + vector % 3)
        lumped = replace(part, cells=where, border=None)
        every = np.arange(N)
        levels = lumping.lumped_levels(Cells(every % 2, 0 * every, every // 2, 1.0 + every))
        counts = [ranks.total(np.array([float(own)]))[0] for _, own in lumping.lumped_levels(where, ranks.comm)]
        assert counts == [lump.shape[1] for lump, _ in levels] == [30, 16]  # columns of two ranks are lumped as well
        compare(replace(operator, border=None), lumped, places[0], draw)
        assert back == stretch_of(operator, stretched)
        compare(operator, part, places[0], draw)
    dates = whole, some_operator(3)
    parts = [scattered_operator(date if ranks.rank == 0 else None, places, ranks) for date in dates]
    compare(of_dates(dates), of_dates(parts), places[0], draw)

    around = np.arange(4 * 6 * 12).reshape(4, 6, 12)
    for width in (1, 2):
        for sizes in ({"yt": 6, "xt": 12}, {"xt": 12}):
            cells = {dim: (slice(0, n), n) for dim, n in sizes.items()} | {"xt": (ranks.part(12), 12)}
            closed = {dim: dim == "xt" for dim in sizes}
            ours = Patch(closed, width, split(ranks, cells))
            dims = ("zt", "yt", "xt")
            expected = Patch(closed, width).around(around, dims, -1)
            wanted = expected[:, :, ranks.part(12).start : ranks.part(12).stop + 2 * width]
            np.testing.assert_array_equal(ours.around(around[:, :, ranks.part(12)], dims, -1), wanted)


if __name__ == "__main__":
    main()
