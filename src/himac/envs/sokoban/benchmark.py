"""Sokoban as a `Benchmark`: built-in sets or level files, a view of the board, and the solver's demonstrations."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import gymnasium

from himac.envs.base import SHORT_TEXTS
from himac.envs.paths import expand_variables
from himac.envs.sokoban.env import SokobanEnv
from himac.envs.sokoban.expert import demonstrate, random_pushes
from himac.envs.sokoban.level import Level
from himac.envs.sokoban.levels import BUILTIN_DIR, BUILTIN_SETS, BUILTIN_SPLITS, PACKED, TEXT, load_levels
from himac.envs.sokoban.state import STEP_REWARD
from himac.envs.sokoban.text import View, start_text
from himac.errors import ConfigError, DataError
from himac.types import Demonstration, PromptTexts, Task

BUILTIN_PREFIX = "builtin:"
_BUILTIN_NAMES = ", ".join(BUILTIN_PREFIX + name for name in BUILTIN_SETS)
# 15 is the published limit of the one-box setting; a level of the other sets may need more moves than that.
_STEP_LIMITS = {"short": 15, "long": 30, "two": 30, "three": 45}
_STEP_LIMIT = 120

_CELLS = "The board is a grid; r2c3 is row 2, column 3, counted from 0 at the top left with the outer walls."
_SYMBOLS = "Symbols: # wall, _ floor, . target, $ box, * box on a target, @ player, + player on a target."
_SPRITES = (
    "The picture shows the board from above: bricks are walls, a red ring is a target, a brown crate is a box, a green "
    "crate is a box on a target, and the figure in the blue shirt is the player."
)
_MOVES = (
    "Moves: up, down, left, right. A move into a box pushes it one cell, if the cell beyond is free. Boxes cannot be "
    "pulled, and two boxes cannot be pushed at once, so a box in a corner off a target can never be solved."
)


def _full_texts(legend: str) -> PromptTexts:
    rules = f"{_CELLS}\n{legend}\n{_MOVES}"
    return PromptTexts(
        planner=(
            f"You plan for an agent that plays Sokoban: every box must be pushed onto a target.\n{rules}\n"
            "Write the pushes that solve the level in order, numbered, one a line, such as "
            '"push box r3c2 left to r3c1": the box, the direction, and where it must end. The agent finds its own way '
            "to the box. Write nothing else."
        ),
        executor=(
            f"You are an agent that plays Sokoban and carry out one sub-goal of a larger plan.\n{rules}\n"
            "Walk to the side of the box you must push from, then push. Answer each observation with exactly one move. "
            "Reply <sub_done> as soon as the sub-goal is achieved."
        ),
        flat=(
            f"You are an agent that plays Sokoban: push every box onto a target.\n{rules}\n"
            "Answer each observation with exactly one move."
        ),
    )


class SokobanBenchmark:
    """Sokoban levels as tasks; a task's kind is its difficulty class (boxes, size, optimal length).

    Args:
        data: `builtin:short` (6x6, one box), `builtin:long` (6x6, one box, at least 8 moves), `builtin:two` (7x7, two
            boxes, at least 8 moves) or `builtin:three` (7x7, three boxes, at least 12 moves), a level file, or a folder
            with one file or folder of levels a split.
        view: `coordinates` lists positions, for small models; `grid` draws the board and explains the rules. With
            pictures it decides about the rules and how cells are called.
        noise: Probability of a shown mistake before each demonstrated move.
        observation: `image` shows pictures instead of text, in demonstrations too.
        image_size, marks: See `sprites.Renderer`.
    """

    name = "sokoban"
    reward_scale = 1.0

    def __init__(
        self,
        data: str = "builtin:short",
        view: View = "coordinates",
        noise: float = 0.0,
        observation: str = "text",
        image_size: int | Sequence[int] = 256,
        marks: bool = False,
    ) -> None:
        if view not in get_args(View):
            raise ConfigError(f"sokoban has no view {view!r}; choose one of {', '.join(get_args(View))}")
        if not isinstance(noise, int | float) or not 0.0 <= noise < 1.0:
            raise ConfigError(f"sokoban noise is {noise}; choose a probability from 0 to below 1")
        if not isinstance(data, str) or not data:
            raise ConfigError(f"sokoban data is {data!r}; give a path or one of {_BUILTIN_NAMES}")
        full = _full_texts(_SPRITES if observation == "image" else _SYMBOLS)
        self.texts = SHORT_TEXTS if view == "coordinates" else full
        named = data.removeprefix(BUILTIN_PREFIX) if data.startswith(BUILTIN_PREFIX) else ""
        self.step_limit = _STEP_LIMITS.get(named, _STEP_LIMIT)
        self._view = view
        self._noise = noise
        self._data = data
        self._sources = _find_splits(data)
        # What a step costs whatever it does. A box pushed off its target costs 1 more, but charging that for every step
        # not taken makes the end of a plan so dear that an agent which cannot win learns to wander instead.
        self.worst_step_reward = STEP_REWARD
        size = image_size if isinstance(image_size, int) else tuple(image_size)
        self._shown: dict[str, Any] = {"observation": observation, "image_size": size, "marks": marks}
        self._demo_env: SokobanEnv | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_demo_env": None}  # other processes load the levels themselves

    def splits(self) -> Sequence[str]:
        """`train`, `valid` and `test` of the built-in sets, or the splits found at the path."""
        return list(self._sources)

    def levels(self, split: str) -> list[Level]:
        """The levels of a split, sorted by id."""
        if split not in self._sources:
            raise ConfigError(f"{self._data} has no split {split!r}; choose one of {', '.join(self._sources)}")
        return list(_load(self._sources[split], split))

    def tasks(self, split: str) -> list[Task]:
        """One task a level, sorted by id."""
        return [Task(level.id, level.kind, {"level": level.id}) for level in self.levels(split)]

    def split_hash(self, split: str) -> str:
        """SHA-256 (hex) over the ids and boards of a split in the order of the ids."""
        digest = hashlib.sha256()
        for level in self.levels(split):
            digest.update(level.content)
        return digest.hexdigest()

    def make_env(self) -> gymnasium.Env[Any, Any]:
        """A new environment for every split's tasks; the number of steps is left to the rollout."""
        return self._env(**self._shown)

    def start_text(self, subgoal: str, overview: str, observation: str) -> str:
        """The text an executor segment starts with: targets, walls and the latest positions, or the grid."""
        return start_text(overview, observation)

    def demonstrate(self, task: Task, rng: random.Random) -> Demonstration:
        """The optimal solution, pushes named in the blueprint."""
        if self._demo_env is None:
            self._demo_env = self._env(**self._shown)
        return demonstrate(self._demo_env, task, rng, self._noise, self.step_limit)

    def random_blueprint(self, task: Task, rng: random.Random) -> tuple[str, ...]:
        """One to four pushes of random cells in random directions."""
        level = _all_levels(tuple(self._sources.items())).get(task.options["level"])
        if level is None:
            raise DataError(f"{self._data} has no level {task.options['level']!r}; use a task of this benchmark")
        return random_pushes(level, self._view, rng)

    def _env(self, **shown: Any) -> SokobanEnv:
        return SokobanEnv(tuple(_all_levels(tuple(self._sources.items())).values()), self._view, **shown)


