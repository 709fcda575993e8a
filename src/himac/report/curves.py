"""Learning curves from `metrics.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from himac.errors import DataError
from himac.report.results import METRIC, Record, number, read_jsonl
from himac.report.statistics import CurvePoint, mean_curve

SMOOTHING_STEPS = 7
"""Half-life of the exponential average over training records."""

_PHASE_STYLE = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D")


def draw_curves(metrics: Path, output: Path, title: str | None = None) -> Path:
    """Read `metrics.jsonl`, draw the learning curve and write it as PNG.

    Args:
        title: Above the figure; by default the name of the run directory.

    Raises:
        DataError: the file is missing or has no record with `env_steps` and `success`.
    """
    return save_figure(curves(read_jsonl(metrics, METRIC), title or metrics.resolve().parent.name), output)


def save_figure(figure: Figure, output: Path) -> Path:
    """Write a figure as PNG; a reader sees the old picture or the new one."""
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(output.name + ".partial")
    figure.savefig(partial, format="png", dpi=150)
    partial.replace(output)
    return output


def comparison(methods: Mapping[str, Sequence[Sequence[CurvePoint]]], title: str) -> Figure:
    """Mean success of each method's runs against environment steps, with one standard deviation to either side.

    Args:
        methods: For each method the evaluations of its runs; a method with a single evaluation is a dashed level.
    """
    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for index, (method, runs) in enumerate(methods.items()):
        color = f"C{index % 10}"
        steps, means, deviations = mean_curve(runs)
        if len(steps) == 1:
            axes.axhline(means[0], color=color, linestyle="--", linewidth=1.2, label=method)
            continue
        marker = _MARKERS[index // 10 % len(_MARKERS)]
        axes.plot(steps, means, color=color, marker=marker, markersize=3.5, linewidth=1.6, label=method)
        if len(runs) > 1:
            low = [mean - deviation for mean, deviation in zip(means, deviations, strict=True)]
            high = [mean + deviation for mean, deviation in zip(means, deviations, strict=True)]
            axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
    _finish(axes, "success")
    axes.set_title(title)
    axes.set_xlabel("environment steps")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def curves(records: Sequence[Record], title: str) -> Figure:
    """Success against environment steps, and below it plan validity and the share of degenerate groups."""
    records = [r for r in records if number(r, "env_steps") is not None]
    if not any(number(r, "success") is not None for r in records):
        raise DataError("there is nothing to draw: no record has env_steps and success; train for an iteration first.")
    train = [r for r in records if r.get("kind") == "train"]
    evals = [r for r in records if r.get("kind") == "eval"]
    figure = Figure(figsize=(7.0, 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    _training(above, train, "success", "train", "tab:blue")
    _line(above, evals, "success", label="evaluation", color="tab:orange", marker="o", markersize=5, zorder=3)
    _finish(above, "success")
    above.set_title(title)
    for key, label, color in (
        ("plan_validity", "plan validity", "tab:green"),
        ("degenerate_fraction", "degenerate groups", "tab:red"),
    ):
        _training(below, train, key, label, color)
    _finish(below, "fraction")
    below.set_xlabel("environment steps")
    below.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def smooth(values: Sequence[float], half_life: float = SMOOTHING_STEPS) -> list[float]:
    """Exponential average whose weights halve every `half_life` values, without start-up bias.

    s_t = sum_i d^(t-i) v_i / sum_i d^(t-i) with d = 2^(-1 / half_life).
    """
    decay = 0.5 ** (1.0 / half_life)
    total = weight = 0.0
    smoothed = []
    for value in values:
        total, weight = decay * total + value, decay * weight + 1.0
        smoothed.append(total / weight)
    return smoothed


def _training(axes: Axes, records: Sequence[Record], key: str, label: str, color: str) -> None:
    """One smoothed line a phase over its pale raw values; phases differ too much to be averaged together."""
    phases = dict.fromkeys(str(r.get("phase", "")) for r in records if number(r, key) is not None)
    for index, phase in enumerate(phases):
        steps, values = _series([r for r in records if str(r.get("phase", "")) == phase], key)
        name = f"{label}, {phase}" if len(phases) > 1 and phase else label
        axes.plot(steps, values, color=color, alpha=0.2, linewidth=0.8)
        style: Any = _PHASE_STYLE[index % len(_PHASE_STYLE)]
        axes.plot(steps, smooth(values), color=color, linestyle=style, linewidth=1.6, label=name)


def _line(axes: Axes, records: Sequence[Record], key: str, **style: Any) -> None:
    steps, values = _series(records, key)
    if steps:
        axes.plot(steps, values, **style)


def _series(records: Sequence[Record], key: str) -> tuple[list[float], list[float]]:
    points = [(number(r, "env_steps"), number(r, key)) for r in records]
    found = [(step, value) for step, value in points if step is not None and value is not None and np.isfinite(value)]
    return [step for step, _ in found], [value for _, value in found]


def _finish(axes: Axes, label: str) -> None:
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel(label)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9, loc="best")
