"""Writing a run, and going on with it."""

import contextlib
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.errors import ZarrUserWarning

from solvers import StepOperator
from solvers.secant_error import PAIRS
from spinup.errors import StoreError, UsageError
from spinup.maps import FixedPointMap
from spinup.state import Fields, State
from spinup.store.chunks import write_chunks
from spinup.store.columns import COMMON, columns
from spinup.store.creation import create_column, lay_out, new_run, occupied, put, volumes
from spinup.store.disk import on_disk
from spinup.store.header import FORMAT, Header, read_header
from spinup.store.journal import (
    Damage,
    Record,
    damaged,
    fingerprints,
    good_before,
    read_journal,
    read_record,
    write_record,
)
from spinup.store.lock import locked
from spinup.store.operators import (
    kept_before,
    newest_estimate_operator,
    newest_target,
    operator_record,
    operator_tree,
    read_operator,
)
from spinup.store.tree import read_tree, tree_files, write_tree

FLUSH_SHARE = 0.02  # of the run's time that may go into bringing the readers' copies up to date


def evaluation_arrays(before: Fields, after: Fields | None, state: State | None) -> dict[str, Any]:
    """What an evaluation writes, by the name of the array in the run; after and state: None where it failed."""
    arrays = {f"{name}_before": value for name, value in before.items()}
    if after is not None and state is not None:
        arrays |= {**after, **{f"states/{name}": value for name, value in state.items()}}
    return arrays


def tangent_arrays(at: Fields, direction: Fields, product: Fields | None) -> dict[str, Any]:
    """The same of a derivative."""
    arrays = {**at, **{f"{name}_before": value for name, value in at.items()}}
    arrays |= {f"tangents/{name}_direction": value for name, value in direction.items()}
    return arrays | {f"tangents/{name}": value for name, value in (product or {}).items()}


