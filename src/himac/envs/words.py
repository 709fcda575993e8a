"""Words for environments that take numbered actions or observe something else than text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium

from himac.errors import ConfigError

Describe = Callable[[Any, gymnasium.Env[Any, Any]], str]
"""The observation, and the environment it comes from, in words."""


class WordsEnv(gymnasium.Wrapper[Any, str, Any, Any]):
    """Actions by their names, observations as a description.

    A word that names no action is rejected and the environment is not stepped. An action after which nothing is
    described otherwise and nothing is paid is `invalid` too: a bump into a wall.

    Args:
        actions: Names of the numbers of a `Discrete` action space, in order.
        describe: Without it the observation stays as it is.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], actions: Sequence[str] = (), describe: Describe | None = None
    ) -> None:
        super().__init__(env)
        space = env.action_space
        if actions:
            count = space.n if isinstance(space, gymnasium.spaces.Discrete) else None
            if count != len(actions) or len(set(actions)) != len(actions):
                raise ConfigError(
                    f"env.kwargs.actions names {len(actions)} actions, but the environment takes {space}; give one "
                    "name for each number of a Discrete action space, in their order"
                )
            first = int(space.start) if isinstance(space, gymnasium.spaces.Discrete) else 0
            self.action_space = gymnasium.spaces.Text(max(map(len, actions)))
            self._numbers = {name: number for number, name in enumerate(actions, first)}
        else:
            self._numbers = {}
        self._describe = describe
        self._seen: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self._seen = self._told(observation)
        mission = observation.get("mission") if isinstance(observation, Mapping) else None
        return self._seen, ({} if mission is None else {"instruction": str(mission)}) | dict(info)

    def step(self, action: str) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        number: Any = self._numbers.get(action.strip()) if self._numbers else action
        if number is None:
            return self._seen, 0.0, False, False, {"invalid": True}
        observation, reward, terminated, truncated, info = self.env.step(number)
        before, self._seen = self._seen, self._told(observation)
        idle = not (terminated or truncated or reward) and self._describe is not None and self._seen == before
        return self._seen, float(reward), terminated, truncated, {"invalid": idle} | dict(info)

    def _told(self, observation: Any) -> Any:
        return observation if self._describe is None else self._describe(observation, self.env)
