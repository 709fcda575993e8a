"""An adapter through the command line: trained, resumed, evaluated, watched and made a model of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from himac.models.folder import ADAPTER_WEIGHTS
from integration.conftest import TINY
from support.cli import Cli

LORA: dict[str, Any] = {"rank": 4, "targets": ["q_proj", "v_proj"]}


def written(folder: Path, model: Path) -> Path:
    path = folder / "lora.yaml"
    # The bonus moves the weights, whatever the episodes teach.
    train = TINY["train"] | {"iterations": 2, "learner": {"lr": 1e-2, "entropy_coef": 0.1}}
    tree = TINY | {"model": {"path": str(model), "lora": LORA}, "train": train}
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_with_an_adapter(cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    config, run = written(tmp_path, tiny_model), cli.folder / "run"
    done = cli.run("train", config, "--run-dir", run)
    assert done.code == 0, done.err
    last = run / "checkpoints" / (run / "checkpoints" / "latest").read_text().strip()
    assert (last / ADAPTER_WEIGHTS).is_file()

    # The adapter on its base, and the model that was made of both, say the same.
    for args in (
        ("export", run, "whole", "--merge"),
        ("export", run, "adapter"),
        ("eval", run, "--temperature", "0", "--split", "valid", "--limit", "6", "--output", "one"),
        ("eval", run, "--temperature", "0", "--split", "valid", "--limit", "6", "--output", "two", "--model", "whole"),
        ("play", run, "--delay", "0"),
    ):
        done = cli.run(*args)
        assert done.code == 0, done.err
    assert (cli.folder / "adapter" / ADAPTER_WEIGHTS).read_bytes() == (last / ADAPTER_WEIGHTS).read_bytes()
    assert not (cli.folder / "whole" / ADAPTER_WEIGHTS).exists()
    assert (cli.folder / "whole" / "config.json").is_file()
    one, two = (records(cli.folder / name / "results.jsonl") for name in ("one", "two"))
    assert one == two
    assert len(one) == 6

    done = cli.run("export", run, "whole")
    assert done.errors == ["error: whole exists already; choose a new directory or remove it"]
    done = cli.run("train", config, "--run-dir", "next", "--model", "adapter")
    assert done.code == 2
    assert "is an adapter, and training starts from a whole model" in done.errors[0]
    done = cli.run("eval", run, "--output", "three", f"model.path={json.dumps(str(cli.folder / 'whole'))}")
    assert done.code == 4
    assert "was trained on another model than" in done.errors[0]


def test_a_warm_start_of_an_adapter_is_a_whole_model(cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    """What is trained from there has all of it for its reference."""
    config = written(tmp_path, tiny_model)
    done = cli.run("warmstart", config, "warm", "--model", tiny_model, "warmstart={games: 2, passes: 1}")
    assert done.code == 0, done.err
    assert not (cli.folder / "warm" / ADAPTER_WEIGHTS).exists()
    before, after = ((folder / "model.safetensors").read_bytes() for folder in (tiny_model, cli.folder / "warm"))
    assert len(before) == len(after)
    assert before != after
