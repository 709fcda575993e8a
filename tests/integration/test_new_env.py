"""`himac new-env`: what it writes trains as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from himac.cli.new_env import new_env_command
from himac.errors import ConfigError
from support.cli import Cli

SHORT = ("train.iterations=1", "warmstart.games=20", "warmstart.passes=1", "train.eval_tasks=4", "algo.tasks=2")


def test_it_passes_its_own_checks_and_trains(cli: Cli) -> None:
    done = cli.run("new-env", "treasure_hunt")
    assert done.code == 0, done.err
    package = Cli(cli.folder / "treasure_hunt")
    target = "treasure_hunt.benchmark:TreasureHuntBenchmark"
    assert target in done.out
    for args in (("check-env", target), ("train", "config.yaml", *SHORT)):
        done = package.run(*args)
        assert done.code == 0, done.err
    lines = (package.folder / "runs" / "config" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["phase"] for line in lines] == ["eval", "nested", "eval"]
    tested = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    subprocess.run(tested, cwd=package.folder, check=True, env={"PYTHONPATH": ".:" + ":".join(sys.path)})


@pytest.mark.parametrize("name", ["Mine", "my-env", "class", "3d"])
def test_a_name_that_no_package_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a package"):
        new_env_command(name, tmp_path)


@pytest.mark.parametrize("name", ["alfworld", "json", "himac"])
def test_a_name_that_is_taken(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is taken by an installed package"):
        new_env_command(name, tmp_path)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine_of_now").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        new_env_command("mine_of_now", tmp_path)
