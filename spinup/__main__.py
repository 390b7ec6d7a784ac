"""`python -m spinup` is the command `spinup`."""

from spinup.cli import main

main()
