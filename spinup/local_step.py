"""The sparse Jacobian of one local step of any model, by coloured probing; its stencil is found, not told.

Single cells are perturbed, and the cells that answer make up the stencil: corners, edges, the middle and the coast of
the ocean are tried, for each variable. All columns of the Jacobian then come of a few perturbed steps (see `stencil`).
Last, all cells are perturbed at once, at random: where that is not answered as the Jacobian says, the cell that was
missed is searched for by halves, and the stencil widened by what it does. Dimensions whose ends meet are found, too.
One along which a cell answers to all others, as to its column in an implicit step, takes a perturbed step for each of
its cells, times those of the other dimensions.

On several ranks all take every step together, each perturbs and reads the cells that it has, and the matrix is its
rows. What is found is the same on all: places are those of the whole grid, and what was seen is told all round.

Directions and answers are in units of the variables' scales: arrays (m, variables, *shape), of m perturbed steps; shape
is that of this rank's cells.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, Protocol

import numpy as np
from scipy.sparse import coo_array, csr_array, diags_array

from solvers import StepOperator
from spinup.distributed.groups import Groups, unfailing
from spinup.distributed.numbering import Numbering
from spinup.errors import ModelFailure, UsageError
from spinup.state import Fields, Layout, State
from spinup.stencil import Offset, Stencil, stencil_of
from spinup.tangent import JaxTangent

Sparse = Any  # a matrix of SciPy

BATCH = 16  # perturbed steps that JAX takes at once
COASTAL = 8  # cells by the coast, and as many anywhere, that are tried besides corners, edges and the middle
MOST_STEPS = 1024  # perturbed steps of one variable, above which a step is not called local
ROUNDS = 12  # so many times a stencil is widened
MARGIN = 4  # cells further than was seen, each time
FAILING = 4  # cells where an answer is wrong that are tried each time
CULPRITS = 4  # unknowns that one wrong answer may be due to, which are tried in turn


class Linearised(Protocol):
    """The derivative of a step at a state.

    tolerance: relative error of an answer. negligible: (variables,), what is rounding in an answer. base: steps that
    were taken besides those of directions. batch: directions that it is best asked for at once. unit: those that take
    as long as one.
    """

    tolerance: float
    negligible: np.ndarray
    base: int
    batch: int
    unit: int

    def __call__(self, directions: np.ndarray) -> np.ndarray: ...


class Differences:
    """By one-sided differences, of 512 times the root of rounding: 8e-6 of a variable's scale in double precision.

    step: the accelerated variables after a step of a state. at: that state. precision: of its numbers, relative.
    """

    base, batch, unit = 1, BATCH, 1

    def __init__(self, layout: Layout, step: Callable[[State], Fields], at: State, precision: float) -> None:
        self._layout, self._step, self._at = layout, step, at
        self._size = 512 * np.sqrt(precision)
        self._before = step(at)
        self.tolerance = min(0.1, 32 * self._size)
        largest = [np.abs(self._before[v.name][v.mask]).max(initial=0.0) / v.scale for v in layout.variables]
        self.negligible = 8 * precision * layout.largest_of(np.array(largest)) / self._size

    def __call__(self, directions: np.ndarray) -> np.ndarray:
        return np.stack([self._answer(direction) for direction in directions])

    def _answer(self, direction: np.ndarray) -> np.ndarray:
        moved = dict(self._at)
        for v, change in zip(self._layout.variables, direction, strict=True):
            old = np.asarray(moved[v.name])
            moved[v.name] = np.where(v.mask, old + self._size * v.scale * change, old).astype(old.dtype)
        after = self._step(moved)
        return np.stack(
            [(after[v.name] - self._before[v.name]) / (self._size * v.scale) for v in self._layout.variables]
        )


class Derivative:
    """By JAX, in forward mode, BATCH directions at once. tangent: of the step. at, precision: as of `Differences`."""

    base, batch, unit = 0, BATCH, BATCH

    def __init__(self, layout: Layout, tangent: JaxTangent, at: State, precision: float) -> None:
        self._layout, self._tangent, self._at = layout, tangent, at
        self.tolerance = 4096 * precision
        self.negligible = np.zeros(len(layout.variables))

    def __call__(self, directions: np.ndarray) -> np.ndarray:
        many = len(directions)
        padded = np.zeros((many if many == 1 else -(-many // BATCH) * BATCH, *directions.shape[1:]))
        padded[:many] = directions  # of one shape, so that it is compiled once
        variables = list(enumerate(self._layout.variables))
        changes = {v.name: (padded[:, i] * v.scale).astype(self._at[v.name].dtype) for i, v in variables}
        found = self._tangent.many(self._at, changes)
        return np.stack([np.asarray(found[v.name], float)[:many] / v.scale for _, v in variables], axis=1)


class Shared:
    """The derivative `own`, directions of which groups of ranks share out: each has it at the same state, and a method
    `answers` of its map."""

    def __init__(self, own: Linearised, groups: Groups) -> None:
        self._groups = groups
        self.tolerance, self.negligible, self.base = own.tolerance, own.negligible, own.base
        self.batch, self.unit = groups.number * own.batch, own.unit

    def __call__(self, directions: np.ndarray) -> np.ndarray:
        some = [(directions[part],) for part in _parts(len(directions), self.unit)]
        return np.concatenate(unfailing(self._groups.each("answers", some)))


class StepJacobian:
    """J of one step of the accelerated variables of `layout`. The stencil is kept from one state to the next.

    linearise: a state to the derivative of the step there. who: whose step it is, in words.
    The steps that it was found with count with the first call.

    Raises UsageError where the variables have not all one shape.
    """

    def __init__(self, layout: Layout, linearise: Callable[[State], Linearised], *, who: str, precision: float) -> None:
        shapes = {v.shape for v in layout.variables}
        if len(shapes) > 1:
            raise UsageError(
                f"{who} is of variables of {len(shapes)} shapes ({', '.join(map(str, sorted(shapes)))}): its Jacobian "
                "can only be found where all that are accelerated have one; give a `tendency` instead"
            )
        self._layout, self._linearise, self._who, self._precision = layout, linearise, who, precision
        self._own_shape = shapes.pop()
        self._grid = Numbering(layout)
        self._shape = self._grid.shape
        self._masks = np.stack([v.mask for v in layout.variables])
        sizes = np.diff(self._grid.ends, prepend=0)
        scales = np.repeat([v.scale for v in layout.variables], sizes)
        self._scales = self._grid.mine(scales), self._grid.through_ranks(scales)
        self._seen: list[set[Offset]] = [set() for _ in layout.variables]
        self._stencils: list[Stencil] = []
        self._taken, self._counted = 0, 0
        self._missed = ""

    def minus_one(self, jacobian: Sparse) -> Any:
        """J - I of a J that was found here, as the operator of a step has it: `solvers.rows.Rows` on ranks."""
        rows = self._grid.patch.rows(csr_array(jacobian))
        return rows - StepOperator(rows, 1).left

    @property
    def found(self) -> bool:
        """Whether the stencil is known."""
        return bool(self._stencils)

    @property
    def cost(self) -> int:
        """Steps of the last call, or the first to come."""
        return self._counted

    def find(self, state: State) -> None:
        """Find the stencil at a state. Raises UsageError where the step is not local."""
        at = self._at(state)
        for index in range(len(self._seen)):
            self._sample(at, index, _samples(self._grid.masks[index]))
        self._stencils = self._widest()
        operator = sum(self._colours(index).max() + 1 for index in range(len(self._stencils)))
        self._counted = self._taken + int(operator) + 1 + at.base

    def __call__(self, state: State) -> Sparse:
        """J at a state, sparse (n, n), in the variables' units.

        Raises UsageError where the step is not local, ModelFailure where it fails."""
        if not self.found:
            self.find(state)
        at = self._at(state)
        probed: dict[tuple[int, Stencil], Sparse] = {}
        for _ in range(ROUNDS):
            for key in enumerate(self._stencils):
                if key not in probed:
                    probed[key] = self._columns(at, key[0])
            matrix = sum(probed[key] for key in enumerate(self._stencils))
            if self._is_complete(at, matrix):
                self._counted, self._taken = self._taken, 0
                own, all_ = self._scales
                return csr_array(diags_array(own) @ matrix @ diags_array(1 / all_))
        raise UsageError(
            f"{self._who} is not local, or not alike enough all over the grid: after {ROUNDS} searches a cell still "
            f"answers to others than those known; {self._missed}. Give a `tendency` instead"
        )

    # --- the stencil -----------------------------------------------------------------------------

    def _sample(self, at: Linearised, index: int, cells: np.ndarray) -> None:
        """Note where the cells are that answer to each of some cells, (m, dimensions), of a variable."""
        seen: set[Offset] = set()
        for part in _parts(len(cells), at.batch):
            some = cells[part]
            directions = np.zeros((len(some), len(self._seen), *self._own_shape))
            here = some - self._grid.origin
            mine = ((here >= 0) & (here < self._own_shape)).all(axis=1)
            directions[(np.flatnonzero(mine), index, *here[mine].T)] = 1.0
            for cell, answers in zip(some, self._answering(at, self._answers(at, directions)), strict=True):
                targets = np.argwhere(answers.any(axis=0)) + self._grid.origin
                seen |= {tuple(int(o) for o in offset) for offset in cell - targets}
        self._seen[index] |= self._layout.union(seen)

    def _answering(self, at: Linearised, answers: np.ndarray) -> np.ndarray:
        """Which numbers of answers, (..., variables, *shape), are more than rounding."""
        rank = len(self._shape)
        largest = self._layout.largest_of(np.abs(answers).max(axis=tuple(range(-rank, 0)), keepdims=True, initial=0.0))
        least = largest * self._precision / 10
        return np.asarray(np.abs(answers) > np.maximum(least, at.negligible.reshape(-1, *[1] * rank)))

    def _widest(self) -> list[Stencil]:
        """Stencils of all that was seen. Raises UsageError where one is as good as the whole grid."""
        stencils = [stencil_of(self._shape, seen) for seen in self._seen]
        for v, seen, stencil in zip(self._layout.variables, self._seen, stencils, strict=True):
            if stencil.number > MOST_STEPS:
                far = max(seen, key=lambda offset: sum(map(abs, offset)))
                raise UsageError(
                    f"{self._who} is not local: a cell answers to {v.name} so far away ({self._place(v.dims, far)} "
                    f"from it) that {stencil.number} steps would have to be perturbed, more than {MOST_STEPS}; give a "
                    "`tendency` instead"
                )
        return stencils

    # --- the matrix ------------------------------------------------------------------------------

    def _colours(self, index: int) -> np.ndarray:
        """Colours of the ocean of a variable from 0, -1 on land; of the whole grid."""
        mask = self._grid.masks[index]
        found = np.full(self._shape, -1)
        found[mask] = np.unique(self._stencils[index].colours[mask], return_inverse=True)[1]
        return found

    def _columns(self, at: Linearised, index: int) -> Sparse:
        """What the Jacobian has of a variable in its columns, in units of the scales, sparse (n, n): this rank's rows,
        columns numbered through the ranks."""
        grid, own = self._grid, list(self._layout.unpack(np.arange(self._layout.size), fill=-1).values())
        colours = self._colours(index)
        answers = self._coloured(at, index, colours).reshape(colours.max() + 1, len(own), -1)
        rows, columns, entries = [], [], []
        for source_of_any in self._stencils[index].sources():
            source = source_of_any[grid.cells]
            cell = np.flatnonzero((source >= 0) & (colours.ravel()[source] >= 0))
            column, colour = grid.numbers[index].ravel()[source[cell]], colours.ravel()[source[cell]]
            for target, number in enumerate(own):
                row, entry = number.ravel()[cell], answers[colour, target, cell]
                keep = entry != 0
                rows.append(row[keep])
                columns.append(column[keep])
                entries.append(entry[keep])
        where = (np.concatenate(rows), np.concatenate(columns))
        return csr_array(coo_array((np.concatenate(entries), where), shape=(grid.size, grid.number)))

    def _coloured(self, at: Linearised, index: int, whole: np.ndarray) -> np.ndarray:
        """Answers to each colour of a variable, (colours, variables, *own shape), 0 where they are rounding or on
        land."""
        colours = self._grid.patch.mine(whole, self._layout.variables[0].dims)
        found, number = [], whole.max() + 1
        for part in _parts(number, at.batch):
            some = np.arange(part.start, part.stop)
            directions = np.zeros((len(some), len(self._seen), *self._own_shape))
            directions[:, index] = colours == some.reshape(-1, *[1] * len(self._shape))
            found.append(self._answers(at, directions))
        answers = np.concatenate(found)
        return np.where(self._answering(at, answers), answers, 0.0)

    # --- what was missed -------------------------------------------------------------------------

    def _is_complete(self, at: Linearised, matrix: Sparse) -> bool:
        """Whether the Jacobian says how all cells at once are answered. If not, the stencil is wider now; where it
        would be no wider the step is not smooth there, and the Jacobian is one of several."""
        x = np.random.default_rng(0).uniform(0.5, 1.5, self._grid.number)  # no tracer turns negative
        wrong = self._error(at, matrix, x)
        sizes = np.split(self._grid.everywhere(abs(matrix) @ self._grid.through_ranks(x)), self._grid.ends[:-1])
        least = [at.tolerance * size.max() + 8 * rounding for size, rounding in zip(sizes, at.negligible, strict=True)]
        allowed = np.repeat(least, list(map(len, sizes)))
        failing = np.flatnonzero(np.abs(wrong) > allowed)
        if not failing.size:
            return True
        worst = int(failing[np.argmax(np.abs(wrong[failing]))])
        before, known = self._stencils, [set(seen) for seen in self._seen]
        for number in failing[:: -(-failing.size // FAILING)].tolist():
            self._try(at, number)
        self._search(at, matrix, x, worst, allowed[worst])
        for seen, old in zip(self._seen, known, strict=True):  # elsewhere it may be wider yet, as in a mixed layer
            seen |= {further for offset in seen - old for further in _beyond(offset, self._shape)}
        self._stencils = self._widest()
        return self._stencils == before

    def _try(self, at: Linearised, number: int) -> None:
        """Sample an unknown."""
        index, cell = self._grid.cell(number)
        self._sample(at, index, cell[None])

    def _search(self, at: Linearised, matrix: Sparse, x: np.ndarray, row: int, allowed: float) -> None:
        """Sample what number `row` answers to and the Jacobian does not know of. What it knows may be wrong, too: an
        unknown of the same colour was given the answer to the one that is missed; then it is the next that is found."""
        x, known = x.copy(), [len(seen) for seen in self._seen]
        for _ in range(CULPRITS):
            wrong = self._error(at, matrix, x)[row]
            if abs(wrong) <= allowed:
                return
            missed = self._culprit(at, matrix, x, row, wrong)
            self._missed = f"{self._named(row)} answers to {self._named(missed)}"
            self._try(at, missed)
            if known != [len(seen) for seen in self._seen]:
                return
            x[missed] = 0.0

    def _error(self, at: Linearised, matrix: Sparse, x: np.ndarray) -> np.ndarray:
        """What the Jacobian leaves of the answer to x, (n,); both of all ranks, in the order of a single process."""
        fields = self._layout.unpack(self._grid.mine(x), fill=0.0)
        direction = np.stack([fields[v.name] for v in self._layout.variables])
        answer = self._answers(at, direction[None])[0]
        own = self._layout.pack({v.name: a for v, a in zip(self._layout.variables, answer, strict=True)})
        return self._grid.everywhere(own - matrix @ self._grid.through_ranks(x))

    def _culprit(self, at: Linearised, matrix: Sparse, x: np.ndarray, row: int, wrong: float) -> int:
        """The unknown to which the answer of number `row` is most wrong in the Jacobian, by halves of all unknowns."""
        low, high = 0, len(x)
        while high - low > 1:
            middle = (low + high) // 2
            half = np.zeros_like(x)
            half[low:middle] = x[low:middle]
            of_half = self._error(at, matrix, half)[row]
            if abs(of_half) >= abs(wrong - of_half):
                high, wrong = middle, of_half
            else:
                low, wrong = middle, wrong - of_half
        return low

    # --- small things ----------------------------------------------------------------------------

    def _at(self, state: State) -> Linearised:
        at = self._linearise(state)
        self._taken += at.base
        return at

    def _answers(self, at: Linearised, directions: np.ndarray) -> np.ndarray:
        """Answers on the ocean, 0 on land. Raises ModelFailure where they are not finite."""
        self._taken += len(directions)
        answers = np.where(self._masks, at(directions), 0.0)
        if self._layout.any(not np.isfinite(answers).all()):
            raise ModelFailure(f"the perturbed steps of {self._who.removeprefix('step of ')} are not finite")
        return answers

    def _named(self, number: int) -> str:
        index, cell = self._grid.cell(number)
        v = self._layout.variables[index]
        return f"{v.name} at {self._place(v.dims, cell)}"

    @staticmethod
    def _place(dims: tuple[str, ...], cell: Any) -> str:
        return ", ".join(f"{d}={i}" for d, i in zip(dims, cell, strict=True))


def _parts(number: int, batch: int) -> Iterator[slice]:
    """`number` things, so many at a time."""
    return (slice(first, min(first + batch, number)) for first in range(0, number, batch))


def _beyond(offset: Offset, shape: tuple[int, ...]) -> Iterator[Offset]:
    """The next offsets, up to MARGIN, in the direction of its largest part, as far as the grid reaches."""
    axis = int(np.argmax(np.abs(offset)))
    way = 1 if offset[axis] > 0 else -1
    for cells in range(1, min(MARGIN, shape[axis] - 1 - abs(offset[axis])) + 1):
        yield (*offset[:axis], offset[axis] + way * cells, *offset[axis + 1 :])


def _samples(mask: np.ndarray) -> np.ndarray:
    """Ocean cells to try, (m, dimensions): those nearest to corners, edges and the middle of the ocean; some by the
    coast; some anywhere."""
    ocean = np.argwhere(mask)
    low, high = ocean.min(axis=0), ocean.max(axis=0)
    places = [np.array(place) for place in product(*zip(low, (low + high) // 2, high, strict=True))]
    chosen = [int(np.argmin(np.abs(ocean - place).sum(axis=1))) for place in places]
    coastal = np.zeros_like(mask)
    for axis in range(mask.ndim):
        for step in (1, -1):
            coastal |= ~np.roll(mask, step, axis)
    by_coast = np.flatnonzero(coastal[mask])
    random = np.random.default_rng(0)  # any will do, but the same each time
    for some in (by_coast, np.arange(len(ocean))):
        chosen += random.choice(some, min(COASTAL, len(some)), replace=False).tolist()
    return ocean[sorted(set(chosen))]
