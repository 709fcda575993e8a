"""Benchmarks named by module and class."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from himac.envs.registry import make_benchmark
from himac.errors import ConfigError, MissingDependencyError
from support.paying import PayingHousehold


def test_a_class_of_any_module() -> None:
    made = make_benchmark("support.paying:PayingHousehold", data="builtin:small")
    assert type(made) is PayingHousehold


def test_a_class_of_a_module_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from support.toy import ColourBenchmark\nclass Mine(ColourBenchmark):\n    pass\n"
    (tmp_path / "mine_of_today.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    assert type(make_benchmark("mine_of_today:Mine")).__name__ == "Mine"


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(MissingDependencyError, match="needs the module 'nowhere_to_be_found'"):
        make_benchmark("nowhere_to_be_found:Mine")
    with pytest.raises(ConfigError, match=r"has no attribute 'Mine'.*; correct the module or the name"):
        make_benchmark("support.paying:Mine")
    with pytest.raises(ConfigError, match=r"':Mine' cannot be loaded .*; correct the module or the name"):
        make_benchmark(":Mine")
    with pytest.raises(ConfigError, match="refuses"):
        make_benchmark("support.paying:PayingHousehold", rooms=3)
