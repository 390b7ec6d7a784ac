"""The map of a case on the ranks there are: split over all, or whole in groups of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress

from spinup.case import Case
from spinup.distributed.groups import Groups, divided
from spinup.distributed.ranks import Ranks, in_group, several, together
from spinup.errors import SpinupError, UsageError
from spinup.maps import FixedPointMap


@contextmanager
def built_on(
    ranks: Ranks | None, case: Case, number: int | None, note: Callable[[str], None]
) -> Iterator[tuple[FixedPointMap, Groups | None]]:
    """The map of a case, split over all ranks, or over those of each of `number` groups; None: whole on groups of one
    where the map is for one process and has something to share out. Raises UsageError where each of several ranks would
    do the whole of it."""
    groups = divided(ranks, number or 1)
    with nullcontext() if groups is None else in_group(groups.ranks):
        model = together(ranks, lambda: built(case))
        if several() is not None and (on_ranks := getattr(model, "on_ranks", None)) is not None:
            model = together(ranks, on_ranks)
        on_groups = getattr(model, "on_groups", None)
        if ranks is not None and number is None and model.layout.split is None and on_groups is not None:
            groups = divided(ranks, ranks.size)
        if groups is not None:
            if on_groups is None:
                raise UsageError(f"--groups {number}: {model.name} is no ensemble, whose members they would share out")
            split = model.layout.split is not None and model.layout.split.ranks.size > 1
            if groups.ranks.size > 1 and not split:
                number = groups.number * groups.ranks.size
                raise UsageError(f"{model.name} is whole on every rank: give --groups {number}, or split it")
            with suppress(ImportError, RuntimeError):  # it begins on all ranks at once, and one group alone may use it
                import petsc4py.PETSc  # noqa: F401
            together(ranks, lambda: on_groups(groups))
            note(groups.words(model.members))
        if ranks is not None and groups is None and model.layout.split is None:
            raise UsageError(
                f"{model.name} is a map for one process, and mpiexec started {ranks.size}: start it without mpiexec "
                "(it uses the cores of this machine by itself), or say which part each has, spinup.distributed.OnRanks"
            )
        yield model, groups


def built(case: Case) -> FixedPointMap:
    """The map of a case. Whatever the case's own code raises is the user's to mend."""
    try:
        return case.build()
    except (SpinupError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise UsageError(f"case {case.name} cannot be built: {type(error).__name__}: {error}") from error
