"""Episodes for people: Markdown, plain text and the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group as RichGroup
from rich.console import RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from himac.report.results import Record
from himac.scene import in_words
from himac.types import Episode

_SUB_DONE = "<sub_done>"


@dataclass(frozen=True, slots=True)
class Line:
    """One turn as it is shown.

    Attributes:
        reward: `None` where the record does not tell.
        reply: The model's own words, where they were kept.
    """

    action: str | None
    observation: str
    sub_done: bool
    invalid: bool
    reward: float | None = None
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """An episode without its tokens: what the three renderings share.

    Attributes:
        plan_error: Why the blueprint is malformed, else `None`.
        parts: (sub-goal, turns) in order; the sub-goal is `None` for flat agents.
    """

    task_id: str
    kind: str
    blueprint: tuple[str, ...]
    plan_error: str | None
    parts: tuple[tuple[str | None, tuple[Line, ...]], ...]
    success: bool
    stop: str
    ret: float
    env_steps: int

    @property
    def outcome(self) -> str:
        return f"{self.stop} after {self.env_steps} steps, return {self.ret:.2f}"


def story(episode: Episode | Record) -> Story:
    """The story of an episode, or of a line of `results.jsonl`."""
    return _from_episode(episode) if isinstance(episode, Episode) else _from_record(episode)


def episode_markdown(episode: Episode | Record) -> str:
    """Task, blueprint, turns by sub-goal and the end, as Markdown."""
    told = story(episode)
    lines = [f"### `{told.task_id}` ({told.kind})", ""]
    lines += [f"**{'Success' if told.success else 'Failure'}**: {told.outcome}", ""]
    lines += [f"{number}. {goal}" for number, goal in enumerate(told.blueprint, 1)]
    if told.plan_error is not None:
        lines.append(f"Malformed blueprint: {told.plan_error}")
    text = "\n".join(_transcript(told))
    # A fence longer than any run of backticks inside, so that no observation can close it.
    fence = "```"
    while fence in text:
        fence += "`"
    return "\n".join([*lines, "", fence, text, fence, ""])


def episode_text(episode: Episode | Record) -> str:
    """The same as plain text."""
    told = story(episode)
    lines = [f"task {told.task_id} ({told.kind})"]
    lines += [f"  {number}. {goal}" for number, goal in enumerate(told.blueprint, 1)]
    if told.plan_error is not None:
        lines.append(f"  malformed blueprint: {told.plan_error}")
    return "\n".join([*lines, "", *_transcript(told), "", told.outcome, ""])


def episode_panel(episode: Episode | Record) -> RenderableType:
    """The same for a rich console."""
    told = story(episode)
    parts: list[RenderableType] = [Text(f"{n}. {goal}") for n, goal in enumerate(told.blueprint, 1)]
    if told.plan_error is not None:
        parts.append(Text(f"malformed blueprint: {told.plan_error}", style="red"))
    for subgoal, turns in told.parts:
        parts.append(Rule(Text(subgoal or "episode", style="bold"), align="left", style="dim"))
        for turn in turns:
            if turn.action is not None:
                parts.append(Text(f"> {turn.action}", style="cyan"))
                parts.append(Text(f"  {turn.observation}", style="red" if turn.invalid else ""))
            if turn.sub_done:
                parts.append(Text(_SUB_DONE, style="green"))
    style = "green" if told.success else "red"
    title = Text(f"{told.task_id} ({told.kind})")
    return Panel(RichGroup(*parts), title=title, subtitle=Text(told.outcome), border_style=style)


def pick_examples(results: Sequence[Record], count: int = 3) -> list[Record]:
    """Episodes worth reading: successes and failures in turn, longer ones first, task types mixed."""
    queues = [_mixed([r for r in results if bool(r["success"]) is wanted]) for wanted in (True, False)]
    picked: list[Record] = []
    while len(picked) < count and any(queues):
        for queue in queues:
            if queue and len(picked) < count:
                picked.append(queue.pop(0))
    return picked


def _mixed(results: Iterable[Record]) -> list[Record]:
    """The longest episode of each type, then the second longest of each, and so on."""
    seen: dict[str, int] = {}
    ranked = []
    for record in sorted(results, key=lambda r: (-int(r["env_steps"]), str(r["task_id"]))):
        rank = seen[record["kind"]] = seen.get(record["kind"], -1) + 1
        ranked.append((rank, record))
    return [record for _, record in sorted(ranked, key=lambda pair: pair[0])]


def _transcript(told: Story) -> list[str]:
    lines = []
    for subgoal, turns in told.parts:
        if subgoal is not None:
            lines.append(f"[{subgoal}]")
        for turn in turns:
            if turn.action is not None:
                lines.append(f"> {turn.action}{' (invalid)' if turn.invalid else ''}")
                lines += [f"  {part}" for part in turn.observation.splitlines()]
            if turn.sub_done:
                lines.append(_SUB_DONE)
    return lines


def _from_episode(episode: Episode) -> Story:
    plan = episode.blueprint
    parts = tuple(
        (segment.subgoal, tuple(Line(t.action, in_words(t.observation), t.sub_done, t.invalid) for t in segment.turns))
        for segment in episode.segments
    )
    return Story(
        task_id=episode.task.id,
        kind=episode.task.kind,
        blueprint=plan.subgoals if plan else (),
        plan_error=plan.malformed if plan else None,
        parts=parts,
        success=episode.success,
        stop=str(episode.stop),
        ret=episode.ret,
        env_steps=episode.env_steps,
    )


def _from_record(record: Record) -> Story:
    parts: list[tuple[str | None, list[Line]]] = []
    closed = True
    for turn in record.get("transcript") or ():
        line = Line(
            turn["action"],
            turn["observation"],
            bool(turn["sub_done"]),
            bool(turn.get("invalid", False)),
            turn.get("reward"),
            turn.get("reply"),
        )
        # Two sub-goals in a row may read the same: <sub_done> separates them as well as their text.
        if not parts or parts[-1][0] != turn["subgoal"] or (closed and turn["subgoal"] is not None):
            parts.append((turn["subgoal"], []))
        parts[-1][1].append(line)
        closed = line.sub_done
    return Story(
        task_id=str(record["task_id"]),
        kind=str(record["kind"]),
        blueprint=tuple(record.get("blueprint") or ()),
        plan_error=record.get("plan_error"),
        parts=tuple((subgoal, tuple(turns)) for subgoal, turns in parts),
        success=bool(record["success"]),
        stop=str(record["stop"]),
        ret=float(record["return"]),
        env_steps=int(record["env_steps"]),
    )
