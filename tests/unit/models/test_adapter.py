"""A LoRA adapter: what it trains, what it leaves alone, and what others read of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from conformance.reference import build, spread
from himac.config import LoraConfig, ModelConfig
from himac.engines.base import GenerateRequest, SamplingParams
from himac.engines.local.engine import LocalEngine
from himac.errors import ConfigError, MissingDependencyError, ModelError
from himac.models.adapter import adapter_off, add_adapter, dropping, has_adapter, merged_weights, save_adapter
from himac.models.folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, check_model_folder
from himac.models.init_model import init_model
from himac.models.loading import load_model
from himac.models.policy import Policy
from himac.models.vision import vision_tower
from himac.training.checkpoint import save_model
from himac.training.learner import Learner
from support.tiny_vision import write_model
from support.training_rows import learner_config, make_row, sampled_rows, tiny_model

CPU = ModelConfig(device="cpu")
IDS = torch.tensor([[5, 9, 17, 3, 21, 8]])


def moved(model: Any, seed: int = 0) -> Any:
    """The model with an adapter that does something: half of a new one is zero."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.2)
    return model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


@pytest.fixture
def adapted(tiny_path: Path) -> Policy:
    policy = Policy.load(tiny_path, CPU)
    policy.adapt(LoraConfig(rank=4), 1)
    moved(policy.model)
    return policy


def test_only_the_adapter_is_trained() -> None:
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    rows = sampled_rows(model)
    add_adapter(model, LoraConfig(rank=2, alpha=4), 0)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        f"model.layers.{layer}.{part}_proj.lora_{half}.default.weight"
        for layer in (0, 1)
        for part in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down")
        for half in "AB"
    }
    learner = Learner(Policy(model), learner_config())
    learner.update(rows)
    learner.update(rows)
    after = dict(model.named_parameters())
    for name, tensor in before.items():
        own = (
            name
            if name in after
            else name.replace(".weight", ".base_layer.weight").replace(".bias", ".base_layer.bias")
        )
        assert torch.equal(after[own], tensor), name
    assert all(tensor.abs().max() > 0 for name, tensor in after.items() if "lora_B" in name)


def test_the_reference_is_the_base() -> None:
    """And it is no second copy of the weights."""
    rows = sampled_rows(tiny_model())
    plain = Learner(Policy(tiny_model()), learner_config(kl_coef=0.1))
    policy = Policy(tiny_model())
    policy.adapt(LoraConfig(rank=2), 0)
    learner = Learner(policy, learner_config(kl_coef=0.1))
    for _ in range(2):
        learner.update(rows)
        for found, expected in zip(learner.reference_logprobs(rows), plain.reference_logprobs(rows), strict=True):
            assert found.tobytes() == expected.tobytes()
    assert learner.reference is None
    assert learner.update(rows)["kl"] > 0  # switched on again
    assert any(p.requires_grad for p in policy.model.parameters())


def test_credit_by_distance_sees_the_base() -> None:
    rows = sampled_rows(tiny_model())
    policy = Policy(tiny_model())
    policy.adapt(LoraConfig(rank=2), 0)
    learner = Learner(policy, learner_config(credit="dgpo"))
    # As yet the same: equal distances leave the advantages as they are.
    for row, credited in zip(rows, learner._credited(rows), strict=True):
        assert credited.advantages == pytest.approx(row.advantages, abs=1e-6)
    moved(policy.model)
    assert any(
        abs(credited.advantages - row.advantages).max() > 1e-3
        for row, credited in zip(rows, learner._credited(rows), strict=True)
    )


def test_sampler_and_trainer_agree(adapted: Policy) -> None:
    engine = LocalEngine(adapted.model, adapted.tokenizer, max_slots=4)
    prompts = [[1, 2, 3, 4, 5], [9, 8, 7], [30, 31, 32, 33]]
    done = engine.generate(
        [GenerateRequest(n, n, p, SamplingParams(max_new_tokens=12, seed=n)) for n, p in enumerate(prompts)]
    )
    rows = [
        make_row(
            [*prompt, *one.token_ids],
            [0] * len(prompt) + [1] * len(one.token_ids),
            1.0,
            [0.0] * len(prompt) + list(one.logprobs),
        )
        for prompt, one in zip(prompts, done, strict=True)
    ]
    assert Learner(adapted, learner_config()).update(rows)["logprob_gap_max"] <= 1e-5


