"""Words for numbered actions and for what MiniGrid shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest

from himac.envs.minigrid import ACTIONS, describe
from himac.envs.registry import make_benchmark
from himac.envs.words import WordsEnv
from himac.errors import ConfigError, MissingDependencyError


class Corridor(gymnasium.Env[Any, Any]):
    """Walk from 0 to 3; numbers in, numbers out."""

    action_space = gymnasium.spaces.Discrete(2, start=1)
    observation_space = gymnasium.spaces.Dict({"place": gymnasium.spaces.Discrete(4)})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.place = 0
        return {"place": 0, "mission": "reach the end"}, {}

    def step(self, action: int) -> Any:
        self.place = min(max(self.place + (1 if action == 2 else -1), 0), 3)
        return {"place": self.place}, float(self.place == 3), self.place == 3, False, {}


def told(observation: Any, env: Any) -> str:
    return f"place {observation['place']} of {env.unwrapped.action_space.n + 1}"


gymnasium.register("himac-test/Corridor-v0", Corridor, disable_env_checker=True)
KWARGS = {"actions": ["back", "on"], "describe": f"{__name__}:told"}


def test_numbers_become_words_and_a_bump_is_invalid() -> None:
    env = make_benchmark("gym:himac-test/Corridor-v0", **KWARGS).make_env()
    seen, info = env.reset(seed=0)
    assert (seen, info["instruction"]) == ("place 0 of 3", "reach the end")
    for action, place, invalid in (("back", 0, True), ("on", 1, False), ("jump", 1, True), (" on ", 2, False)):
        seen, _, terminated, _, info = env.step(action)
        assert (seen, info["invalid"], terminated) == (f"place {place} of 3", invalid, False)
    _, reward, terminated, _, info = env.step("on")
    assert (reward, terminated, info["won"], info["invalid"]) == (1.0, True, True, False)


def test_names_that_do_not_fit() -> None:
    for names in (["back"], ["on", "on"]):
        with pytest.raises(ConfigError, match="one name for each number"):
            WordsEnv(Corridor(), names)
    with pytest.raises(ConfigError, match=r"describer .* cannot be loaded"):
        make_benchmark("gym:himac-test/Corridor-v0", describe=f"{__name__}:nobody")
    with pytest.raises(MissingDependencyError, match="needs the module 'nowhere'"):
        make_benchmark("gym:himac-test/Corridor-v0", describe="nowhere:f")
    with pytest.raises(ConfigError, match=r"env\.kwargs\.actions"):
        make_benchmark("gym:himac-test/Corridor-v0").make_env()


def test_what_minigrid_shows() -> None:
    """The agent stands at the middle of the last row and looks toward the first one."""
    image = np.ones((7, 7, 3), np.uint8)  # empty
    image[3, 6] = (5, 2, 0)  # what the agent carries is shown at its own place
    image[3, 3] = (2, 5, 0)  # a wall three ahead
    image[2, 6] = (6, 1, 0)  # a green ball beside it
    image[5, 4] = (4, 4, 2)  # a locked yellow door
    image[0, 0] = (8, 1, 0)
    env = SimpleNamespace(unwrapped=SimpleNamespace(carrying=SimpleNamespace(color="blue", type="key")))
    assert describe({"image": image, "direction": 3}, env) == (
        "You see green ball 1 left; locked yellow door 2 ahead, 2 right; goal 6 ahead, 3 left. Free ahead: 2. "
        "You face north. You carry a blue key."
    )
    image[:] = 0
    image[3, 5] = (4, 0, 0)  # an open door does not block
    env.unwrapped.carrying = None
    assert describe({"image": image, "direction": 0}, env) == (
        "You see open red door 1 ahead. Free ahead: 1. You face east."
    )


def test_minigrid_itself() -> None:
    kwargs = {"actions": list(ACTIONS), "describe": "himac.envs.minigrid:describe"}
    env = make_benchmark("gym:minigrid:BabyAI-GoToLocal-v0", **kwargs).make_env()
    seen, info = env.reset(seed=3)
    assert info["instruction"].startswith("go to ")
    assert seen.startswith("You see ")
