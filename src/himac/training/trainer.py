"""The training loop. It knows phases, rows and checkpoints; it does not know what a planner or an executor is."""

from __future__ import annotations

import random
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from himac.algos.base import Phase, PhaseContext
from himac.config import Config
from himac.errors import CheckpointError, TrainingError
from himac.evaluation.evaluate import evaluate, sample_tasks
from himac.evaluation.records import write_results
from himac.evaluation.summary import summarise
from himac.models.vision import forget_pictures
from himac.report.results import Record, number
from himac.rollout.collect import Usage
from himac.rollout.metrics import context_metrics, group_metrics
from himac.rollout.runtime import Runtime
from himac.seeding import derive_seed
from himac.store.metrics_log import finite
from himac.training.checkpoint import MetricsLog, mark_best, save_checkpoint, save_model
from himac.training.diagnosis import findings
from himac.training.factory import make_algorithm
from himac.training.learner import Learner
from himac.training.recording import EpisodeLog
from himac.training.value import VALUE_FILE
from himac.types import Episode, Group, Row, Task


@dataclass(slots=True)
class Progress:
    """Where a run stands: what a checkpoint restores besides weights and optimiser.

    Attributes:
        iteration, phase: The next phase to run; `carry` is what the previous phase of this iteration left for it.
        env_steps, tokens: Spent so far, sampled tokens only.
        records, timings, episodes: Lines in `metrics.jsonl`, `timings.jsonl` and `episodes.jsonl`.
    """

    iteration: int = 0
    phase: int = 0
    carry: Any = None
    env_steps: int = 0
    tokens: int = 0
    records: int = 0
    timings: int = 0
    episodes: int = 0


