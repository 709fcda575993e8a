import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from himac.training.optim import Muon, OptimizerSet, lr_at, make_optimizer, orthogonalize


def backward(model: Any, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 32, (2, 6), generator=generator)
    model(input_ids=ids, labels=ids).loss.backward()


def test_schedule_by_hand() -> None:
    # three warm-up steps: 1/4, 2/4, 3/4 of the peak; then falls over ten steps
    options: dict[str, Any] = {"lr": 1.0, "warmup_steps": 3, "total_steps": 13}
    assert [lr_at(s, **options) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert lr_at(99, **options) == 1.0
    assert lr_at(8, **options, schedule="linear") == pytest.approx(0.5)
    assert lr_at(8, **options, schedule="cosine") == pytest.approx(0.5)
    assert lr_at(13, **options, schedule="cosine") == pytest.approx(0.0)
    assert lr_at(50, **options, schedule="linear", final_fraction=0.1) == pytest.approx(0.1)
    # 80 % of the environment steps are spent, and only half of the falling steps are taken
    assert lr_at(8, **options, schedule="linear", elapsed=0.8) == pytest.approx(0.2)
    assert lr_at(8, **options, schedule="linear", elapsed=1.3) == 0.0
    assert lr_at(0, **options, schedule="linear", elapsed=0.8) == 0.25
    with pytest.raises(ValueError, match="total_steps"):
        lr_at(5, lr=1.0, schedule="linear")
    with pytest.raises(ValueError, match="unknown schedule"):
        lr_at(5, lr=1.0, total_steps=9, schedule="typo")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(8, 8), (4, 16), (16, 4)])
def test_newton_schulz_makes_singular_values_about_one(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrices).float())
    assert values.min() > 0.3
    assert values.max() < 1.4
    # the direction is kept: U V^T . M is the nuclear norm for the exact polar factor
    nuclear = torch.linalg.svdvals(matrices).sum(-1)
    assert ((orthogonalize(matrices).float() * matrices).sum((-2, -1)) > 0.6 * nuclear).all()


def test_muon_update_has_the_root_mean_square_of_adamw() -> None:
    p = nn.Parameter(torch.zeros(64, 64))
    p.grad = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)) * 1e-3
    Muon([p], lr=0.1).step()
    # orthogonal 64 x 64: entries of RMS 1/8, times 0.2 sqrt(64) = 1.6, times lr: 0.02 (singular values are 0.7-1.2)
    assert p.detach().square().mean().sqrt().item() == pytest.approx(0.02, rel=0.3)
    assert (p.detach() * p.grad).sum() < 0


def test_muon_stacks_equal_shapes_without_mixing_them() -> None:
    generator = torch.Generator().manual_seed(1)
    grads = [torch.randn(6, 4, generator=generator) for _ in range(3)]
    together = [nn.Parameter(torch.zeros(6, 4)) for _ in grads]
    for p, grad in zip(together, grads, strict=True):
        p.grad = grad.clone()
    Muon(together, lr=0.1).step()
    for p, grad in zip(together, grads, strict=True):
        alone = nn.Parameter(torch.zeros(6, 4))
        alone.grad = grad.clone()
        Muon([alone], lr=0.1).step()
        torch.testing.assert_close(p, alone, rtol=1e-2, atol=1e-5)


def test_muon_takes_hidden_matrices_only(model: Any) -> None:
    optimizer = make_optimizer(model, "muon", 0.01)
    names = {id(p): name for name, p in model.named_parameters()}
    muon = {names[id(p)] for group in optimizer.members["muon"].param_groups for p in group["params"]}
    adam = {names[id(p)] for group in optimizer.members["adamw"].param_groups for p in group["params"]}
    assert muon | adam == set(names.values())
    assert not muon & adam
    assert all("proj.weight" in name for name in muon)
    assert "model.embed_tokens.weight" in adam


def test_a_wide_convolution_learns_slower_beside_muon() -> None:
    model = nn.Sequential(nn.Conv3d(3, 4, (2, 16, 16)), nn.Linear(4, 4, bias=False))
    optimizer = make_optimizer(model, "muon", 0.01)
    optimizer.set_lr(0.03)
    rates = {p: g["lr"] for g in optimizer.members["adamw"].param_groups for p in g["params"]}
    assert rates[model[0].weight] == pytest.approx(0.03 * 32 / 1536)
    assert rates[model[0].bias] == 0.03
    plain = make_optimizer(model, "adamw", 0.01)
    plain.set_lr(0.03)
    assert {g["lr"] for g in plain.members["adamw"].param_groups} == {0.03}


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_step_is_seen_by_what_is_cached(model: Any, kind: Any) -> None:
    optimizer = make_optimizer(model, kind, 0.01)
    versions = [p._version for p in model.parameters()]
    backward(model, 0)
    optimizer.step()
    assert all(p._version > before for p, before in zip(model.parameters(), versions, strict=True))


def test_weight_decay_is_for_matrices_only(model: Any) -> None:
    optimizer = make_optimizer(model, "adamw", 0.1, weight_decay=0.5)
    before = copy.deepcopy(model)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for p, old in zip(model.parameters(), before.parameters(), strict=True):
        # decoupled decay: p - lr * decay * p = 0.95 p
        torch.testing.assert_close(p, old * 0.95 if p.ndim >= 2 else old)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_state_round_trip_continues_exactly(model: Any, kind: Any) -> None:
    optimizer = make_optimizer(model, kind, 0.01)
    for seed in range(3):
        backward(model, seed)
        optimizer.step()
        optimizer.zero_grad()
    twin = copy.deepcopy(model)
    other = make_optimizer(twin, kind, 0.5)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for m, o in ((model, optimizer), (twin, other)):
        backward(m, 9)
        o.set_lr(0.02)
        o.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_it_learns(model: Any, kind: Any) -> None:
    optimizer: OptimizerSet = make_optimizer(model, kind, 0.02)
    ids = torch.arange(12)[None] % 5
    losses = []
    for _ in range(25):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] > 0.8 * math.log(32)
    assert losses[-1] < 0.5 * losses[0]


def test_wrong_use_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="unknown optimiser"):
        make_optimizer(model, "sgd")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="matrices only"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)
    adam, muon = make_optimizer(model), make_optimizer(model, "muon")
    with pytest.raises(ValueError, match="same optimiser"):
        adam.load_state_dict(muon.state_dict())
    backward(model, 0)
    adam.step()
    foreign = copy.deepcopy(adam.state_dict())
    foreign["adamw"]["state"][0]["exp_avg"] = torch.zeros(1, 1, 1)
    with pytest.raises(ValueError, match="no state of the shape"):
        adam.load_state_dict(foreign)
    with pytest.raises(ValueError, match="no trainable"):
        make_optimizer(model.requires_grad_(False))
