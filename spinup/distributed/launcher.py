"""Start a run on many ranks by the launcher of MPI or of a batch system."""

import os
import shlex
import shutil
import sys

from spinup.distributed.ranks import started
from spinup.errors import UsageError

OPTION = "--launcher"
#: What stands for a launcher's command; {n}: the number of ranks.
LAUNCHERS = {"mpiexec": "mpiexec -n {n}", "slurm": "srun -n {n}"}


def launcher_command(launcher: str) -> list[str]:
    """The words of "srun -n 64", of "slurm:64" or "mpiexec:4" (see LAUNCHERS); none for "local".

    Raises UsageError where it is none of these.
    """
    name, colon, number = launcher.strip().partition(":")
    if launcher.strip() == "local":
        return []
    if colon and name in LAUNCHERS:
        if not number.isdigit() or int(number) < 1:
            raise UsageError(f"{launcher!r} needs a number of ranks: {name}:4")
        return LAUNCHERS[name].format(n=int(number)).split()
    try:
        words = shlex.split(launcher)
    except ValueError as error:
        raise UsageError(f"launcher {launcher!r}: {error}") from error
    if not words or shutil.which(words[0]) is None:
        known = ", ".join([*(f"{known}:4" for known in LAUNCHERS), "local"])
        raise UsageError(f'there is no launcher {launcher!r} here: give its command, "srun -n 64", or one of {known}')
    return words


def launch(launcher: str | None) -> None:
    """Become the launcher, which starts this command on its ranks; nothing on ranks that it started.

    Raises UsageError where it is not there.
    """
    if launcher is None or started() > 1:
        return
    command = launcher_command(launcher)
    if not command:
        return
    if shutil.which(command[0]) is None:
        raise UsageError(f"{command[0]} is not here: `spinup doctor` says how to get MPI; Slurm has srun within a job")
    sys.stdout.flush()
    os.execvp(command[0], [*command, sys.executable, "-m", "spinup.cli", *_without_option(sys.argv[1:])])


def _without_option(words: list[str]) -> list[str]:
    """The command line without the launcher."""
    found, skip = [], False
    for word in words:
        if not skip and word != OPTION and not word.startswith(OPTION + "="):
            found.append(word)
        skip = word == OPTION and not skip
    return found
