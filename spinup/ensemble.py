"""Several members of one model as one map: noise and the weather of a year count for less in the mean.

    T(x) = 1/M sum_m T_m(x + d_m)

T_m is a period of the model from the carried state of member m, and d_m how far that member is from the mean. The
members do not forget their spread d_m when the method moves the mean: every one is moved by the same change. So

- where nothing is moved, they are M direct runs, and what is accelerated is the mean of these;
- what is carried keeps fitting to what is accelerated, as far as it did;
- a nonlinear model answers in the mean to all of its variability, that within the members' own states included.

Of noise that is independent between members, 1/sqrt(M) is left in a residual. What it costs is M times the model years.

That acceleration is worth its while under interannual forcing too: S. Khatiwala, Sci. Adv. 10 (2024), eadn2839.

Shapes: every variable of the full state has a dimension `member` in front, (M, ...); the fields are the model's own.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from functools import partial
from typing import Any

import numpy as np

from solvers import StepOperator
from spinup.distributed.groups import Groups, attempted, unfailing
from spinup.distributed.ranks import Ranks, within_model
from spinup.errors import ModelFailure, SpinupError, UsageError
from spinup.maps import Content, FixedPointMap, control_variates
from spinup.state import Fields, Layout, State
from spinup.suggest import did_you_mean

MEMBER = "member"  # the dimension in front


class Ensemble:
    """The mean over members of a model, as a fixed-point map.

    Every member has a full state of its own: velocities, the state of a noise, the year of its forcing. The method
    sees the mean of their accelerated variables, and moves all members by the same change. An evaluation integrates
    one after the other; on several ranks each takes its share (`spinup run --groups`). Model years are those of a
    single member where they say how long a period is, and so in every drift; what a run costs is counted over all.

    Parameters
    ----------
    model : FixedPointMap
        The model of a single member.
    members : int
        How many there are (M).
    start : callable, optional
        The start of a member: its number, from 0, and the model's own start in, a dictionary of NumPy arrays by name
        that it may write into, the same of that member out: another seed of the noise, another year of the forcing. If
        not given, member m is the model's start m periods later: these M - 1 periods are not counted in the run's
        model years, but `start_years` of the record says what they take.

    Raises
    ------
    UsageError
        No member, a start that does not fit or is the same for two members, a model with a dimension `member`.
    """

    def __init__(
        self, model: FixedPointMap, members: int = 4, start: Callable[[int, State], State] | None = None
    ) -> None:
        if not isinstance(members, int) or members < 1:
            raise UsageError(f"members={members!r}: an ensemble has a whole number of members, one or more")
        self._given = start
        self._prepared = False
        self._groups: Groups | None = None
        self.members = members
        self._be_of(model)
        for name in model.start():
            if MEMBER in (name, *model.dims(name)):
                raise UsageError(
                    f"{model.name} already has a variable or dimension {MEMBER!r} ({name}): call it otherwise there"
                )

    def _be_of(self, model: FixedPointMap) -> None:
        """Have the properties of an ensemble of this model."""
        self._model = model
        self.name = f"{model.name} ensemble"
        self.years = model.years
        self.diagnostics = model.diagnostics
        self.has_operator, self.has_steps = model.has_operator, model.has_steps
        self.cycle_steps = model.cycle_steps
        self.carries = model.carries or self.members > 1  # the members' distances from their mean
        self.no_circulation = model.no_circulation
        self.conserved = model.conserved
        self.control_variates = control_variates(model)
        self.rigid_lid = model.rigid_lid

    def _with(self, model: FixedPointMap) -> "Ensemble":
        """The same of another model of its members."""
        found = copy(self)
        found._be_of(model)
        return found

    # --- what a map is ---------------------------------------------------------------------------

    @property
    def on_ranks(self) -> "Callable[[], Ensemble] | None":
        """The ensemble of a model that can be split over ranks, split over them; None of any other."""
        split = getattr(self._model, "on_ranks", None)
        return None if split is None else lambda: self._with(split())

    @property
    def places(self) -> Any:
        """Where this rank's unknowns are in the order of a single process, as the model says it."""
        model: Any = self._model
        return model.places

    @property
    def _ranks(self) -> Ranks | None:
        """Those that have a part of every member each."""
        split = self.layout.split
        return None if split is None else split.ranks

    @property
    def layout(self) -> Layout:
        return self._model.layout

    @property
    def contents(self) -> Mapping[str, Content]:
        """Those of the model."""
        return self._model.contents

    @property
    def template(self) -> State:
        """A state of the right names, shapes and types, without integrating the members' starts."""
        return _stacked([self._model.start()] * self.members)

    def start(self) -> State:
        """The members' starts. Raises UsageError where a member has none."""
        return self.start_from(self._model.start())

    def start_from(self, state: State) -> State:
        """The members' starts where the model's own is `state`: to begin with the end of a run of a single one. Raises
        UsageError where a member has none."""
        if self._given is None:
            return _stacked(list(self._lagged(state)))
        found = [self._started(self._given, member, state) for member in range(self.members)]
        for one in range(self.members):
            for other in range(one):
                same = all(np.array_equal(found[one][name], found[other][name]) for name in state)
                if not self.layout.any(not same):
                    raise UsageError(
                        f"members {other} and {one} start the same and would stay the same: {_called(self._given)} "
                        "must give every member another seed, year or state"
                    )
        return _stacked(found)

    def prepare(self) -> None:
        """What the model does once."""
        if not self._prepared:
            if self._groups is None:
                self._model.prepare()
            else:
                unfailing(self._groups.each("prepare", [()] * self._groups.number))
            self._prepared = True

    def on_groups(self, groups: Groups) -> None:
        """Have groups of ranks, of which each has the model, share out the members. Raises UsageError where there are
        more groups than members."""
        if groups.number > self.members:
            raise UsageError(
                f"{self.members} members are too few for {groups.number} groups of ranks: --groups {self.members}, or "
                "fewer ranks"
            )
        groups.have(self._model)
        if (share := getattr(self._model, "on_groups", None)) is not None:  # the steps of the operator
            share(groups)
        self._groups = groups

    def evaluate(self, state: State) -> State:
        """All members a period later. Raises ModelFailure that names the member that failed."""
        return self._each("evaluate", [(own,) for own in self._members(state)])

    def advance(self, state: State, steps: int, toward: Fields | None = None) -> State:
        """All members `steps` time steps later; with `toward`, on the way each is moved by the change of their mean to
        these. Raises ModelFailure that names the member that failed."""
        moved = [None] * self.members if toward is None else self._moved(state, toward)
        members = zip(self._members(state), moved, strict=True)
        return self._each("advance", [(own, steps, fields) for own, fields in members])

    def fields(self, state: State) -> Fields:
        """The mean over the members of the accelerated variables, on the model's grid."""
        own = [self._model.fields(member) for member in self._members(state)]
        return {v.name: _mean(own, v.name) for v in self.layout.variables}

    def replace(self, state: State, fields: Fields) -> State:
        """Every member moved by the change of their mean to `fields`; unchanged to the bit where it does not change."""
        moved = self._moved(state, fields)
        return _stacked([self._model.replace(*pair) for pair in zip(self._members(state), moved, strict=True)])

    def operator(self, state: State, *, border: bool = False, **dates: int) -> StepOperator:
        """That of the first member: it costs what a single one does, and is of a state that the model came to, where
        the mean of several is of none."""
        return self._model.operator(self._members(state)[0], border=border, **dates)

    @property
    def step_years(self) -> float:
        """Model years of one time step, of a member."""
        return self._model.step_years

    @property
    def operator_years(self) -> float:
        """Model years that `operator` costs."""
        return self._model.operator_years

    def diagnose(self, state: State) -> dict[str, float]:
        """The mean over the members of the model's diagnostics."""
        found = [self._model.diagnose(member) for member in self._members(state)]
        return {name: float(np.mean([values[name] for values in found])) for name in self.diagnostics}

    def dims(self, name: str) -> tuple[str, ...]:
        """Dimension names of a variable: `member` before those of the model."""
        return (MEMBER, *self._model.dims(name))

    def attrs(self, name: str) -> dict[str, str]:
        """Units and long name of a variable, as the model has them."""
        return self._model.attrs(name)

    def describe(self) -> dict[str, Any]:
        """The settings of the model, how many members there are and how they start: JSON types only."""
        lagged = self._given is None
        return self._model.describe() | {
            "members": self.members,
            "member_start": "lagged by periods" if lagged else _called(self._given),
            "start_years": (self.members - 1) * self.years if lagged else 0.0,
        }

    # --- the members -----------------------------------------------------------------------------

    def _members(self, state: State) -> list[State]:
        """The full state of each."""
        return [{name: np.asarray(value)[m, ...] for name, value in state.items()} for m in range(self.members)]

    def _each(self, method: str, arguments: list[tuple[Any, ...]]) -> State:
        """What a method of the model makes of each member, as one state."""
        if self._groups is None:
            return _stacked(_checked(attempted(self._model, method, arguments, self._ranks)))
        return _stacked(_checked(self._groups.each(method, arguments)))

    def _moved(self, state: State, fields: Fields) -> list[Fields]:
        """The accelerated variables of each member, moved by the change of their mean to `fields`.

        A member would leave the bounds where `fields` is nearer to them than the mean was. There all come nearer to
        their mean, by the same share: `fields` is still their mean, and none is out of bounds. A conserved total is
        then still that of the mean, no longer that of every member.
        """
        before = [self._model.fields(member) for member in self._members(state)]
        moved: list[Fields] = [{} for _ in before]
        for v in self.layout.variables:
            own, mean, wanted = np.stack([f[v.name] for f in before]), _mean(before, v.name), np.asarray(fields[v.name])
            there = _around(wanted, own - mean, v.bounds)
            values = np.where(v.mask & (wanted != mean), there, own)
            for fields_of_member, value in zip(moved, values, strict=True):
                fields_of_member[v.name] = value
        return moved

    # --- their starts ----------------------------------------------------------------------------

    def _lagged(self, state: State) -> Iterator[State]:
        """The state itself, that a period later, and so on."""
        yield state
        for member in range(1, self.members):
            self.prepare()
            try:
                state = within_model(self._ranks, partial(self._model.evaluate, state))
            except ModelFailure as error:
                raise UsageError(
                    f"member {member} has no start, period {member} from the model's own failed: {error}; "
                    "give Ensemble a `start`"
                ) from error
            yield state

    def _started(self, start: Callable[[int, State], State], member: int, state: State) -> State:
        """What `start` gives for a member, with the names, shapes and types of `state`."""
        who = f"{_called(start)} of member {member}"
        try:
            given = start(member, {name: np.array(value) for name, value in state.items()})
        except SpinupError:
            raise
        except Exception as error:
            raise UsageError(f"{who} raised {type(error).__name__}: {error}") from error
        if not isinstance(given, Mapping):
            raise UsageError(f"{who} returned {type(given).__name__}: it must return a dictionary of arrays")
        for name in given:
            if name not in state:
                raise UsageError(f"{who} returned {name!r}, which the model does not have{did_you_mean(name, state)}")
        found = {}
        for name, own in state.items():
            if name not in given:
                raise UsageError(f"{who} returned no {name!r}: give the whole state, state | {{...}}")
            wanted, value = np.asarray(own), np.asarray(given[name])
            if value.shape != wanted.shape or not np.can_cast(value.dtype, wanted.dtype, "same_kind"):
                raise UsageError(
                    f"{who} returned {name!r} as {value.dtype} of shape {value.shape}, the model has {wanted.dtype} "
                    f"of shape {wanted.shape}: leave its type and shape as they are"
                )
            found[name] = value.astype(wanted.dtype)
        return found


