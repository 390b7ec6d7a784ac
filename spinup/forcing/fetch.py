"""Fetch the forcing of a setup from where Veros lists it, with its checksums."""

import shutil
from collections.abc import Callable
from pathlib import Path

import requests

from spinup.errors import UsageError
from spinup.forcing.files import SYNTHETIC, Asset, assets, folder_of, md5

TIMEOUT_S = 30


def fetch(setup: str, tell: Callable[[str], None]) -> Path:
    """Have all files of a setup in its folder, whole; what is there already is not fetched again. Returns the folder.

    Raises UsageError where one cannot be fetched, or is another than Veros lists; what came of it is then gone.
    """
    folder = folder_of(setup)
    if (folder / SYNTHETIC).is_file():
        raise UsageError(f"{folder} has synthetic forcing: remove it, or unset SPINUP_FORCING, and fetch again")
    folder.mkdir(parents=True, exist_ok=True)
    for asset in assets(setup).values():
        path = folder / asset.name
        if path.is_file() and md5(path) == asset.md5:
            tell(f"{path} is there")
            continue
        tell(f"fetching {asset.name}")
        _download(asset, path)
    return folder


def _download(asset: Asset, path: Path) -> None:
    part = path.with_name(path.name + ".incomplete")
    try:
        with requests.get(asset.url, stream=True, timeout=TIMEOUT_S) as response:
            response.raise_for_status()
            response.raw.decode_content = True
            with part.open("wb") as file:
                shutil.copyfileobj(response.raw, file)
        if (found := md5(part)) != asset.md5:
            raise UsageError(
                f"what came of {asset.url} is not the file that Veros lists (MD5 {found}, not {asset.md5}): try again"
            )
        part.replace(path)
    except (requests.RequestException, OSError) as error:
        raise UsageError(
            f"{asset.name} cannot be fetched ({_words(error)}). Without a network: fetch {asset.url} elsewhere and put "
            f"it into {path.parent}"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
