"""Supervised warm start from scripted demonstrations, in one or both agents' formats."""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from himac.agents.base import AgentBase
from himac.agents.describer import Describer
from himac.agents.recorder import SegmentRecorder
from himac.config import Config
from himac.envs.base import Benchmark, demonstrations
from himac.errors import CheckpointError, ConfigError, DataError
from himac.models.vision import forget_pictures
from himac.rollout.runtime import AGENTS, Runtime
from himac.seeding import derive_seed
from himac.training.checkpoint import load_latest, save_checkpoint
from himac.training.factory import make_learner
from himac.training.settings import LearnerSettings
from himac.types import Row, Task

_MOST_LEFT_OUT = 0.05
"""Share of the rows, and of the replies that a limit cuts. A model that never sees the long tasks, or may not say what
it has learned, learns something else than what was asked for."""


@dataclass(frozen=True, slots=True)
class WarmstartReport:
    """What the warm start did.

    Attributes:
        rows: That were imitated.
        too_long: Rows that were left out because they exceed `agent.max_context`.
        replies_too_long: Replies that are imitated but would be cut off when the agent says them.
    """

    demonstrations: int
    demonstrated_success: float
    rows: int
    too_long: int
    replies_too_long: int
    tokens: int
    steps: int
    loss_first: float
    loss_last: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Where a warm start is kept until its end, so that a killed one can go on.

    Attributes:
        folder: Of its checkpoints.
        source: Hash of the weights that it starts from.
        model: Directory of the weights to load: the source's, or those of the newest checkpoint.
        state: What that checkpoint holds; `None` before the first.
    """

    folder: Path
    source: str
    model: str
    state: dict[str, Any] | None = None

    @classmethod
    def at(cls, folder: Path, model: str) -> Unfinished:
        """What `folder` holds of a warm start of `model`.

        Raises:
            CheckpointError: Its checkpoint is damaged.
        """
        source = hashlib.sha256()
        for path in sorted(Path(model).glob("*.safetensors")) + sorted(Path(model).glob("pytorch_model*.bin")):
            with path.open("rb") as file:
                source.update(hashlib.file_digest(file, "sha256").digest())
        latest = load_latest(folder)
        if latest is None:
            return cls(folder, source.hexdigest(), model)
        return cls(folder, source.hexdigest(), str(latest.model_dir), latest.state)


@dataclass(slots=True)
class _Replies:
    """Demonstrated replies beside the limits of sampled ones.

    Attributes:
        over: For each setting that limits replies, whether each of them is longer.
        longest: Of those, in tokens.
    """

    over: defaultdict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    longest: Counter[str] = field(default_factory=Counter)

    def see(self, agent: AgentBase, contexts: Sequence[SegmentRecorder]) -> None:
        for context in contexts:
            if (found := agent.reply_limit(context.role)) is not None:
                name, most = found
                self.over[name] += [length > most for length in context.replies]
                self.longest[name] = max([self.longest[name], *context.replies])

    def check(self) -> None:
        for name, over in self.over.items():
            if sum(over) > _MOST_LEFT_OUT * len(over):
                raise ConfigError(
                    f"{sum(over)} of {len(over)} demonstrated replies are longer than {name} allows, so the agent "
                    f"cannot say what it learns; set it to {self.longest[name]} or more"
                )


def warmstart_tasks(config: Config, benchmark: Benchmark) -> Sequence[Task]:
    """The training tasks that are demonstrated: a seeded sample of `warmstart.games` of the train split."""
    tasks = benchmark.tasks(config.env.train_split)
    if config.warmstart.games is not None and config.warmstart.games < len(tasks):
        tasks = random.Random(derive_seed(config.seed, "warmstart")).sample(tasks, config.warmstart.games)
    return tasks


def warmstart(
    runtime: Runtime,
    progress: Callable[[int, int, dict[str, float]], None] | None = None,
    unfinished: Unfinished | None = None,
) -> WarmstartReport:
    """Train the runtime's model in place.

    Args:
        progress: Called after each optimiser step with (step, steps, metrics).
        unfinished: Where to keep checkpoints and what to go on from; the runtime's model is the one it names. The
            weights at the end are those of a warm start that nothing interrupted.

    Raises:
        CheckpointError: What is to go on began with other weights, demonstrations or settings.
        ConfigError: The planner and the flat agent are both taught and asked in the same words, or too many
            demonstrations do not fit into the context.
        DataError: No demonstration succeeds.
    """
    config, settings, policy = runtime.config, runtime.config.warmstart, runtime.policy
    assert policy is not None
    texts = runtime.benchmark.texts
    if {"hierarchical", "flat"} <= set(settings.formats) and texts.planner == texts.flat:
        raise ConfigError(
            f"{config.env.name} asks the planner and the flat agent in the same words, so one model cannot learn both; "
            "give its texts a different `flat`, or set warmstart.formats to one of them"
        )
    started = time.perf_counter()
    tasks = warmstart_tasks(config, runtime.benchmark)
    teachers: dict[str, Callable[..., AgentBase]] = {**AGENTS, "captions": Describer}
    agents: list[AgentBase] = [teachers[n](policy.tokenizer, texts, config.agent) for n in settings.formats]
    shown, won, rows, replies = 0, 0, list[Row](), _Replies()
    for demo in demonstrations(runtime.benchmark, tasks, settings.passes, derive_seed(config.seed, "demos")):
        shown += 1
        won += demo.success
        if demo.success or not settings.keep_success_only:
            for agent in agents:
                contexts = agent.demonstrated(demo)
                replies.see(agent, contexts)
                rows.extend(context.demo_row(demo.task.id, settings.context_weight) for context in contexts)
    if not rows:
        raise DataError("the demonstrator solved none of the training tasks; check env.kwargs and env.train_split")
    replies.check()
    limit, longest = runtime.spec.max_context, max(len(row.input_ids) for row in rows)
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
        policy,
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
        target_kl=None,
        apart=False,
        roles={},
        mini_batches=1,
        epochs=1,
    )
    losses, earlier_s = list[float](), 0.0
    identity = "" if unfinished is None else _identity(unfinished.source, learner.config, batches)
    if unfinished is not None and unfinished.state is not None:
        state = unfinished.state
        if state.get("identity") != identity:
            raise CheckpointError(
                f"{unfinished.folder} holds a warm start of another model, other demonstrations or other settings; "
                "remove it, or go on with what it was started with"
            )
        learner.load_state_dict(state["learner"])
        losses, earlier_s = list(state["losses"]), state["seconds"]
    for number, batch in enumerate(batches[len(losses) :], start=len(losses) + 1):
        metrics = learner.supervised(batch)
        losses.append(metrics["loss"])
        if progress is not None:
            progress(number, len(batches), metrics)
        if unfinished is not None and number % settings.checkpoint_steps == 0 and number < len(batches):
            seconds = earlier_s + time.perf_counter() - started
            state = {"identity": identity, "learner": learner.state_dict(), "losses": losses, "seconds": seconds}
            save_checkpoint(unfinished.folder, f"step-{number:06d}", policy.model, policy.tokenizer, state, keep=1)
            forget_pictures(policy.model)  # whoever goes on from here has none either
    policy.hand_to(runtime.engine)
    return WarmstartReport(
        demonstrations=shown,
        demonstrated_success=won / shown,
        rows=len(rows),
        too_long=too_long,
        replies_too_long=sum(map(sum, replies.over.values())),
        tokens=sum(len(row.input_ids) for batch in batches for row in batch),
        steps=len(batches),
        loss_first=losses[0],
        loss_last=sum(losses[-10:]) / len(losses[-10:]),
        seconds=earlier_s + time.perf_counter() - started,
    )


def _identity(source: str, settings: LearnerSettings, batches: Sequence[Sequence[Row]]) -> str:
    """Hash of everything that the final weights follow from."""
    # What only bounds memory may change on the way.
    bounds = {
        "max_tokens_per_microbatch": 1,
        "gradient_checkpointing": 0,
        "loss_chunk": None,
        "offload_reference": False,
    }
    same = settings.model_copy(update=bounds)
    digest = hashlib.sha256(f"{source} {same}".encode())
    for batch in batches:
        digest.update(f"batch of {len(batch)}".encode())
        for row in batch:
            digest.update(f"{len(row.input_ids)} {[placed.picture.key for placed in row.pictures]}".encode())
            for part in (row.input_ids, row.loss_mask, row.advantages):
                digest.update(part.tobytes())
    return digest.hexdigest()


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