@lru_cache(maxsize=16)
def _load(path: str, split: str) -> tuple[Level, ...]:
    # A text level is named by its file, and files of different splits may have the same name.
    return tuple(load_levels(path, f"{split}/"))


@lru_cache(maxsize=4)
def _all_levels(sources: tuple[tuple[str, str], ...]) -> dict[str, Level]:
    return {level.id: level for split, path in sources for level in _load(path, split)}


def _find_splits(data: str) -> dict[str, str]:
    """Split name -> path of its levels."""
    if data.startswith(BUILTIN_PREFIX):
        name = data.removeprefix(BUILTIN_PREFIX)
        if name not in BUILTIN_SETS:
            raise ConfigError(f"there are no built-in levels {data!r}; choose one of {_BUILTIN_NAMES}")
        return {split: str(BUILTIN_DIR / f"{split}-{name}{PACKED}") for split in BUILTIN_SPLITS}
    root = Path(expand_variables(data, "the levels", f"one of {_BUILTIN_NAMES}")).expanduser()
    if not root.exists():
        raise DataError(
            f"no Sokoban levels at {root}; give a level file, a folder of splits or one of {_BUILTIN_NAMES}"
        )
    if root.is_file():
        return {_stem(root): str(root)}
    found = {_stem(entry): entry for entry in sorted(root.iterdir()) if entry.is_dir() or _is_levels(entry)}
    if not found:
        raise DataError(f"{root} holds no split; expected folders or {TEXT} or {PACKED} files, named by their split")
    order = [split for split in BUILTIN_SPLITS if split in found] + sorted(found.keys() - set(BUILTIN_SPLITS))
    return {split: str(found[split]) for split in order}


def _is_levels(path: Path) -> bool:
    return path.name.endswith((TEXT, PACKED))


def _stem(path: Path) -> str:
    return path.name.removesuffix(PACKED).removesuffix(TEXT)
