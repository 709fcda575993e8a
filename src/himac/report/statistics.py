# ruff: noqa: N806
"""Numbers over seeds and tasks: mean and spread, paired bootstrap intervals, steps to a target.

Shape suffixes: S seeds, T tasks, R resamples.
"""

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
        DataError: the runs were not all evaluated on the same tasks.
    """
    seeds = sorted(outcomes.keys() & reference.keys())
    runs = [run for seed in seeds for run in (outcomes[seed], reference[seed])]
    for run in runs[1:]:
        unpaired = run.keys() ^ runs[0].keys()
        if unpaired:
            raise DataError(
                f"the runs of seeds {', '.join(map(str, seeds))} were evaluated on different tasks ({min(unpaired)} is "
                "not in all of them); evaluate all on the same split and with the same train.eval_tasks."
            )
    return tuple(
        tuple(outcomes[seed][task] - reference[seed][task] for task in sorted(outcomes[seed])) for seed in seeds
    )


def paired_bootstrap(
    differences: Sequence[Sequence[float]], *, confidence: float = 0.95, resamples: int = 4000, seed: int = 0
) -> Interval | None:
    """Percentile interval of the mean difference; every resample draws seeds and, once for all of them, tasks.

    All seeds meet the same tasks, so what is special about the drawn tasks does not average out over seeds.

    Args:
        differences: One sequence a seed, one value a task; the tasks are the same in all.
        seed: Of the resampling; equal input gives equal output.

    Returns:
        Nothing when there is no pair.
    """
    table_ST = np.array(differences, dtype=np.float64)
    if not table_ST.size:
        return None
    rng = np.random.default_rng(seed)
    seeds, tasks = table_ST.shape
    drawn_RS = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    drawn_RT = rng.multinomial(tasks, np.full(tasks, 1 / tasks), size=resamples)
    means_R = ((drawn_RS @ table_ST) * drawn_RT).sum(axis=1) / table_ST.size
    tail = (1 - confidence) / 2
    low, high = np.quantile(means_R, (tail, 1 - tail))
    return Interval(float(table_ST.mean()), float(low), float(high), table_ST.size)


def first_reaching(curve: Sequence[CurvePoint], target: float) -> CurvePoint | None:
    """The first evaluation whose success is at least `target`."""
    return next((point for point in curve if point.success >= target), None)


def success_at(curve: Sequence[CurvePoint], env_steps: Sequence[float]) -> list[float]:
    """Success after these numbers of environment steps: linear between evaluations, level before and after all of them.

    Where several evaluations were made after the same number of steps, the last of them counts.
    """
    return np.interp(env_steps, [p.env_steps for p in curve], [p.success for p in curve]).tolist()


def shares_at(curve: Sequence[CurvePoint], env_steps: float) -> list[tuple[int, float]]:
    """Of which evaluations `success_at` consists after this number of environment steps, with their shares of it."""
    places = [point.env_steps for point in curve]
    shares = [float(np.interp(env_steps, places, unit)) for unit in np.eye(len(curve))]
    return [(number, share) for number, share in enumerate(shares) if share]


def mean_curve(curves: Sequence[Sequence[CurvePoint]]) -> tuple[list[float], list[float], list[float]]:
    """Environment steps, mean success and its sample standard deviation over runs (0 for one run).

    Each run is interpolated linearly between its evaluations. The grid is every evaluation of any run, as far as all
    runs reach.
    """
    end = min(curve[-1].env_steps for curve in curves)
    start = max(curve[0].env_steps for curve in curves)
    grid = sorted({start, end, *(p.env_steps for curve in curves for p in curve if start <= p.env_steps <= end)})
    values = np.array([success_at(curve, grid) for curve in curves])
    deviations = values.std(axis=0, ddof=1) if len(curves) > 1 else np.zeros(len(grid))
    return [float(step) for step in grid], values.mean(axis=0).tolist(), deviations.tolist()
