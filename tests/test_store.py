"""A run on disk: readable, checksummed, repairable, locked, and it survives a full disk."""

import errno
import json
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from helpers import LINEAR, assert_same_numbers
from scipy.sparse import csr_array, random_array

import spinup
from solvers.secant_error import PAIRS
from spinup.errors import RunLocked, StoreError, StoreFull, UsageError
from spinup.report import write_report
from spinup.run import Progress
from spinup.store import journal, run_store
from spinup.store.chunks import CODECS, write_chunks
from spinup.store.journal import read_journal
from spinup.store.lock import locked
from spinup.store.pieces import Parts, piece, read_pieces
from spinup.store.tree import write_tree
from spinup.store.view import open_state, run_status


class Notes(Progress):
    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def partial_run(tmp_path: Path, **options) -> Path:
    run = tmp_path / "run"
    spinup.run(LINEAR, out=run, budget=15, store={"checkpoint_every": 4}, **options)
    return run


def test_sparse_matrices_come_back_to_the_bit(tmp_path):
    """In the order of their entries too, which decides how sums are rounded; empty ones, and explicit zeros."""
    unsorted = csr_array((np.array([0.1, -0.0, 0.3]), np.array([2, 0, 1]), np.array([0, 2, 3])), shape=(2, 3))
    parts = Parts({"response": unsorted, "source": csr_array((3, 2)), "balance": csr_array(np.eye(3) / 3)}, {})
    group = zarr.open_group(tmp_path / "g", mode="w")
    kept = {"counts": np.array([[2, 3]])} | {name: array[None] for name, array in piece(parts).items()}
    write_tree(group, kept)
    found = read_pieces(group, list(parts.matrices))
    assert list(found.matrices) == list(parts.matrices)
    for name, matrix in parts.matrices.items():
        same_to_the_bit(found.matrices[name], matrix)


def same_to_the_bit(found, matrix):
    assert found.shape == matrix.shape
    assert found.indices.dtype == found.indptr.dtype == np.int32
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(found, part), getattr(matrix, part))
    assert np.signbit(found.data).tolist() == np.signbit(matrix.data).tolist()


