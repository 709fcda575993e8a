"""Admissible actions are told with every observation, in workers too."""

from __future__ import annotations

import pickle

from himac.envs.admissible import with_admissible
from himac.envs.alfworld.benchmark import AlfworldBenchmark
from himac.envs.sokoban.benchmark import SokobanBenchmark
from himac.scene import Image
from support.toy import ColourEnv


def test_every_observation_lists_them() -> None:
    benchmark = AlfworldBenchmark(view="full")
    env = with_admissible(benchmark.make_env)()
    task = benchmark.tasks("valid")[0]
    observation, info = env.reset(options=dict(task.options))
    assert observation.endswith("\nAdmissible actions: " + ", ".join(info["admissible_commands"]))
    action = info["admissible_commands"][0]
    observation, _, _, _, info = env.step(action)
    assert observation.endswith("\nAdmissible actions: " + ", ".join(info["admissible_commands"]))
    assert observation.count("Admissible") == 1


def test_they_stand_below_a_picture() -> None:
    env = with_admissible(SokobanBenchmark(observation="image", image_size=[6, 6]).make_env)()
    for seen, info in (env.reset(options={"level": 0}), env.step("up")[0::4]):
        board, words = seen.parts
        assert isinstance(board, Image)
        assert words == "\nAdmissible actions: " + ", ".join(info["admissible_commands"])


def test_environments_without_them_are_left_alone() -> None:
    env = with_admissible(ColourEnv)()
    assert env.reset(options={"colours": ["red", "blue"]})[0] == "start"
    assert env.step("red")[0] == "you said red"


def test_the_factory_goes_to_worker_processes() -> None:
    assert isinstance(pickle.loads(pickle.dumps(with_admissible(ColourEnv)))().unwrapped, ColourEnv)
