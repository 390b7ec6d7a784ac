"""Forcing files of the global setups: found, fetched, refused, and idealised ones that the setups run with."""

import hashlib
import io

import numpy as np
import pytest
import requests
import xarray as xr
from typer.testing import CliRunner

import spinup
from spinup.cli import app
from spinup.errors import UsageError
from spinup.forcing import files
from spinup.forcing.fetch import fetch
from spinup.forcing.files import Asset, assets, forcing_files
from spinup.forcing.synthetic import SIZES, Size, write_synthetic

SMALL = Size(30, 14, 4.0, -80.0, SIZES["global_4deg"].dz)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPINUP_FORCING", str(tmp_path))
    return tmp_path


class Answer:
    """Of a server."""

    def __init__(self, content: bytes):
        self.raw = io.BytesIO(content)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def raise_for_status(self):
        return None


@pytest.fixture
def served(monkeypatch):
    """What is asked for; each file is its own address."""
    asked = []

    def get(url, **_):
        asked.append(url)
        return Answer(url.encode())

    monkeypatch.setattr(requests, "get", get)
    return asked


@pytest.fixture
def listed(monkeypatch):
    """Two files as Veros lists them, the content of each its address."""
    known = {name: Asset(name, hashlib.md5(name.encode()).hexdigest()) for name in ("a", "b")}
    for module in ("spinup.forcing.files", "spinup.forcing.fetch"):
        monkeypatch.setattr(f"{module}.assets", lambda setup: known)
    return known


def test_veros_lists_what_the_cases_need():
    assert set(assets("global_4deg")) == {"forcing", "ecmwf"}
    assert set(assets("global_1deg")) == {"forcing"}
    with pytest.raises(UsageError, match="there is no forcing for 'acc'; there is for global_4deg"):
        assets("acc")


def test_files_are_fetched_once(folder, listed, served):
    told = []
    assert fetch("global_4deg", told.append) == folder / "global_4deg"
    assert served == ["a", "b"]
    assert (folder / "global_4deg" / "b").read_text() == "b"
    fetch("global_4deg", told.append)
    assert served == ["a", "b"]
    found = forcing_files("global_4deg")
    assert found.paths["a"] == str(folder / "global_4deg" / "a")
    assert found.origin.startswith("as Veros lists it: a md5 0cc1")
    (folder / "global_4deg" / "a").write_text("something else")
    with pytest.raises(UsageError, match=r"a is not the file that Veros lists: spinup fetch-forcing global-4deg again"):
        forcing_files("global_4deg")
    fetch("global_4deg", told.append)
    assert served == ["a", "b", "a"]


def test_what_comes_broken_is_not_kept(folder, listed, served, monkeypatch):
    monkeypatch.setattr(requests, "get", lambda url, **_: Answer(b"half of it"))
    with pytest.raises(UsageError, match="what came of a is not the file that Veros lists"):
        fetch("global_4deg", print)
    assert not list((folder / "global_4deg").iterdir())


def test_without_a_network_it_says_what_to_fetch_and_where_to_put_it(folder, listed, monkeypatch):
    def get(url, **_):
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(requests, "get", get)
    with pytest.raises(
        UsageError, match=r"a cannot be fetched \(ConnectionError: no route\).*fetch a elsewhere and put"
    ):
        fetch("global_4deg", print)


def test_a_case_without_forcing_says_how_to_get_it(folder):
    with pytest.raises(UsageError, match=r"spinup fetch-forcing global-4deg, or for idealised files"):
        spinup.load_case("global-4deg").build()


def test_synthetic_files_are_written_over_no_others(folder):
    (folder / "global_4deg").mkdir()
    (folder / "global_4deg" / assets("global_4deg")["forcing"].name).write_text("observed")
    done = CliRunner().invoke(app, ["fetch-forcing", "global-4deg", "--synthetic", str(folder)])
    assert done.exit_code != 0
    assert (folder / "global_4deg" / assets("global_4deg")["forcing"].name).read_text() == "observed"


def test_synthetic_files_say_so(folder):
    done = CliRunner().invoke(app, ["fetch-forcing", "global-4deg", "--synthetic", str(folder)])
    assert done.exit_code == 0, done.output
    assert f"export {files.FOLDER}={folder}" in done.output
    assert forcing_files("global_4deg").origin.startswith("synthetic: forcing md5")
    with pytest.raises(UsageError, match="has synthetic forcing: remove it"):
        fetch("global_4deg", print)


def test_synthetic_files_of_full_size_have_the_format_of_the_setups(folder):
    write_synthetic("global_1deg", folder)
    with xr.open_dataset(forcing_files("global_1deg").paths["forcing"], engine="h5netcdf") as file:
        assert file.salinity.shape == (115, 160, 360)
        assert file.dqdt.shape == file.tau_x.shape == (12, 160, 360)
        assert file.dz.sum() == pytest.approx(4200, rel=0.05)
        assert 0.6 < float((file.bathymetry < 0).mean()) < 0.8
        np.testing.assert_array_equal(file.salinity[0] == 0, file.bathymetry == 0)


def test_the_global_setup_runs_with_them(folder, monkeypatch):
    write_synthetic("global_4deg", folder, SMALL)
    case = spinup.load_case("global-4deg")
    real = spinup.VerosMap

    def small(setup, *, period, seasonal, settings, **how):
        return real(setup, period=6, settings=settings | {"nx": 30, "ny": 14}, **how)

    monkeypatch.setattr(spinup, "VerosMap", small)
    model = case.build()
    state = model.start()
    after = model.evaluate(state)
    assert model.describe()["veros_settings"]["description"].startswith("Global ocean at 4 degrees, forcing synthetic")
    for name, value in model.fields(after).items():
        mask = next(v.mask for v in model.layout.variables if v.name == name)
        assert np.isfinite(value[mask]).all()
        assert np.abs(value - model.fields(state)[name])[mask].max() < 3.0
    assert model.no_circulation == ""
