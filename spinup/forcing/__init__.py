"""Forcing files of Veros' global setups: fetched once, or idealised ones of the same format."""

from spinup.forcing.files import ForcingFiles, forcing_files

__all__ = ["ForcingFiles", "forcing_files"]