class RunStore:
    """A run open for writing. Use `RunStore.create` or `RunStore.resume`, both context managers."""

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.header = header
        self.records: list[Record] = []
        self._group: Any = zarr.open_group(path, mode="r+", use_consolidated=False)
        self._arrays: dict[str, Any] = {}
        self._flushed = 0
        self._flush_ended = time.monotonic()
        self._flush_cost = 0.0

    # --- making and opening ----------------------------------------------------------------------

    @classmethod
    @contextlib.contextmanager
    def create(cls, path: Path, header: Header, model: FixedPointMap, start: State) -> Iterator["RunStore"]:
        """A new run at `path`. Raises UsageError where something is there or it can't be written."""
        with new_run(path) as folder:
            yield cls.placed(path, folder, header, lay_out(folder, header, model, start, volumes(model.layout)))

    @classmethod
    def placed(cls, path: Path, folder: Path, header: Header, start: dict[str, list[int]]) -> "RunStore":
        """The run that is laid out in `folder`, now at `path`; start: the fingerprints of its start state."""
        with on_disk(path):
            write_record(folder / "log" / "start.json", {"files": start})
            try:
                folder.rename(path)  # the run is there whole or not at all
            except OSError:
                if path.exists():
                    raise UsageError(occupied(path)) from None  # somebody was faster
                raise
            store = cls(path, header)
            store.flush(force=True)
            return store

    @classmethod
    @contextlib.contextmanager
    def resume(cls, path: Path) -> Iterator["RunStore"]:
        """The run at `path`, to go on with. Raises UsageError, RunLocked or StoreError."""
        header = read_header(path)
        with locked(path / "log" / "lock", path), on_disk(path):
            store = cls(path, header)
            if (found := store._group.attrs["spinup_format"]) != FORMAT:
                raise UsageError(
                    f"run {path} was written by an older spinup (format {found}, this one writes {FORMAT}): "
                    f"start a new run from its end, --start {path}"
                )
            if start := damaged(path, store._start_record()["files"]):
                raise StoreError(f"run {path} cannot be resumed: {start[0]} (start state); start it anew")
            store.records = read_journal(path)[0]
            for name in COMMON.keys() - store._group.keys():  # of a run by a spinup that did not have it
                create_column(store._group, name, COMMON[name])
            yield store

    # --- evaluations -----------------------------------------------------------------------------

    def append(self, record: Record, before: Fields, after: Fields | None, state: State | None) -> Record:
        """Put an evaluation on disk; when this returns it is complete and checksummed."""
        return self._write(record, evaluation_arrays(before, after, state))

    def append_tangent(self, record: Record, at: Fields, direction: Fields, product: Fields | None) -> Record:
        """The same of a derivative at the state `at`, which it leaves as it is; product: None where it failed."""
        return self._write(record, tangent_arrays(at, direction, product))

    def _write(self, record: Record, values: Mapping[str, Any]) -> Record:
        with on_disk(self.path):
            entries = self.make_room(values)
            files = [f for name, entry in entries.items() for f in write_chunks(self._array(name), values[name], entry)]
            return self.complete(record, entries, fingerprints(self.path, files))

    def make_room(self, names: Iterable[str]) -> dict[str, int]:
        """Of the arrays of these names, those that the run keeps of an evaluation, and the entry of each, there now,
        that the next evaluation is written to."""
        number, slot, entries = len(self.records), self._free_slot(), {}
        kept = {f"states/{name}" for name in self._group["states"].attrs["variables"]}
        with on_disk(self.path):
            for name in names:
                is_state = name.startswith("states/")
                if is_state and name not in kept:
                    continue
                entry = entries[name] = slot if is_state else number
                array = self._array(name)
                if not is_state or entry >= array.shape[0]:
                    array.resize((entry + 1, *array.shape[1:]))
        return entries

    def complete(self, record: Record, entries: Mapping[str, int], files: dict[str, list[int]]) -> Record:
        """Write the record of what was written to these entries, which makes it count; files: their fingerprints."""
        number = len(self.records)
        slot = next((entry for name, entry in entries.items() if name.startswith("states/")), None)
        record = {**record, "evaluation": number, "slot": slot, "files": files}
        with on_disk(self.path):
            write_record(self._record_path(number), record)
            self.records.append(record)
            self._drop_fields(number - self._fields_kept)
            self.flush()
        return record

    def fields(self, number: int, *, before: bool) -> Fields:
        """The accelerated variables before or after evaluation `number`, on the grid."""
        suffix = "_before" if before else ""
        return {name: np.asarray(self._array(name + suffix)[number]) for name in self._variables}

    def state(self, number: int) -> State:
        """The full state after evaluation `number` (-1: the start). Raises StoreError if it is not kept."""
        if number < 0:
            return read_tree(self._group["start"])
        slots = self.state_slots(number)
        return {name: np.asarray(self._array(f"states/{name}")[slot]) for name, slot in slots.items()}

    def state_slots(self, number: int) -> dict[str, int]:
        """Where the arrays of full states have that after evaluation `number`. Raises StoreError if it is not kept."""
        slot = self._slots().get(number)
        if slot is None:
            raise StoreError(f"run {self.path} no longer has the full state of evaluation {number}")
        return dict.fromkeys(self._group["states"].attrs["variables"], slot)

    def start_arrays(self) -> tuple[list[str], dict[str, Any]]:
        """The arrays of the start state, by name, and what of it is in none."""
        names = list(self._group["start"].array_keys())
        return names, read_tree(self._group["start"], without=names)

    def last_good(self) -> int:
        """The newest evaluation that gave a state, -1 for the start."""
        return next((r["evaluation"] for r in reversed(self.records) if r["slot"] is not None), -1)

    def tangent(self, number: int, *, direction: bool = False) -> Fields:
        """The derivative that evaluation `number` was, or its direction, on the grid."""
        suffix = "_direction" if direction else ""
        return {name: np.asarray(self._array(f"tangents/{name}{suffix}")[number]) for name in self._variables}

    # --- checkpoints of the method ---------------------------------------------------------------

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Keep the method's state as of now, in place of the older of the two that are kept."""
        self.complete_checkpoint(*self.lay_out_checkpoint(state))

    def lay_out_checkpoint(self, state: Mapping[str, Any]) -> tuple[str, dict[str, list[int]]]:
        """Write it, but for what is `Later` of it. Returns its name, and the fingerprints of its files."""
        taken = self._checkpoints()
        name = min("ab", key=lambda n: taken.get(n, {"evaluations": -1})["evaluations"])
        with on_disk(self.path):
            self._checkpoint_path(name).unlink(missing_ok=True)
            shutil.rmtree(self.path / "checkpoints" / name, ignore_errors=True)
            group = self._group["checkpoints"].create_group(name)
            write_tree(group, state)
            return name, fingerprints(self.path, tree_files(self.path, group))

    def complete_checkpoint(self, name: str, files: dict[str, list[int]]) -> None:
        """Write the record of a checkpoint all of whose files are there, which makes it count."""
        with on_disk(self.path):
            write_record(self._checkpoint_path(name), {"evaluations": len(self.records), "files": files})

    def load_checkpoint(self) -> tuple[int, dict[str, Any] | None]:
        """The newest intact checkpoint: evaluations it had seen, and the method's state; (0, None) if none."""
        count, group = self.newest_checkpoint()
        return count, None if group is None else read_tree(group)

    def newest_checkpoint(self) -> tuple[int, Any]:
        """The same, and the group of its state."""
        for name, record in sorted(self._checkpoints().items(), key=lambda item: -item[1]["evaluations"]):
            if record["evaluations"] <= len(self.records) and not damaged(self.path, record["files"]):
                return record["evaluations"], self._group["checkpoints"][name]
        return 0, None

    # --- one-step operators ----------------------------------------------------------------------

    def save_operator(self, operator: StepOperator, years: float, count: int | None = None) -> None:
        """Keep the operator the method asks for after `count` evaluations, by default those so far, and its cost."""
        self._keep(self.make_way(count), operator_tree(operator), years)

    def make_way(self, count: int | None = None) -> str:
        """The name of that operator; those that no resume can need any more are dropped."""
        count = len(self.records) if count is None else count
        self._drop_operators(lambda n: n < self._needed_from() or n >= count)
        return f"{count:06d}"

    def load_operator(self, count: int) -> tuple[StepOperator, float] | None:
        """The operator asked for after `count` evaluations and its model years; None where it is not there intact."""
        return read_operator(self.path, f"{count:06d}")

    def save_estimate_operator(self, operator: StepOperator, years: float) -> None:
        """Keep the operator that the error is estimated with from now on."""
        self._keep(self.make_way_beside("estimate"), operator_tree(operator), years)

    def load_estimate_operator(self, count: int) -> tuple[StepOperator, int] | None:
        """The one that the error of evaluation `count` is estimated with, and the evaluation it was made before."""
        return newest_estimate_operator(self.path, count)

    def save_target(self, target: np.ndarray) -> None:
        """Keep where the estimate of the evaluation in flight says that the equilibrium is, (n,)."""
        self._keep(self.make_way_beside("target"), {"target": target}, 0.0)

    def load_target(self) -> np.ndarray | None:
        """That of the newest evaluation so far that has one; None where it is not there intact."""
        name = newest_target(self.path, len(self.records))
        return None if name is None else np.asarray(self._group["operators"][name]["target"][...])

    def make_way_beside(self, kind: str) -> str:
        """The name of what is kept of this kind, "estimate" or "target", beside the evaluation in flight; those that no
        resume can need any more are dropped."""
        count = len(self.records)
        needed = [n for n in kept_before(self.path, kind) if n < self._needed_from()]
        self._drop_operators(lambda n: n >= count or n < max(needed, default=0), f"{kind}-")
        return f"{kind}-{count:06d}"

    def _keep(self, name: str, tree: dict[str, Any], years: float) -> None:
        self.complete_kept(name, years, self.lay_out_kept(name, tree))

    def lay_out_kept(self, name: str, tree: dict[str, Any]) -> dict[str, list[int]]:
        """Write it, but for what is `Later` of it. Returns the fingerprints of its files."""
        with on_disk(self.path):
            group = self._group["operators"].create_group(name, overwrite=True)
            write_tree(group, tree)
            return fingerprints(self.path, tree_files(self.path, group))

    def complete_kept(self, name: str, years: float, files: dict[str, list[int]]) -> None:
        """Write the record of what is kept, all files of which are there, which makes it count."""
        with on_disk(self.path):
            record = {"evaluations": len(self.records), "years": years, "files": files}
            write_record(operator_record(self.path, name), record)

    def _drop_operators(self, unwanted: Callable[[int], bool], prefix: str = "") -> None:
        for folder in (self.path / "operators").glob(f"{prefix}[0-9]*"):
            if unwanted(int(folder.name.removeprefix(prefix))):
                operator_record(self.path, folder.name).unlink(missing_ok=True)
                shutil.rmtree(folder)

    # --- the mean state --------------------------------------------------------------------------

    def save_mean(self, mean: Fields, standard_error: Fields, years: float) -> None:
        """Keep the mean state of a model that never rests, in place of an earlier one; years: of which it is."""
        self.lay_out_mean(mean, standard_error)
        self.complete_mean(years)

    def lay_out_mean(self, mean: Mapping[str, Any], standard_error: Mapping[str, Any]) -> None:
        """Write it, but for what is `Later` of it."""
        with on_disk(self.path):
            group = self._group.require_group("mean_state")
            for name in self._variables:
                like = self._array(f"{name}_volume")
                attrs = {k: v for k, v in self._array(name).attrs.items() if k != "long_name"}
                words = {name: f"mean of {name}", f"{name}_standard_error": f"standard error of the mean of {name}"}
                for key, values in ((name, mean[name]), (f"{name}_standard_error", standard_error[name])):
                    put(group, key, values, like.metadata.dimension_names, attrs | {"long_name": words[key]})
            if "model_years" not in group.attrs:  # the first mean: the coordinates stay as they are
                for name, array in self._group.arrays():
                    dims = array.metadata.dimension_names
                    if dims == (name,) and name != "evaluation":
                        put(group, name, np.asarray(array), dims, dict(array.attrs))

    def complete_mean(self, years: float) -> None:
        """All of it is there."""
        with on_disk(self.path):
            self._group["mean_state"].attrs["model_years"] = years

    # --- soundness -------------------------------------------------------------------------------

    def repair(self) -> list[str]:
        """Find damage, go back to the last good point, and say in sentences what was done."""
        problems = read_journal(self.path)[1]
        sentences = [f"{problem}" for problem in problems]
        for bad in (self._bad_fields(), self._bad_states()):
            sentences += [f"{d} (evaluation {number})" for number, damage in bad.items() for d in damage]
        for name in "ab":
            try:
                read_record(self._checkpoint_path(name))
            except FileNotFoundError:
                continue  # killed between removing one and writing the next; the other serves
            except ValueError as error:
                sentences.append(f"log/{self._checkpoint_path(name).name} {error}")
        for name, record in self._checkpoints().items():
            sentences += [f"{d} (checkpoint {name})" for d in damaged(self.path, record["files"])]
        keep = self.cut_point(len(self.records))
        on_disk = len(list((self.path / "log").glob("[0-9]*.json")))
        if dropped := max(len(self.records), on_disk) - keep:
            sentences.append(f"the run goes on from evaluation {keep}; {dropped} later ones are dropped")
            self.cut(keep)
        return sentences

    def cut(self, count: int) -> None:
        """Forget evaluations from `count` on."""
        for file in sorted((self.path / "log").glob("[0-9]*.json"), reverse=True):
            if int(file.stem) >= count:
                file.unlink()
        for name, record in self._checkpoints().items():
            if record["evaluations"] > count:
                self._checkpoint_path(name).unlink()
        for prefix in ("", "estimate-", "target-"):
            self._drop_operators(lambda n: n >= count, prefix)
        self.records = self.records[:count]
        for name in self._variables:
            for array in (self._array(name), self._array(name + "_before")):
                array.resize((count, *array.shape[1:]))
            for array in (self._array(f"tangents/{name}"), self._array(f"tangents/{name}_direction")):
                array.resize((min(count, array.shape[0]), *array.shape[1:]))
        self.flush(force=True)

    def cut_point(self, count: int) -> int:
        """The largest n <= `count` from which the run can go on: a checkpoint (or the start) leads there by
        replay, and the full state to carry on from is intact."""
        kept, bad_states = self._kept_states(), self._bad_states()
        unusable = self._bad({r["evaluation"] for r in self.records}, states=False)  # erased or damaged: no replay
        points = [0]
        for record in self._checkpoints().values():
            if not damaged(self.path, record["files"]):
                points.append(record["evaluations"])
        for n in range(count, 0, -1):
            carried = good_before(self.records, n)
            if any(number not in kept or number in bad_states for number in carried):
                continue
            if any(p <= n and unusable.keys().isdisjoint(range(p, n)) for p in points):
                return n
        return 0

    # --- the readers' copies ---------------------------------------------------------------------

    def flush(self, *, force: bool = False) -> None:
        """Bring the numbers per evaluation and the consolidated metadata up to date, where it is cheap."""
        if not force and self._flush_cost > FLUSH_SHARE * (time.monotonic() - self._flush_ended):
            return
        began = time.monotonic()
        for name, values in columns(self.records, list(self._group.attrs["diagnostics"]), self._variables).items():
            array = self._array(name)
            array.resize((len(self.records),))
            first = min(self._flushed, len(self.records))
            array[first:] = values[first:]
        for name in self._variables:
            for array in (self._array(name), self._array(name + "_before")):
                if array.shape[0] != len(self.records):
                    array.resize((len(self.records), *array.shape[1:]))
        self._flushed = len(self.records)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZarrUserWarning)  # of the journal, which is not zarr's
            zarr.consolidate_metadata(self.path)
        self._flush_ended = time.monotonic()
        self._flush_cost = self._flush_ended - began

    def set_outcome(self, outcome: str) -> None:
        """Write down how the run ended ("": it is going on)."""
        with on_disk(self.path):
            self._group.attrs["outcome"] = outcome
            self.flush(force=True)

    def save_header(self) -> None:
        """Write the header down as it is now."""
        with on_disk(self.path):
            self._group.attrs["header"] = self.header.model_dump_json()
            self.flush(force=True)

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _variables(self) -> list[str]:
        return list(self._group.attrs["variables"])

    def _array(self, name: str) -> Any:
        """An array of the run, opened once: opening costs as much as writing a chunk."""
        try:
            if name not in self._arrays:
                self._arrays[name] = zarr.open_array(self.path / name, mode="r+")
            return self._arrays[name]
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            raise StoreError(
                f"{self.path / name / 'zarr.json'} cannot be read ({error}): restore it from a copy of the run"
            ) from error

    def _record_path(self, number: int) -> Path:
        return self.path / "log" / f"{number:06d}.json"

    def _checkpoint_path(self, name: str) -> Path:
        return self.path / "log" / f"checkpoint-{name}.json"

    def _start_record(self) -> Record:
        try:
            return read_record(self.path / "log" / "start.json")
        except (OSError, ValueError) as error:
            raise StoreError(f"run {self.path} cannot be resumed: log/start.json {error}; start it anew") from error

    def _checkpoints(self) -> dict[str, Record]:
        found = {}
        for name in "ab":
            with contextlib.suppress(OSError, ValueError):
                found[name] = read_record(self._checkpoint_path(name))
        return found

    def _slots(self) -> dict[int, int]:
        """Which slot holds the state of which evaluation: a later claim ends an earlier one."""
        owner: dict[int, int] = {}
        for record in self.records:
            if record["slot"] is not None:
                owner[record["slot"]] = record["evaluation"]
        return {number: slot for slot, number in owner.items()}

    def _kept_states(self) -> dict[int, int]:
        """The evaluations whose full state is needed or wanted, and the slots that hold them."""
        good = [r["evaluation"] for r in self.records if r["slot"] is not None]
        keep = set(good[-2:])
        for record in self._checkpoints().values():
            keep.update(good_before(self.records, record["evaluations"]))
        if every := self.header.store.states_every:
            keep.update(number for number in good if number % every == 0)
        return {number: slot for number, slot in self._slots().items() if number in keep}

    def _free_slot(self) -> int:
        """A slot whose state nothing needs any more; a kill while it is overwritten does no harm."""
        taken = set(self._kept_states().values())
        return next(slot for slot in range(len(taken) + 1) if slot not in taken)

    def _drop_fields(self, number: int) -> None:
        """Erase the fields of an evaluation that replay can no longer need, if they are not to be kept."""
        if number < 0 or number % self.header.store.fields_every == 0 or number >= self._needed_from():
            return
        for file in self.records[number]["files"]:
            if not file.startswith("states/"):
                (self.path / file).unlink(missing_ok=True)  # a chunk without a file is all NaN

    @property
    def _fields_kept(self) -> int:
        """The newest evaluations whose fields are kept: for replay, and for the estimate of the error by secants."""
        return max(2 * self.header.store.checkpoint_every, PAIRS)

    def _dropped(self, number: int) -> bool:
        old = number < len(self.records) - self._fields_kept
        return old and number % self.header.store.fields_every != 0 and number < self._needed_from()

    def _needed_from(self) -> int:
        """The first evaluation whose fields a resume may replay."""
        return min((c["evaluations"] for c in self._checkpoints().values()), default=0)

    def _bad_fields(self) -> dict[int, list[Damage]]:
        """Damage to the fields of evaluations, where retention has not erased them."""
        return self._bad({r["evaluation"] for r in self.records if not self._dropped(r["evaluation"])}, states=False)

    def _bad_states(self) -> dict[int, list[Damage]]:
        """Damage to the full states that are kept."""
        return self._bad(set(self._kept_states()), states=True)

    def _bad(self, numbers: set[int], *, states: bool) -> dict[int, list[Damage]]:
        bad = {}
        for number in sorted(numbers):
            files = self.records[number]["files"]
            files = {path: f for path, f in files.items() if path.startswith("states/") == states}
            if found := damaged(self.path, files):
                bad[number] = found
        return bad