def _checked(found: list[Any]) -> list[Any]:
    """What was found of each member, where none raised anything. Raises what one did; a ModelFailure names it."""
    for number, value in enumerate(found):
        if isinstance(value, ModelFailure):
            raise ModelFailure(f"member {number}: {value}") from value
    return unfailing(found)


def _stacked(members: list[State]) -> State:
    """States of single members as one, `member` in front."""
    return {name: np.stack([np.asarray(member[name]) for member in members]) for name in members[0]}


def _mean(fields: list[Fields], name: str) -> np.ndarray:
    """The mean over the members of a variable, on its grid."""
    return np.mean([member[name] for member in fields], axis=0)


def _around(mean: np.ndarray, away: np.ndarray, bounds: tuple[float, float] | None) -> np.ndarray:
    """mean + away, (M, ...), where `away` is taken less by the share, in each cell, that keeps all within the bounds,
    as far as the mean itself is."""
    if bounds is None:
        return mean + away
    low, high = np.minimum(bounds[0], mean), np.maximum(bounds[1], mean)
    share = np.ones(mean.shape)
    for reach, room in ((-away.min(axis=0), mean - low), (away.max(axis=0), high - mean)):
        share = np.minimum(share, np.divide(room, reach, out=np.ones(mean.shape), where=reach > room))
    return np.clip(mean + share * away, low, high)  # clipped by no more than rounding


def _called(function: Any) -> str:
    name = str(getattr(function, "__name__", type(function).__name__))
    return "start" if name == "<lambda>" else name
