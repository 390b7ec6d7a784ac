"""Records that are there whole or not at all, and the checksums that say whether chunks are intact."""

import contextlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

Record = dict[str, Any]


@dataclass(frozen=True)
class Damage:
    """A file that is not what was written: `path` relative to the run, and what is wrong with it."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path} {self.problem}"


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write `record` with its own checksum; after this returns it survives a power cut."""
    body = json.dumps(record, sort_keys=True)
    with written_whole(path) as file:
        file.write(json.dumps({"crc32": zlib.crc32(body.encode()), "record": record}, sort_keys=True).encode())
        file.flush()
        os.fsync(file.fileno())
    _sync_directory(path.parent)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write into that becomes `path` at the end, for who looks at it whole or not at all."""
    temporary = path.with_suffix(".partial")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_record(path: Path) -> dict[str, Any]:
    """The record at `path`. Raises ValueError where it is damaged."""
    try:
        wrapped = json.loads(path.read_text())
        record = wrapped["record"]
        intact = zlib.crc32(json.dumps(record, sort_keys=True).encode()) == wrapped["crc32"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError("is not a record") from error
    if not intact:
        raise ValueError("was altered")
    return record


def fingerprints(root: Path, files: Iterable[Path]) -> dict[str, list[int]]:
    """Size and CRC-32 of every file, by its path relative to `root`."""
    found = {}
    for file in files:
        content = file.read_bytes()
        found[file.relative_to(root).as_posix()] = [len(content), zlib.crc32(content)]
    return found


def damaged(root: Path, expected: dict[str, list[int]]) -> list[Damage]:
    """The files that are missing, truncated or altered."""
    found = []
    for path, (size, checksum) in expected.items():
        file = root / path
        if not file.exists():
            found.append(Damage(path, "is missing"))
            continue
        content = file.read_bytes()
        if len(content) != size:
            found.append(Damage(path, f"has {len(content)} bytes instead of {size}"))
        elif zlib.crc32(content) != checksum:
            found.append(Damage(path, "was altered"))
    return found


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_journal(path: Path) -> tuple[list[Record], list[str]]:
    """All records up to the first that is missing or damaged, and what is wrong with that one."""
    records: list[Record] = []
    for number, file in enumerate(sorted((path / "log").glob("[0-9]*.json"))):
        if int(file.stem) != number:
            return records, [f"log/{number:06d}.json is missing"]
        try:
            records.append(read_record(file))
        except ValueError as error:
            return records, [f"log/{file.name} {error}"]
    return records, []


def good_before(records: list[Record], count: int) -> list[int]:
    """The newest evaluation below `count` that gave a state, as a list of one or none."""
    return [r["evaluation"] for r in records[:count] if r["slot"] is not None][-1:]


def last_error(records: list[Record]) -> dict[str, float] | None:
    """The newest estimate of the error, None where there is none."""
    last = _last_estimated(records)
    return None if last is None else last["error"]


def last_interval(records: list[Record]) -> dict[str, tuple[float, float | None]] | None:
    """Between what the distance is expected by the newest estimate, without an upper end where that is not known; None
    where there is no estimate, or an older run says nothing of it."""
    last = _last_estimated(records)
    if last is None or (factors := last.get("error_between")) is None:
        return None
    low, high = factors
    return {name: (low * e, None if high is None else high * e) for name, e in last["error"].items()}


def _last_estimated(records: list[Record]) -> Record | None:
    return next((r for r in reversed(records) if r.get("error") is not None), None)
