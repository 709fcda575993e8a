"""Evaluations that are paid for: every finished episode is kept at once, and a rerun goes on where the last one ended.

`results.jsonl` gets a line a task when the task is over, `trials.jsonl` a line for each failed trial that another one
follows. At the end `results.jsonl` is put into the order of the tasks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, with_config
from typing_extensions import TypedDict

from himac.agents.chat import ChatFormat
from himac.config import Config
from himac.config_file import difference, parse_config
from himac.errors import CheckpointError
from himac.evaluate import BlueprintSource, given_blueprint, record, repeat_seed, summarise, task_seed, write_records
from himac.files import read_json
from himac.report.results import STRICT, Count, Told, read_jsonl
from himac.rollout.failures import some_sound
from himac.rollout.runtime import Runtime
from himac.rollout.trials import Spent, Trial, trials
from himac.store.atomic import WriteGuard, write_text
from himac.store.metrics_log import MetricsLog
from himac.types import Blueprint, Episode, Role, Segment, StopReason, Task, Turn

_NOTHING = Spent()
RESULTS, TRIALS, SETTINGS = "results.jsonl", "trials.jsonl", "evaluation.json"
MAY_CHANGE = (
    "threads",
    "eval",  # what of it counts is compared as the plan's
    "env.workers",
    "env.timeout_s",
    *(f"engine.{key}" for key in ("base_url", "key_variable", "concurrency", "timeout_s", "max_tries", "max_wait_s")),
    *(f"engine.{key}" for key in ("price_in", "price_out")),
)
Record = dict[str, Any]


@with_config(STRICT | {"extra": "forbid"})
class _Usage(TypedDict):
    requests: Count
    prompt_tokens: Count
    completion_tokens: Count


@with_config(STRICT)
class _Line(Told):
    """A line of `results.jsonl`, as a rerun needs it."""

    repeat: Count
    trials: Count
    env_steps_all: Count
    usage: _Usage
    lost: _Usage


@with_config(STRICT)
class _Failed(Told):
    """A line of `trials.jsonl`."""

    repeat: Count
    trial: Count
    instruction: str
    reflection: str | None
    usage: _Usage


_LINE, _TRIAL = TypeAdapter[Any](_Line), TypeAdapter[Any](_Failed)
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is evaluated.

    Attributes:
        repeats: Times each task is played, every time with other random draws.
    """

    split: str
    split_hash: str
    tasks: Sequence[Task]
    repeats: int
    temperature: float
    seed: int
    blueprints: BlueprintSource = "planner"


def begin(output: Path, config: Config, plan: Plan, resume: bool, weights: str = "") -> None:
    """Keep the settings of an evaluation beside its results, or check that they are those of the one that goes on.

    Args:
        weights: What tells the local models of an evaluation from others.

    Raises:
        CheckpointError: the directory holds another evaluation, or none that could be resumed.
    """
    settings = {
        "split": plan.split,
        "split_hash": plan.split_hash,
        "blueprints": plan.blueprints,
        "temperature": plan.temperature,
        "weights": weights,
        "config": config.model_dump(mode="json"),
    }
    saved = output / SETTINGS
    if resume:
        _check_same(saved, settings, config)
    elif any((output / name).exists() and (output / name).stat().st_size for name in (RESULTS, TRIALS)):
        raise CheckpointError(f"{output} holds results; continue them with --resume or choose another --output")
    with WriteGuard(f"settings {saved}"):
        output.mkdir(parents=True, exist_ok=True)
        write_text(saved, json.dumps(settings, indent=2, ensure_ascii=False))


