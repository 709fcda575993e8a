"""ALFWorld as a `Benchmark`: built-in or official games, a view of their text, and the scripted expert."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from himac.envs.alfworld.env import AlfworldEnv
from himac.envs.alfworld.expert import HINTS, demonstrate
from himac.envs.alfworld.games import Game, load_games
from himac.envs.alfworld.goals import TITLES
from himac.envs.alfworld.prior import Prior, learn_prior
from himac.envs.alfworld.view import View, ViewWrapper, start_text
from himac.envs.base import SHORT_TEXTS, TextEnv
from himac.envs.paths import expand_variables
from himac.errors import ConfigError, DataError
from himac.types import Demonstration, PromptTexts, Task

BUILTIN_DIR = Path(__file__).with_name("builtin")
BUILTIN_PREFIX = "builtin:"
SIZES = ("small", "medium", "large")
_BUILTIN_NAMES = "builtin:small, builtin:medium or builtin:large"

_OFFICIAL_SPLITS = ("train", "valid_train", "valid_seen", "valid_unseen")
_PACKED = (".jsonl.xz", ".jsonl")
_TREE = "json_2.1.1"

_COMMANDS = """Commands:
  look: look around your current location
  inventory: check what you carry
  go to (receptacle): move to a receptacle
  open (receptacle) / close (receptacle): open or close a receptacle
  take (object) from (receptacle): pick up an object; you can carry only one
  move (object) to (receptacle): put the object you carry in or on a receptacle
  examine (something): look at a receptacle in front of you or at the object you carry
  use (object): turn on a lamp
  heat (object) with (receptacle): heat the object you carry with a microwave
  clean (object) with (receptacle): clean the object you carry with a sinkbasin
  cool (object) with (receptacle): cool the object you carry with a fridge
Objects and receptacles are named with their number, as in "take apple 1 from fridge 1". A command that cannot be \
carried out is answered by "Nothing happens."; look around or try another one then."""
_FULL_TEXTS = PromptTexts(
    planner=(
        "You plan for an agent in a simulated household. You are given the task and a first look at the room. Objects "
        "may lie in or on any receptacle, and closed ones must be opened to look inside. Write the sub-goals that "
        "solve the task in order, numbered, one a line, each a short phrase such as "
        '"take apple (look in fridge, countertop, garbagecan)", "clean apple with sinkbasin", "heat apple with '
        'microwave", "cool apple with fridge", "put apple in diningtable" or "use desklamp (look in desk, sidetable)". '
        "Name the kinds of places to search, the most likely ones first. Write nothing else."
    ),
    executor=(
        "You are an agent in a simulated household and carry out one sub-goal of a larger plan. You are given the "
        "sub-goal and the current observation; answer each observation with exactly one command. Reply <sub_done> "
        f"as soon as the sub-goal is achieved.\n{_COMMANDS}"
    ),
    flat=(
        "You are an agent in a simulated household. You are given a task and a first look at the room; answer each "
        f"observation with exactly one command until the task is solved.\n{_COMMANDS}"
    ),
)


class AlfworldBenchmark:
    """The ALFWorld household tasks.

    Args:
        data: `builtin:small`, `builtin:medium` or `builtin:large` for the games that come with the package, or a
            path for `load_games` (the official data folder, or packed files).
        view: `compact` shortens the text for small models, `full` leaves it as the environment wrote it.
        noise: Probability of a shown mistake before each demonstrated action.
        hint_noise: Probability that a demonstrated sub-goal names other places than the most promising ones.
        prior: A file written with `Prior.to_json`; by default the prior is counted from the train split.
    """

    kind_titles = TITLES
    name = "alfworld"
    step_limit = 50
    reward_scale = 10.0
    worst_step_reward = 0.0

    def __init__(
        self,
        data: str = "builtin:small",
        view: View = "compact",
        noise: float = 0.0,
        hint_noise: float = 0.0,
        prior: str | None = None,
    ) -> None:
        if view not in ("compact", "full"):
            raise ConfigError(f"alfworld has no view {view!r}; choose compact or full")
        if not isinstance(data, str) or not data:
            raise ConfigError(f"alfworld data is {data!r}; give a folder or one of {_BUILTIN_NAMES}")
        for key, value in (("noise", noise), ("hint_noise", hint_noise)):
            if not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
                raise ConfigError(f"alfworld {key} is {value}; choose a probability from 0 to 1")
        self.view: View = view
        self.noise = noise
        self.hint_noise = hint_noise
        self.texts = SHORT_TEXTS if view == "compact" else _FULL_TEXTS
        self._sources = _find_splits(data)
        self._data = data
        self._prior = Prior.load(prior) if prior is not None else None
        self._demo_env: TextEnv | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_demo_env": None}  # other processes load the games themselves

    def splits(self) -> Sequence[str]:
        """`train` and `valid` of the built-in games, or the splits found at the path."""
        return list(self._sources)

    def games(self, split: str) -> list[Game]:
        """The games of a split, sorted by id."""
        if split not in self._sources:
            raise ConfigError(f"{self._data} has no split {split!r}; choose one of {', '.join(self._sources)}")
        return list(_load(*self._sources[split]).values())

    def tasks(self, split: str) -> list[Task]:
        """One task a game, sorted by id; `kind` is the task type."""
        return [Task(game.id, game.task_type, {"game": game.id}) for game in self.games(split)]

    def split_hash(self, split: str) -> str:
        """SHA-256 (hex) over the ids and problems of a split in the order of the ids."""
        digest = hashlib.sha256()
        for game in self.games(split):
            digest.update(f"{game.id}\n{game.problem}\n".encode())
        return digest.hexdigest()

    def make_env(self) -> TextEnv:
        """A new environment for every split's tasks, in the benchmark's view."""
        return ViewWrapper(AlfworldEnv(self.every_game()), self.view)

    def every_game(self) -> tuple[Game, ...]:
        """The games of all splits, for an environment."""
        return _all_games(tuple(self._sources.values()))

    @property
    def demo_env(self) -> TextEnv:
        """The environment that demonstrations are played in, made on first use."""
        if self._demo_env is None:
            self._demo_env = self.make_env()
        return self._demo_env

    @property
    def prior(self) -> Prior:
        """Where things usually lie: from the given file, else counted from the train split on first use."""
        if self._prior is None:
            if "train" not in self._sources:
                raise ConfigError(f"{self._data} has no train split to count a prior from; give a prior file")
            self._prior = _learn(self._sources["train"])
        return self._prior

    def demonstrate(self, task: Task, rng: random.Random) -> Demonstration:
        """The scripted expert's episode."""
        return demonstrate(self.demo_env, task, rng, self.prior, self.noise, self.hint_noise, self.step_limit)

    def random_blueprint(self, task: Task, rng: random.Random) -> tuple[str, ...]:
        """Sub-goals in the expert's forms with random objects and places."""
        prior = self.prior.chances
        thing = rng.choice(sorted(prior))
        places = sorted({place for row in prior.values() for place in row})

        def look_in() -> str:
            return ", ".join(rng.sample(places, min(HINTS, len(places))))

        changes = [(), *(("clean", "sinkbasin"), ("heat", "microwave"), ("cool", "fridge"))]
        change = rng.choice(changes)
        middle = [f"{change[0]} {thing} with {change[1]}"] if change else []
        subgoals = [f"take {thing} (look in {look_in()})", *middle, f"put {thing} in {rng.choice(places)}"]
        if rng.random() < 0.25:
            return (*subgoals[:-1], f"use desklamp (look in {look_in()})")
        return tuple(subgoals)

    def start_text(self, subgoal: str, overview: str, observation: str) -> str:
        """The text an executor segment starts with; see `view.start_text`."""
        return start_text(subgoal, overview, observation)


