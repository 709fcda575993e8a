"""Sokoban as a Gymnasium environment, equal to the original in states, rewards and ends; text or pictures."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, Space, Text

from himac.envs.sokoban.level import Level
from himac.envs.sokoban.sprites import Pixels, Renderer
from himac.envs.sokoban.state import DIRECTIONS, State
from himac.envs.sokoban.text import View, board_words, fixed_text, grid_text, moving_text
from himac.errors import ConfigError, EnvironmentFailureError

Observation = Literal["text", "image"]
Actions = Literal["move", "original"]

NO_OPERATION = "no operation"
ORIGINAL_ACTIONS = (NO_OPERATION, *(f"push {name}" for name in DIRECTIONS), *(f"move {name}" for name in DIRECTIONS))
"""The nine actions of the original: a push also moves where there is nothing to push, a move never pushes."""

_MAX_TEXT = 16384
_MAX_ACTION = 1024
_PARSED: dict[Actions, dict[str, tuple[str, bool] | None]] = {
    "move": {name: (name, True) for name in DIRECTIONS},
    "original": {
        name: None if name == NO_OPERATION else (name.split()[1], name.startswith("push")) for name in ORIGINAL_ACTIONS
    },
}


class SokobanEnv(gymnasium.Env[Any, Any]):
    """Plays Sokoban levels; one environment can play any of its levels, one after another.

    `reset(options={"level": <id or index>})` selects the level; without options it is drawn with the environment's
    random generator. A step pays -0.1, +1 for a box that got onto a target, -1 for one that left it, and +10 while
    every target has a box. `terminated` says that the level is solved, `truncated` that `max_steps` are used up. As in
    the original, play may go on after the end. A move that changes nothing, or no known action at all, is flagged by
    `info["invalid"]` and counts as a step.

    `info` has the keys `instruction`, `admissible_commands` (sorted, a new list each time), `won`, `score` (the sum of
    rewards), `level` (the id), `anchor` (the board as text), `overview` (what never changes, in view `coordinates`
    as text), `boxes_on_target` and, after `step`, `invalid`, `moved_player` and `moved_box`.

    Args:
        view: How text shows the board; see `himac.envs.sokoban.text`.
        observation: `text`, or `image` for uint8 RGB pictures.
        actions: `move` (up, down, left, right; a move into a box pushes it) or `original` (0 to 8 or their names).
        max_steps: Steps after which an episode is truncated; no limit by default.
        render_mode: `ansi` for the grid, `rgb_array` for a picture.
        image_size, marks: See `Renderer`.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(
        self,
        levels: Sequence[Level],
        view: View = "grid",
        observation: Observation = "text",
        actions: Actions = "move",
        max_steps: int | None = None,
        render_mode: str | None = None,
        image_size: int | tuple[int, int] = 256,
        marks: bool = False,
    ) -> None:
        if not levels:
            raise ConfigError("a Sokoban environment needs at least one level; pass the result of load_levels.")
        for name, value, known in (
            ("view", view, get_args(View)),
            ("observation", observation, get_args(Observation)),
            ("actions", actions, get_args(Actions)),
            ("render_mode", render_mode, (None, *self.metadata["render_modes"])),
        ):
            if value not in known:
                raise ConfigError(f"Sokoban has no {name} {value!r}; choose one of {', '.join(map(str, known))}.")
        if max_steps is not None and max_steps < 1:
            raise ConfigError(f"max_steps of Sokoban is {max_steps}; choose 1 or more, or None for no limit.")
        self.levels = levels
        self.view = view
        self.observation = observation
        self.render_mode = render_mode
        self._max_steps = max_steps
        self._image_size = image_size
        self._marks = marks
        self._actions = actions
        self._parsed = _PARSED[actions]
        self._renderers: dict[tuple[int, int], Renderer] = {}
        self._index = {level.id: number for number, level in enumerate(levels)}
        self.observation_space: Space[Any] = self._observed()
        self.action_space: Space[Any] = (
            Text(_MAX_ACTION, min_length=0, charset=frozenset(string.printable))
            if actions == "move"
            else Discrete(len(ORIGINAL_ACTIONS))
        )
        self._state: State | None = None
        self._steps, self._score = 0, 0.0

    @property
    def state(self) -> State:
        """The state of the running game, for solvers and views; do not change it."""
        if self._state is None:
            raise EnvironmentFailureError("no Sokoban level is being played; call reset first.")
        return self._state

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the level that `options` names, or a random one."""
        super().reset(seed=seed)
        self._state = state = State(self._select(options or {}))
        self._steps, self._score = 0, 0.0
        first = board_words(state, self.view) if self.observation == "text" else self._image(state)
        return first, self._info(state)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move; blanks around an action and its case do not matter."""
        state = self.state
        name = self._name(action)
        command = self._parsed.get(name)
        moved_player, moved_box = state.move(*command) if command is not None else (False, False)
        reward = state.reward()
        self._steps += 1
        self._score += reward
        won = state.won
        info = self._info(state)
        info["invalid"] = not moved_player and (command is not None or name not in self._parsed)
        info["moved_player"], info["moved_box"] = moved_player, moved_box
        # As in the original, the limit is met once: play that goes on after it is not cut again.
        return self._observe(state), reward, won, not won and self._steps == self._max_steps, info

    def clone_state(self) -> tuple[Any, ...]:
        """The level's id, its board, the targets covered, and steps and rewards so far."""
        state = self.state
        return state.level.id, state.cells, state.covered, self._steps, self._score

    def restore_state(self, state: tuple[Any, ...]) -> None:
        """Go on with the level as it was."""
        name, cells, covered, self._steps, self._score = state
        self._state = State(self.levels[self._index[name]], cells, covered)

    def render(self) -> Any:
        """The grid (`ansi`) or a uint8 picture [height, width, 3] (`rgb_array`); `None` without a render mode."""
        if self.render_mode is None:
            return None
        return grid_text(self.state) if self.render_mode == "ansi" else self._image(self.state)

    def _observe(self, state: State) -> str | Pixels:
        if self.observation == "image":
            return self._image(state)
        return moving_text(state) if self.view == "coordinates" else grid_text(state)

    def _image(self, state: State) -> Pixels:
        return self._renderer(state.level)(state)

    def _renderer(self, level: Level) -> Renderer:
        shape = (level.height, level.width)
        if shape not in self._renderers:
            self._renderers[shape] = Renderer(*shape, self._image_size, self._marks)
        return self._renderers[shape]

    def _observed(self) -> Space[Any]:
        if self.observation == "text":
            return Text(_MAX_TEXT, min_length=0, charset=frozenset(string.printable))
        shapes = {self._renderer(level).shape for level in self.levels}
        if len(shapes) > 1:
            raise ConfigError(
                "these levels differ in size; set image_size to (height, width), so that pictures do not."
            )
        return Box(0, 255, shapes.pop(), dtype=np.uint8)

    def _name(self, action: Any) -> str:
        if isinstance(action, str):
            return " ".join(action.lower().split())
        if self._actions == "original":
            try:
                return ORIGINAL_ACTIONS[action] if action >= 0 else ""
            except (IndexError, TypeError):
                pass
        return ""

    def _info(self, state: State) -> dict[str, Any]:
        board = grid_text(state)
        return {
            "instruction": "push the box onto the target" if state.level.boxes == 1 else "push every box onto a target",
            "admissible_commands": self._admissible(state),
            "won": state.won,
            "score": self._score,
            "level": state.level.id,
            "anchor": board,
            "overview": fixed_text(state) if self.view == "coordinates" and self.observation == "text" else "",
            "boxes_on_target": state.covered,
        }

    def _admissible(self, state: State) -> list[str]:
        return sorted(name for name, command in self._parsed.items() if command is None or state.allows(*command))

    def _select(self, options: Mapping[str, Any]) -> Level:
        unknown = options.keys() - {"level"}
        if unknown:
            raise ConfigError(f"unknown reset option '{min(map(str, unknown))}'; Sokoban's only option is 'level'.")
        wanted = options.get("level")
        if wanted is None:
            return self.levels[int(self.np_random.integers(len(self.levels)))]
        number = self._index.get(wanted) if isinstance(wanted, str) else wanted
        if isinstance(number, int | np.integer) and not isinstance(number, bool) and 0 <= number < len(self.levels):
            return self.levels[int(number)]
        raise ConfigError(f"reset option level={wanted!r} is no level id of this environment or index into its levels.")
