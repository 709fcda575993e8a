"""`himac play` shows each turn before the next one is generated."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.cli.play import Screen, pick, play, play_command
from himac.cli.replay import replay
from himac.config_file import load_config
from himac.envs.pool import EnvPool
from himac.errors import ConfigError, DataError
from himac.evaluation.records import write_results
from himac.rollout.collect import Collector
from himac.rollout.episode import EpisodeSpec
from himac.rollout.runtime import Runtime
from himac.scene import observed
from himac.types import StopReason, Task, Turn
from support.toy import ByteTokenizer, ColourBenchmark, ScriptedEngine

TASK = Task("red-blue", "red", {"colours": ["red", "blue"]})


class Scripted:
    """Runs a toy episode with given replies and keeps what was on the screen whenever the model was asked."""

    def __init__(self, replies: list[str], agent: str = "hierarchical") -> None:
        self.output = io.StringIO()
        self.seen: list[str] = []
        script: Iterator[str] = iter(replies)

        def reply(prompt: str, request: Any) -> str:
            self.seen.append(self.output.getvalue())
            return next(script)

        config = load_config(None, [f"agent.name={agent}", "env.step_limit=6", "agent.max_context=400"])
        benchmark, engine = ColourBenchmark(), ScriptedEngine(reply)
        build = HierarchicalAgent if agent == "hierarchical" else FlatAgent
        with EnvPool(benchmark.make_env) as pool:
            runtime = Runtime(
                config=config,
                benchmark=benchmark,
                policy=None,
                engine=engine,
                agent=build(ByteTokenizer(), benchmark.texts, config.agent),
                pool=pool,
                collector=Collector(engine, pool),
                spec=EpisodeSpec(benchmark, config, 400),
            )
            self.episode = play(runtime, TASK, Screen(Console(file=self.output, width=100, highlight=False)))
            assert runtime.spec.watcher is None


def test_everything_is_shown_before_the_model_is_asked_again() -> None:
    shown = Scripted(["1. say red\n2. say blue", "fly", "red<sub_done>", "blue"])
    assert shown.episode.stop is StopReason.SUCCESS
    before_plan, before_fly, before_red, before_blue = shown.seen
    assert before_plan.splitlines() == ["task red-blue (red)"]
    assert "1. say red" in before_fly
    assert "2. say blue" in before_fly
    assert "> fly" not in before_fly
    assert before_red.endswith("> fly\n  Nothing happens.\n")
    assert "> red\n  you said red\n<sub_done>\n" in before_blue
    assert before_blue.splitlines()[-1].startswith("say blue ")
    assert "success" not in before_blue
    assert shown.output.getvalue().splitlines()[-1] == "success after 3 steps, return 9.9"


def test_a_flat_agent_has_no_blueprint() -> None:
    shown = Scripted(["red", "blue"], agent="flat")
    assert "> red\n  you said red\n" in shown.seen[1]
    assert "blueprint" not in shown.output.getvalue()


def test_a_picture_is_shown_in_words() -> None:
    output = io.StringIO()
    screen = Screen(Console(file=output, width=100, highlight=False))
    board = observed(np.zeros((2, 2, 3), np.uint8), caption="###\n#@#")
    for action in ("up", "down"):
        screen.turn(Turn(action, board, 0.0, False, False, 0, 0, anchor="###\n#_#"))
    after = "  ###\n  #@#\n"
    assert output.getvalue() == f"  ###\n  #_#\n> up\n{after}> down\n{after}"


def test_brackets_of_the_model_are_text() -> None:
    shown = Scripted(["1. [/bold] say [red]", "[/]"] + ["gold"] * 9)
    text = shown.output.getvalue()
    assert "1. [/bold] say [red]" in text
    assert "> [/]" in text


def test_a_malformed_blueprint_is_named() -> None:
    shown = Scripted(["no plan"])
    assert "blueprint: no numbered list" in shown.output.getvalue()
    assert shown.episode.stop is StopReason.MALFORMED_BLUEPRINT


def test_tasks_by_number_and_id() -> None:
    tasks = ColourBenchmark().tasks("valid")
    assert pick(tasks, None) == tasks[0]
    assert pick(tasks, "2") == tasks[2]
    assert pick(tasks, tasks[3].id) == tasks[3]
    for wrong in ("99", "²", "nothing"):
        with pytest.raises(ConfigError, match="no task"):
            pick(tasks, wrong)
    with pytest.raises(ConfigError, match="no task"):
        pick([], None)


def test_a_recorded_episode_is_shown_as_it_was(tmp_path: Path) -> None:
    played = Scripted(["1. say red\n2. say blue", "fly", "red<sub_done>", "blue"])
    folder = tmp_path / "run" / "eval" / "iteration-000003"
    write_results(folder / "results.jsonl", [played.episode], "h")
    output = io.StringIO()
    replay(tmp_path / "run", None, Screen(Console(file=output, width=100, highlight=False)))
    assert output.getvalue() == played.output.getvalue()
    with pytest.raises(ConfigError, match="no task 'other'"):
        replay(folder, "other", Screen(Console(file=output)))
    with pytest.raises(DataError, match="holds no recorded episodes"):
        replay(tmp_path, None, Screen(Console(file=output)))


def test_pictures_are_blocks_of_colour_where_there_are_colours() -> None:
    image = np.zeros((4, 2, 3), np.uint8)
    image[0, 0] = (255, 0, 0)
    scene = observed({"image": image})
    output = io.StringIO()
    screen = Screen(Console(file=output, width=60, force_terminal=True, color_system="truecolor"))
    screen.turn(Turn("up", scene, 0.0, False, False, 0, 0, "start"))
    assert output.getvalue().count("▀") == 4  # 2 columns, 4 rows of pixels
    assert "38;2;255;0;0" in output.getvalue()
    plain = io.StringIO()
    Screen(Console(file=plain, width=60)).turn(Turn("up", scene, 0.0, False, False, 0, 0, "start"))
    assert "▀" not in plain.getvalue()


def test_stepping_needs_a_terminal(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a terminal"):
        play_command(tmp_path, [], None, None, None, 0.0, step=True)