class Journal:
    """The files of one evaluation whose tasks are kept one by one; raises what `begin` raises."""

    def __init__(self, output: Path, config: Config, plan: Plan, resume: bool, weights: str = "") -> None:
        begin(output, config, plan, resume, weights)
        self.output = output
        self._results = MetricsLog(output / RESULTS, durable=True)
        self._trials = MetricsLog(output / TRIALS, durable=True)
        self.results: dict[Key, Record] = {_key(line): line for line in read_jsonl(self._results.path, _LINE)}
        self.trials: dict[Key, dict[int, Record]] = {}
        """By number of the trial. One that has its reflection replaces the same without."""
        for line in read_jsonl(self._trials.path, _TRIAL):
            self.trials.setdefault(_key(line), {})[line["trial"]] = line

    def finish(self, line: Record) -> None:
        """A task is over."""
        self._results.append(line)
        self.results[_key(line)] = line

    def keep(self, line: Record) -> None:
        """A trial has failed and another one follows, or its reflection is there now."""
        self._trials.append(line)
        self.trials.setdefault(_key(line), {})[line["trial"]] = line

    def settle(self, keys: Sequence[Key]) -> list[Record]:
        """Rewrite the results in this order, whole or not at all, and return them; others stay behind them."""
        order = dict.fromkeys((*keys, *self.results))
        lines = [self.results[key] for key in order if key in self.results]
        write_records(self.output / RESULTS, lines)
        return [self.results[key] for key in keys]


def evaluate_resumable(
    runtime: Runtime,
    plan: Plan,
    output: Path,
    *,
    resume: bool = False,
    weights: str = "",
    on_task: Callable[[Record], None] | None = None,
) -> tuple[list[Record], dict[str, Any]]:
    """Play every task that the files in `output` do not hold yet; tasks that ended as `engine_error` are played again.

    Args:
        on_task: Called with the line of each task when it is over, and of those that were over before.

    Returns:
        The lines of `results.jsonl`, repeat by repeat in the order of the tasks, and the summary.

    Raises:
        EnvironmentFailureError, EndpointError: the environment or the engine failed in all episodes; the lines are
            kept.
    """
    journal = Journal(output, runtime.config, plan, resume, weights)
    keys, programs = list[Key](), list[Any]()
    for repeat in range(plan.repeats):
        for task in plan.tasks:
            key = (task.id, repeat)
            keys.append(key)
            before = journal.results.get(key)
            if before is not None and before["stop"] != StopReason.ENGINE_ERROR:
                if on_task is not None:
                    on_task(before)
                continue
            programs.append(_program(runtime, plan, task, repeat, journal))

    def over(line: Record) -> None:
        journal.finish(line)
        if on_task is not None:
            on_task(line)

    runtime.collector.run(programs, over)
    lines = journal.settle(keys)
    return lines, _summary(lines, plan, runtime.config)


def _program(runtime: Runtime, plan: Plan, task: Task, repeat: int, journal: Journal) -> Any:
    """Plays one task and returns its line."""
    seed = task_seed(repeat_seed(plan.seed, repeat), task)
    key = (task.id, repeat)
    past = [_trial(line, task) for _, line in sorted(journal.trials.get(key, {}).items())]
    # What an attempt cost that ended as an engine error was paid all the same.
    lost = Spent(**journal.results[key]["lost"]) if key in journal.results else Spent()
    proposal = None if plan.blueprints == "planner" else given_blueprint(runtime, task, seed, plan.blueprints)

    def notify(number: int, trial: Trial) -> None:
        journal.keep(trial_record(trial, plan.split_hash, repeat, number, runtime.agent.chat))

    done = yield from trials(
        runtime.setting,
        runtime.agent,
        task,
        plan.temperature,
        seed,
        seed % 2**31,
        proposal=proposal,
        past=past,
        notify=notify,
    )
    return result_record(
        done, plan.split_hash, repeat, runtime.agent.chat, lost=lost, kept=len(journal.trials.get(key, ()))
    )


def result_record(
    done: Sequence[Trial],
    split_hash: str,
    repeat: int,
    chat: ChatFormat,
    *,
    lost: Spent = _NOTHING,
    kept: int = 0,
) -> Record:
    """The line of a task: its last trial, and what all trials took together.

    Args:
        lost: Spent on earlier runs of the task whose outcome is not in `done`.
        kept: Leading trials that a rerun finds in the file of trials.
    """
    last = done[-1].episode
    broken = last.stop is StopReason.ENGINE_ERROR
    spent = sum((trial.spent for trial in done), lost)
    line = _told(last, split_hash, chat) | {
        "repeat": repeat,
        "trials": len(done),
        "env_steps_all": sum(trial.episode.env_steps for trial in done),
        "reflections": [trial.reflection for trial in done if trial.reflection is not None],
        "usage": asdict(spent),
        "lost": asdict(sum((trial.spent for trial in done[kept:]), lost) if broken else _NOTHING),
    }
    return line | ({"error": last.error} if last.error is not None else {})


