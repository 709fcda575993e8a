"""The warm start: what it refuses, and that one which was stopped goes on as if it had not been."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from himac.envs.registry import make_benchmark
from himac.errors import CheckpointError, ConfigError
from himac.rollout.runtime import build_runtime
from himac.training.warmstart import Unfinished, WarmstartReport, warmstart
from himac.types import PromptTexts
from support.learning import make_toy_model, toy_config
from support.toy import ColourBenchmark


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("alfworld", "compact"),
        ("alfworld", "full"),
        ("webshop", "compact"),
        ("webshop", "text"),
        ("sokoban", "coordinates"),
        ("sokoban", "grid"),
    ],
)
def test_planner_and_flat_agent_are_asked_differently(name: str, view: str) -> None:
    texts = make_benchmark(name, view=view).texts
    assert texts.planner != texts.flat


def test_rows_that_do_not_fit_are_counted_and_none_is_an_error(tmp_path: Path) -> None:
    model, config = make_toy_model(tmp_path / "model"), toy_config("himac")
    with build_runtime(config, str(model), 64, ColourBenchmark()) as runtime:
        assert warmstart(runtime).too_long == 0
    short = config.model_copy(update={"agent": config.agent.model_copy(update={"max_context": 3})})
    with (
        build_runtime(short, str(model), 64, ColourBenchmark()) as runtime,
        pytest.raises(
            ConfigError, match=r"of .* rows of the .* longer than the 3 tokens of agent\.max_context, .* raise"
        ),
    ):
        warmstart(runtime)


def test_replies_that_the_agent_may_not_say_are_counted_and_many_are_an_error(tmp_path: Path) -> None:
    """A colour, the marker of a finished sub-goal and the end of the reply are a token each."""
    model, config = make_toy_model(tmp_path / "model"), toy_config("himac")
    with build_runtime(config, str(model), 64, ColourBenchmark()) as runtime:
        assert warmstart(runtime).replies_too_long == 0
    executor = config.agent.executor.model_copy(update={"max_tokens": 2})
    short = config.model_copy(update={"agent": config.agent.model_copy(update={"executor": executor})})
    with (
        build_runtime(short, str(model), 64, ColourBenchmark()) as runtime,
        pytest.raises(
            ConfigError, match=r"of .* replies are longer than agent\.executor\.max_tokens allows, .* to 3 or"
        ),
    ):
        warmstart(runtime)


def test_formats_that_are_asked_alike_are_refused(tmp_path: Path) -> None:
    model = make_toy_model(tmp_path / "model")
    config = toy_config("himac")
    both = config.warmstart.model_copy(update={"formats": ["hierarchical", "flat"]})
    benchmark = ColourBenchmark()
    benchmark.texts = PromptTexts(planner="Act.", executor="", flat="Act.")
    with (
        build_runtime(config.model_copy(update={"warmstart": both}), str(model), 64, benchmark) as runtime,
        pytest.raises(ConfigError, match="in the same words, so one model cannot learn both"),
    ):
        warmstart(runtime)


class StopError(Exception):
    """Stands for a kill."""


def imitate(
    model: Path, folder: Path, until: int | None = None, **changed: Any
) -> tuple[WarmstartReport, dict[str, torch.Tensor]]:
    """Warm-start with a checkpoint after each step; report and weights at the end.

    Args:
        until: Stop while this step is under way.
    """
    torch.set_num_threads(1)
    config = toy_config("himac")
    settings = config.warmstart.model_copy(update={"passes": 12, "checkpoint_steps": 1, **changed})

    def tick(step: int, steps: int, metrics: dict[str, float]) -> None:
        assert steps > 6
        if step == until:
            raise StopError

    kept = Unfinished.at(folder, str(model))
    with build_runtime(config.model_copy(update={"warmstart": settings}), kept.model, 64, ColourBenchmark()) as runtime:
        report = warmstart(runtime, tick, kept)
        return report, {name: part.clone() for name, part in runtime.policy.model.state_dict().items()}


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_stopped_warm_start_goes_on_exactly(optimizer: str, tmp_path: Path) -> None:
    model = make_toy_model(tmp_path / "model")
    whole, expected = imitate(model, tmp_path / "whole", optimizer=optimizer)
    for step in (1, 2, 5):  # the first time before anything was saved
        with pytest.raises(StopError):
            imitate(model, tmp_path / "stopped", step, optimizer=optimizer)
    kept = Unfinished.at(tmp_path / "stopped", str(model))
    assert kept.state is not None
    assert len(kept.state["losses"]) == 4
    report, weights = imitate(model, tmp_path / "stopped", optimizer=optimizer)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert {**asdict(report), "seconds": 0} == {**asdict(whole), "seconds": 0}


def test_another_warm_start_is_not_gone_on_with(tmp_path: Path) -> None:
    model, other = make_toy_model(tmp_path / "model"), make_toy_model(tmp_path / "other", seed=1)
    with pytest.raises(StopError):
        imitate(model, tmp_path / "stopped", 3)
    for start, changed in ((other, {}), (model, {"lr": 0.03}), (model, {"batch_tokens": 500})):
        with pytest.raises(CheckpointError, match=r"stopped holds a warm start of another model.*; remove it"):
            imitate(start, tmp_path / "stopped", **changed)
