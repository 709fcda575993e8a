"""What `himac train` says of a record, and what it refuses before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from himac.cli.train import _note, run_training
from himac.config_file import load_config
from himac.errors import ConfigError


def test_a_phase_without_episodes_has_a_note() -> None:
    assert _note({"phase": "micro"}) == "micro: no episodes"
    assert _note({"phase": "micro", "success": 0.25, "return_mean": -1.5}) == "micro: success 25.0%, return -1.50"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["algo.name=grpo", "agent.name=hiper"], "set agent.name=flat"),
        (["agent.name=flat"], "set agent.name=hierarchical"),
        (["agent.planner.temperature=0.7"], "must be equal"),
        (["train.trackers=[wanbd]"], "did you mean 'wandb'"),
        (["warmstart.formats=[flat]"], "does not teach the hierarchical agent"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_made(
    overrides: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        run_training(load_config(None, overrides), tmp_path / "run", resume=False)
    assert not (tmp_path / "run").exists()
