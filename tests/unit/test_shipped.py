"""Configurations by name."""

from pathlib import Path

import pytest

from himac.cli.configs import configs_command
from himac.config_file import load_config
from himac.errors import ConfigError
from himac.shipped import about, located, shipped


def test_a_name_stands_for_the_file() -> None:
    by_name = load_config("alfworld/demo")
    assert by_name == load_config(shipped()["alfworld/demo"])
    assert by_name == load_config("configs/alfworld/demo.yaml") == load_config(Path("alfworld/demo.yaml"))


def test_a_file_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alfworld").mkdir()
    (tmp_path / "alfworld" / "demo").write_text("seed: 7", encoding="utf-8")
    assert load_config("alfworld/demo").seed == 7
    assert located(Path("nowhere.yaml")) == Path("nowhere.yaml")


def test_a_wrong_name_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'alfworld/demo'\?$"):
        load_config("alfworld/dem")
    with pytest.raises(ConfigError, match="choose one of `himac configs`"):
        load_config("mine.yaml")


def test_every_one_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert all(about(path) for path in shipped().values())
    configs_command(None)
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == list(shipped())
    configs_command("alfworld/demo")
    assert capsys.readouterr().out == shipped()["alfworld/demo"].read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="`himac configs` lists them"):
        configs_command("demo")
