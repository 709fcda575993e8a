"""Evaluations that are paid for: every finished episode is kept at once, and a rerun goes on where the last one ended.

`results.jsonl` gets a line a task when the task is over, `trials.jsonl` a line for each failed trial that another one
follows. At the end `results.jsonl` is put into the order of the tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, with_config
from typing_extensions import TypedDict

from himac.config import Config
from himac.evaluation.evaluate import given_blueprint, repeat_seed, task_seed
from himac.evaluation.plan import RESULTS, TRIALS, Plan, begin
from himac.evaluation.records import Record, result_record, trial_of, trial_record, write_records
from himac.evaluation.summary import summarise_lines
from himac.evaluation.trials import Spent, Trial, trials
from himac.report.results import STRICT, Count, Told, read_jsonl
from himac.rollout.runtime import Runtime
from himac.store.metrics_log import MetricsLog
from himac.types import StopReason, Task


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
    past = [trial_of(line, task) for _, line in sorted(journal.trials.get(key, {}).items())]
    # What an attempt cost that ended as an engine error was paid all the same.
    lost = Spent(**journal.results[key]["lost"]) if key in journal.results else Spent()
    proposal = None if plan.blueprints == "planner" else given_blueprint(runtime, task, seed, plan.blueprints)

    def notify(number: int, trial: Trial) -> None:
        journal.keep(trial_record(trial, plan.split_hash, repeat, number, runtime.agent.chat))

    done = yield from trials(
        runtime.spec,
        runtime.agent,
        task,
        plan.temperature,
        seed,
        proposal=proposal,
        past=past,
        notify=notify,
    )
    return result_record(
        done, plan.split_hash, repeat, runtime.agent.chat, lost=lost, kept=len(journal.trials.get(key, ()))
    )


def _summary(lines: Sequence[Record], plan: Plan, config: Config) -> dict[str, Any]:
    spent = sum((Spent(**line["usage"]) for line in lines), Spent())
    summary: dict[str, Any] = summarise_lines(lines, plan.tasks)
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


def _key(line: Record) -> Key:
    return line["task_id"], line["repeat"]
