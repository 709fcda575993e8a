"""What one cell of a benchmark matrix (method, task, seed) achieved and spent, read from what it left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from himac.config import FIELD_TEMPERATURE
from himac.errors import DataError
from himac.files import read_text
from himac.report.results import (
    EVALUATED,
    METRIC,
    OUTCOME,
    SUCCESS,
    Record,
    conforming,
    number,
    read_jsonl,
    read_record,
)
from himac.report.statistics import CurvePoint, Outcomes, shares_at, success_at
from himac.report.summary import read_timings, seconds_split

SUMMARY, GREEDY = "summary.json", "greedy"
"""Of `himac eval`: the second is the sub-folder of a greedy evaluation beside a sampled one, and its summary there."""
_KIND = "success/"
_NAME_BYTES = 1000


@dataclass(frozen=True, slots=True)
class CellResult:
    """One finished cell.

    Attributes:
        sampled, greedy: Success at the end, sampled at `FIELD_TEMPERATURE` and greedily; `None` where that was not
            evaluated.
        sampled_std: Of the first over its repeats.
        success_before, success_after: Of the first and the last evaluation in training; evaluation cells have no
            `before`.
        by_kind, score, plan_validity: Success by task type, the benchmark's own score and the valid share of the
            blueprints at the end, where there are such: sampled, without that in the last evaluation.
        curve: Every evaluation in training.
        budget: Environment steps that training was given; `None` for evaluation cells.
        env_steps, tokens, iterations, optimizer_steps: Spent in training; tokens are the sampled ones. An evaluation
            cell has what its evaluation took, all trials included, and no tokens when they were not counted.
        seconds: By activity, start-up not counted.
        split_hash: Of the evaluated split.
        outcomes_sampled: Success of every task at the end, where it was sampled.
        outcomes: The same in the last evaluation.
        outcomes_at_budget: The same when the budget was spent, see `success_at_budget`.
    """

    task: str
    method: str
    seed: int
    sampled: float | None
    sampled_std: float | None
    greedy: float | None
    success_before: float | None
    success_after: float
    by_kind: dict[str, float]
    score: float | None
    plan_validity: float | None
    curve: tuple[CurvePoint, ...]
    budget: int | None
    env_steps: int
    tokens: int | None
    iterations: int
    optimizer_steps: int
    seconds: dict[str, float]
    split_hash: str
    outcomes_sampled: Outcomes | None
    outcomes: Outcomes
    outcomes_at_budget: Outcomes

    @property
    def success_at_budget(self) -> float:
        """Success when the budget was spent, between the two evaluations around it: training ends some way beyond."""
        return self.success_after if self.budget is None else success_at(self.curve, [self.budget])[0]

    @property
    def overshoot(self) -> float | None:
        """Environment steps beyond the budget, as a fraction of it; negative when training ended before."""
        return None if self.budget is None else self.env_steps / self.budget - 1

    def to_json(self) -> dict[str, Any]:
        """Everything but the outcomes, which stay in the cell's `results.jsonl`."""
        fields = asdict(self)
        for name in ("outcomes_sampled", "outcomes", "outcomes_at_budget"):
            del fields[name]
        derived = {"success_at_budget": self.success_at_budget, "overshoot": self.overshoot}
        return fields | {"tasks": len(self.outcomes)} | derived


def read_training(run_dir: Path, task: str, method: str, seed: int, budget: int | None) -> CellResult:
    """The result of a run directory of `himac train`.

    Raises:
        DataError: the run has no evaluation, or its evaluations are of different tasks.
    """
    metrics, timings = read_jsonl(run_dir / "metrics.jsonl", METRIC), read_timings(run_dir)
    evals = [record for record in metrics if record.get("kind") == "eval"]
    if not evals:
        raise DataError(f"{run_dir} has no evaluation to report; train with train.eval_every above 0.")
    for record in evals:
        try:
            conforming(record, EVALUATED)
        except ValueError as error:
            raise DataError(f"an evaluation of {run_dir} is not usable ({error}); repeat that run.") from error
    last = evals[-1]
    results = _results(run_dir, last)
    curve = tuple(CurvePoint(int(r["env_steps"]), int(r["iteration"]), float(r["success"])) for r in evals)
    around = [] if budget is None else shares_at(curve, budget)
    at_budget = [(_outcomes(_results(run_dir, evals[number])), share) for number, share in around]
    return CellResult(
        task=task,
        method=method,
        seed=seed,
        success_before=float(evals[0]["success"]),
        curve=curve,
        budget=budget,
        env_steps=int(last["env_steps"]),
        tokens=int(last["tokens"]),
        iterations=int(last["iteration"]),
        optimizer_steps=int(sum(number(record, "optimizer_steps") or 0 for record in metrics)),
        seconds=seconds_split(timings),
        outcomes_at_budget=_mixed(at_budget, run_dir) if at_budget else _outcomes(results),
        **_evaluation(last, results, final_evaluation(run_dir)),
    )


