"""Logs for `inspect view`, read again by Inspect AI itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from himac.cli.export import export_command, inspect_command
from himac.errors import ConfigError
from support.run_folders import make_run

log = pytest.importorskip("inspect_ai.log", reason="needs the extra himac[inspect]")


def test_a_log_of_each_evaluation_and_recorded_phase(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    inspect_command(run, tmp_path / "logs")
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert names == ["run-evaluation-0.eval", "run-evaluation-2.eval", "run-training-macro-1.eval"]
    told = log.read_eval_log(str(tmp_path / "logs" / "run-evaluation-2.eval"))
    assert told.results.scores[0].metrics["accuracy"].value == 0.5
    assert (told.eval.dataset.name, told.eval.metadata["config"]["train.learner.lr"]) == ("valid", "0.1")
    first, second = told.samples
    assert (first.id, first.scores["success"].value, second.scores["success"].value) == ("a", "C", "I")
    assert [(event.event, getattr(event, "name", None)) for event in first.events] == [
        ("span_begin", "take mug"),
        ("tool", None),
        ("info", None),
        ("span_end", None),
        ("span_begin", "put mug"),
        ("info", None),
        ("span_end", None),
    ]
    action = first.events[1]
    assert (action.arguments, action.result, action.metadata["reward"]) == (
        {"action": "take mug a"},
        "You see it.",
        -0.5,
    )
    assert [message.text for message in first.messages] == ["take mug a <sub_done>", "You see it.", "<sub_done>"]
    recorded = log.read_eval_log(str(tmp_path / "logs" / "run-training-macro-1.eval"))
    assert [sample.id for sample in recorded.samples] == ["train-a1/0 a1/0/0", "train-a1/0 a1/0/1"]


def test_a_model_needs_a_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give the directory to create"):
        export_command(tmp_path, None, None, merge=False)