@lru_cache(maxsize=8)
def _load(path: str, split: str) -> dict[str, Game]:
    return {game.id: game for game in load_games(path, split)}


@lru_cache(maxsize=8)
def _all_games(sources: tuple[tuple[str, str], ...]) -> tuple[Game, ...]:
    # A game may be in two splits of the user's making; the environment needs it once.
    return tuple({identifier: game for source in sources for identifier, game in _load(*source).items()}.values())


@lru_cache(maxsize=8)
def _learn(source: tuple[str, str]) -> Prior:
    return learn_prior(_load(*source).values())


def _find_splits(data: str) -> dict[str, tuple[str, str]]:
    """Split name -> arguments of `load_games`."""
    if data.startswith(BUILTIN_PREFIX):
        size = data.removeprefix(BUILTIN_PREFIX)
        if size not in SIZES:
            raise ConfigError(
                f"there are no built-in games {data!r}; choose one of {', '.join('builtin:' + s for s in SIZES)}"
            )
        return {split: (str(BUILTIN_DIR), f"{split}-{size}") for split in ("train", "valid")}
    expanded = expand_variables(data, "the official games", f"one of {_BUILTIN_NAMES}")
    root = Path(expanded).expanduser()
    if not root.exists():
        raise DataError(
            f"no ALFWorld data at {expanded}; give the folder of the official games or one of {_BUILTIN_NAMES}"
        )
    if root.is_file():
        split = root.name.split(".", 1)[0]
        return {split: (str(root), split)}
    tree = root / _TREE if (root / _TREE).is_dir() else root
    packed = {file.name.split(".", 1)[0] for file in root.iterdir() if file.name.endswith(_PACKED)}
    found = packed | {split for split in _OFFICIAL_SPLITS if (tree / split).is_dir()}
    if not found:
        raise DataError(
            f"{root} holds no split; expected folders or .jsonl.xz files named {', '.join(_OFFICIAL_SPLITS)}"
        )
    order = [split for split in _OFFICIAL_SPLITS if split in found] + sorted(found - set(_OFFICIAL_SPLITS))
    return {split: (str(root), split) for split in order}
