"""`himac eval` refuses sources of blueprints that nobody would follow."""

from __future__ import annotations

from pathlib import Path

import pytest

from himac.cli.evaluate import evaluate_command
from himac.errors import ConfigError


@pytest.mark.parametrize(
    ("overrides", "blueprints", "planner", "message"),
    [
        ([], "oracle", None, "must be one of"),
        ([], "random", Path("other"), "give one of the two"),
        (["agent.name=flat"], "none", None, "follows no blueprint"),
        (["agent.name=flat"], "planner", Path("other"), "follows no blueprint"),
    ],
)
def test_blueprints_that_would_not_be_used(
    overrides: list[str], blueprints: str, planner: Path | None, message: str, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("seed: 0\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        evaluate_command(config, tmp_path / "out", overrides, None, None, None, blueprints, planner)
    assert not (tmp_path / "out").exists()
