"""Gymnasium ids of environments that do not work: `gym:support.broken_envs:Raises-v0`."""

from __future__ import annotations

import time
from typing import Any

import gymnasium


class Raises(gymnasium.Env[str, str]):
    """Raises or hangs where it is told to."""

    observation_space = gymnasium.spaces.Text(200)
    action_space = gymnasium.spaces.Text(200)

    def __init__(self, at: str = "reset", hang: bool = False) -> None:
        self.at, self.hang = at, hang
        self._maybe("make")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._maybe("reset")
        return 3 if self.at == "number" else "a room", {}

    def step(self, action: str) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._maybe("step")
        return "a room", 0.0, False, False, {}

    def _maybe(self, place: str) -> None:
        if place == self.at:
            time.sleep(1000 if self.hang else 0)
            raise RuntimeError(f"the door\nis stuck at {place}")


gymnasium.register("Raises-v0", entry_point=Raises, disable_env_checker=True)
