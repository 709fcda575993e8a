"""Skips are errors in CI unless they are listed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.skips import MAY_SKIP

ROOT = Path(__file__).resolve().parents[2]
TESTS = {
    "test_skips.py": """
import pytest

def test_passes(): pass

@pytest.mark.skip(reason="no reason")
def test_marked(): pass

def test_inside(): pytest.skip("cannot")

@pytest.mark.parametrize("n", [1, 2])
def test_in_a_fixture(n, request): request.getfixturevalue("missing")

@pytest.fixture
def missing(): pytest.importorskip("there_is_no_such_module")

@pytest.mark.listed
@pytest.mark.skip(reason="its mark is listed")
def test_of_a_mark(): pass

@pytest.mark.xfail
def test_expected(): raise AssertionError
""",
    "test_module.py": "import pytest; pytest.importorskip('there_is_no_such_module')\ndef test_never(): pass",
}


def run(folder: Path, ci: str | None, *listed: str) -> subprocess.CompletedProcess[str]:
    for name, text in TESTS.items():
        (folder / name).write_text(text)
    lines = [
        "from support import skips",
        "from support.skips import *",
        f"skips.MAY_SKIP = dict.fromkeys({listed}, '')",
        "skips.MARKED_MAY_SKIP = {'listed': ''}",
    ]
    (folder / "conftest.py").write_text("\n".join(lines))
    env = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST_")}
    env |= {"PYTHONPATH": str(ROOT / "tests"), **({"CI": ci} if ci is not None else {})}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)


def named(done: subprocess.CompletedProcess[str]) -> set[str]:
    """Tests that failed, by the lines of the summary."""
    return set(re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE))


@pytest.mark.parametrize("ci", [None, ""])
def test_elsewhere_a_skip_is_a_skip(ci: str | None, tmp_path: Path) -> None:
    done = run(tmp_path, ci)
    assert done.returncode == 0, done.stdout
    assert "1 passed, 6 skipped, 1 xfailed" in done.stdout


def test_in_ci_every_unlisted_skip_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path, "true", "test_skips.py::test_marked", "test_module.py")
    assert done.returncode == 1, done.stdout
    fixture = {f"test_skips.py::test_in_a_fixture[{number}]" for number in (1, 2)}
    assert named(done) == {"test_skips.py::test_inside", *fixture}
    assert "test_skips.py::test_inside was skipped (Skipped: cannot); in CI, list it with its reason" in done.stdout


def test_in_ci_a_skipped_module_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path, "true", "test_skips.py")
    assert done.returncode != 0
    assert named(done) == {"test_module.py"}


def test_in_ci_listed_skips_pass(tmp_path: Path) -> None:
    done = run(tmp_path, "1", "test_skips.py", "test_module.py")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("listed", MAY_SKIP)
def test_what_is_listed_exists(listed: str) -> None:
    file, _, test = listed.partition("::")
    assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8") if test else (ROOT / file).is_file()
    assert MAY_SKIP[listed]
