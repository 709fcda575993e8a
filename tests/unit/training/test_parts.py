"""Roles that are trained apart, and updates that end before they go too far."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from himac.config import RoleConfig
from himac.errors import ConfigError
from himac.models.policy import Policy
from himac.training.learner import Learner
from himac.training.parts import Part
from himac.types import Role, Row
from support.training_rows import learner_config as config
from support.training_rows import logprobs, sampled_rows, tiny_model


def both_roles(model: Any) -> list[Row]:
    rows = sampled_rows(model, 8)
    return [replace(row, role=Role.PLANNER if n % 2 else Role.EXECUTOR) for n, row in enumerate(rows)]


def own(rows: list[Row], model: Any) -> list[Row]:
    """The rows with the model's own log-probabilities: nothing has moved yet."""
    exact = []
    for row in rows:
        old = torch.cat([torch.zeros(1), logprobs(model, row)]).float().numpy()
        exact.append(replace(row, old_logprobs=old * row.loss_mask))
    return exact


def weights(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_apart_is_one_update_after_the_other() -> None:
    """Planner first; each role has an optimiser of its own, as two learners of one model would."""
    model = tiny_model()
    rows = both_roles(model)
    twin = copy.deepcopy(model)
    Learner(Policy(model), config(apart=True, mini_batches=2)).update(rows)
    for role in (Role.PLANNER, Role.EXECUTOR):
        Learner(Policy(twin), config(mini_batches=2)).update([row for row in rows if row.role is role])
    torch.testing.assert_close(weights(model), weights(twin), rtol=0, atol=0)


def test_rows_of_one_role_are_trained_as_ever() -> None:
    model = tiny_model()
    rows, twin = sampled_rows(model), copy.deepcopy(model)
    for one, apart in ((model, True), (twin, False)):
        learner = Learner(Policy(one), config(apart=apart, mini_batches=3, epochs=2))
        for _ in range(2):
            learner.update(rows)
    torch.testing.assert_close(weights(model), weights(twin), rtol=0, atol=0)


def test_a_role_has_its_own_pace() -> None:
    model = tiny_model()
    roles = {"planner": RoleConfig(lr_scale=0.1, epochs=1, mini_batches=1)}
    learner = Learner(Policy(model), config(apart=True, roles=roles, epochs=3, mini_batches=2))
    assert learner.update(both_roles(model))["optimizer_steps"] == 1 + 3 * 2
    steps = {role: part.steps for role, part in learner._parts.items() if role}
    assert steps == {"planner": 1, "executor": 6}
    rates = {role: part.optimizer.members["adamw"].param_groups[0]["lr"] for role, part in learner._parts.items()}
    assert rates["planner"] == pytest.approx(0.1 * rates["executor"])


def test_an_update_ends_before_a_step_that_goes_too_far() -> None:
    """The first step is taken; how far it went is seen before the second."""
    model = tiny_model()
    rows, twin = own(sampled_rows(model), model), copy.deepcopy(model)
    metrics = Learner(Policy(model), config(epochs=5, target_kl=1e-9)).update(rows)
    Learner(Policy(twin), config(epochs=1)).update(rows)
    assert metrics["optimizer_steps"] == 1
    assert metrics["stopped_early"] == 1.0
    assert metrics["moved"] > 1e-9
    torch.testing.assert_close(weights(model), weights(twin), rtol=0, atol=0)


def test_the_target_falls_with_the_square_of_the_rate() -> None:
    """Halfway down a linear schedule a quarter of the target is left: just too little for what two steps moved."""
    model = tiny_model()
    rows = own(sampled_rows(model), model)

    def updated(target: float | None, elapsed: float = 0.5) -> dict[str, float]:
        settings: Any = {"epochs": 2, "schedule": "linear", "total_steps": 1000, "target_kl": target}
        learner = Learner(Policy(copy.deepcopy(model)), config(**settings))
        learner.elapsed = elapsed
        return learner.update(rows)

    moved = updated(1e6)["moved"]
    # An update ends before a step at which the policy has moved 1.5 times as far as the target.
    assert updated(4 * moved / 1.5 * 1.01)["stopped_early"] == 0.0
    assert updated(4 * moved / 1.5 * 0.99)["stopped_early"] == 1.0


def test_moved_is_the_k3_estimate() -> None:
    model = tiny_model()
    (row,) = own(sampled_rows(model, 1), model)
    before = logprobs(model, row)
    learner = Learner(Policy(model), config(epochs=2, target_kl=1e6))
    metrics = learner.update([row])
    # Before the second step: the model after one step against the one that sampled.
    other = tiny_model()
    Learner(Policy(other), config(epochs=1)).update([row])
    ratio = (logprobs(other, row) - before)[row.loss_mask[1:]]
    assert metrics["moved"] == pytest.approx(float((ratio.exp() - 1 - ratio).mean()), rel=1e-3)
    assert metrics["stopped_early"] == 0.0


def test_the_rate_follows_how_far_an_update_went() -> None:
    part = Part(optimizer=None)  # type: ignore[arg-type]
    for moved, rate in ((0.03, 1 / 1.5), (0.01, 1 / 1.5), (0.001, 1.1 / 1.5)):
        part.adapt(moved, target=0.02)
        assert part.rate == pytest.approx(rate)
    for _ in range(100):
        part.adapt(1.0, 0.02)
    assert part.rate == 0.05
    for _ in range(100):
        part.adapt(0.0, 0.02)
    assert part.rate == 4.0


def test_parts_are_saved_and_restored() -> None:
    model = tiny_model()
    rows = both_roles(model)
    settings: Any = {"apart": True, "epochs": 2, "target_kl": 1e-3}
    learner = Learner(Policy(model), config(**settings))
    learner.update(rows)
    assert {type(role) for role in learner.state_dict()["parts"]} == {str}, "a checkpoint holds nothing else"
    resumed = Learner(Policy(copy.deepcopy(model)), config(**settings))
    resumed.load_state_dict(copy.deepcopy(learner.state_dict()))
    assert {role: part.rate for role, part in resumed._parts.items()} == {
        role: part.rate for role, part in learner._parts.items()
    }
    for one in (learner, resumed):
        one.update(rows)
    torch.testing.assert_close(weights(model), weights(resumed.model), rtol=0, atol=0)


def test_paces_without_apart_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.learner\.apart=true"):
        config(roles={"planner": RoleConfig(lr_scale=0.5)})