def test_it_is_saved_alone_and_loaded_again(adapted: Policy, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "adapter", adapted.model, adapted.tokenizer)
    check_model_folder(folder)
    assert {ADAPTER_CONFIG, ADAPTER_WEIGHTS} <= {path.name for path in folder.iterdir()}
    assert not (folder / "model.safetensors").exists()
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 50_000
    again = Policy.load(folder, CPU)
    assert torch.equal(logits(again.model), logits(adapted.model))
    save_adapter(tmp_path / "again", again.model)
    assert (tmp_path / "again" / ADAPTER_WEIGHTS).read_bytes() == (folder / ADAPTER_WEIGHTS).read_bytes()


def test_peft_alone_loads_it(adapted: Policy, tiny_path: Path, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "adapter", adapted.model)
    alone = peft.PeftModel.from_pretrained(load_model(tiny_path)[0], str(folder)).eval()
    assert torch.equal(logits(alone), logits(adapted.model))


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_merged_weights_compute_the_same(architecture: str, tmp_path: Path) -> None:
    """A sampler with weights of its own gets them by their usual names."""
    model, plain = (spread(build_seeded(architecture)) for _ in range(2))
    add_adapter(model, LoraConfig(rank=4, targets=("q_proj", "down_proj"), modules_to_save=("norm",)), 2)
    moved(model)
    with torch.no_grad():
        model.model.norm.modules_to_save["default"].weight.mul_(1.5)
    names = [name for name, _ in merged_weights(model)]
    assert sorted(names) == sorted(plain.state_dict())
    different = logits(plain)
    Policy(model, version=7).hand_to(sampler := LocalEngine(plain, None, max_slots=1))
    assert sampler.version == 7
    assert (logits(plain) - different).abs().max() > 0.1
    torch.testing.assert_close(logits(plain), logits(model), rtol=1e-4, atol=1e-4)
    with adapter_off(model):
        assert torch.equal(logits(model), different)
    save_model(tmp_path / "whole", model, merge=True)
    whole = type(plain).from_pretrained(tmp_path / "whole").eval()
    assert all(torch.equal(whole.state_dict()[name], tensor) for name, tensor in merged_weights(model))


def test_the_merged_model_says_the_same(adapted: Policy, tiny_path: Path, tmp_path: Path) -> None:
    def replies(policy: Policy) -> list[tuple[int, ...]]:
        engine = LocalEngine(policy.model, policy.tokenizer, max_slots=4)
        greedy = SamplingParams(max_new_tokens=16, temperature=0.0)
        requests = [GenerateRequest(n, n, [n + 5, 3 * n + 1, 7], greedy) for n in range(8)]
        return [done.token_ids for done in engine.generate(requests)]

    save_model(tmp_path / "adapter", adapted.model, adapted.tokenizer)
    loaded = Policy.load(tmp_path / "adapter", CPU)
    save_model(tmp_path / "whole", loaded.model, loaded.tokenizer, merge=True)
    expected = replies(adapted)
    assert replies(Policy.load(tmp_path / "whole", CPU)) == expected
    assert replies(Policy.load(tiny_path, CPU)) != expected


def build_seeded(architecture: str) -> Any:
    torch.manual_seed(4)
    return build(architecture, 64)


def test_half_precision_has_an_adapter_in_full(tiny_path: Path) -> None:
    policy = Policy.load(tiny_path, CPU.model_copy(update={"dtype": "bfloat16"}))
    policy.adapt(LoraConfig(rank=2), 0)
    assert {p.dtype for p in policy.model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in policy.model.parameters() if not p.requires_grad} == {torch.bfloat16}
    before = logits(policy.model)
    Learner(policy, learner_config()).update([make_row([1, 2, 3, 4], [0, 0, 1, 1])])
    assert not torch.equal(logits(policy.model), before)


def test_dropout_works_in_updates_only() -> None:
    model = tiny_model()
    add_adapter(model, LoraConfig(rank=2, dropout=0.5), 0)
    moved(model)
    assert torch.equal(logits(model), logits(model))
    drawn = []
    for seed in (1, 1, 2):
        state = torch.get_rng_state()
        with dropping(model, seed):
            drawn.append(logits(model))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(logits(model), logits(model))


