"""Numbers over seeds and tasks: mean and spread, paired bootstrap intervals, steps to a target."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from himac.errors import DataError

Outcomes = Mapping[str, float]
"""Task id -> success of that task, a fraction when the task was repeated."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation (n - 1); one value alone has no deviation."""

    mean: float
    std: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean difference and the percentile interval of its bootstrap.

    Attributes:
        pairs: Compared (seed, task) pairs.
    """

    mean: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One evaluation of a run: environment steps and iterations of training before it, and its success."""

    env_steps: int
    iteration: int
    success: float


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and deviation over seeds; nothing for no values."""
    if not values:
        return None
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def paired_differences(
    outcomes: Mapping[int, Outcomes], reference: Mapping[int, Outcomes]
) -> tuple[tuple[float, ...], ...]:
    """Success minus that of the reference on the same seed and task, one tuple a seed that both have.

    Raises:
        DataError: one seed was evaluated on two different sets of tasks.
    """
    seeds = sorted(outcomes.keys() & reference.keys())
    for seed in seeds:
        unpaired = outcomes[seed].keys() ^ reference[seed].keys()
        if unpaired:
            raise DataError(
                f"two runs of seed {seed} were evaluated on different tasks ({min(unpaired)} is in one of them only); "
                "evaluate both on the same split."
            )
    return tuple(
        tuple(outcomes[seed][task] - reference[seed][task] for task in sorted(outcomes[seed])) for seed in seeds
    )


def paired_bootstrap(
    differences: Sequence[Sequence[float]], *, confidence: float = 0.95, resamples: int = 4000, seed: int = 0
) -> Interval | None:
    """Percentile interval of the mean difference; seeds are drawn with replacement, then tasks within each drawn seed.

    Args:
        differences: One sequence a seed, one value a task. The mean weighs every seed equally.
        seed: Of the resampling; equal input gives equal output.

    Returns:
        Nothing when there is no pair.
    """
    groups = [np.asarray(group, np.float64) for group in differences if len(group)]
    if not groups:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(groups), size=(resamples, len(groups)))
    means = np.empty(drawn.shape)
    for number, group in enumerate(groups):
        places = drawn == number
        tasks = rng.integers(len(group), size=(int(places.sum()), len(group)))
        means[places] = group[tasks].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means.mean(axis=1), (tail, 1 - tail))
    mean = float(np.mean([group.mean() for group in groups]))
    return Interval(mean, float(low), float(high), sum(len(group) for group in groups))


def first_reaching(curve: Sequence[CurvePoint], target: float) -> CurvePoint | None:
    """The first evaluation whose success is at least `target`."""
    return next((point for point in curve if point.success >= target), None)


def mean_curve(curves: Sequence[Sequence[CurvePoint]]) -> tuple[list[float], list[float], list[float]]:
    """Environment steps, mean success and its sample standard deviation over runs (0 for one run).

    Each run is interpolated linearly between its evaluations. The grid is every evaluation of any run, as far as all
    runs reach.
    """
    end = min(curve[-1].env_steps for curve in curves)
    start = max(curve[0].env_steps for curve in curves)
    grid = sorted({start, end, *(p.env_steps for curve in curves for p in curve if start <= p.env_steps <= end)})
    values = np.array([np.interp(grid, [p.env_steps for p in c], [p.success for p in c]) for c in curves])
    deviations = values.std(axis=0, ddof=1) if len(curves) > 1 else np.zeros(len(grid))
    return [float(step) for step in grid], values.mean(axis=0).tolist(), deviations.tolist()
