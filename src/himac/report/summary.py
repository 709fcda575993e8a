"""A run directory as one page of Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from himac.errors import DataError
from himac.files import SETTINGS_BYTES, inside, parse_yaml, read_text
from himac.renamed import present_names
from himac.report.episodes import episode_markdown, pick_examples
from himac.report.pictures import illustrated
from himac.report.results import METRIC, TOLD, Record, number, read_jsonl
from himac.report.tables import change_table, markdown_table, percent, success_table

ESSENTIALS = (
    "seed",
    "model.path",
    "env.name",
    "env.kwargs",
    "agent.name",
    "algo.name",
    "algo.tasks",
    "algo.num_blueprints",
    "algo.num_rollouts",
    "algo.group_size",
    "train.iterations",
    "train.learner.optimizer",
    "train.learner.lr",
    "train.learner.kl_coef",
)
_SPLIT = (
    ("generation", "engine_s"),
    ("environment", "env_s"),
    ("update", "update_s"),
    ("rest", "rest_s"),
)
_RATES = (
    ("environment steps/s (rollout)", "env_steps_per_s"),
    ("generated tokens/s (rollout)", "generated_tokens_per_s"),
    ("trained tokens/s (update)", "trained_tokens_per_s"),
)


def summarise_run(run_dir: Path, examples: int = 3) -> str:
    """Markdown summary of a run; parts whose files do not exist are left out.

    Reads `config.yaml`, `metrics.jsonl`, and if present `timings.jsonl`, the newest `results.jsonl` below the run
    directory, and `model.safetensors` headers for the number of parameters.

    Raises:
        DataError: the directory has no `metrics.jsonl`.
    """
    if not (run_dir / "metrics.jsonl").is_file():
        raise DataError(f"{run_dir} holds no run (no metrics.jsonl); give the directory that `himac train` wrote.")
    metrics = read_jsonl(run_dir / "metrics.jsonl", METRIC)
    timings = read_timings(run_dir)
    newest = latest_results(run_dir)
    results = read_jsonl(newest, TOLD) if newest else []
    sections = [
        f"# {run_dir.resolve().name}",
        _configuration(run_dir),
        _success(metrics),
        _stops(metrics),
        _warnings(metrics),
        time_split(timings),
        _results(results),
        _examples(results, examples, newest.parent if newest else run_dir, run_dir),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def read_timings(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of `timings.jsonl`, none where it is missing: nothing depends on them."""
    path = run_dir / "timings.jsonl"
    return read_jsonl(path) if path.exists() else []


def latest_results(run_dir: Path) -> Path | None:
    """The newest `results.jsonl` in or below the run directory."""
    own = (path for path in run_dir.rglob("results.jsonl") if inside(run_dir, path))
    found = sorted(own, key=lambda path: (path.stat().st_mtime, str(path)))
    return found[-1] if found else None


def count_parameters(model_dir: Path) -> int | None:
    """Parameters in a directory's safetensors files, from their headers; tied weights are stored once.

    Raises:
        DataError: a file is damaged.
    """
    total = 0
    files = sorted(model_dir.glob("*.safetensors"))
    for path in files:
        try:
            with safe_open(path, "numpy") as file:
                total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path} is damaged ({error}); restore that file.") from error
    return total if files else None


def seconds_split(timings: Sequence[Record]) -> dict[str, float]:
    """Seconds of training by activity (`generation`, `environment`, `update`, `rest`), and of `evaluation`."""
    spent = {name: sum(number(record, key) or 0.0 for record in timings) for name, key in _SPLIT}
    return spent | {"evaluation": sum(number(r, "total_s") or 0.0 for r in timings if r.get("phase") == "eval")}


def time_split(timings: Sequence[Record]) -> str:
    """Where the seconds of the training phases went, and the rates, as Markdown; empty without timings."""
    phases = [record for record in timings if number(record, "update_s") is not None]
    if not phases:
        return ""
    spent = seconds_split(timings)
    evaluation = spent.pop("evaluation")
    total = sum(number(record, "total_s") or 0.0 for record in phases)
    rows = [(name, f"{seconds:.1f}", percent(seconds / total if total else None)) for name, seconds in spent.items()]
    rows.append(("training in all", f"{total:.1f}", percent(1.0)))
    if evaluation:
        rows.append(("evaluation (besides)", f"{evaluation:.1f}", ""))
    lines = ["## Time", "", markdown_table(("part", "seconds", "share %"), rows), ""]
    for label, key in _RATES:
        rate = _mean_rate(phases, key)
        if rate is not None:
            lines.append(f"- {label}: {rate:,.0f}")
    return "\n".join(lines).rstrip()