@dataclass(slots=True)
class Trainer:
    """Runs iterations of an algorithm over tasks, with evaluation, metrics and checkpoints.

    `metrics.jsonl` holds what a rerun reproduces exactly; seconds and rates go to `timings.jsonl`.

    Attributes:
        records: What `metrics.jsonl` holds.
    """

    config: Config
    runtime: Runtime
    learner: Learner
    run_dir: Path
    progress: Progress = field(default_factory=Progress)
    on_record: Callable[[dict[str, Any]], None] | None = None
    records: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> Progress:
        """Train until `iterations` or `env_steps` is reached; ends with a checkpoint."""
        train = self.config.train
        algorithm = make_algorithm(self.config, self.runtime, critic=self.learner)
        self.learner.policy.hand_to(self.runtime.engine)
        pool = self.runtime.benchmark.tasks(self.config.env.train_split)
        metrics, timings = MetricsLog(self.run_dir / "metrics.jsonl"), MetricsLog(self.run_dir / "timings.jsonl")
        metrics.truncate_to(self.progress.records)
        self.records = metrics.read()
        mark_best(self.run_dir, best_checkpoint(self.records))
        self.progress.timings = min(self.progress.timings, len(timings))  # a run can do without them
        timings.truncate_to(self.progress.timings)
        kept = EpisodeLog(self.run_dir, train.record_episodes, self.config.seed, self.learner.policy.tokenizer)
        self.progress.episodes = kept.resume(self.progress.episodes)
        if not self.records and train.eval_every:
            self._evaluate(metrics, timings)
            self.save()
        saved = False
        while not self._finished():
            at = PhaseContext(
                self.progress.iteration, derive_seed(self.config.seed, "iteration", self.progress.iteration), pool=pool
            )
            tasks = draw_tasks(pool, algorithm.tasks_per_iteration, self.config.seed, at.iteration)
            name, phase = algorithm.phases[self.progress.phase]
            self._phase(at, name, phase, tasks, metrics, timings, kept)
            self.progress.phase += 1
            ended, best = self.progress.phase == len(algorithm.phases), False
            if ended:
                self.progress.iteration, self.progress.phase, self.progress.carry = at.iteration + 1, 0, None
                if (train.eval_every and self.progress.iteration % train.eval_every == 0) or self._finished():
                    self._evaluate(metrics, timings)
                    best = best_checkpoint(self.records) == self._name()
            saved = train.checkpoint_phases if not ended else self.progress.iteration % train.checkpoint_every == 0
            saved = saved or best
            if saved:
                self.save()
        if not saved:
            self.save()
        return self.progress

    def save(self) -> None:
        """Write a checkpoint of everything a resumed run needs."""
        state = {"progress": _plain(self.progress), "learner": self.learner.state_dict()}
        policy = self.learner.policy
        save_checkpoint(
            self.run_dir,
            self._name(),
            policy.model,
            policy.tokenizer,
            state,
            keep=self.config.train.keep_checkpoints,
            tensors={} if self.learner.heads is None else {VALUE_FILE: self.learner.heads.state_dict()},
            best=best_checkpoint(self.records),
        )

    def _name(self) -> str:
        return _checkpoint_name(self.progress.iteration, self.progress.phase)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the state of a checkpoint whose weights are already loaded."""
        try:
            self.progress = Progress(**state["progress"])
            if any(type(value) is not int for name, value in state["progress"].items() if name != "carry"):
                raise TypeError("its counters are no whole numbers")
            self.learner.load_state_dict(state["learner"])
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the checkpoint holds another kind of run ({error}); start the run anew.") from error

    def _finished(self) -> bool:
        budget = self.config.train.env_steps
        if self.progress.phase:
            return False
        return self.progress.iteration >= self.config.train.iterations or (
            budget is not None and self.progress.env_steps >= budget
        )

    def _phase(
        self,
        at: PhaseContext,
        name: str,
        phase: Phase,
        tasks: Sequence[Task],
        metrics: MetricsLog,
        timings: MetricsLog,
        kept: EpisodeLog,
    ) -> None:
        started = time.perf_counter()
        before = self._usage()
        if self.learner.reference is not None:
            forget_pictures(self.learner.reference)  # a resumed run has none either
        here = replace(at, seed=derive_seed(at.seed, name), env_seed=derive_seed(at.seed, "env"))
        outcome = phase(here, tasks, self.progress.carry)
        rollout_s = time.perf_counter() - started
        if self.config.train.env_steps is not None:
            self.learner.elapsed = self.progress.env_steps / self.config.train.env_steps
        self.progress.episodes += kept.add(at.iteration, name, outcome.groups, outcome.rows)
        self.runtime.engine.forget()  # the update needs the memory
        updated = self._update(outcome.rows)
        self.learner.policy.hand_to(self.runtime.engine)
        used = self._usage()
        self.progress.carry = outcome.carry
        self.progress.env_steps += used.env_steps - before.env_steps
        self.progress.tokens += used.generated_tokens - before.generated_tokens
        rates = {key: value for key, value in updated.items() if key.endswith(("_s", "_per_s"))}
        self._record(
            metrics,
            {"kind": "train", "iteration": at.iteration, "phase": name}
            | self._spent()
            | summarise(_episodes(outcome.groups))
            | group_metrics(outcome.groups)
            | context_metrics(_episodes(outcome.groups))
            | outcome.metrics
            | {key: value for key, value in updated.items() if key not in rates},
        )
        total_s = time.perf_counter() - started
        engine_s, env_s = used.engine_s - before.engine_s, used.env_s - before.env_s
        timings.append(
            {
                "iteration": at.iteration,
                "phase": name,
                "total_s": total_s,
                "engine_s": engine_s,
                "env_s": env_s,
                "update_s": total_s - rollout_s,
                "rest_s": rollout_s - engine_s - env_s,
                "env_steps_per_s": (used.env_steps - before.env_steps) / rollout_s,
                "generated_tokens_per_s": (used.generated_tokens - before.generated_tokens) / rollout_s,
                "trained_tokens_per_s": updated["forward_tokens"] / max(total_s - rollout_s, 1e-9),
            }
        )
        self.progress.timings += 1

    def _update(self, rows: Sequence[Row]) -> dict[str, float]:
        try:
            return self.learner.update(rows)
        except TrainingError as error:
            policy = self.learner.policy
            folder = save_model(self.run_dir / "failed", policy.model, policy.tokenizer)
            raise TrainingError(
                f"{error} The weights at that point are in {folder}; the last checkpoint stands."
            ) from error

    def _evaluate(self, metrics: MetricsLog, timings: MetricsLog) -> None:
        started = time.perf_counter()
        tasks = sample_tasks(self.runtime.benchmark.tasks(self.config.env.eval_split), self.config.train.eval_tasks)
        episodes = evaluate(self.runtime, tasks, temperature=self.config.eval.temperature, seed=self.config.seed)
        head = {"kind": "eval", "iteration": self.progress.iteration, "phase": "eval", "tasks": len(tasks)}
        self._record(metrics, head | self._spent() | summarise(episodes))
        folder = self.run_dir / "eval" / f"iteration-{self.progress.iteration:06d}"
        split_hash = self.runtime.benchmark.split_hash(self.config.env.eval_split)
        write_results(folder / "results.jsonl", episodes, split_hash)
        timings.append(
            {"iteration": self.progress.iteration, "phase": "eval", "total_s": time.perf_counter() - started}
        )
        self.progress.timings += 1

    def _spent(self) -> dict[str, Any]:
        return {"env_steps": self.progress.env_steps, "tokens": self.progress.tokens}

    def _usage(self) -> Usage:
        return Usage(**asdict(self.runtime.collector.usage))

    def _record(self, metrics: MetricsLog, entry: dict[str, Any]) -> None:
        entry = finite(entry)  # as a resumed run reads it again
        self.records.append(entry)
        if warnings := [finding.message for finding in findings(self.records, self.config)]:
            entry["warnings"] = warnings
        metrics.append(entry)
        self.progress.records += 1
        if self.on_record is not None:
            self.on_record(entry)


def best_checkpoint(records: Sequence[Record]) -> str | None:
    """Name of the checkpoint whose evaluation has the best success, the earlier of equal ones; `None` without any."""
    evals = [record for record in records if record.get("kind") == "eval"]
    best = max(evals, key=lambda record: number(record, "success") or 0.0, default=None)
    return None if best is None else _checkpoint_name(best["iteration"], 0)


def _checkpoint_name(iteration: int, phase: int) -> str:
    return f"step-{iteration:06d}-{phase}"


def draw_tasks(pool: Sequence[Task], count: int, seed: int, iteration: int) -> list[Task]:
    """Tasks of an iteration: consecutive slices of seeded permutations, so every task comes up once an epoch."""
    tasks = list[Task]()
    position = iteration * count
    while len(tasks) < count:
        epoch, offset = divmod(position, len(pool))
        order = _epoch_order(len(pool), seed, epoch)
        tasks.extend(pool[n] for n in order[offset : offset + count - len(tasks)])
        position = iteration * count + len(tasks)
    return tasks


@lru_cache(maxsize=2)
def _epoch_order(size: int, seed: int, epoch: int) -> array[int]:
    """A permutation of the pool; a shop has millions of tasks, so it is not drawn anew for every iteration."""
    return array("l", random.Random(derive_seed(seed, "epoch", epoch)).sample(range(size), size))


def _plain(progress: Progress) -> dict[str, Any]:
    """The fields as they are."""
    return {name: getattr(progress, name) for name in progress.__slots__}


def _episodes(groups: Sequence[Group]) -> list[Episode]:
    return [episode for group in groups for episode in group.episodes]
