"""Progress on the terminal: bars with a rate and the remaining time, plain lines where there is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment

from himac.inert import inert


class _Screen(Console):
    """Everything that is printed comes through `render`: words are inert, rich's own control codes are not."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=inert(segment.text))


console = _Screen(highlight=False, markup=False)


LINE_EVERY_S = 30.0


class _Bar(Progress):
    """A bar on a terminal; elsewhere (a file, a pipe) a plain line now and then of what has moved last."""

    _told_at: float | None = None

    def update(self, task_id: TaskID, **changed: Any) -> None:
        super().update(task_id, **changed)
        self._tell(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        now = self.get_time()
        self._told_at = now if self._told_at is None else self._told_at
        if self.console.is_terminal or now - self._told_at < LINE_EVERY_S:
            return
        self._told_at = now
        task = self.tasks[self.task_ids.index(task_id)]
        count = f"{task.completed:,.0f}" + (f" of {task.total:,.0f}" if task.total else "")
        left = "" if task.time_remaining is None else f", {timedelta(seconds=int(task.time_remaining))} left"
        gone = timedelta(seconds=int(task.elapsed or 0))
        self.console.print(f"{task.description}: {count}, {gone} gone{left}  {task.fields.get('note', '')}".rstrip())


def progress_bar(window_s: float = 30.0, get_time: Callable[[], float] | None = None) -> Progress:
    """A bar with count, elapsed and remaining time, and a free text field `note`.

    Args:
        window_s: The remaining time is estimated from the speed of the last so many seconds.
        get_time: Clock in seconds, by default rich's own.
    """
    return _Bar(
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
        get_time=get_time,
    )


def percent(value: float) -> str:
    """0.125 -> 12.5%."""
    return f"{100 * value:.1f}%"