def test_dropout_is_the_same_where_layers_are_computed_again() -> None:
    moves = []
    for every in (0, 1):
        model = tiny_model()
        add_adapter(model, LoraConfig(rank=2, dropout=0.5), 0)
        moved(model)
        Learner(Policy(model), learner_config(gradient_checkpointing=every, optimizer="adamw")).update(
            sampled_rows(tiny_model())
        )
        moves.append({name: p.detach() for name, p in model.named_parameters() if p.requires_grad})
    assert all(torch.allclose(moves[0][name], moves[1][name], atol=1e-6) for name in moves[0])


def test_a_tower_for_pictures_has_none(tmp_path: Path) -> None:
    model, _ = load_model(write_model(tmp_path, "qwen2.5-vl"))
    add_adapter(model, LoraConfig(rank=2), 0)
    assert not any("lora" in name for name, _ in vision_tower(model).named_parameters())
    assert sum("lora_A" in name for name, _ in model.named_parameters()) == 7 * 2
    assert not any(p.requires_grad for p in vision_tower(model).parameters())
    Learner(Policy(model), learner_config(freeze_vision=False))
    assert not any(p.requires_grad for p in vision_tower(model).parameters())


# ---- what is refused, each in one sentence


def other_base(folder: Path, adapter: Path) -> Path:
    init_model(folder, ["go to drawer 10"] * 4, vocab_size=400, hidden_size=32, layers=2, heads=4, kv_heads=2, seed=9)
    return folder


def other_shape(folder: Path, adapter: Path) -> Path:
    """A base of which the adapter does not say which one it was."""
    (adapter / "base.json").unlink()
    init_model(folder, ["go to drawer 10"] * 4, vocab_size=400, hidden_size=16, layers=2, heads=4, kv_heads=2)
    return folder


def more_layers(folder: Path, adapter: Path) -> Path:
    """An adapter for fewer layers than it says."""
    tensors = load_file(adapter / ADAPTER_WEIGHTS)
    tensors = {name: tensor for name, tensor in tensors.items() if "layers.1" not in name}
    save_file(tensors, adapter / ADAPTER_WEIGHTS)
    return Path()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (other_base, "was trained on another model than"),
        (other_shape, "does not fit the model"),
        (more_layers, "does not fit the model .* \\(tensor model.layers.1"),
        (lambda folder, adapter: folder, "The model '.*base' that the adapter in .* was trained on is not there"),
    ],
)
def test_an_adapter_for_another_base(
    prepare: Callable[[Path, Path], Path], message: str, adapted: Policy, tmp_path: Path
) -> None:
    folder = save_model(tmp_path / "adapter", adapted.model)
    base = prepare(tmp_path / "base", folder)
    settings = CPU if base == Path() else CPU.model_copy(update={"path": str(base)})
    with pytest.raises(ModelError, match=message) as refused:
        Policy.load(folder, settings)
    assert "set model.path to" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", [ADAPTER_WEIGHTS, ADAPTER_CONFIG, "base.json"])
def test_a_broken_adapter(name: str, adapted: Policy, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "adapter", adapted.model)
    (folder / name).write_bytes(b"{")
    with pytest.raises(ModelError, match="cannot be read"):
        Policy.load(folder, CPU)
    (folder / ADAPTER_WEIGHTS).unlink()
    with pytest.raises(ModelError, match=f"has no {ADAPTER_WEIGHTS}"):
        check_model_folder(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": ("nothing",)}, "model.lora does not fit Qwen2ForCausalLM: Target modules"),
        ({"targets": ("lm_head",)}, "share their weights"),
        ({"modules_to_save": ("embed_tokens",)}, "share their weights"),
    ],
)
def test_modules_that_cannot_be_adapted(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        add_adapter(tiny_model(), LoraConfig(**settings), 0)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    model = tiny_model()
    with pytest.raises(MissingDependencyError, match=r"pip install 'himac\[lora\]'"):
        add_adapter(model, LoraConfig(), 0)
    assert not has_adapter(model)
