"""A few evaluations of a long run in one small file: a reference that reports on other runs can be shown next to."""

import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import xarray as xr
from zarr.storage import ZipStore

from spinup.errors import UsageError
from spinup.store.view import open_run

THINNED = ".zarr.zip"  # how the file's name ends


def thinned(path: str | Path, numbers: Sequence[int], out: Path) -> None:
    """Keep these evaluations of the run at `path` in `out`: all their numbers, of the fields the last only, and not
    where it was made."""
    data = open_run(path, verify=False).isel(evaluation=list(numbers)).load()
    header = json.loads(data.attrs["header"])
    header["machine"]["release"] = ""
    data.attrs["header"] = json.dumps(header | {"case_file": None, "command": [], "git": None})
    for name in data.attrs["variables"]:
        for suffix in ("", "_before"):
            data[name + suffix][:-1] = np.nan
    for variable in data.variables.values():
        variable.encoding = {}  # the chunks of the whole run
    with TemporaryDirectory() as folder:
        data.to_zarr(folder, consolidated=False)
        shutil.make_archive(str(out).removesuffix(".zip"), "zip", folder)


def open_thinned(path: Path) -> xr.Dataset:
    """What `thinned` kept, as `open_run` gives a run. Raises UsageError where it is no such file."""
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    if not zipfile.is_zipfile(path):
        raise UsageError(f"{path} is not what was kept of a run: it is no zip archive")
    try:
        with ZipStore(path, mode="r") as store:
            data = xr.open_zarr(store, consolidated=False).load()
        json.loads(data.attrs["header"])
    except Exception as error:  # an archive of any kind may bear the name
        raise UsageError(f"{path} is not what was kept of a run ({type(error).__name__}: {error})") from error
    return data
