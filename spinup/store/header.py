"""The header of a run: what was asked for, enough to go on with it and to know where it came from."""

from pathlib import Path
from typing import Any

import zarr
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spinup.errors import StoreError, UsageError

FORMAT = 4  # of the store; a reader refuses a higher one


class StoreSettings(BaseModel):
    """What a run keeps on disk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fields_every: int = Field(1, ge=1, description="keep the accelerated variables of every n-th evaluation")
    states_every: int = Field(0, ge=0, description="keep the full state of every n-th evaluation (0: only the newest)")
    checkpoint_every: int = Field(10, ge=1, description="least evaluations between checkpoints of the method")


class Header(BaseModel):
    """What was asked for: enough to go on with the run, and to know where it came from."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    case: str
    title: str
    case_file: str | None
    case_text: str | None
    method: str
    settings: dict[str, Any]
    store: StoreSettings
    budget_years: float
    tolerance: float
    tolerance_unit: str = ""  # of an error; none: of a drift
    petsc: str = ""  # its options for linear solves with operators
    start: str
    start_periods: int
    map: dict[str, Any]
    years_per_evaluation: float
    created: str
    command: list[str]
    versions: dict[str, str]
    machine: dict[str, Any]
    git: dict[str, Any] | None

    @property
    def members(self) -> int:
        """Of the map, if it is an ensemble; 1 of any other."""
        return int(self.map.get("members", 1))


def read_header(path: Path) -> Header:
    """The header of the run at `path`. Raises UsageError where there is none that can be read."""
    if not (path / "zarr.json").is_file():
        raise UsageError(f"{path} is not a run: it has no zarr.json; `spinup run CASE --out {path}` makes one")
    try:
        attrs: dict[str, Any] = dict(zarr.open_group(path, mode="r", use_consolidated=False).attrs)
    except Exception as error:  # zarr raises many kinds for a damaged zarr.json
        raise StoreError(f"{path / 'zarr.json'} cannot be read ({error}): restore it from a copy") from error
    if "spinup_format" not in attrs:
        raise UsageError(f"{path} is a zarr store but not a run of spinup")
    if attrs["spinup_format"] > FORMAT:
        raise UsageError(
            f"run {path} was written by a newer spinup (format {attrs['spinup_format']}, "
            f"this one reads up to {FORMAT}): upgrade spinup"
        )
    try:
        return Header.model_validate_json(attrs["header"])
    except ValidationError as error:
        raise StoreError(f"the header in {path / 'zarr.json'} is damaged: restore it from a copy") from error
