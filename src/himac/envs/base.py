"""What the rest of the system expects of an environment and of a benchmark.

An environment is a Gymnasium environment with text actions. It observes text, a picture (uint8 [height, width, 3]), or
both (a mapping with `text` and `image`). After `reset` and `step`, `info`
carries:

    instruction           str   the task in words (reset)
    won                   bool  the task is solved
    invalid               bool  the action was rejected and changed nothing (step)
    admissible_commands   list  sorted, where the environment knows them
    overview              str   optional: what a fresh sub-goal should know about the surroundings
    score                 float optional: the benchmark's own score so far, in the unit its papers report
    anchor                str   optional: names the state where steps are compared; the observation by default

Where it has `clone_state` and `restore_state` too (`himac.envs.snapshot.Restorable`), training can branch off in the
middle of an episode without stepping there again.

Anything else in `info` is ignored. An answer of another type, a text with a lone surrogate and a reward or score that
is not finite or beyond `himac.envs.answer.LARGEST` end the episode as `env_error`; longer texts than
`env.max_observation_chars` are cut.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import gymnasium

from himac.errors import EnvironmentFailureError, HimacError
from himac.types import Demonstration, PromptTexts, Task

TextEnv = gymnasium.Env[str, str]

SHORT_TEXTS = PromptTexts(planner="", executor="", flat="Act.")
"""For small models that are trained for the task and need no rules. Planner and flat agent are asked in the same form,
so a word tells them apart: one model may be taught both."""


class Benchmark(Protocol):
    """A family of tasks with its environment: the one thing to implement to add a benchmark."""

    name: str
    texts: PromptTexts
    reward_scale: float
    """Training reward per unit of environment reward (10 where winning pays 1)."""
    worst_step_reward: float
    """What a step costs whatever it does (0 for ALFWorld, -0.1 for Sokoban): failures pay it for steps not taken."""
    # Optional: `kind_titles: Mapping[str, str]`, short titles of the task types in the order of tables.

    def splits(self) -> Sequence[str]:
        """Names of the available splits."""
        ...

    def tasks(self, split: str) -> Sequence[Task]:
        """Every task of a split, sorted by id."""
        ...

    def split_hash(self, split: str) -> str:
        """Content hash of a split, written beside every result."""
        ...

    def make_env(self) -> gymnasium.Env[Any, Any]:
        """A new environment; `reset(options=task.options)` selects the task."""
        ...

    def start_text(self, subgoal: str, overview: str, observation: str) -> str:
        """What the executor is told when a sub-goal becomes active; `observation` is the text of the latest one.

        Where the latest observation holds pictures, they are shown behind what is returned.
        """
        ...

    def demonstrate(self, task: Task, rng: random.Random) -> Demonstration:
        """One scripted episode of the benchmark's demonstrator."""
        ...

    def random_blueprint(self, task: Task, rng: random.Random) -> tuple[str, ...]:
        """A well-formed blueprint that ignores the task: a control for planner studies."""
        ...


def demonstrations(benchmark: Benchmark, tasks: Sequence[Task], passes: int, seed: int) -> Iterator[Demonstration]:
    """Demonstrate every task `passes` times in a row (its parsed form stays at hand), each time by its own stream.

    Raises:
        EnvironmentFailureError: the demonstrator raised.
    """
    for task in tasks:
        for number in range(passes):
            try:
                demo = benchmark.demonstrate(task, random.Random(f"{seed}/{number}/{task.id}"))
            except HimacError:
                raise
            except Exception as error:
                raise EnvironmentFailureError(
                    f"the demonstrator of '{benchmark.name}' failed on task '{task.id}' with {type(error).__name__}: "
                    f"{error}; repair it, and see what else is wrong with `himac check-env`"
                ) from error
            yield demo
