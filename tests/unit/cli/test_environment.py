"""What `environment.json` of a run says."""

from __future__ import annotations

import sys

import pytest
import torch

from himac.cli.train import _environment
from himac.config import Config


@pytest.mark.parametrize("threads", [None, 3])
def test_a_run_names_its_machine(threads: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["himac", "train", "x.yaml"])
    found = _environment(Config(threads=threads))
    assert found["command"] == ["himac", "train", "x.yaml"]
    assert found["machine"]["torch"]["capability"] == torch.backends.cpu.get_cpu_capability()
    assert found["machine"]["torch"]["threads"] == (torch.get_num_threads() if threads is None else 3)
