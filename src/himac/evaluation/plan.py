"""What is evaluated, and whether the files of a folder hold the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from himac.config import Config
from himac.config_file import difference, parse_config
from himac.errors import CheckpointError
from himac.evaluation.evaluate import BlueprintSource
from himac.files import read_json
from himac.store.atomic import WriteGuard, write_text
from himac.types import Task

RESULTS, TRIALS, SETTINGS = "results.jsonl", "trials.jsonl", "evaluation.json"
MAY_CHANGE = (
    "threads",
    "eval",  # what of it counts is compared as the plan's
    "env.workers",
    "env.timeout_s",
    *(f"engine.{key}" for key in ("base_url", "key_variable", "concurrency", "timeout_s", "max_tries", "max_wait_s")),
    *(f"engine.{key}" for key in ("price_in", "price_out", "start_timeout_s", "silence_s")),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is evaluated.

    Attributes:
        repeats: Times each task is played, every time with other random draws.
    """

    split: str
    split_hash: str
    tasks: Sequence[Task]
    repeats: int
    temperature: float
    seed: int
    blueprints: BlueprintSource = "planner"


def begin(output: Path, config: Config, plan: Plan, resume: bool, weights: str = "") -> None:
    """Keep the settings of an evaluation beside its results, or check that they are those of the one that goes on.

    Args:
        weights: What tells the local models of an evaluation from others.

    Raises:
        CheckpointError: the directory holds another evaluation, or none that could be resumed.
    """
    settings = {
        "split": plan.split,
        "split_hash": plan.split_hash,
        "blueprints": plan.blueprints,
        "temperature": plan.temperature,
        "weights": weights,
        "config": config.model_dump(mode="json"),
    }
    saved = output / SETTINGS
    if resume:
        _check_same(saved, settings, config)
    elif any((output / name).exists() and (output / name).stat().st_size for name in (RESULTS, TRIALS)):
        raise CheckpointError(f"{output} holds results; continue them with --resume or choose another --output")
    with WriteGuard(f"settings {saved}"):
        output.mkdir(parents=True, exist_ok=True)
        write_text(saved, json.dumps(settings, indent=2, ensure_ascii=False))


def _check_same(saved: Path, settings: dict[str, Any], config: Config) -> None:
    if not saved.is_file():
        raise CheckpointError(f"{saved.parent} holds no evaluation to resume (no {SETTINGS}); leave out --resume")
    try:
        before = read_json(saved)
        former = parse_config(before["config"])
        before = {"temperature": former.eval.temperature, "weights": ""} | before  # an older version's
        changed = difference(former, config, MAY_CHANGE)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{saved} is damaged; restore it or choose another --output") from error
    keys = ("split", "split_hash", "blueprints", "temperature", "weights")
    changed += [f"{key} ({before.get(key)} -> {settings[key]})" for key in keys if before.get(key) != settings[key]]
    if changed:
        raise CheckpointError(
            f"{saved.parent} was started with other settings: {'; '.join(changed)}; choose another --output"
        )
