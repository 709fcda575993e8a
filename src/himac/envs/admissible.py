"""Tells the agent which actions the environment would take, where the environment knows them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, SupportsFloat

import gymnasium

from himac.scene import Content, observed


class AdmissibleWrapper(gymnasium.Wrapper[Any, str, Any, str]):
    """Adds `info["admissible_commands"]` to every observation, below its text or picture."""

    keeps_no_state = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Content, dict[str, Any]]:
        """Reset the inner environment."""
        observation, info = self.env.reset(seed=seed, options=options)
        return _told(observation, info), info

    def step(self, action: str) -> tuple[Content, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the inner environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return _told(observation, info), reward, terminated, truncated, info


def with_admissible(make_env: Callable[[], gymnasium.Env[Any, Any]]) -> Callable[[], gymnasium.Env[Any, Any]]:
    """The factory whose environments are wrapped; picklable when `make_env` is."""
    return partial(_wrapped, make_env)


def _wrapped(make_env: Callable[[], gymnasium.Env[Any, Any]]) -> gymnasium.Env[Any, Any]:
    return AdmissibleWrapper(make_env())


def _told(observation: Any, info: dict[str, Any]) -> Content:
    commands = info.get("admissible_commands")
    seen = observed(observation)
    return seen + f"\nAdmissible actions: {', '.join(commands)}" if commands else seen
