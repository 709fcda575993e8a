"""From the configuration to the learner."""

from typing import Any, get_args

import pytest

from himac.algos.grpo import GrpoConfig
from himac.algos.losses import AggregationMode, RatioKind
from himac.config import LearnerConfig
from himac.config_file import load_config
from himac.errors import ConfigError, MissingDependencyError
from himac.models.policy import Policy
from himac.training.factory import check_training, learner_settings, make_algorithm, make_learner
from himac.training.forward import Precision

FLAT = "agent.name=flat"


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("aggregation", get_args(AggregationMode)),
        ("ratio", get_args(RatioKind)),
        ("precision", get_args(Precision)),
    ],
)
def test_every_choice_of_the_losses_is_reachable(key: str, choices: tuple[str, ...]) -> None:
    assert set(get_args(LearnerConfig.model_fields[key].annotation)) == set(choices)
    for choice in choices:
        overrides = [f"train.learner.{key}={choice}", "train.learner.aggregation_horizon=64", "train.learner.kl_coef=0"]
        assert getattr(learner_settings(load_config(None, overrides)), key) == choice


def test_clip_ranges_reach_the_learner(model: Any) -> None:
    overrides = ["clip_low=0.1", "clip_high=0.28", "dual_clip=3", "value_clip=0.5", "value_warmup=3", "value_lr=2"]
    cfg = load_config(None, [f"train.learner.{one}" for one in overrides])
    made = make_learner(Policy(model), cfg, lr=0.5).config
    assert (made.clip_low, made.clip_high, made.dual_clip) == (0.1, 0.28, 3.0)
    assert (made.value_clip, made.value_warmup, made.value_lr, made.lr) == (0.5, 3, 2.0, 0.5)


def test_the_method_says_whether_there_is_a_critic(model: Any) -> None:
    ppo = load_config(None, ["algo.name=ppo", FLAT, "train.learner.kl_coef=0"])
    learner = make_learner(Policy(model), ppo)
    assert learner.heads is not None
    assert learner.reference is None
    dear = make_learner(
        Policy(model), load_config(None, ["algo={name: ppo, reward_kl: 0.1}", FLAT, "train.learner.kl_coef=0"])
    )
    assert dear.reference is not None
    assert make_learner(Policy(model), load_config(None, ["algo.name=grpo", FLAT])).heads is None
    assert [load_config(None, [f"algo={{name: hiper, heads: {n}}}"]).algo.value_heads for n in (1, 3)] == [1, 3]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["algo.name=ppo", "agent.name=hiper"], "agent.name=flat"),
        (["train.learner.aggregation=seq-mean-token-sum-norm"], "aggregation_horizon"),
        (["train.learner.credit=dgpo"], "kl_coef=0"),
        (["agent.planner.temperature=0.5"], "temperature"),
        (["train.rollout_workers=2", "env.workers=1"], r"env\.workers=0"),
    ],
)
def test_contradictions_are_refused_before_anything_starts(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_training(load_config(None, overrides))
    check_training(load_config(None, ["train.learner.schedule=linear"]))


def test_an_algorithm_whose_class_is_not_there_is_told_of() -> None:
    class Gone(GrpoConfig):
        factory = "nowhere:Gone"

    runtime: Any = None  # the class is looked for first
    with pytest.raises(MissingDependencyError, match="algorithm 'grpo' needs the module 'nowhere'"):
        make_algorithm(load_config(None, [FLAT]).model_copy(update={"algo": Gone()}), runtime)
