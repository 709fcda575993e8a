"""`himac play`: one episode in the terminal, turn by turn as it happens."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from himac.cli.blocks import blocks
from himac.cli.console import console
from himac.cli.runs import choose
from himac.config_file import load_config
from himac.errors import ConfigError
from himac.evaluation.evaluate import evaluate
from himac.rollout.preflight import check_room, try_environment
from himac.rollout.runtime import Runtime, build_benchmark, build_runtime
from himac.scene import Scene, in_words
from himac.types import Blueprint, Episode, Task, Turn


def play_command(
    config_path: Path,
    overrides: Sequence[str],
    model: Path | None,
    split: str | None,
    task_id: str | None,
    delay: float,
    step: bool = False,
    recorded: bool = False,
) -> None:
    """Run one greedy episode, or show a recorded one: blueprint, active sub-goal, actions and observations.

    Args:
        step: Wait for Enter after each turn.
        recorded: Show what stands in the results of the run, without its model.
    """
    if step and not sys.stdin.isatty():
        raise ConfigError("--step waits for Enter after each turn, so it needs a terminal; leave it out")
    screen = Screen(console, delay, step)
    if recorded:
        from himac.cli.replay import replay

        return replay(config_path, task_id, screen)
    chosen = choose(config_path, model)
    config = load_config(chosen.config, overrides)
    benchmark = build_benchmark(config)
    split = split or config.env.eval_split
    if split not in benchmark.splits():
        raise ConfigError(
            f"benchmark '{config.env.name}' has no split '{split}'; choose one of {', '.join(benchmark.splits())}"
        )
    task = pick(benchmark.tasks(split), task_id)
    (opening,) = try_environment(config, benchmark, [task])
    with build_runtime(config, str(chosen.model) if chosen.model else None, 4, benchmark) as runtime:
        check_room(runtime, opening)
        play(runtime, task, screen)


def play(runtime: Runtime, task: Task, screen: Screen) -> Episode:
    """Run one greedy episode of a task and show it while it goes on."""
    screen.task(task)
    watched = replace(runtime, spec=replace(runtime.spec, watcher=screen))
    episode = evaluate(watched, [task], seed=runtime.config.seed)[0]
    screen.end(episode)
    return episode


@dataclass(slots=True)
class Screen:
    """Writes the events of one episode to a terminal; implements `rollout.episode.Watcher`.

    Attributes:
        delay: Seconds to wait after each turn.
        step: Wait for Enter instead.
        started: A turn has been shown. Pictures are shown in blocks of colour where the terminal has all colours, else
            in words, the first one before the first action.
    """

    console: Console
    delay: float = 0.0
    step: bool = False
    started: bool = False

    def task(self, task: Task) -> None:
        """The task that is played."""
        self._say(f"task {task.id} ({task.kind})", "bold")

    def planned(self, blueprint: Blueprint) -> None:
        self._say("blueprint" if blueprint.valid else f"blueprint: {blueprint.malformed}", "bold")
        for number, goal in enumerate(blueprint.subgoals, 1):
            self._say(f"  {number}. {goal}")

    def subgoal(self, text: str) -> None:
        self.console.rule(Text(text), align="left")

    def turn(self, turn: Turn) -> None:
        if turn.action is not None:
            if isinstance(turn.observation, Scene) and not self.started:
                self._say(_indented(turn.anchor))
            self.started = True
            self._say(f"> {turn.action}", "cyan")
            self._say(_indented(in_words(turn.observation)), "red" if turn.invalid else "")
            if isinstance(turn.observation, Scene) and self.console.color_system == "truecolor":
                for image in turn.observation.pictures:
                    self.console.print(blocks(image))
        if turn.sub_done:
            self._say("<sub_done>", "green")
        if self.step:
            with contextlib.suppress(EOFError):
                input()
        else:
            time.sleep(self.delay)

    def end(self, episode: Episode) -> None:
        """How the episode ended."""
        style = "green" if episode.success else "red"
        self._say(f"{episode.stop} after {episode.env_steps} steps, return {episode.ret:.1f}", style)

    def _say(self, text: str, style: str = "") -> None:
        # Models and environments write brackets as they please; nothing of theirs is markup.
        self.console.print(text, style=style, markup=False)


def _indented(text: str) -> str:
    return "  " + text.replace("\n", "\n  ")


def pick(tasks: Sequence[Task], task_id: str | None) -> Task:
    """The task of this id, or of this number; the first one by default."""
    wanted = "0" if task_id is None else task_id
    if wanted.isdecimal() and int(wanted) < len(tasks):
        return tasks[int(wanted)]
    for task in tasks:
        if task.id == wanted:
            return task
    raise ConfigError(f"no task '{wanted}' in this split of {len(tasks)}; give an id or a number below {len(tasks)}")
