"""Where the forcing files of a setup are, which Veros lists with their checksums."""

import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

from spinup.errors import UsageError

SETUPS = ("global_4deg", "global_1deg")
SYNTHETIC = "SYNTHETIC"  # a file of this name says that those beside it are no observations
FOLDER = "SPINUP_FORCING"  # the environment variable that says where they are


@dataclass(frozen=True)
class Asset:
    """A file as Veros lists it: where it is to be had, and the MD5 of its content."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        return PurePosixPath(urlparse(self.url).path).name


@dataclass(frozen=True)
class ForcingFiles:
    """The files of a setup by Veros' names, and what they are, for the record of a run."""

    paths: Mapping[str, str]
    origin: str


def assets(setup: str) -> dict[str, Asset]:
    """The files of an installed Veros setup, by name. Raises UsageError for one without."""
    if setup not in SETUPS:
        raise UsageError(f"there is no forcing for {setup!r}; there is for {', '.join(SETUPS)}")
    veros = importlib.util.find_spec("veros")  # importing it would fix its settings
    assert veros is not None
    assert veros.submodule_search_locations is not None
    listed = Path(veros.submodule_search_locations[0], "setups", setup, "assets.json")
    return {name: Asset(entry["url"], entry["md5"]) for name, entry in json.loads(listed.read_text()).items()}


def folder_of(setup: str) -> Path:
    """Where the files of a setup are looked for: in $SPINUP_FORCING, else where Veros itself keeps them."""
    if folder := os.environ.get(FOLDER):
        return Path(folder) / setup
    own = os.environ.get("VEROS_ASSET_DIR")
    return (Path(own) if own else Path.home() / ".veros" / "assets") / setup


def forcing_files(setup: str) -> ForcingFiles:
    """The files of a setup. Raises UsageError where they are not there, or not whole."""
    folder, listed = folder_of(setup), assets(setup)
    missing = [asset.name for asset in listed.values() if not (folder / asset.name).is_file()]
    case = setup.replace("_", "-")
    if missing:
        raise UsageError(
            f"the forcing of {case} is not there ({', '.join(missing)} in {folder}): spinup fetch-forcing {case}, or "
            f"for idealised files of the same format: spinup fetch-forcing {case} --synthetic DIR"
        )
    sums = {name: md5(folder / asset.name) for name, asset in listed.items()}
    synthetic = (folder / SYNTHETIC).is_file()
    wrong = [asset.name for name, asset in listed.items() if sums[name] != asset.md5]
    if wrong and not synthetic:
        raise UsageError(f"{folder / wrong[0]} is not the file that Veros lists: spinup fetch-forcing {case} again")
    kind = "synthetic" if synthetic else "as Veros lists it"
    origin = f"{kind}: " + ", ".join(f"{name} md5 {found}" for name, found in sums.items())
    return ForcingFiles({name: str(folder / asset.name) for name, asset in listed.items()}, origin)


def md5(path: Path) -> str:
    """The checksum of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
