"""BabyAI (Chevalier-Boisvert et al. 2019, arXiv 1810.08272) in words, with demonstrations by its own bot.

The bot sees what the agent has seen, as the agent does, and remembers all of it, which the agent does not.
"""

from __future__ import annotations

import contextlib
import io
import random
from typing import Any

import gymnasium

from himac.envs.gym import GymBenchmark
from himac.envs.minigrid import ACTIONS
from himac.errors import ConfigError, MissingDependencyError
from himac.types import Demonstration, DemoSegment, DemoTurn, Task

_SUBGOALS = "Write the sub-goals that solve the task in order as a numbered list, one a line, and nothing else."
_ACTIONS = f"Answer with one action a turn: {', '.join(ACTIONS[:-1])}."
_MOST_STEPS = 400


class BabyAiBenchmark(GymBenchmark):
    """A level of BabyAI; sub-goals are the clauses of its instruction, in the order in which they are to be done.

    Args:
        level: `GoToLocal` is `BabyAI-GoToLocal-v0`.
        train_tasks, valid_tasks: Tasks of each split; a task is a seed.
    """

    def __init__(self, level: str = "GoToSeqS5R2", *, train_tasks: int = 2000, valid_tasks: int = 200) -> None:
        try:
            import minigrid  # noqa: F401 - registers the levels
        except ModuleNotFoundError as error:
            raise MissingDependencyError("benchmark 'babyai' needs minigrid; pip install 'himac[minigrid]'") from error
        id = f"BabyAI-{level}-v0"
        if id not in gymnasium.registry:
            raise ConfigError(f"there is no level '{level}' of BabyAI; choose one such as GoToLocal or GoToSeqS5R2")
        super().__init__(
            id,
            train_tasks=train_tasks,
            valid_tasks=valid_tasks,
            reward_scale=10.0,
            actions=ACTIONS,
            describe="himac.envs.minigrid:describe",
            planner=_SUBGOALS,
            executor=f"{_ACTIONS} Reply <sub_done> when the sub-goal is achieved.",
            flat=_ACTIONS,
        )
        self.name = "babyai"

    def make_env(self) -> gymnasium.Env[Any, Any]:
        """A new environment; raises what `GymBenchmark.make_env` raises."""
        return _Quiet(super().make_env())

    def demonstrate(self, task: Task, rng: random.Random) -> Demonstration:
        """The bot's way; without success where the bot gives up."""
        from minigrid.utils.baby_ai_bot import BabyAIBot

        env = self.make_env()
        seen, info = env.reset(options=dict(task.options))
        mission = env.unwrapped.instrs  # type: ignore[attr-defined]
        goals, bot = _clauses(mission), BabyAIBot(env)  # type: ignore[no-untyped-call]
        segments, start, turns = list[DemoSegment](), str(seen), list[DemoTurn]()
        first, won = str(seen), False
        for _ in range(_MOST_STEPS):
            try:
                action = int(bot.replan())  # type: ignore[no-untyped-call]
            except (AssertionError, ValueError, IndexError, KeyError):  # the bot knows no way
                break
            seen, _, terminated, truncated, told = env.step(ACTIONS[action])
            won = bool(told["won"])
            done = won or _finished(mission) > len(segments)
            turns.append(DemoTurn(ACTIONS[action], str(seen), sub_done=done))
            if done:
                segments.append(DemoSegment(goals[min(len(segments), len(goals) - 1)], start, tuple(turns)))
                start, turns = str(seen), []
            if terminated or truncated:
                break
        return Demonstration(task, str(info["instruction"]), first, tuple(segments), success=won)

    def random_blueprint(self, task: Task, rng: random.Random) -> tuple[str, ...]:
        """Clauses of another task's instruction."""
        env = self.make_env()
        env.reset(seed=rng.randrange(2**20))
        return tuple(_clauses(env.unwrapped.instrs))  # type: ignore[attr-defined]


class _Quiet(gymnasium.Wrapper[Any, str, Any, str]):
    """BabyAI prints how often it draws a room anew."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        with contextlib.redirect_stdout(io.StringIO()):
            return self.env.reset(seed=seed, options=options)


def _parts(instruction: Any) -> tuple[tuple[Any, bool], ...]:
    """The two parts of a compound instruction in the order of doing, each with whether it is done; else nothing."""
    if not hasattr(instruction, "instr_a"):
        return ()
    parts = [(part, done == "success") for part, done in _marked(instruction)]
    return tuple(reversed(parts) if type(instruction).__name__ == "AfterInstr" else parts)


def _marked(instruction: Any) -> list[tuple[Any, Any]]:
    return [(instruction.instr_a, instruction.a_done), (instruction.instr_b, instruction.b_done)]


def _clauses(instruction: Any) -> list[str]:
    parts = _parts(instruction)
    if not parts:
        return [str(instruction.surface(instruction.env))]
    return [clause for part, _ in parts for clause in _clauses(part)]


def _finished(instruction: Any) -> int:
    """How many clauses of a compound instruction are done."""
    return sum(len(_clauses(part)) if done else _finished(part) for part, done in _parts(instruction))
