"""Household chores as a `Benchmark`: K tasks to be done one after another in one room, so that K sets the horizon."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace

from himac.envs.alfworld.benchmark import AlfworldBenchmark
from himac.envs.alfworld.chore_env import ChoresEnv, step_limit
from himac.envs.alfworld.chore_list import affords, draw_list, plan_list
from himac.envs.alfworld.expert import demonstrate
from himac.envs.alfworld.games import Game
from himac.envs.alfworld.view import View
from himac.envs.base import TextEnv
from himac.errors import ConfigError, DataError
from himac.types import Demonstration, Task

_TRIES = 5
"""Lists that are drawn for a room before it is left out."""

_MORE = (
    " The task is a numbered list of chores. They must be done in this order: a chore counts only when those before it "
    "are done, and you are told when it does."
)


class ChoresBenchmark(AlfworldBenchmark):
    """The rooms of the ALFWorld games with lists of chores. A task is a room and a list that its id draws.

    Only lists that the scripted expert does within the step limit become tasks.

    Args:
        chores: How many chores a list has, or several numbers: then every room has a task of each.
        data, view, noise, hint_noise, prior: As in `AlfworldBenchmark`.
    """

    name = "chores"

    def __init__(
        self,
        chores: int | Sequence[int] = 4,
        data: str = "builtin:small",
        view: View = "compact",
        noise: float = 0.0,
        hint_noise: float = 0.0,
        prior: str | None = None,
    ) -> None:
        counts = tuple(chores) if isinstance(chores, list | tuple) else (chores,)
        if not counts or not all(type(count) is int and count > 0 for count in counts):
            raise ConfigError(f"chores is {chores!r}; give a number from 1 or several of them, such as [1, 2, 4].")
        super().__init__(data, view, noise, hint_noise, prior)
        self.counts = tuple(sorted(set(counts)))
        self.step_limit = step_limit(max(self.counts))
        if view == "full":
            self.texts = replace(
                self.texts, planner=self.texts.planner + _MORE, flat=self.texts.flat.replace("\n", _MORE + "\n", 1)
            )
        self._drawn: dict[str, list[Task]] = {}

    def tasks(self, split: str) -> list[Task]:
        """One task a room and number of chores, sorted by id; `kind` is `chores-K`.

        A room is left out where the expert does none of a few lists.
        """
        if split not in self._drawn:
            drawn = [self._draw(game, count) for game in self.games(split) for count in self.counts]
            found = sorted((task for task in drawn if task is not None), key=lambda task: task.id)
            for count in self.counts:
                if not any(len(task.options["chores"]) == count for task in found):
                    raise DataError(f"no room of {self._data} in {split} affords {count} chores; ask for fewer.")
            self._drawn[split] = found
        return list(self._drawn[split])

    def split_hash(self, split: str) -> str:
        """SHA-256 (hex) over the ids, problems and lists of a split in the order of the ids."""
        problems = {game.id: game.problem for game in self.games(split)}
        digest = hashlib.sha256()
        for task in self.tasks(split):
            digest.update(f"{task.id}\n{problems[task.options['game']]}\n{task.options['chores']}\n".encode())
        return digest.hexdigest()

    def make_env(self) -> TextEnv:
        """A new environment for every split's tasks, in the benchmark's view."""
        return ChoresEnv(self.every_game(), self.view)

    def demonstrate(self, task: Task, rng: random.Random) -> Demonstration:
        """The scripted expert's episode."""
        return self._play(task, rng, self.noise, self.hint_noise)

    def random_blueprint(self, task: Task, rng: random.Random) -> tuple[str, ...]:
        """Blueprints of random chores, as many as the task has."""
        blueprints = (super(ChoresBenchmark, self).random_blueprint(task, rng) for _ in task.options["chores"])
        return tuple(subgoal for blueprint in blueprints for subgoal in blueprint)

    def _draw(self, game: Game, count: int) -> Task | None:
        kind = f"chores-{count}"
        identifier = f"{kind}/{game.id}"
        rng = random.Random(identifier)
        afforded = affords(game.world)
        for _ in range(_TRIES):
            chores = draw_list(afforded, count, rng)
            if chores is None:
                continue
            task = Task(identifier, kind, {"game": game.id, "chores": chores})
            if self._play(task, rng, 0.0, 0.0).success:
                return task
        return None

    def _play(self, task: Task, rng: random.Random, noise: float, hint_noise: float) -> Demonstration:
        limit = step_limit(len(task.options["chores"]))
        return demonstrate(self.demo_env, task, rng, self.prior, noise, hint_noise, limit, plan_list)
