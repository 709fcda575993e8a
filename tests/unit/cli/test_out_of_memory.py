"""Out of memory ends in one sentence, whoever noticed it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from himac.cli.app import main
from himac.cli.out_of_memory import memory_explained
from himac.cli.train import run_training
from himac.config import Config
from himac.config_file import parse_config
from himac.errors import OutOfMemoryError
from himac.training.learner import Learner
from support.learning import make_toy_model, toy_config
from support.toy import ColourBenchmark


def python() -> None:
    raise MemoryError


def cuda() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def cpu() -> None:
    torch.empty(1 << 60)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    model = make_toy_model(tmp_path_factory.mktemp("toy") / "model")
    tree = toy_config("himac", 0, {"tasks": 2, "num_blueprints": 2, "num_rollouts": 2}).model_dump(mode="json")
    tree["model"]["path"] = str(model)
    tree["train"] |= {"iterations": 1, "checkpoint_every": 1, "checkpoint_phases": True}
    return parse_config(tree)


@pytest.mark.parametrize("fail", [python, cuda, cpu])
def test_one_sentence(fail: Callable[[], None], config: Config) -> None:
    with pytest.raises(OutOfMemoryError) as refused, memory_explained(config, "training"):
        fail()
    message = str(refused.value)
    assert message.startswith("training ran out of memory; it takes about ")
    assert "continue with --resume and train.learner.gradient_checkpointing=1" in message
    assert "\n" not in message


def test_other_failures_stay_as_they_are(config: Config) -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_explained(config, "training"):
        raise RuntimeError("shapes differ")


def test_the_run_goes_on_with_the_settings_that_were_named(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("himac.cli.train.build_benchmark", lambda config: ColourBenchmark())
    update = Learner.update

    def greedy(learner: Learner, rows: Any) -> dict[str, float]:
        if not learner.config.gradient_checkpointing and learner.updates:
            cpu()
        return update(learner, rows)

    monkeypatch.setattr(Learner, "update", greedy)
    with pytest.raises(OutOfMemoryError, match=r"gradient_checkpointing=1"):
        run_training(config, tmp_path / "run", resume=False)
    learner = config.train.learner.model_copy(update={"gradient_checkpointing": 1})
    less = config.model_copy(update={"train": config.train.model_copy(update={"learner": learner})})
    run_training(less, tmp_path / "run", resume=True)
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["phase"] for record in records] == ["macro", "micro", "eval"]


@pytest.mark.parametrize("fail", [python, cuda, cpu])
def test_whatever_the_command(
    fail: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("himac.cli.app.app", fail)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == OutOfMemoryError.exit_code
    assert capsys.readouterr().err.startswith("error: the command ran out of memory; lower eval.max_live")
