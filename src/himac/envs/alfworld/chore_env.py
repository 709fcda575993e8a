"""A room with a list of chores as a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium

from himac.envs.alfworld.chore_list import Chore, write_list
from himac.envs.alfworld.env import AlfworldEnv
from himac.envs.alfworld.games import Game
from himac.envs.alfworld.goals import Goal
from himac.envs.alfworld.view import View, apply_view, compact
from himac.errors import ConfigError

STEPS_A_CHORE = 16
STEPS_MORE = 8


def step_limit(count: int) -> int:
    """Steps allowed for `count` chores."""
    return STEPS_A_CHORE * count + STEPS_MORE


class ChoresEnv(gymnasium.Wrapper[str, str, str, str]):
    """Plays the rooms of ALFWorld games with other goals, one after another.

    `reset(options={"game": <id>, "chores": <list of Chore>})` names the room and the list. A chore counts when its goal
    holds while it is the first one left; what is undone later stays counted. Each of K chores pays 1 / K. The episode
    terminates when all are done, and is truncated after `step_limit(K)` steps.

    `info` has the keys of `AlfworldEnv`, `overview` as in `ViewWrapper`, and `score`: percent of the chores done.
    """

    def __init__(self, games: Sequence[Game], view: View = "compact") -> None:
        self._inner = AlfworldEnv(games)
        super().__init__(self._inner)
        self.view: View = view
        self._chores: tuple[Chore, ...] = ()
        self._goals: list[Goal] = []
        self._done = 0
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start with the room and the chores that `options` name."""
        given = dict(options or {})
        self._chores = tuple(Chore(*chore) for chore in given.pop("chores", ()))
        if not self._chores:
            raise ConfigError("reset needs the option 'chores', a list of at least one; use Task.options of a task.")
        _, info = self._inner.reset(seed=seed, options=given)
        self._goals = self._goals_of(self._chores)
        self._done = self._steps = 0
        instruction = write_list(self._chores)
        opening = self._inner.state.opening(instruction)
        return apply_view(self.view, opening), self._told(info) | {
            "instruction": instruction,
            "overview": compact(opening),
        }

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Carry out a command. Where it completes a chore, a line before the answer says so and what is in the hand."""
        feedback, _, _, _, info = self._inner.step(action)
        self._steps += 1
        before, total = self._done, len(self._goals)
        while self._done < total and self._inner.state.holds(self._goals[self._done]):
            self._done += 1
        shown = apply_view(self.view, feedback)
        if self._done > before:
            held = self._inner.state.held
            carried = f" You carry the {self._inner.world.objects[held]}." if held >= 0 else ""
            shown = f"Chore {self._done} of {total} is done.{carried}\n{shown}"
        won = self._done == total
        over = not won and self._steps >= step_limit(total)
        return shown, (self._done - before) / total, won, over, self._told(info)

    def clone_state(self) -> tuple[Any, ...]:
        """The state of the room, the chores, how many are done, and the steps taken."""
        return self._inner.clone_state(), self._chores, self._done, self._steps

    def restore_state(self, state: tuple[Any, ...]) -> None:
        """Go on in the room as it was."""
        room, self._chores, self._done, self._steps = state
        self._inner.restore_state(room)
        self._goals = self._goals_of(self._chores)

    def _goals_of(self, chores: Sequence[Chore]) -> list[Goal]:
        return [self._inner.world.goal_of(chore.kind, chore.thing, chore.place) for chore in chores]

    def _told(self, info: dict[str, Any]) -> dict[str, Any]:
        total = len(self._goals)
        own = {"task_type": f"chores-{total}", "won": self._done == total, "score": 100.0 * self._done / total}
        return info | own
