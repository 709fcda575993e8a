"""A run is a function of configuration, seed and machine: resumed from any of its checkpoints it ends the same.

Each resumed run begins without caches, so this shows whatever an uninterrupted one carries along in them. The
arithmetic is that of an `OrderSensitive` model, with which every machine sees a change of order.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import himac.cli.train
from himac.cli.train import run_training
from himac.config import Config, LoraConfig
from himac.config_file import parse_config
from himac.models import loading, vision
from himac.models.folder import ADAPTER_WEIGHTS
from himac.rollout.runtime import build_benchmark, build_runtime
from himac.training import diagnosis, trainer
from himac.training.checkpoint import save_model
from himac.training.learner import Learner
from himac.training.value import VALUE_FILE
from himac.training.warmstart import warmstart
from support.learning import AGENTS, WORDS, make_toy_model, toy_config
from support.order import OrderSensitive, Wordy, order_sensitive

SMALL: dict[str, dict[str, Any]] = {
    "himac": {"tasks": 4, "num_blueprints": 4, "num_rollouts": 3},
    "himac-plus": {"tasks": 4, "num_blueprints": 2, "num_rollouts": 3, "branches": 2},
    "grpo": {"tasks": 4, "group_size": 4},
    "ppo": {"tasks": 4, "group_size": 4, "reward_kl": 0.05},
    "hiper": {"tasks": 4, "group_size": 4},
}


def configuration(algorithm: str, model: Path, iterations: int = 2, **more: dict[str, Any]) -> Config:
    """Few slots for many episodes, evaluations in between, and a checkpoint wherever there can be one."""
    train = {"iterations": iterations, "eval_every": 1, "eval_tasks": 5, "max_live": 6, "record_episodes": 0.5}
    kept = {"checkpoint_every": 1, "checkpoint_phases": True, "keep_checkpoints": 1000}
    tree = toy_config(algorithm, 1, SMALL[algorithm]).model_dump(mode="json")
    tree["model"]["path"] = str(model)
    tree["threads"] = 1
    tree["train"] |= train | kept | {"learner": {"lr": 2e-3, "mini_batches": 2}}
    for part, settings in more.items():
        tree[part] |= settings
    return parse_config(tree)


@pytest.fixture(scope="module")
def imitator(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A careless imitator with an algorithm's agent: episodes of all lengths, some of which succeed."""

    @functools.cache
    def make(agent: str) -> Path:
        torch.set_num_threads(1)
        folder = tmp_path_factory.mktemp(agent)
        untrained = make_toy_model(folder / "untrained", words=WORDS.get(agent, ()))
        config = toy_config(next(name for name, kind in AGENTS.items() if kind == agent))
        config = config.model_copy(update={"warmstart": config.warmstart.model_copy(update={"passes": 30})})
        with build_runtime(config, str(untrained), 64, Wordy()) as runtime:
            warmstart(runtime)
            return save_model(folder / "model", runtime.policy.model, runtime.policy.tokenizer)

    return lambda algorithm: make(AGENTS[algorithm])


@pytest.fixture(autouse=True)
def _any_machine_sees_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "load_model", order_sensitive(loading.load_model))
    monkeypatch.setattr(himac.cli.train, "build_benchmark", lambda config: Wordy())


def content(run: Path) -> dict[str, bytes]:
    """What must be equal to the byte: the metrics, the recorded episodes and the last weights."""
    last = run / "checkpoints" / (run / "checkpoints" / "latest").read_text().strip()
    names = "model.safetensors", ADAPTER_WEIGHTS, VALUE_FILE
    files = [run / "metrics.jsonl", run / "episodes.jsonl", *(last / name for name in names)]
    return {path.name: path.read_bytes() for path in files if path.exists()}


def check(config: Config, folder: Path) -> list[dict[str, Any]]:
    """Train, then resume a copy from every checkpoint; the records of the whole run."""
    whole = folder / "whole"
    run_training(config, whole, resume=False)
    expected = content(whole)
    assert expected["episodes.jsonl"].count(b"\n") > 5
    names = sorted(path.name for path in (whole / "checkpoints").iterdir() if path.is_dir())[:-1]
    assert len(names) >= config.train.iterations - 1
    different = []
    for name in names:
        resumed = folder / name
        shutil.copytree(whole, resumed)
        (resumed / "checkpoints" / "latest").write_text(name)
        run_training(config, resumed, resume=True)
        different += [f"{file} from {name}" for file, found in content(resumed).items() if found != expected[file]]
    assert different == []
    return [json.loads(line) for line in expected["metrics.jsonl"].splitlines()]


def test_the_arithmetic_shows_the_order(imitator: Callable[[str], Path]) -> None:
    """Otherwise equal files would show nothing."""
    model, _ = loading.load_model(str(imitator("himac")))
    assert isinstance(model.get_output_embeddings(), OrderSensitive)
    hidden = torch.ones(3, model.config.hidden_size)
    first, second, third = model.get_output_embeddings()(hidden).log_softmax(-1)
    assert not torch.equal(first, second)
    assert torch.allclose(first, third, atol=1e-4)


@pytest.mark.parametrize(
    "algorithm",
    [
        "himac",
        "himac-plus",
        "ppo",
        pytest.param("grpo", marks=pytest.mark.slow),
        pytest.param("hiper", marks=pytest.mark.slow),
    ],
)
def test_resumed_from_every_checkpoint(algorithm: str, imitator: Callable[[str], Path], tmp_path: Path) -> None:
    records = check(configuration(algorithm, imitator(algorithm)), tmp_path)
    assert any(record["grad_norm"] > 0 for record in records if record["kind"] == "train")
    if "branches" in SMALL[algorithm]:
        assert any(record.get("branches") for record in records)


