"""Household games in which every command earns something of its own.

Whatever a model does, its episodes differ in their returns then, so that an update has something to learn: a model as
small as those of the tests succeeds nowhere.
"""

from __future__ import annotations

import zlib
from typing import Any

import gymnasium

from himac.envs.alfworld.benchmark import AlfworldBenchmark
from himac.envs.base import TextEnv


class PayingHousehold(AlfworldBenchmark):
    """The games of `alfworld`, with up to 0.2 for each command."""

    def make_env(self) -> TextEnv:
        return Paying(super().make_env())


class Paying(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Pays for the words of an action, by their checksum."""

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self.env.step(action)
        return observation, float(reward) + zlib.crc32(str(action).encode()) % 97 / 485, *rest
