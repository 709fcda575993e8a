"""Progress on the terminal: bars with a rate and the remaining time, plain lines where there is no terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(highlight=False, markup=False)


def progress_bar(window_s: float = 30.0) -> Progress:
    """A bar with count, elapsed and remaining time, and a free text field `note`.

    Args:
        window_s: The remaining time is estimated from the speed of the last so many seconds.
    """
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
        speed_estimate_period=window_s,
    )


def percent(value: float) -> str:
    """0.125 -> 12.5%."""
    return f"{100 * value:.1f}%"
