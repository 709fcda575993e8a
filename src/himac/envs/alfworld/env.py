"""The ALFWorld text games as a Gymnasium environment, identical in text and rules to the original."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import gymnasium
from gymnasium.spaces import Text

from himac.envs.alfworld.games import Game
from himac.envs.alfworld.problem import Action, World
from himac.envs.alfworld.state import State
from himac.envs.alfworld.text import NOTHING_HAPPENS
from himac.errors import ConfigError, EnvironmentFailureError

_MAX_OBSERVATION = 16384
_MAX_ACTION = 1024


class AlfworldEnv(gymnasium.Env[str, str]):
    """Plays ALFWorld games; one environment can play any of its games, one after another.

    `reset(options={"game": <id or index>})` selects the game; without options it is drawn with the environment's random
    generator. The reward is 1 on the step that wins and 0 otherwise; there is no time limit. As in the original, play
    may go on after the end. `info` has the keys `instruction`, `admissible_commands` (sorted, a new list each time),
    `won`, `game` (the id), `task_type` and, after `step`, `invalid`.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(self, games: Sequence[Game]) -> None:
        if not games:
            raise ConfigError("an ALFWorld environment needs at least one game; pass the result of load_games.")
        self.games = games
        self._index = {game.id: number for number, game in enumerate(games)}
        characters = frozenset(string.printable).union(*(game.instruction for game in games))
        self.observation_space = Text(_MAX_OBSERVATION, min_length=0, charset=characters)
        self.action_space = Text(_MAX_ACTION, min_length=0, charset=frozenset(string.printable))
        self._game: Game | None = None
        self._state: State | None = None
        self._commands: dict[str, Action] = {}
        self._paid = False

    @property
    def game(self) -> Game:
        """The game being played."""
        if self._game is None:
            raise EnvironmentFailureError("no ALFWorld game is being played; call reset first.")
        return self._game

    @property
    def state(self) -> State:
        """The state of the running game, for experts and views; do not change it."""
        if self._state is None:
            raise EnvironmentFailureError("no ALFWorld game is being played; call reset first.")
        return self._state

    @property
    def world(self) -> World:
        """What never changes in the running game."""
        return self.state.world

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the game that `options` names, or a random one."""
        super().reset(seed=seed)
        self._game = game = self._select(options or {})
        self._state = state = State(game.world)
        self._commands = state.commands()
        self._paid = won = state.won()
        return state.opening(game.instruction), self._info(won)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Carry out a command; blanks around it are ignored, everything else must match exactly."""
        state = self.state
        known = self._commands.get(action.strip())
        if known is None:
            observation = NOTHING_HAPPENS
        else:
            observation = state.apply(known)
            self._commands = state.commands()
        won = state.won()
        reward = 1.0 if won and not self._paid else 0.0
        self._paid = self._paid or won
        info = self._info(won)
        info["invalid"] = known is None
        return observation, reward, won, False, info

    def clone_state(self) -> tuple[str, dict[str, Any], bool]:
        """The game's id, what has changed in it, and whether it has paid."""
        return self.game.id, self.state.kept(), self._paid

    def restore_state(self, state: tuple[str, dict[str, Any], bool]) -> None:
        """Go on with the game as it was."""
        name, kept, self._paid = state
        self._game = game = self.games[self._index[name]]
        self._state = running = State.of(game.world, kept)
        self._commands = running.commands()

    def _info(self, won: bool) -> dict[str, Any]:
        game = self.game
        return {
            "instruction": game.instruction,
            "admissible_commands": sorted(self._commands),
            "won": won,
            "game": game.id,
            "task_type": game.task_type,
        }

    def _select(self, options: dict[str, Any]) -> Game:
        unknown = options.keys() - {"game"}
        if unknown:
            raise ConfigError(f"unknown reset option '{min(map(str, unknown))}'; ALFWorld's only option is 'game'.")
        wanted = options.get("game")
        if wanted is None:
            return self.games[int(self.np_random.integers(len(self.games)))]
        if isinstance(wanted, str):
            number = self._index.get(wanted)
            if number is None:
                raise ConfigError(f"this environment has no game '{wanted}'; use an id of the games it was made with.")
            return self.games[number]
        try:
            number = int(wanted)
            if 0 <= number < len(self.games):
                return self.games[number]
        except (TypeError, ValueError):
            pass
        raise ConfigError(f"reset option game={wanted!r} is no game id or index below {len(self.games)}.")
