"""Progress on the terminal: bars with a rate and the remaining time, plain lines where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment

from himac.inert import inert


class _Screen(Console):
    """Everything that is printed comes through `render`: words are inert, rich's own control codes are not."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=inert(segment.text))


console = _Screen(highlight=False, markup=False)


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
