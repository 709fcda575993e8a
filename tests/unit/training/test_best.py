"""Which checkpoint is the best: a function of the metrics records."""

from __future__ import annotations

from typing import Any

from himac.training.trainer import best_checkpoint


def evaluation(iteration: int, success: float | None, kind: str = "eval") -> dict[str, Any]:
    return {"kind": kind, "iteration": iteration, "success": success}


def test_the_earlier_of_equal_evaluations() -> None:
    records = [evaluation(0, 0.25), evaluation(2, 0.9, "train"), evaluation(5, 0.5), evaluation(10, 0.5)]
    assert best_checkpoint(records) == "step-000005-0", "training episodes do not choose"
    assert best_checkpoint([*records, evaluation(15, 0.75)]) == "step-000015-0"
    assert best_checkpoint(records[:2]) == "step-000000-0", "the start, where training has not helped"
    assert best_checkpoint(records[1:2]) is None
