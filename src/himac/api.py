"""himac from Python: `himac.train`, `himac.load`, `himac.evaluate` (docs/python.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from himac.cli.runs import choose
from himac.cli.train import run_training
from himac.config import FIELD_TEMPERATURE
from himac.config_file import load_config
from himac.engines.base import GenerateRequest
from himac.envs.answer import EnvResult, checked
from himac.evaluation.evaluate import evaluate as play_all
from himac.evaluation.summary import summarise
from himac.rollout.episode import run_episode
from himac.rollout.preflight import check_room
from himac.rollout.program import Generate, GenerateMany, Release, Reset, Step
from himac.rollout.runtime import Runtime, build_benchmark, build_runtime
from himac.types import Blueprint, Episode, Task, Turn


def train(
    config: str | Path, overrides: Sequence[str] = (), run_dir: str | Path | None = None, resume: bool = False
) -> Path:
    """What `himac train` does; returns the run directory.

    Args:
        config: A configuration file, or a name of `himac configs`.
        overrides: Dotted, such as `["train.iterations=20", "seed=1"]`.
        run_dir: Default: `runs/<configuration name>`.

    Raises:
        HimacError: names the cause and the remedy.
    """
    folder = Path("runs") / Path(config).stem if run_dir is None else Path(run_dir)
    run_training(load_config(config, overrides), folder, resume)
    return folder


def load(run: str | Path, model: str | Path | None = None, overrides: Sequence[str] = ()) -> Agent:
    """The agent of a run (`RUN@30`: of iteration 30), or of a configuration with a model directory.

    Raises:
        HimacError: names the cause and the remedy.
    """
    return Agent(_runtime(run, model, overrides))


def evaluate(
    run: str | Path,
    model: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    split: str | None = None,
    limit: int | None = None,
    temperature: float = FIELD_TEMPERATURE,
) -> dict[str, float]:
    """Play every task of a split once; the figures of `summary.json` as fractions. Nothing is written.

    Args:
        split: Default: `env.eval_split`.
        limit: Only the first tasks.

    Raises:
        HimacError: names the cause and the remedy.
    """
    with _runtime(run, model, overrides) as runtime:
        tasks = runtime.benchmark.tasks(split or runtime.config.env.eval_split)[:limit]
        return summarise(play_all(runtime, tasks, temperature=temperature, seed=runtime.config.seed))


class Agent:
    """A trained agent in an environment of the caller's: one episode at a time, the caller takes the steps.

    It plans, prompts and stops as in evaluations, because it runs the same program.

    Attributes:
        blueprint: What the planner wrote, when the episode has begun; `None` for agents without one.
        subgoal: The active one.
        turns: Those of the episode so far.
        episode: The record of the episode when it is over.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = replace(runtime, spec=replace(runtime.spec, watcher=_Notes(self)))
        self._program: Any = None
        self._number = 0
        self._clear()

    def start(
        self,
        instruction: str,
        observation: Any,
        info: Mapping[str, Any] | None = None,
        *,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> str | None:
        """Begin an episode; returns the first action, or `None` where the agent gives up at once.

        Args:
            instruction: The task in words.
            observation: As the environment gave it: text, a picture, or both.
            info: Of the environment's `reset`, for benchmarks that say more there (`overview`).
            temperature: 0 is greedy.

        Raises:
            ConfigError: The prompt leaves no room for a reply.
            EnvironmentFailureError: An observation of the wrong type.
        """
        self.stop()
        opening = checked((observation, {**(info or {}), "instruction": instruction}), stepped=False)
        check_room(self._runtime, opening)
        self._runtime.engine.forget()
        task = Task(f"live-{self._number}", "live")
        program = run_episode(self._runtime.spec, self._runtime.agent, task, temperature, seed, seed)
        self._number += 1
        self._program = iter(program)
        return self._until_step(None, opening)

    def act(
        self,
        observation: Any,
        reward: float = 0.0,
        terminated: bool = False,
        truncated: bool = False,
        info: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Tell what the last action led to, as `env.step` returned it; returns the next action, `None` at the end.

        Args:
            info: `invalid` says that the action was rejected, `won` that the task is solved.

        Raises:
            RuntimeError: No episode is under way.
            EnvironmentFailureError: An answer of the wrong type.
        """
        if self._program is None:
            raise RuntimeError("no episode is under way; call start first")
        seen = checked((observation, reward, terminated, truncated, {"invalid": False, **(info or {})}), stepped=True)
        return self._until_step(seen, None)

    def stop(self) -> None:
        """Leave the episode, if one is under way."""
        if self._program is not None:
            self._program.close()
        self._program = None
        self._clear()

    def close(self) -> None:
        """Free what the agent holds."""
        self.stop()
        self._runtime.close()

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _clear(self) -> None:
        self.blueprint: Blueprint | None = None
        self.subgoal: str | None = None
        self.turns: list[Turn] = []
        self.episode: Episode | None = None

    def _until_step(self, answer: EnvResult | None, opening: EnvResult | None) -> str | None:
        """Answer the program's requests until it wants to act."""
        value: Any = answer
        while True:
            try:
                command = self._program.send(value)
            except StopIteration as end:
                self.episode, self._program = end.value, None
                return None
            match command:
                case Step(action):
                    return str(action)
                case Reset():
                    value = opening
                case Release(session):
                    self._runtime.engine.release(session)
                    value = None
                case Generate():
                    (value,) = self._ask((command,))
                case GenerateMany(requests):
                    value = self._ask(requests)

    def _ask(self, requests: Sequence[Generate]) -> list[Any]:
        engine, answers = self._runtime.engine, dict[Any, Any]()
        for number, asked in enumerate(requests):
            engine.submit(GenerateRequest(number, asked.session, asked.prompt_ids, asked.params, asked.pictures))
        while len(answers) < len(requests):
            answers |= {completion.id: completion for _, completion in engine.step()}
        return [answers[number] for number in range(len(requests))]


class _Notes:
    """Writes down for the agent what its episode comes to; implements `rollout.episode.Watcher`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def planned(self, blueprint: Blueprint) -> None:
        self._agent.blueprint = blueprint

    def subgoal(self, text: str) -> None:
        self._agent.subgoal = text

    def turn(self, turn: Turn) -> None:
        self._agent.turns.append(turn)


def _runtime(run: str | Path, model: str | Path | None, overrides: Sequence[str]) -> Runtime:
    chosen = choose(Path(run), None if model is None else Path(model))
    config = load_config(chosen.config, overrides)
    given = None if chosen.model is None else str(chosen.model)
    return build_runtime(config, given, config.eval.max_live, build_benchmark(config))
