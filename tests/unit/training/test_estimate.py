"""What is worked out of a model's shape is what the model then takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from conformance.reference import build
from himac.config import Config
from himac.config_file import parse_config
from himac.engines.local.engine import LocalEngine
from himac.models.forward import packed_forward, recomputed, support
from himac.models.loading import load_model
from himac.models.policy import Policy
from himac.models.skeleton import kept_bytes, skeleton
from himac.models.vision import vision_tower
from himac.training.estimate import fitting, memory, seconds, size_of
from himac.training.factory import make_learner
from support.tiny_vision import write_model

TOKENS = 64


def written(folder: Path, architecture: str) -> tuple[Any, Config]:
    torch.manual_seed(0)
    model = build(architecture, 200)
    model.config.save_pretrained(folder)
    return model, configured(folder)


def configured(folder: Path, learner: dict[str, Any] | None = None, **model: Any) -> Config:
    return parse_config(
        {
            "model": {"path": str(folder), "device": "cpu"} | model,
            "agent": {"max_context": 128},
            "algo": {"name": "grpo", "tasks": 4, "group_size": 4},
            "train": {"max_live": 8, "learner": {"max_tokens_per_microbatch": 512} | (learner or {})},
        }
    )


@pytest.mark.parametrize("lora", [None, {"rank": 4}], ids=["all", "adapter"])
@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_numbers_of_the_model(architecture: str, lora: dict[str, Any] | None, tmp_path: Path) -> None:
    model, _ = written(tmp_path, architecture)
    config = configured(tmp_path, lora=lora)
    policy = Policy(model)
    if config.model.lora is not None:
        policy.adapt(config.model.lora, 0)
    size, expected = size_of(config), memory(config)
    assert size.parameters == sum(p.numel() for p in model.parameters())
    assert size.trained == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert expected.weights == 4 * size.parameters
    assert 4 * size.trained < expected.gradients <= 4 * (size.trained + 2 * 200 * 32)
    learner = make_learner(policy, config)
    learner.optimizer.set_lr(0.0)
    for p in model.parameters():
        p.grad = torch.zeros_like(p) if p.requires_grad else None
    learner.optimizer.step()
    state = [kept for one in learner.optimizer.members.values() for kept in one.state.values()]
    assert expected.optimiser == sum(t.numel() * 4 for kept in state for t in kept.values() if t.dim())
    # The KL term of the defaults: a second copy, but for an adapter, which is switched off.
    assert (expected.reference > 0) == (learner.reference is not None) == (lora is None)
    engine = LocalEngine(model, None, max_slots=8, max_context=128)
    assert engine._cache is not None
    assert size.token == engine._cache.token_bytes
    assert expected.cache == 8 * 128 * size.token


@pytest.mark.parametrize("every", [0, 1, 2])
@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_activations_that_are_kept(architecture: str, every: int, tmp_path: Path) -> None:
    model, config = written(tmp_path, architecture)
    support(model)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen: dict[int, int] = {}
    alive: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            alive.append(tensor)
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), recomputed(model, every):
        keep(packed_forward(model, torch.arange(TOKENS) % 9, [TOKENS // 2] * 2))
    bones = skeleton(config.model, config.init)
    assert all(p.is_meta for p in bones.parameters())
    assert kept_bytes(bones, TOKENS, every) == pytest.approx(sum(seen.values()), rel=0.1)


def test_a_model_that_sees(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "qwen2.5-vl")
    model, _ = load_model(folder)
    size = size_of(configured(folder))
    assert size.parameters == sum(p.numel() for p in model.parameters())
    assert size.trained == size.parameters - sum(p.numel() for p in vision_tower(model).parameters())


def test_settings_that_fit(tmp_path: Path) -> None:
    _, config = written(tmp_path, "qwen2")
    config = configured(tmp_path, {"max_tokens_per_microbatch": 4096})
    now = memory(config)
    changes = fitting(config, now.peak // 2)
    assert changes is not None
    assert changes[0] == "train.learner.gradient_checkpointing=1"
    tree = config.model_dump(mode="json")
    for change in changes:
        *sections, last = change.partition("=")[0].split(".")
        place = tree
        for name in sections:
            place = place[name]
        place[last] = int(change.partition("=")[2])
    assert memory(parse_config(tree)).peak <= now.peak // 2
    assert fitting(config, 1000) is None


def test_seconds_follow_from_rates(tmp_path: Path) -> None:
    """16 episodes of 128 tokens: 2048 tokens, 2 operations a parameter and pass, 3 passes and one of the reference."""
    _, config = written(tmp_path, "qwen2")
    found = seconds(config, flops=1e9, bandwidth=1e9)
    assert found is not None
    assert found.episodes == 16
    assert found.update == pytest.approx(2048 * 2 * size_of(config).parameters * 4 / 1e9)
    slower = seconds(config, flops=1e9, bandwidth=1e3)
    assert slower is not None
    # A quarter is said, 512 tokens by 8 at a time: 64 steps that read all weights, at 4 bytes.
    read = 64 * size_of(config).parameters * 4 / 1e3
    assert slower.rollout == pytest.approx(read, rel=0.01)
