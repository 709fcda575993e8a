"""`himac data`: what it prints and when it fails; docs/data.md says the same as the tables it uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from himac.cli.data import data_command
from himac.envs.alfworld.official import KNOWN as GAMES
from himac.envs.official import PLACES, official_data
from himac.envs.sokoban.official import KNOWN as LEVELS
from himac.envs.webshop.official import KNOWN as GOALS
from himac.errors import ConfigError, DataError

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
BOARD = "; 0\n######\n#@   #\n# $. #\n#    #\n######\n"


@pytest.fixture(autouse=True)
def _no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PLACES:
        monkeypatch.delenv(official_data(name).variable, raising=False)


@pytest.fixture
def levels(tmp_path: Path) -> Path:
    file = tmp_path / "hard" / "000.txt"
    file.parent.mkdir()
    file.write_text(BOARD * 3332, encoding="utf-8")
    return tmp_path


def test_without_folders_it_says_how_to_get_them(capsys: pytest.CaptureFixture[str]) -> None:
    data_command(None, None)
    out = capsys.readouterr().out
    for name in PLACES:
        data = official_data(name)
        assert f"{name}: no folder; set {data.variable}" in out
        assert data.source in out


@pytest.mark.parametrize("name", PLACES)
def test_a_benchmark_that_is_named_must_be_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match=name):
        data_command(name, None)
    with pytest.raises(DataError, match=name):
        data_command(name, Path("/no/such/folder"))
    assert "missing" in capsys.readouterr().out


def test_a_complete_set_is_enough(
    levels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data_command("sokoban", levels)
    monkeypatch.setenv("BOXOBAN_DATA", str(levels))
    data_command(None, None)
    out = capsys.readouterr().out
    assert out.count(f"sokoban: {levels}") == 2
    assert "  ok                 hard: 3332 levels, hash " in out
    assert "  missing (optional) medium: " in out
    assert out.count(official_data("sokoban").source) == 0


def test_broken_data_fails_without_being_named(levels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (levels / "hard" / "001.txt").write_text("; 0\n#@$\n", encoding="utf-8")
    monkeypatch.setenv("BOXOBAN_DATA", str(levels))
    with pytest.raises(DataError, match=r"of sokoban is"):
        data_command(None, None)


def test_wrong_arguments() -> None:
    with pytest.raises(ConfigError, match="choose one of alfworld, sokoban, webshop"):
        data_command("chess", None)
    with pytest.raises(ConfigError, match="name it"):
        data_command(None, Path())


def test_the_command_fails_in_one_sentence_and_needs_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['himac', 'data', 'webshop', '--path', '/no/such/folder']\n"
        "from himac.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == DataError.exit_code, done.stderr
    assert done.stderr.startswith("error: official data of webshop")
    assert done.stderr.count("\n") == 1


def test_the_page_says_what_is_checked() -> None:
    for name in PLACES:
        assert official_data(name).variable in PAGE
    rows = {tuple(cell.strip(" `") for cell in line.strip("|").split("|")) for line in PAGE.splitlines()}
    for split, known in (GAMES | GOALS).items():
        assert (split, str(known.count), known.hash[:12] if known.hash else "not known") in rows
    for name, splits in LEVELS.items():
        for split, known in splits.items():
            assert (f"{name}/{split}".rstrip("/"), str(known.count), "not known") in rows
