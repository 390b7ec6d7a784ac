"""A run that all ranks write and read, each its own chunks: what is there, on how many ranks ever."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_ranks import MISSING, THERE, on_ranks

import spinup
from spinup.store import RunStore
from spinup.store.journal import read_record

HERE = Path(__file__).parent
PROGRAM = HERE / "cases" / "blocks_program.py"
pytestmark = pytest.mark.skipif(not THERE, reason=MISSING)


@pytest.fixture(scope="module")
def blocks():
    """The module of the case, which says what is to be found."""
    spec = importlib.util.spec_from_file_location("blocks", HERE / "cases" / "blocks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request):
    return request.param


@pytest.fixture(scope="module")
def written(ranks, tmp_path_factory):
    """A run of five evaluations on so many ranks, and the folder in which they say what they wrote."""
    folder = tmp_path_factory.mktemp(f"written-{ranks}")
    done = on_ranks(ranks, PROGRAM, folder / "run", 5, SPINUP_TEST_WRITTEN=str(folder))
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    return folder / "run", folder


def assert_is_what_it_should_be(blocks, run: Path, evaluations: int) -> None:
    """Every field, state and vector of a run, read by one process."""
    found = spinup.open(run)
    assert found.sizes["evaluation"] == evaluations
    for number in range(evaluations):
        for name, periods in (("c_before", number), ("c", number + 1)):
            expected = np.where(blocks.OCEAN, blocks.after(periods)["c"], np.nan)
            np.testing.assert_allclose(found[name].values[number], expected, rtol=0, atol=1e-13)
    with RunStore.resume(run) as store:
        assert store.repair() == []
        for number in range(-1, evaluations):
            state = store.state(number)
            for name, expected in blocks.after(number + 1).items():
                np.testing.assert_allclose(state[name], expected, rtol=0, atol=1e-13, err_msg=name)
        count, checkpoint = store.load_checkpoint()
        assert count == evaluations // 2 * 2
        np.testing.assert_allclose(checkpoint["x"], blocks.after(count)["c"][blocks.OCEAN], rtol=0, atol=1e-13)


def test_what_ranks_write_one_process_reads(blocks, written):
    assert_is_what_it_should_be(blocks, written[0], 5)


def test_each_rank_writes_its_own_chunks_and_gathers_nothing(ranks, written):
    run, told = written
    files = [(told / f"{ranks}-{rank}").read_text().split() for rank in range(ranks)]
    evaluations, checkpoints = ((run / "log").glob(f"{of}*.json") for of in ("[0-9]", "checkpoint-"))
    marks = [file for record in evaluations for file in read_record(record)["files"]]
    marks += [f for record in checkpoints for f in read_record(record)["files"] if "/x/c/" in f]
    assert len([f for f in marks if f.startswith("checkpoints")]) == 2 * ranks
    chunks = {str(run / file) for file in marks}
    assert chunks <= set().union(*files)
    assert all(set(files[i]).isdisjoint(files[j]) for i in range(ranks) for j in range(i))
    for name in ("c", "c_before"):  # and none has more to write of it than another
        of = [sum(f.startswith(f"{run}/{name}/c/") for f in mine) for mine in files]
        assert of == [5] * ranks


@pytest.mark.parametrize("number", [1, 2, 3])
def test_other_ranks_read_it_and_go_on(blocks, ranks, written, tmp_path, number):
    """Where the chunks are not of the ranks that write now, as well."""
    run = tmp_path / "run"
    shutil.copytree(written[0], run)
    done = on_ranks(number, PROGRAM, run, 7)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    assert_is_what_it_should_be(blocks, run, 7)


def test_a_damaged_chunk_of_one_rank_costs_the_evaluation(written, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(written[0], run)
    chunk = sorted(file for file in (run / "c" / "c" / "4").rglob("*") if file.is_file())[-1]
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with RunStore.resume(run) as store:
        said = store.repair()
    assert said[0].startswith(f"{chunk.relative_to(run)} has ")
    assert said[-1] == "the run goes on from evaluation 4; 1 later ones are dropped"
    assert spinup.open(run).sizes["evaluation"] == 4


def test_ranks_go_on_with_a_run_of_one_process(blocks, tmp_path):
    run = tmp_path / "run"
    for number, budget in ((1, 3), (4, 5), (3, 6)):
        done = on_ranks(number, PROGRAM, run, budget)
        assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    assert_is_what_it_should_be(blocks, run, 6)


def test_a_disk_that_is_full_for_one_rank_is_full_for_all(blocks, tmp_path):
    run, ranks = tmp_path / "run", 4
    done = on_ranks(ranks, PROGRAM, run, 5, SPINUP_TEST_FULL="3")
    assert done.returncode == 0, done.stderr
    said = sorted(done.stdout.splitlines())
    assert [line.split(":")[0] for line in said] == [f"rank {rank}" for rank in range(ranks)]
    assert all("StoreFull: no space left" in line for line in said)
    assert spinup.open(run).sizes["evaluation"] == 3
    done = on_ranks(ranks, PROGRAM, run, 5)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    assert_is_what_it_should_be(blocks, run, 5)


def test_a_rank_that_is_killed_while_it_writes_costs_that_evaluation(blocks, tmp_path):
    run = tmp_path / "run"
    assert on_ranks(2, PROGRAM, run, 5, SPINUP_TEST_DIE="3").returncode != 0
    assert spinup.open(run).sizes["evaluation"] == 3
    assert (run / "c_before" / "c" / "3").exists()  # some of it was written
    done = on_ranks(3, PROGRAM, run, 5)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    assert_is_what_it_should_be(blocks, run, 5)
