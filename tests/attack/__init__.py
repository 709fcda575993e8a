"""Attempts to break what users rely on, counted: `python -m attack` (from `tests/`) or `make attack`."""