def test_warnings_do_not_depend_on_where_it_was_stopped(
    imitator: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Always the same is wrong, so each phase tells it once: a resumed run knows that it was told."""
    for name, value in {"WINDOW": 1, "HISTORY": 1, "INVALID": 0.0}.items():
        monkeypatch.setattr(diagnosis, name, value)
    records = check(configuration("himac", imitator("himac")), tmp_path)
    warned = [(r["iteration"], r["phase"]) for r in records if any("rejected" in w for w in r.get("warnings", ()))]
    assert warned == [(0, "eval"), (0, "macro"), (0, "micro")]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", SMALL)
@pytest.mark.parametrize(
    ("part", "settings"),
    [
        pytest.param("train", {"rollout_workers": 2}, id="rollout workers"),
        pytest.param("env", {"workers": 2}, id="environment workers"),
        pytest.param("env", {"workers": 2, "overlap": 2}, id="environments beside the engine"),
    ],
)
def test_resumed_with_workers(
    algorithm: str, part: str, settings: dict[str, Any], imitator: Callable[[str], Path], tmp_path: Path
) -> None:
    check(configuration(algorithm, imitator(algorithm), 2, **{part: settings}), tmp_path)


def adapting(algorithm: str, model: Path, **more: dict[str, Any]) -> Config:
    """The same with an adapter, of which dropout takes a part in every step."""
    config = configuration(algorithm, model, **more)
    lora = LoraConfig(rank=4, dropout=0.1)
    return config.model_copy(update={"model": config.model.model_copy(update={"lora": lora})})


def test_an_adapter_is_resumed_too(imitator: Callable[[str], Path], tmp_path: Path) -> None:
    records = check(adapting("himac", imitator("himac")), tmp_path)
    assert any(record["kl"] > 0 for record in records if record["kind"] == "train")
    last = tmp_path / "whole" / "checkpoints" / "step-000002-0"
    assert (last / ADAPTER_WEIGHTS).is_file()
    assert not (last / "model.safetensors").exists()


@pytest.mark.slow
def test_an_adapter_is_resumed_with_workers(imitator: Callable[[str], Path], tmp_path: Path) -> None:
    check(adapting("himac", imitator("himac"), train={"rollout_workers": 2}), tmp_path)


@pytest.mark.slow
def test_resumed_with_two_threads(imitator: Callable[[str], Path], tmp_path: Path) -> None:
    check(configuration("himac", imitator("himac")).model_copy(update={"threads": 2}), tmp_path)
    torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["himac", "himac-plus"])
@pytest.mark.parametrize("overlap", [0, 2])
def test_environment_workers_change_nothing(
    overlap: int, algorithm: str, imitator: Callable[[str], Path], tmp_path: Path
) -> None:
    """Environments that answer in another order each time, in this process and in two others."""
    found = []
    for number, workers in enumerate((0, 2, 2)):
        config = configuration(algorithm, imitator(algorithm), 1, env={"workers": workers, "overlap": overlap})
        run_training(config, tmp_path / str(number), resume=False)
        found.append(content(tmp_path / str(number)))
    assert found[0] == found[1] == found[2]


PICTURES: dict[str, Any] = {
    "threads": 1,
    "init": {"vocab_size": 400, "hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 1, "max_position": 1024}
    | {"tokenizer_games": 4}
    | {"vision": {"patch_size": 16, "merge_size": 1, "hidden_size": 32, "layers": 1, "heads": 2, "intermediate": 64}},
    "env": {"name": "sokoban", "kwargs": {"data": "builtin:short", "observation": "image", "image_size": 96}}
    | {"step_limit": 5},
    "agent": {"name": "flat", "max_context": 512, "flat": {"max_tokens": 8, "thoughts": False}},
    "algo": {"name": "grpo", "tasks": 2, "group_size": 3},
    "warmstart": {"games": 6, "passes": 3, "batch_tokens": 600, "formats": ["flat"]}
    | {"freeze_vision": True, "checkpoint_steps": 3},
    "train": {"iterations": 3, "eval_every": 2, "eval_tasks": 3, "checkpoint_every": 1, "keep_checkpoints": 1000}
    | {"learner": {"lr": 1e-3, "kl_coef": 0.05}},
}


@pytest.mark.slow
def test_pictures_are_resumed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of a frozen tower are kept, by model and reference, and depend on what was encoded together."""
    encode, supervised = vision._encode, Learner.supervised

    def uneven(model: Any, pictures: Any) -> dict[str, vision.Features]:
        made = encode(model, pictures)
        return {
            key: vision.Features(one.embeds * (1 + 1e-6 * place), one.deep)
            for place, (key, one) in enumerate(made.items())
        }

    monkeypatch.setattr(vision, "_encode", uneven)
    monkeypatch.setattr(himac.cli.train, "build_benchmark", build_benchmark)
    # The same boards each time, in turn: the reference meets pictures again.
    monkeypatch.setattr(trainer, "draw_tasks", lambda pool, count, seed, iteration: [pool[iteration % 2], pool[1]])
    config = parse_config(PICTURES)
    check(config, tmp_path)

    steps = 0

    def stopped(learner: Learner, rows: Any) -> dict[str, float]:
        nonlocal steps
        steps += 1
        if steps in (5, 6):  # in the second part of the warm start, and again as it goes on
            raise KeyboardInterrupt
        return supervised(learner, rows)

    monkeypatch.setattr(Learner, "supervised", stopped)
    for number in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_training(config, tmp_path / "stopped", resume=number > 0)
    run_training(config, tmp_path / "stopped", resume=True)
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")
