"""A run goes on with a longer budget only where its learning rate has not fallen with the shorter one."""

from __future__ import annotations

from pathlib import Path

import pytest

from himac.cli.train import _prepare
from himac.config import Config
from himac.config_file import load_config
from himac.continuing import check_budget
from himac.errors import ConfigError

FALLING = ("linear", "cosine")


def config(schedule: str, **budget: int | None) -> Config:
    chosen = {"iterations": 10, "env_steps": 1000} | budget
    lines = [f"train.{key}={'null' if value is None else value}" for key, value in chosen.items()]
    return load_config(None, [f"train.learner.schedule={schedule}", *lines])


@pytest.mark.parametrize("schedule", FALLING)
@pytest.mark.parametrize(
    ("longer", "words"),
    [
        ({"iterations": 11}, r"train\.iterations cannot grow from 10 to 11"),
        ({"env_steps": 1001}, r"train\.env_steps cannot grow from 1000 to 1001"),
        ({"env_steps": None}, r"train\.env_steps cannot grow from 1000 to None"),
        ({"env_steps": 500, "iterations": 20}, r"train\.iterations cannot grow"),
    ],
)
def test_a_fallen_rate_does_not_rise_again(schedule: str, longer: dict[str, int | None], words: str) -> None:
    with pytest.raises(ConfigError, match=f"{words}.*schedule={schedule} has fallen .*start anew"):
        check_budget(config(schedule), config(schedule, **longer))
    check_budget(config("constant"), config("constant", **longer))


@pytest.mark.parametrize("shorter", [{}, {"iterations": 9}, {"env_steps": 10}])
def test_an_equal_or_shorter_budget_is_free(shorter: dict[str, int]) -> None:
    check_budget(config("linear"), config("linear", **shorter))
    check_budget(config("linear", env_steps=None), config("linear", **shorter))


def test_train_resume_asks(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()  # where its lock lies
    _prepare(config("linear"), run, resume=False)
    with pytest.raises(ConfigError, match="cannot grow"):
        _prepare(config("linear", iterations=20), run, resume=True)
    _prepare(config("linear", iterations=5), run, resume=True)
    assert load_config(run / "config.yaml").train.iterations == 5
