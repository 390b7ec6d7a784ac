"""States spread over several devices: the tests of `on_four_devices.py`, in a process that has four."""

import os
import subprocess
import sys
from pathlib import Path


def test_on_four_devices():
    file = Path(__file__).with_name("on_four_devices.py")
    flags = "--xla_force_host_platform_device_count=4 " + os.environ.get("XLA_FLAGS", "")
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(file)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout + told.stderr
