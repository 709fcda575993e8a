"""Progress on the terminal: bars with a rate and the remaining time, plain lines where there is no terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(highlight=False, markup=False)


def progress_bar() -> Progress:
    """A bar with count, elapsed and remaining time, and a free text field `note`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    )


def percent(value: float) -> str:
    """0.125 -> 12.5%."""
    return f"{100 * value:.1f}%"
