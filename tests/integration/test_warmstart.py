"""One model taught in several agents' formats must be able to tell which of them is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from himac.envs.registry import make_benchmark
from himac.errors import ConfigError
from himac.rollout.runtime import build_runtime
from himac.train.warmstart import warmstart
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
