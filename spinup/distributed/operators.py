"""The operator of which every rank has rows, as a run has it: in stretches of the order of a single process."""

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from solvers import StepOperator
from solvers.rows import Rows, with_columns
from spinup.distributed.ranks import Ranks
from spinup.distributed.stretches import Stretches
from spinup.store.operators import operator_of, parts_of
from spinup.store.pieces import Parts, Wanted, kinds

Places = tuple[np.ndarray, np.ndarray]  # of the unknowns of the vector and of the border: see `VerosMap.places`


class Stretched:
    """places: of this rank's unknowns. Every method is to be called by all ranks."""

    def __init__(self, places: Places, ranks: Ranks) -> None:
        self._ranks = ranks
        self._of = tuple(Stretches(own, ranks.comm) for own in places)

    @property
    def mine(self) -> Wanted:
        """This rank's stretch of the unknowns of the vector, and of those of the border."""
        return self._of[0].mine, self._of[1].mine

    @property
    def counts(self) -> np.ndarray:
        """How many unknowns there are in each rank's, (ranks, 2)."""
        return np.stack([of.lengths for of in self._of], axis=1)

    def of(self, parts: Parts) -> Parts:
        """This rank's stretch of what ranks have, sparse arrays instead of `Rows`."""

        def moved(name: str, matrix: Rows) -> csr_array:
            rows, columns = (self._of[kind] for kind in kinds(name))
            own = csr_array(matrix.own)
            return rows.rows_of(with_columns(own, columns.positions(own.indices), columns.size))

        matrices = {name: moved(name, matrix) for name, matrix in parts.matrices.items()}
        return Parts(matrices, {name: self._each("of", pair) for name, pair in parts.numbers.items()})

    def back(self, parts: Parts) -> Parts:
        """What this rank has of the whole of which it has a stretch; a chain is known in one process only."""

        def moved(name: str, matrix: Any) -> Rows:
            rows, columns = (self._of[kind] for kind in kinds(name))
            own = rows.rows_back(matrix)
            return Rows(with_columns(own, columns.numbers(own.indices), matrix.shape[1]), self._ranks.comm)

        matrices = {name: moved(name, matrix) for name, matrix in parts.matrices.items()}
        numbers = {name: self._each("back", pair) for name, pair in parts.numbers.items() if name != "chain"}
        return Parts(matrices, numbers)

    def _each(self, method: str, pair: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        found = [getattr(of, method)(own) for of, own in zip(self._of, pair, strict=True)]
        return found[0], found[1]


def scattered_operator(whole: StepOperator | None, places: Places, ranks: Ranks) -> StepOperator:
    """This rank's rows of the whole that the leading rank has."""
    stretched = Stretched(places, ranks)
    wanted, told = ranks.comm.gather(stretched.mine), None
    if whole is not None:
        plain, parts = parts_of(whole)
        told = [(plain, parts.rows(some)) for some in wanted]
    plain, mine = ranks.comm.scatter(told)
    return operator_of(plain, stretched.back(mine))
