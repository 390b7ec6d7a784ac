"""Where a run came from: software, machine, and the state of the case's repository."""

import os
import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any


def package_versions() -> dict[str, str]:
    """Version of every installed package."""
    found = [d.metadata for d in distributions()]  # read from disk at every look
    return dict(sorted((m["Name"], m["Version"]) for m in found if m["Name"]))


def machine() -> dict[str, Any]:
    """What the run was made on (no host name: a store may be published)."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def git_state(file: Path | None) -> dict[str, Any] | None:
    """Commit of the repository the file lies in and whether it has uncommitted changes; None outside of one."""
    if file is None:
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=file.parent, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
