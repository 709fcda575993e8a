"""Supervised warm start from scripted demonstrations, in one or both agents' formats."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from himac.agents.base import AgentBase
from himac.agents.describer import Describer
from himac.config import Config
from himac.envs.base import Benchmark, demonstrations
from himac.errors import ConfigError, DataError
from himac.rollout.runtime import AGENTS, Runtime
from himac.seeding import derive_seed
from himac.train.factory import make_learner
from himac.types import Row, Task

_MOST_LEFT_OUT = 0.05
"""Share of the rows. A model that never sees the long tasks learns something else than what was asked for."""


@dataclass(frozen=True, slots=True)
class WarmstartReport:
    """What the warm start did.

    Attributes:
        too_long: Rows that were left out because they exceed `agent.max_context`.
    """

    demonstrations: int
    demonstrated_success: float
    too_long: int
    tokens: int
    steps: int
    loss_first: float
    loss_last: float
    seconds: float


def warmstart_tasks(config: Config, benchmark: Benchmark) -> Sequence[Task]:
    """The training tasks that are demonstrated: a seeded sample of `warmstart.games` of the train split."""
    tasks = benchmark.tasks(config.env.train_split)
    if config.warmstart.games is not None and config.warmstart.games < len(tasks):
        tasks = random.Random(derive_seed(config.seed, "warmstart")).sample(tasks, config.warmstart.games)
    return tasks


def warmstart(
    runtime: Runtime, progress: Callable[[int, int, dict[str, float]], None] | None = None
) -> WarmstartReport:
    """Train the runtime's model in place.

    Args:
        progress: Called after each optimiser step with (step, steps, metrics).

    Raises:
        ConfigError: The planner and the flat agent are both taught and asked in the same words, or too many
            demonstrations do not fit into the context.
        DataError: No demonstration succeeds.
    """
    config, settings = runtime.config, runtime.config.warmstart
    texts = runtime.benchmark.texts
    if {"hierarchical", "flat"} <= set(settings.formats) and texts.planner == texts.flat:
        raise ConfigError(
            f"{config.env.name} asks the planner and the flat agent in the same words, so one model cannot learn both; "
            "give its texts a different `flat`, or set warmstart.formats to one of them"
        )
    started = time.perf_counter()
    tasks = warmstart_tasks(config, runtime.benchmark)
    teachers: dict[str, Callable[..., AgentBase]] = {**AGENTS, "captions": Describer}
    agents: list[AgentBase] = [teachers[n](runtime.tokenizer, texts, config.agent) for n in settings.formats]
    shown, won, rows = 0, 0, list[Row]()
    for demo in demonstrations(runtime.benchmark, tasks, settings.passes, derive_seed(config.seed, "demos")):
        shown += 1
        won += demo.success
        if demo.success or not settings.keep_success_only:
            rows.extend(row for agent in agents for row in agent.demo_rows(demo, settings.context_weight))
    if not rows:
        raise DataError("the demonstrator solved none of the training tasks; check env.kwargs and env.train_split")
    limit, longest = runtime.setting.max_context, max(len(row.input_ids) for row in rows)
    fitting = [row for row in rows if len(row.input_ids) <= limit]
    too_long = len(rows) - len(fitting)
    if too_long > _MOST_LEFT_OUT * len(rows):
        raise ConfigError(
            f"{too_long} of {len(rows)} rows of the demonstrations are longer than the {limit} tokens of "
            f"{_limited_by(limit, config)}, the longest has {longest}; raise it, or choose shorter tasks"
        )
    rows = fitting
    batches = list(_batches(rows, settings.batch_tokens, random.Random(derive_seed(config.seed, "batches"))))
    learner = make_learner(
        runtime.model,
        config,
        total_steps=len(batches),
        optimizer=settings.optimizer,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        warmup_steps=max(1, int(settings.warmup_fraction * len(batches))),
        schedule="linear",
        kl_coef=0.0,
        credit="uniform",
        value_heads=0,
        keep_reference=False,
        freeze_vision=settings.freeze_vision,
        mini_batches=1,
        epochs=1,
    )
    losses, tokens = list[float](), 0
    for number, batch in enumerate(batches):
        metrics = learner.supervised(batch)
        losses.append(metrics["loss"])
        tokens += sum(len(row.input_ids) for row in batch)
        if progress is not None:
            progress(number + 1, len(batches), metrics)
    runtime.engine.load_weights(dict(runtime.model.state_dict()))
    return WarmstartReport(
        demonstrations=shown,
        demonstrated_success=won / shown,
        too_long=too_long,
        tokens=tokens,
        steps=len(batches),
        loss_first=losses[0],
        loss_last=sum(losses[-10:]) / len(losses[-10:]),
        seconds=time.perf_counter() - started,
    )


def _limited_by(limit: int, config: Config) -> str:
    """The setting that limits the context to so many tokens."""
    return "agent.max_context" if limit == config.agent.max_context else "the model (init.max_position)"


def _batches(rows: Sequence[Row], tokens: int, rng: random.Random) -> Iterator[list[Row]]:
    """Shuffled batches of about `tokens` tokens; a short last one is dropped unless it is the only one."""
    order = list(rows)
    rng.shuffle(order)
    batch, size, emitted = list[Row](), 0, False
    for row in order:
        if batch and size + len(row.input_ids) > tokens:
            yield batch
            batch, size, emitted = [], 0, True
        batch.append(row)
        size += len(row.input_ids)
    if batch and (not emitted or size > tokens // 2):
        yield batch
