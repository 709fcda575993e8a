"""Phase A moves the weights through blueprint tokens only, phase B through executor tokens only (real model)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from himac.algos.base import PhaseContext, PhaseOutcome
from himac.algos.himac import Himac
from himac.rollout.rows import execution_rows, planner_rows, returns
from himac.rollout.runtime import Runtime, build_runtime
from himac.rollout.sampling import HierarchicalSampler
from himac.training.factory import make_learner
from himac.training.warmstart import warmstart
from himac.types import Episode, Group, Role, Row, Segment
from support.learning import make_toy_model, toy_config
from support.toy import ColourBenchmark


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    torch.set_num_threads(1)
    model = make_toy_model(tmp_path_factory.mktemp("toy") / "model")
    config = toy_config("himac")
    config = config.model_copy(update={"warmstart": config.warmstart.model_copy(update={"passes": 40})})
    with build_runtime(config, str(model), 64, ColourBenchmark()) as made:
        warmstart(made)
        yield made


@pytest.fixture(scope="module")
def outcomes(runtime: Runtime) -> dict[str, PhaseOutcome]:
    """Both phases of one iteration."""
    algorithm = Himac(runtime.config.algo, HierarchicalSampler(runtime.spec, runtime.agent, runtime.collector))
    tasks = runtime.benchmark.tasks("train")[:4]
    at = PhaseContext(0, 11)
    macro = algorithm.macro(at, tasks, None)
    carry = [(task.id, [((f"say {task.options['colours'][0]}",), 1.0)]) for task in tasks]
    return {"macro": macro, "micro": algorithm.micro(at, tasks, carry)}


def gradient(runtime: Runtime, rows: list[Row]) -> torch.Tensor:
    """The gradient of `Learner.update` for these rows, caught before the optimiser's step."""
    learner = make_learner(runtime.policy, runtime.config, mini_batches=1, kl_coef=0.0, max_grad_norm=1e9)
    caught: list[torch.Tensor] = []

    def catch() -> None:
        caught.append(
            torch.cat([p.grad.flatten().clone() for p in runtime.policy.model.parameters() if p.grad is not None])
        )

    learner.optimizer.step = catch
    learner.update(rows)
    (found,) = caught
    return found


def spread(groups: list[Group]) -> list[list[float]]:
    """Advantages that differ inside every group, whatever the untrained model achieved."""
    return [[float(n - (len(returns(g.episodes)) - 1) / 2) for n in range(len(g.episodes))] for g in groups]


def corrupt(segment: Segment) -> Segment:
    """The same segment with other sampled tokens and log-probabilities."""
    tokens = np.where(segment.sampled, (segment.token_ids + 7) % 300, segment.token_ids).astype(np.int32)
    return replace(segment, token_ids=tokens, logprobs=(segment.logprobs - 3 * segment.sampled).astype(np.float32))


def with_other_executions(episode: Episode) -> Episode:
    return replace(episode, segments=tuple(corrupt(segment) for segment in episode.segments))


def with_other_plan(episode: Episode) -> Episode:
    plan = episode.plan or Segment(
        Role.PLANNER, np.arange(6, dtype=np.int32), np.ones(6, np.bool_), np.full(6, -1, np.float32)
    )
    return replace(episode, plan=corrupt(plan))


def changed(group: Group, change: object) -> Group:
    assert callable(change)
    return replace(group, episodes=tuple(change(episode) for episode in group.episodes))


CASES = [
    ("macro", planner_rows, with_other_executions, with_other_plan),
    ("micro", execution_rows, with_other_plan, with_other_executions),
]


@pytest.mark.parametrize(("phase", "rows_of", "foreign", "own"), CASES, ids=["macro", "micro"])
def test_only_the_phase_s_own_tokens_move_weights(
    phase: str, rows_of: object, foreign: object, own: object, runtime: Runtime, outcomes: dict[str, PhaseOutcome]
) -> None:
    assert callable(rows_of)
    groups = outcomes[phase].groups
    assert any(segment.sampled.any() for group in groups for e in group.episodes for segment in e.segments), "no step"

    def update(groups: list[Group]) -> torch.Tensor:
        rows = [row for g, advantages in zip(groups, spread(groups), strict=True) for row in rows_of(g, advantages)]
        return gradient(runtime, rows)

    here = update(groups)
    assert here.abs().max() > 0
    assert torch.equal(here, update([changed(g, foreign) for g in groups]))
    assert not torch.allclose(here, update([changed(g, own) for g in groups]))


@pytest.mark.parametrize(("phase", "role"), [("macro", Role.PLANNER), ("micro", Role.EXECUTOR)])
def test_rows_hold_one_role(phase: str, role: Role, outcomes: dict[str, PhaseOutcome]) -> None:
    """The phases themselves, not only the helpers, hand over rows of one role with every sampled token in them."""
    outcome = outcomes[phase]
    assert {row.role for row in outcome.rows} == {role}
    segments = [
        segment
        for group in outcome.groups
        for episode in group.episodes
        for segment in ([episode.plan] if role is Role.PLANNER else episode.segments)
        if segment is not None
    ]
    assert len(segments) == len(outcome.rows)
    for row, segment in zip(outcome.rows, segments, strict=True):
        assert np.array_equal(row.input_ids, segment.token_ids)
        assert np.array_equal(row.loss_mask, segment.sampled)


def test_tokens_that_were_given_are_not_trained(runtime: Runtime, outcomes: dict[str, PhaseOutcome]) -> None:
    """The last tokens of a row that the policy did not choose (an observation) do not touch the gradient."""
    rows = [replace(row, advantages=np.where(row.loss_mask, 1, 0).astype(np.float32)) for row in outcomes["micro"].rows]
    tail = np.array([5, 6, 7], dtype=np.int32)
    longer = [
        Row(
            np.concatenate([row.input_ids, tail]),
            np.concatenate([row.loss_mask, np.zeros(3, np.bool_)]),
            np.concatenate([row.old_logprobs, np.zeros(3, np.float32)]),
            np.concatenate([row.advantages, np.zeros(3, np.float32)]),
            row.role,
            row.group_id,
        )
        for row in rows
    ]
    torch.testing.assert_close(gradient(runtime, rows), gradient(runtime, longer), rtol=1e-4, atol=1e-7)
