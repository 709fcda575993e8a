"""`python -m himac`."""

from himac.cli import main

main()
