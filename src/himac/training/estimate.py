"""What a run takes, worked out from the shape of its model before anything is loaded.

Memory is that of the process beyond an idle Python with torch. Rollout and update follow one another, and the cache of
one is gone before the other begins, so the most is what stays and the larger of the two.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from himac.config import Config, InitConfig, ModelConfig
from himac.config_file import parse_config
from himac.models.skeleton import kept_bytes, skeleton
from himac.training.factory import learner_settings
from himac.training.forward import logits_at_once, runs_bf16

_PROBE_TOKENS = 64
_LOGIT_COPIES = 5  # logits, log-probabilities, and what their entropy is made of, in float32
_GRADIENT_SHARE = 0.2  # gradients in flight while a layer is left, as a share of what it keeps
_CHOICE_BYTES = 24  # of a logit while a token is chosen: two copies, a sum in double precision, and its search
_PREFILL_TOKENS = 8192
_PASS_SHARE = 0.5  # of what a layer keeps for a backward pass, without one
_SAID = 0.25  # share of a context that is generated


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by part.

    Attributes:
        weights, reference, optimiser: There all the time; float32 copies of weights belong to the optimiser.
        gradients, activations, logits: While the policy is updated.
        cache, decoding: While episodes are sampled.
    """

    weights: int
    reference: int
    optimiser: int
    gradients: int
    activations: int
    logits: int
    cache: int
    decoding: int

    @property
    def update(self) -> int:
        """The most while the policy is updated."""
        return self._stays + self.gradients + self.activations + self.logits

    @property
    def rollout(self) -> int:
        """The most while episodes are sampled."""
        return self._stays + self.cache + self.decoding

    @property
    def peak(self) -> int:
        return max(self.update, self.rollout)

    @property
    def _stays(self) -> int:
        return self.weights + self.reference + self.optimiser

    def parts(self) -> Iterator[tuple[str, int]]:
        """Name and bytes of each part."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))


@dataclass(frozen=True, slots=True)
class Size:
    """What the arithmetic needs of a model.

    Attributes:
        parameters, trained: Numbers; shared ones count once.
        weight_bytes, trained_bytes: Of a weight, and of a trained one.
        largest: Numbers of the largest trained tensor, mostly the embedding.
        kept: Bytes of activations that a token keeps for the backward pass.
        layer: Those of one decoder layer, nothing computed again.
        token: Bytes of its keys and values.
    """

    parameters: int
    trained: int
    weight_bytes: int
    trained_bytes: int
    largest: int
    kept: float
    layer: float
    token: int
    vocabulary: int


@functools.lru_cache(maxsize=32)
def _size(model: ModelConfig, init: InitConfig, freeze_vision: bool, every: int, low: bool) -> Size:
    bones = skeleton(model, init, freeze_vision)
    shape: Any = bones.config.get_text_config()
    parameters = list(bones.parameters())
    trained = [one for one in parameters if one.requires_grad]
    whole = kept_bytes(bones, _PROBE_TOKENS, 0, low) / _PROBE_TOKENS
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    width = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    return Size(
        parameters=sum(one.numel() for one in parameters),
        trained=sum(one.numel() for one in trained),
        weight_bytes=bones.dtype.itemsize,
        trained_bytes=trained[0].dtype.itemsize,
        largest=max(one.numel() for one in trained),
        kept=kept_bytes(bones, _PROBE_TOKENS, every, low) / _PROBE_TOKENS if every else whole,
        layer=whole / shape.num_hidden_layers,
        token=2 * shape.num_hidden_layers * heads * width * bones.dtype.itemsize,
        vocabulary=shape.vocab_size,
    )


def size_of(config: Config, device: str = "cpu") -> Size:
    """The model of a configuration; raises what `skeleton` raises."""
    learner = config.train.learner
    low = runs_bf16(learner.precision, device)
    return _size(config.model, config.init, learner.freeze_vision, learner.gradient_checkpointing, low)


def memory(config: Config, device: str = "cpu") -> Memory:
    """Memory of a training run, at most: every micro-batch is full and every episode fills its context.

    Args:
        config: Of the run.
        device: `cpu` or `cuda`: where the model is.
    """
    learner, size = config.train.learner, size_of(config, device)
    context, live, processes = config.agent.max_context, config.train.max_live, config.train.rollout_workers
    weights = size.parameters * size.weight_bytes
    masters = size.trained_bytes < 4
    # With `apart` each role has an optimiser of its own, beside the one that would train all rows and has no state.
    parts = 2 if learner.apart and not config.algo.value_heads else 1
    copies = 4 * size.trained * (1 if parts == 1 else parts + 1) if masters else 0
    states = (8 if learner.optimizer == "adamw" else 4) * size.trained * parts
    copied = learner_settings(config, total_steps=1).needs_reference and not adapted(config)
    away = learner.offload_reference and device != "cpu"
    tokens = max(learner.max_tokens_per_microbatch, context)
    again = size.layer if learner.gradient_checkpointing else 0.0
    chunk = min(tokens, learner.loss_chunk or logits_at_once(size.vocabulary))
    cached = min(live * context, getattr(config.engine, "cache_tokens", None) or live * context)
    decoding = live * size.vocabulary * _CHOICE_BYTES + int(min(_PREFILL_TOKENS, cached) * _PASS_SHARE * size.layer)
    return Memory(
        weights=weights,
        reference=weights if copied and not away else 0,
        optimiser=copies + states,
        # A new gradient of the embedding, and of the output layer, is there beside the sum it is added to.
        gradients=size.trained * (size.trained_bytes + (4 if masters else 0)) + 2 * size.largest * size.trained_bytes,
        activations=int(tokens * (size.kept + again + _GRADIENT_SHARE * size.layer))
        + (2 * size.parameters if runs_bf16(learner.precision, device) and size.weight_bytes > 2 else 0),
        logits=chunk * size.vocabulary * 4 * _LOGIT_COPIES,
        cache=processes * cached * size.token,
        decoding=processes * decoding,
    )


def adapted(config: Config) -> bool:
    """Whether an adapter is trained; a model from scratch has one too, after its warm start."""
    return config.model.lora is not None


@dataclass(frozen=True, slots=True)
class Seconds:
    """Of an iteration in which every episode fills one context."""

    rollout: float
    update: float
    episodes: int


def seconds(config: Config, flops: float, bandwidth: float, device: str = "cpu") -> Seconds | None:
    """How long an iteration takes at the rates of a device; `None` where the algorithm does not tell its episodes.

    Args:
        config: Of the run.
        flops: Multiplications and additions a second, of large matrices.
        bandwidth: Bytes read a second.
        device: See `memory`.
    """
    if not (episodes := config.algo.episodes):
        return None
    learner, size = config.train.learner, size_of(config, device)
    tokens, forward = episodes * config.agent.max_context, 2 * size.parameters / flops
    # Forward, gradients of the inputs, gradients of the weights.
    passes = (
        2.0
        + size.trained / size.parameters
        + (1.0 / max(1, learner.gradient_checkpointing)) * bool(learner.gradient_checkpointing)
    )
    reference = float(learner_settings(config, total_steps=1).needs_reference)
    live = min(config.train.max_live, episodes)
    said = _SAID * tokens
    step = max(live * forward, size.parameters * size.weight_bytes / bandwidth)
    return Seconds(
        rollout=(tokens - said) * forward + said / live * step,
        update=tokens * forward * (learner.epochs * passes + reference),
        episodes=episodes,
    )


_SAVINGS: tuple[tuple[str, Any], ...] = (
    ("train.learner.gradient_checkpointing", 1),
    ("train.learner.loss_chunk", 256),
    ("train.learner.max_tokens_per_microbatch", "context"),
    ("engine.cache_tokens", "cache"),
    ("train.learner.offload_reference", True),
    ("model.dtype", "bfloat16"),
    ("model.lora.rank", 16),
)
"""Cheapest first."""


def fitting(config: Config, available: int, device: str = "cpu") -> list[str] | None:
    """Settings with which a run takes at most `available` bytes, the first of `_SAVINGS` that are enough together.

    Returns:
        `None` where all of them are not enough.
    """
    context = config.agent.max_context
    amounts = {"context": context, "cache": 8 * context}
    now, chosen = config, list[str]()
    for key, value in _SAVINGS:
        amount = amounts.get(value, value) if isinstance(value, str) else value
        changed = _with(now, key, amount)
        if memory(changed, device).peak < memory(now, device).peak:
            now = changed
            chosen.append(f"{key}={str(amount).lower()}")
            if memory(now, device).peak <= available:
                return chosen
    return None


def _with(config: Config, key: str, value: Any) -> Config:
    tree: dict[str, Any] = config.model_dump(mode="json")
    *sections, last = key.split(".")
    place = tree
    for name in sections:
        place[name] = place.get(name) or {}
        place = place[name]
    if last == "cache_tokens" and last not in place:  # of an engine without a cache of ours
        return config
    place[last] = value
    return parse_config(tree)
