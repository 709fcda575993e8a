"""What `himac train` says of a record, and which TensorBoard events a resumed run keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from himac.cli.train import _note, _TensorBoard, run_training
from himac.config_file import load_config
from himac.errors import ConfigError


def test_a_phase_without_episodes_has_a_note() -> None:
    assert _note({"phase": "micro"}) == "micro: no episodes"
    assert _note({"phase": "micro", "success": 0.25, "return_mean": -1.5}) == "micro: success 25.0%, return -1.50"


def test_a_resumed_run_keeps_the_events_of_its_checkpoint(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for resumed_at, steps in ((None, (10, 20, 30)), (20, (30, 40))):
        board = _TensorBoard(tmp_path, resumed_at)
        for step in steps:
            board.add({"phase": "eval", "env_steps": step, "success": step / 100 + (resumed_at is not None)})
        board.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"), purge_orphaned_data=True)
    events.Reload()
    found = [(event.step, round(event.value, 2)) for event in events.Scalars("eval/success")]
    assert found == [(10, 0.1), (20, 0.2), (30, 1.3), (40, 1.4)]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["algo.name=grpo", "agent.name=hiper"], "set agent.name=flat"),
        (["agent.name=flat"], "set agent.name=hierarchical"),
        (["agent.planner.temperature=0.7"], "must be equal"),
        (["warmstart.formats=[flat]"], "does not teach the hierarchical agent"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_made(
    overrides: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        run_training(load_config(None, overrides), tmp_path / "run", resume=False)
    assert not (tmp_path / "run").exists()
