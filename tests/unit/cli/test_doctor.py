"""What `himac doctor` tells."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from himac.cli.doctor import doctor_command
from himac.errors import ModelError


def told(capsys: pytest.CaptureFixture[str], *args: Any) -> str:
    doctor_command(*args)
    return " ".join(capsys.readouterr().out.split())


def test_the_installation(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = metadata.packages_distributions()
    here = {"openai": found["openai"], "vllm": ["numpy"]}  # vLLM's build for CPUs has another name
    monkeypatch.setattr(metadata, "packages_distributions", lambda: here)
    text = told(capsys, None, [])
    assert "torch 2" in text
    assert "peft (adapters, model.lora): missing; pip install 'himac[lora]'" in text
    assert f"vllm (sampling, engine.name=vllm): {metadata.version('numpy')}" in text
    assert "CPU: " in text
    assert "attention: " in text
    assert "model:" not in text


def test_a_configuration(capsys: pytest.CaptureFixture[str], tiny_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump({"model": {"path": str(tiny_path), "device": "cpu"}}), encoding="utf-8")
    text = told(capsys, path, ["model.lora.rank=4"])
    for part in ("weights", "reference", "optimiser", "gradients", "activations", "logits", "cache", "GFLOP/s"):
        assert part in text
    assert "of which" in text
    assert "an iteration of 256 episodes" in text
    assert "more than" not in text
    assert "more than the 0.1 GB there are: set train.learner.gradient_checkpointing=1" in told(capsys, path, [], 0.1)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(f"model: {{path: {tmp_path / 'nothing'}}}", encoding="utf-8")
    with pytest.raises(ModelError, match="There is no model directory"):
        doctor_command(path, [])