def _mean_rate(phases: Sequence[Record], key: str) -> float | None:
    """Mean over time, not over records: each rate is weighted by the seconds it was measured on."""
    part = "update_s" if key.startswith("trained") else "rollout_s"
    amount = seconds = 0.0
    for record in phases:
        rate = number(record, key)
        spent = number(record, "update_s") if part == "update_s" else _rollout_s(record)
        if rate is not None and spent is not None:
            amount, seconds = amount + rate * spent, seconds + spent
    return amount / seconds if seconds else None


def _rollout_s(record: Record) -> float | None:
    total, update = number(record, "total_s"), number(record, "update_s")
    return None if total is None or update is None else total - update


def _configuration(run_dir: Path) -> str:
    path = run_dir / "config.yaml"
    rows: list[tuple[str, str]] = []
    if path.is_file():
        try:
            tree, _ = present_names(parse_yaml(read_text(path, SETTINGS_BYTES)))
        except ValueError as error:
            raise DataError(f"{path} is not valid YAML ({error}); restore that file.") from error
        for key in ESSENTIALS:
            value = _lookup(tree, key)
            if value not in (None, "", {}):
                rows.append((key, f"`{value}`"))
    parameters = _parameters(run_dir)
    if parameters is not None:
        rows.append(("parameters", f"{parameters:,}"))
    return "\n".join(["## Configuration", "", markdown_table(("key", "value"), rows)]) if rows else ""


def _parameters(run_dir: Path) -> int | None:
    """Of the newest model in the run directory."""
    own = (path for path in run_dir.rglob("*.safetensors") if inside(run_dir, path))
    files = sorted(own, key=lambda path: (path.stat().st_mtime, str(path)))
    return count_parameters(files[-1].parent) if files else None


def _lookup(tree: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        if not isinstance(tree, Mapping) or part not in tree:
            return None
        tree = tree[part]
    return tree


def _success(metrics: Sequence[Record]) -> str:
    evals = [record for record in metrics if record.get("kind") == "eval" and number(record, "success") is not None]
    if not evals:
        return ""
    first, last = evals[0], evals[-1]
    lines = ["## Success", ""]
    if len(evals) > 1:
        best = max(evals, key=lambda record: number(record, "success") or 0.0)
        lines += [change_table(_floats(first), _floats(last)), ""]
        lines.append(
            f"Before: iteration {first.get('iteration')}, {_steps(first)} environment steps. After: iteration "
            f"{last.get('iteration')}, {_steps(last)} environment steps. Best evaluation: "
            f"{percent(number(best, 'success'))} % at iteration {best.get('iteration')}."
        )
    else:
        lines.append(f"One evaluation: {percent(number(first, 'success'))} % at iteration {first.get('iteration')}.")
    return "\n".join(lines)


def _steps(record: Record) -> str:
    return f"{int(number(record, 'env_steps') or 0):,}"


def _floats(record: Record) -> dict[str, float]:
    return {key: value for key in record if (value := number(record, key)) is not None}


def _stops(metrics: Sequence[Record]) -> str:
    """Stop reasons of the last evaluation, or of the last training record without one."""
    usable = [record for record in metrics if any(key.startswith("stop/") for key in record)]
    if not usable:
        return ""
    last = next((record for record in reversed(usable) if record.get("kind") == "eval"), usable[-1])
    shares = {key.removeprefix("stop/"): value for key, value in _floats(last).items() if key.startswith("stop/")}
    rows = [(reason, percent(share)) for reason, share in sorted(shares.items(), key=lambda item: (-item[1], item[0]))]
    return "\n".join(["## Why episodes ended", "", markdown_table(("stop reason", "share %"), rows)])


def _warnings(metrics: Sequence[Record]) -> str:
    """What training warned of, in its order."""
    told = [
        f"- Iteration {record.get('iteration')}, {warning}"
        for record in metrics
        if isinstance(found := record.get("warnings"), list)
        for warning in found
    ]
    return "\n".join(["## Warnings", "", *told]) if told else ""


def _results(results: Sequence[Record]) -> str:
    return f"## Last evaluation by type\n\n{success_table(results)}" if results else ""


def _examples(results: Sequence[Record], count: int, folder: Path, base: Path) -> str:
    picked = pick_examples(results, count)
    if not picked:
        return ""
    shown = (illustrated(episode_markdown(record), record, folder, base) for record in picked)
    return "\n\n".join(["## Example episodes", *shown])