def read_evaluation(folder: Path, task: str, method: str, seed: int, seconds: float) -> CellResult:
    """The result of an output directory of `himac eval`: nothing was trained.

    Args:
        seconds: What the evaluation took.

    Raises:
        DataError: the summary is missing or broken.
    """
    summary, results = read_record(folder / SUMMARY, SUCCESS), read_jsonl(folder / "results.jsonl", OUTCOME)
    tokens = number(summary, "completion_tokens")
    steps = (number(line, "env_steps_all") or number(line, "env_steps") or 0 for line in results)
    return CellResult(
        task=task,
        method=method,
        seed=seed,
        success_before=None,
        curve=(CurvePoint(0, 0, float(summary["success"])),),
        budget=None,
        env_steps=int(sum(steps)),
        tokens=None if tokens is None else int(tokens),
        iterations=0,
        optimizer_steps=0,
        seconds={"evaluation": seconds},
        outcomes_at_budget=_outcomes(results),
        **_evaluation(summary, results, folder),
    )


def final_evaluation(run_dir: Path) -> Path | None:
    """Where the evaluation of a run's last checkpoint is kept; `None` when it has not ended."""
    try:
        name = read_text(run_dir / "checkpoints" / "latest", _NAME_BYTES).strip()
    except (OSError, ValueError):
        return None
    folder = run_dir / "eval" / Path(name).name
    return folder if (folder / SUMMARY).is_file() else None


def _results(run_dir: Path, evaluation: Record) -> list[dict[str, Any]]:
    return read_jsonl(run_dir / "eval" / f"iteration-{evaluation['iteration']:06d}" / "results.jsonl", OUTCOME)


def _mixed(parts: Sequence[tuple[Outcomes, float]], run_dir: Path) -> dict[str, float]:
    """Outcomes of evaluations in these shares."""
    tasks = parts[0][0].keys()
    if any(outcomes.keys() != tasks for outcomes, _ in parts):
        raise DataError(f"the evaluations of {run_dir} are of different tasks; repeat that run.")
    return {task: sum(share * outcomes[task] for outcomes, share in parts) for task in tasks}


def _evaluation(last: Record, results: Sequence[Record], final: Path | None) -> dict[str, Any]:
    """Fields about the end.

    Args:
        final: Output of `himac eval`, both ways or in one setting.
    """
    summary = {} if final is None else read_record(final / SUMMARY, SUCCESS)
    sampled = summary if final and number(summary, "temperature") == FIELD_TEMPERATURE else None
    greedily = summary.get(GREEDY) if sampled else summary if number(summary, "temperature") == 0 else None
    main = sampled or last
    return {
        "sampled": number(sampled, "success") if sampled else None,
        "sampled_std": number(sampled, "success_std") if sampled else None,
        "greedy": number(greedily, "success") if isinstance(greedily, dict) else None,
        "success_after": float(last["success"]),
        "by_kind": _by_kind(main),
        "score": number(main, "score"),
        "plan_validity": number(main, "plan_validity"),
        "split_hash": str(results[0]["split_hash"]) if results else "",
        "outcomes_sampled": _outcomes(read_jsonl(final / "results.jsonl", OUTCOME)) if final and sampled else None,
        "outcomes": _outcomes(results),
    }


def _by_kind(last: Record) -> dict[str, float]:
    shares = {key.removeprefix(_KIND): number(last, key) for key in last if key.startswith(_KIND)}
    return {kind: share for kind, share in shares.items() if share is not None}


def _outcomes(results: Sequence[Record]) -> dict[str, float]:
    flags: dict[str, list[bool]] = {}
    for record in results:
        flags.setdefault(str(record["task_id"]), []).append(bool(record["success"]))
    return {task: sum(values) / len(values) for task, values in flags.items()}