def trial_record(trial: Trial, split_hash: str, repeat: int, number: int, chat: ChatFormat) -> Record:
    """The line of a failed trial: all that a reflection and the next trial need."""
    return _told(trial.episode, split_hash, chat) | {
        "repeat": repeat,
        "trial": number,
        "instruction": trial.instruction,
        "opening": str(trial.opening),
        "reflection": trial.reflection,
        "usage": asdict(trial.spent),
    }


def _told(episode: Episode, split_hash: str, chat: ChatFormat) -> Record:
    """The record of an episode with the model's own words: `reply` in every turn, `plan` for a planner."""
    line = record(episode, split_hash)
    replies = [
        chat.decode_reply(segment.token_ids[turn.start : turn.end].tolist())
        for segment in episode.segments
        for turn in segment.turns
    ]
    for turn, reply in zip(line["transcript"], replies, strict=True):
        turn["reply"] = reply
    if episode.plan is not None:
        line["plan"] = chat.decode_reply(episode.plan.token_ids[episode.plan.sampled].tolist())
    return line


def episode_of(line: Record, task: Task) -> Episode:
    """The episode of a line, without tokens, seeds and rewards of single turns."""
    turns = tuple(
        Turn(turn["action"], turn["observation"], 0.0, turn.get("invalid", False), turn["sub_done"], 0, 0)
        for turn in line.get("transcript") or ()
    )
    none = np.zeros(0, dtype=np.int32)
    goals = line.get("blueprint")
    return Episode(
        task=task,
        seed=0,
        blueprint=None if goals is None else Blueprint(tuple(goals), None if goals else "malformed"),
        plan=None,
        segments=(Segment(Role.FLAT, none, none.astype(np.bool_), none.astype(np.float32), turns),),
        ret=line["return"],
        stop=StopReason(line["stop"]),
        env_steps=line["env_steps"],
        error=line.get("error"),
        score=line.get("score"),
    )


def _trial(line: Record, task: Task) -> Trial:
    return Trial(
        episode_of(line, task), Spent(**line["usage"]), line["instruction"], line.get("opening", ""), line["reflection"]
    )


def _summary(lines: Sequence[Record], plan: Plan, config: Config) -> dict[str, Any]:
    tasks = {task.id: task for task in plan.tasks}
    spent = sum((Spent(**line["usage"]) for line in lines), Spent())
    summary: dict[str, Any] = summarise(some_sound([episode_of(line, tasks[line["task_id"]]) for line in lines]))
    most = max((line["trials"] for line in lines), default=1)
    if most > 1:
        summary["success_by_trial"] = [
            sum(line["success"] and line["trials"] <= number for line in lines) / len(lines)
            for number in range(1, most + 1)
        ]
        summary["trials_mean"] = sum(line["trials"] for line in lines) / len(lines)
    summary |= asdict(spent) | {"env_steps_all": sum(line["env_steps_all"] for line in lines)}
    cost = config.engine.cost(spent.prompt_tokens, spent.completion_tokens)
    summary |= {} if cost is None else {"cost": cost}
    return summary


def _check_same(saved: Path, settings: Record, config: Config) -> None:
    if not saved.is_file():
        raise CheckpointError(f"{saved.parent} holds no evaluation to resume (no {SETTINGS}); leave out --resume")
    try:
        before = read_json(saved)
        former = parse_config(before["config"])
        before = {"temperature": former.eval.temperature, "weights": ""} | before  # an older version's
        changed = difference(former, config, MAY_CHANGE)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{saved} is damaged; restore it or choose another --output") from error
    keys = ("split", "split_hash", "blueprints", "temperature", "weights")
    changed += [f"{key} ({before.get(key)} -> {settings[key]})" for key in keys if before.get(key) != settings[key]]
    if changed:
        raise CheckpointError(
            f"{saved.parent} was started with other settings: {'; '.join(changed)}; choose another --output"
        )


def _key(line: Record) -> Key:
    return line["task_id"], line["repeat"]