@pytest.mark.parametrize("counts", [[(7, 4)], [(3, 0), (4, 4)], [(0, 2), (0, 0), (5, 1), (2, 1)]])
def test_rows_of_matrices_in_pieces_are_those_of_the_whole(tmp_path, counts):
    """Whatever the pieces, of whichever rows are wanted, also of chunks that end within a matrix."""
    draw = np.random.default_rng(3)

    def some(rows, columns):
        return csr_array(random_array((rows, columns), density=0.4, rng=draw))

    matrices = {"matrix_0": some(7, 7), "response_0": some(7, 4), "source_0": some(4, 7), "matrix_1": some(7, 7)}
    whole = Parts(matrices, {"layers_row": (np.arange(7), 10 * np.arange(4))})
    firsts = np.cumsum([(0, 0), *counts], axis=0)
    pieces = [piece(whole.rows((slice(*of[0]), slice(*of[1])))) for of in np.stack([firsts[:-1], firsts[1:]], -1)]
    group = zarr.open_group(tmp_path / "g", mode="w")
    group.create_array("counts", data=np.array(counts))
    for name in pieces[0]:
        array = np.zeros((len(pieces), max(len(one[name]) for one in pieces)), pieces[0][name].dtype)
        for row, one in zip(array, pieces, strict=True):
            row[: len(one[name])] = one[name]
        group.create_array(name, data=array, chunks=(1, 5))
    for wanted in (None, (slice(0, 7), slice(0, 4)), (slice(2, 6), slice(1, 3)), (slice(5, 7), slice(4, 4))):
        found, expected = read_pieces(group, list(matrices), wanted), whole.rows(wanted or (slice(None), slice(None)))
        for name, matrix in expected.matrices.items():
            same_to_the_bit(found.matrices[name], matrix)
        for mine, other in zip(found.numbers["layers_row"], expected.numbers["layers_row"], strict=True):
            np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("dtype", ["f8", "f4", ">f8", "i4", "i1", "bool", "c16"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_a_chunk_is_the_one_that_zarr_writes(tmp_path, dtype, shape):
    group = zarr.open_group(tmp_path, mode="w")
    values = np.random.default_rng(1).integers(0, 99, (2, *shape)).astype(dtype)
    ours, theirs = (
        group.create_array(
            name,
            shape=(2, *shape),
            chunks=(1, *shape),
            dtype=dtype,
            compressors=CODECS,
            config={"write_empty_chunks": True},
        )
        for name in ("ours", "theirs")
    )
    for number, entry in enumerate(values):
        theirs[number] = entry
        (file,) = write_chunks(ours, np.asfortranarray(entry) if entry.ndim else entry, number)
        assert file.read_bytes() == (tmp_path / "theirs" / file.relative_to(tmp_path / "ours")).read_bytes()
    np.testing.assert_array_equal(ours[:], values)
    assert not list(tmp_path.rglob("*.partial"))


def test_an_entry_without_values_has_no_chunk_and_one_of_another_shape_is_refused(tmp_path):
    empty = zarr.create_array(tmp_path / "e", shape=(1, 0), chunks=(1, 1), dtype="f8", compressors=CODECS)
    assert write_chunks(empty, np.zeros(0), 0) == []
    with pytest.raises(ValueError, match="shape"):
        write_chunks(empty, np.zeros(2), 0)


@pytest.mark.parametrize("chunks", [(2, 3), (3, 4), (5, 7)])
def test_chunks_are_those_that_zarr_writes_also_at_the_end(tmp_path, chunks):
    group = zarr.open_group(tmp_path, mode="w")
    values = np.random.default_rng(1).normal(size=(5, 7))
    ours, theirs = (
        group.create_array(
            name, shape=(2, 5, 7), chunks=(1, *chunks), dtype="f8", compressors=CODECS, fill_value=np.nan
        )
        for name in ("ours", "theirs")
    )
    theirs[1] = values
    files = write_chunks(ours, values, 1)
    assert len(files) == theirs.nchunks_initialized
    for file in files:
        assert file.read_bytes() == (tmp_path / "theirs" / file.relative_to(tmp_path / "ours")).read_bytes()
    np.testing.assert_array_equal(ours[1], values)


# --- reading ---


def test_xarray_opens_a_finished_run_without_a_warning(linear_run):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = xr.open_zarr(linear_run)
        ours = spinup.open(linear_run)
    assert ds.attrs["Conventions"].startswith("CF-")
    assert ds.attrs["outcome"] == "converged"
    assert ds.sizes["evaluation"] == ours.sizes["evaluation"] > 10
    np.testing.assert_array_equal(ds.drift.values, ours.drift.values)
    for name in ("drift", "model_years", "c", "c_residual", "c_mean"):
        assert ds[name].attrs["units"]
        assert ds[name].attrs["long_name"]


def test_a_run_can_be_written_as_netcdf(linear_run, tmp_path):
    for ds in (xr.open_zarr(linear_run), spinup.open(linear_run)):
        ds.to_netcdf(tmp_path / "run.nc", engine="h5netcdf", invalid_netcdf=False)
        np.testing.assert_array_equal(xr.open_dataset(tmp_path / "run.nc", engine="h5netcdf").drift, ds.drift)


def test_the_log_holds_what_was_evaluated(linear_run):
    ds = spinup.open(linear_run)
    residual = ds.c.values - ds.c_before.values
    np.testing.assert_allclose(np.sqrt((residual**2).mean(axis=1)), ds.c_residual.values, rtol=1e-12)
    np.testing.assert_allclose(ds.model_years.values, np.arange(1, ds.sizes["evaluation"] + 1))
    assert ds.direct.values.tolist()[:4] == [1, 1, 1, 0]


def test_provenance_is_complete(linear_run):
    header = json.loads(spinup.open(linear_run).attrs["header"])
    assert header["case_text"] == LINEAR.read_text()
    assert header["versions"]["numpy"] == np.__version__
    assert header["settings"]["depth"] == 10
    assert header["machine"]["cores"] >= 1


def test_the_full_state_is_kept_and_the_start(linear_run):
    assert set(open_state(linear_run).variables) >= {"c", "memory"}
    np.testing.assert_array_equal(open_state(linear_run, -1)["c"].values, 0.0)
    with pytest.raises(KeyError, match="keeps the full states"):
        open_state(linear_run, 1)


def test_retention(tmp_path):
    run = tmp_path / "run"
    spinup.run(
        LINEAR,
        out=run,
        method="picard",
        budget=60,
        store={"checkpoint_every": 2, "fields_every": 5, "states_every": 10},
    )
    ds = spinup.open(run)
    kept = np.flatnonzero(np.isfinite(ds.c.values).all(axis=1))
    assert set(range(0, 60, 5)) <= set(kept)
    assert set(range(60 - PAIRS, 60)) <= set(kept)  # by which the error is estimated
    assert len(kept) < 45
    assert open_state(run, 10)["c"].shape == (60,)
    resumed = tmp_path / "resumed"
    shutil.copytree(run, resumed)
    spinup.resume(resumed, budget=70)
    whole = tmp_path / "whole"
    spinup.run(LINEAR, out=whole, method="picard", budget=70)
    np.testing.assert_array_equal(spinup.open(resumed).drift.values, spinup.open(whole).drift.values)


# --- damage ---


def chunk_of(run: Path, number: int, name: str = "c") -> Path:
    record = read_journal(run)[0][number]
    return run / next(path for path in record["files"] if path.startswith(f"{name}/"))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def alter(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [truncate, alter, Path.unlink])
@pytest.mark.parametrize("victim", ["c", "c_before", "states/memory"])
def test_a_damaged_chunk_is_found_named_and_the_run_goes_on(linear_run, tmp_path, damage, victim):
    run = partial_run(tmp_path)
    file = chunk_of(run, 14, victim)
    damage(file)
    notes = Notes()
    spinup.resume(run, budget=60, progress=notes)
    assert any(file.relative_to(run).as_posix() in text for text in notes.texts), notes.texts
    assert_same_numbers(linear_run, run)


@pytest.mark.parametrize("name", ["000014.json", "000011.json", "checkpoint-a.json", "checkpoint-b.json"])
@pytest.mark.parametrize("damage", [truncate, alter, Path.unlink])
def test_a_damaged_journal_is_found_and_the_run_goes_on(linear_run, tmp_path, name, damage):
    run = partial_run(tmp_path)
    damage(run / "log" / name)
    notes = Notes()
    spinup.resume(run, budget=60, progress=notes)
    if not (damage is Path.unlink and (name.startswith("checkpoint") or name == "000014.json")):
        assert any(name in text for text in notes.texts), notes.texts
    assert_same_numbers(linear_run, run)


def test_a_damaged_checkpoint_is_found_and_the_older_one_serves(linear_run, tmp_path):
    run = partial_run(tmp_path)
    newest = max("ab", key=lambda n: journal.read_record(run / "log" / f"checkpoint-{n}.json")["evaluations"])
    alter(next(p for p in (run / "checkpoints" / newest).rglob("c/*") if p.is_file()))
    notes = Notes()
    spinup.resume(run, budget=60, progress=notes)
    assert any(f"checkpoints/{newest}/" in text for text in notes.texts), notes.texts
    assert_same_numbers(linear_run, run)


def test_an_old_damaged_chunk_is_named_on_open_and_nothing_is_lost(linear_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(linear_run, run)
    alter(chunk_of(run, 1))
    with pytest.warns(UserWarning, match=r"c/c/1/0 was altered \(evaluation 1\)"):
        spinup.open(run)
    notes = Notes()
    result = spinup.resume(run, progress=notes)
    assert result.evaluations == spinup.open(linear_run).sizes["evaluation"]
    assert any("was altered" in text for text in notes.texts)


def test_xarray_itself_refuses_an_altered_chunk(linear_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(linear_run, run)
    alter(chunk_of(run, 5))
    with pytest.raises(Exception, match=r"(?i)checksum|crc"):
        xr.open_zarr(run).c.isel(evaluation=5).load()


def test_a_damaged_start_cannot_be_resumed(tmp_path):
    run = partial_run(tmp_path)
    alter(next(p for p in (run / "start" / "c").rglob("c/*") if p.is_file()))
    with pytest.raises(StoreError, match="start state"):
        spinup.resume(run)


def test_a_kill_while_a_state_is_overwritten_costs_only_that_evaluation(linear_run, tmp_path, monkeypatch):
    """The slot that evaluation 13 is written to held an older state that nothing needs: no damage."""
    run, calls = tmp_path / "run", tmp_path / "calls"
    monkeypatch.setenv("SPINUP_TEST_CALLS", str(calls))
    real = run_store.write_record

    def killed(path, record):
        if path.name == "000013.json":
            raise InterruptedError
        real(path, record)

    monkeypatch.setattr(run_store, "write_record", killed)
    with pytest.raises(InterruptedError):
        spinup.run(LINEAR, out=run, store={"checkpoint_every": 4})
    monkeypatch.setattr(run_store, "write_record", real)
    notes = Notes()
    result = spinup.resume(run, progress=notes)
    assert not [text for text in notes.texts if text.startswith("damage")]
    assert len(calls.read_text().split()) == result.evaluations + 1
    assert_same_numbers(linear_run, run)


@pytest.mark.parametrize("victims", ["checkpoints", "journal"])
def test_damage_in_a_run_that_keeps_few_fields(linear_run, tmp_path, victims):
    """Fields that retention erased cannot be replayed: the run goes back to where it can go on from."""
    run = tmp_path / "run"
    spinup.run(LINEAR, out=run, budget=33, store={"checkpoint_every": 5, "fields_every": 7, "states_every": 7})
    if victims == "checkpoints":
        for name in "ab":
            truncate(next(p for p in (run / "checkpoints" / name).rglob("c/*") if p.is_file()))
    else:
        truncate(run / "log" / "000022.json")
    spinup.resume(run, budget=60)
    ours, theirs = spinup.open(run), spinup.open(linear_run)
    np.testing.assert_array_equal(ours.drift.values, theirs.drift.values)


def test_a_damaged_full_state_is_no_start(tmp_path):
    run = partial_run(tmp_path)
    chunk_of(run, 14, "states/memory").unlink()
    with pytest.raises(StoreError, match=r"full state of evaluation 14 is damaged: states/memory/.* is missing"):
        spinup.run(LINEAR, out=tmp_path / "other", start=run)


# --- one at a time ---


def test_a_second_process_is_refused(tmp_path):
    run = partial_run(tmp_path)
    with locked(run / "log" / "lock", run):
        assert run_status(run)["state"] == "running"
        with pytest.raises(RunLocked, match=r"is being written by process \d+ on .*: wait for it or stop it"):
            spinup.resume(run, budget=60)
    assert run_status(run)["state"] == "budget"


def test_a_newer_format_is_refused(tmp_path):
    run = partial_run(tmp_path)
    zarr.open_group(run, mode="r+").attrs["spinup_format"] = 99
    with pytest.raises(UsageError, match=r"newer spinup.*upgrade"):
        spinup.resume(run)


# --- full disk ---


def test_a_full_disk_stops_the_run_and_it_resumes(linear_run, tmp_path, monkeypatch):
    run = tmp_path / "run"
    real, calls = run_store.write_chunks, []

    def full(array, values, number):
        if array.store.root.parts[-2:] == ("states", "c"):
            calls.append(number)
            if len(calls) == 9:
                raise OSError(errno.ENOSPC, "No space left on device")
        return real(array, values, number)

    monkeypatch.setattr(run_store, "write_chunks", full)
    with pytest.raises(StoreFull, match=r"no space left.*spinup resume"):
        spinup.run(LINEAR, out=run, store={"checkpoint_every": 4})
    assert spinup.open(run).sizes["evaluation"] == 8
    spinup.resume(run)
    assert_same_numbers(linear_run, run)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 700 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_really_full_disk(linear_run, tmp_path, small_disk):
    run = small_disk / "run"
    with pytest.raises(StoreFull):
        spinup.run(LINEAR, out=run, store={"checkpoint_every": 4})
    assert 1 <= spinup.open(run).sizes["evaluation"] < spinup.open(linear_run).sizes["evaluation"]
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    spinup.resume(run)
    assert_same_numbers(linear_run, run)


# --- records ---


def test_a_record_is_whole_or_not_at_all(tmp_path):
    file = tmp_path / "000000.json"
    journal.write_record(file, {"drift": 0.1, "bad": float("nan")})
    assert journal.read_record(file)["drift"] == 0.1
    wrapped = json.loads(file.read_text())
    wrapped["record"]["drift"] = 0.2
    file.write_text(json.dumps(wrapped))
    with pytest.raises(ValueError, match="altered"):
        journal.read_record(file)


def test_a_run_from_before_a_column_was_kept_is_read_and_gone_on_with(tmp_path):
    run = tmp_path / "run"
    spinup.run(LINEAR, out=run, budget=5)
    shutil.rmtree(run / "elapsed_seconds")
    for path in (run / "log").glob("0*.json"):
        kept = json.loads(path.read_text())["record"]
        del kept["elapsed_seconds"]
        journal.write_record(path, kept)
    assert np.isnan(spinup.open(run).elapsed_seconds.values).all()
    assert "wall time" in write_report([run], tmp_path / "report.html").read_text()
    spinup.resume(run, budget=7)
    for opened in (spinup.open(run), xr.open_zarr(run)):
        np.testing.assert_array_equal(np.isfinite(opened.elapsed_seconds), [False] * 5 + [True] * 2)
