"""What goes wrong while a run trains, told from its metrics records alone, each with the setting to change.

A finding is about the records of one phase. It looks at the mean of the last `WINDOW` of them, or at the trend of the
last `TREND`, because single records are noisy: a phase has some ten tasks, and their difficulty differs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from himac.config import Config
from himac.report.results import Record, number
from himac.types import StopReason

WINDOW, TREND, HISTORY, ENOUGH = 5, 20, 40, 15
"""Records of a phase: of a mean; of a trend; that are looked back to, also for what is known; the fewest to do so."""

TREND_T = 2.0
"""Slopes in standard errors. Success and return mostly move together, so that noise seldom drives them apart."""
KL_OF_TARGET, KL_OF_BEFORE, KL_LEAST = 2.0, 4.0, 0.02
STOP_SHARE, STOP_GAIN, STOP_MORE = 0.8, 0.3, 0.1
"""Of the failures, and how much of them and of all episodes more than before: fewer other failures are no harm."""
EQUAL_GROUPS, SOLVED = 0.6, 0.9
"""Equal groups are no harm either where nearly everything is solved."""
INVALID, INVALID_GAIN = 0.5, 0.2
TOO_LONG = 0.01
"""Share of what does not fit into the context above which a run is told: the long tasks are not learned."""

_STOPS = {
    StopReason.FAILURE: "agent.executor.max_repeats or agent.flat.max_repeats, env.invalid_penalty",
    StopReason.PLAN_EXHAUSTED: "agent.planner.max_subgoals, agent.planner.temperature",
    StopReason.SUBGOAL_BUDGET: "agent.executor.step_limit",
    StopReason.FAILURE_KEYWORD: "agent.executor.failure_keywords",
    StopReason.STEP_LIMIT: "env.step_limit, agent.failure_penalty",
    StopReason.MALFORMED_BLUEPRINT: "agent.planner.max_tokens, train.learner.roles.planner.lr_scale (lower)",
    StopReason.CONTEXT_LIMIT: "agent.max_context",
    StopReason.ENV_ERROR: "env.timeout_s, env.workers",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes:
        kind, subject: What and of whom; the same for as long as it lasts.
        message: What was seen and the setting to change.
    """

    kind: str
    subject: str
    message: str


def findings(records: Sequence[Record], config: Config) -> list[Finding]:
    """What is newly wrong at the last record: what was so at one of the `HISTORY` records before is known already.

    Args:
        records: Of a run up to now, all phases.
    """
    phase = str(records[-1]["phase"])
    own = [record for record in records if record.get("phase") == phase][-2 * HISTORY :]
    now = list(_present(own[-HISTORY:], phase, config))
    known = now and {
        (one.kind, one.subject)
        for end in range(max(len(own) - HISTORY, 0), len(own))
        for one in _present(own[max(end - HISTORY, 0) : end], phase, config)
    }
    return [one for one in now if (one.kind, one.subject) not in known]


def _present(records: Sequence[Record], phase: str, config: Config) -> Iterator[Finding]:
    """All that is wrong at the last of these records of one phase."""
    yield from _too_long(records, phase)
    if len(records) >= WINDOW:
        yield from _kl(records, phase, config)
        yield from _invalid(records, phase)
        if not getattr(config.algo, "equal_returns_teach", False):
            yield from _equal_groups(records, phase)
    if len(records) >= ENOUGH:
        yield from _apart(records, phase)
        yield from _stops(records, phase)


def _apart(records: Sequence[Record], phase: str) -> Iterator[Finding]:
    success, returns = (_series(records[-TREND:], key) for key in ("success", "return_mean"))
    if min(len(success), len(returns)) >= ENOUGH and slope_t(success) < -TREND_T and slope_t(returns) > TREND_T:
        yield Finding(
            "return_without_success",
            phase,
            f"{phase}: success falls ({_ends(success)}) while the return rises ({_ends(returns, 2)}): something else "
            "pays; lower the magnitude of env.invalid_penalty, or raise that of agent.failure_penalty",
        )


def _kl(records: Sequence[Record], phase: str, config: Config) -> Iterator[Finding]:
    target = config.train.learner.target_kl
    for key in dict.fromkeys(key for key in records[-1] if key.split("/")[0] in ("moved", "approx_kl")):
        values = _series(records, key)
        if len(values) < WINDOW:
            continue
        now, subject = statistics.median(values[-WINDOW:]), key.partition("/")[2] or phase
        if key.startswith("moved"):
            limit, than = (math.inf if target is None else KL_OF_TARGET * target), "train.learner.target_kl"
        elif len(values) >= ENOUGH:
            before = statistics.median(map(abs, values[:-WINDOW]))
            limit, than = max(KL_OF_BEFORE * before, KL_LEAST), f"{before:.4f} before"
        else:
            continue
        if now > limit:
            remedy = f"lower train.learner.roles.{subject}.lr_scale" if "/" in key else "lower train.learner.lr"
            yield Finding(
                "kl",
                subject,
                f"{phase}: the KL divergence of an update of the {subject} runs away (median {now:.3f}, against {than}"
                f"{f' {target:g}' if key.startswith('moved') else ''}); {remedy}"
                + ("" if target else " or set train.learner.target_kl"),
            )


def _stops(records: Sequence[Record], phase: str) -> Iterator[Finding]:
    early, late = records[: 2 * WINDOW], records[-WINDOW:]
    for reason, settings in _STOPS.items():
        (was, before), (now, after) = _share(early, reason), _share(late, reason)
        if now >= STOP_SHARE and now - was >= STOP_GAIN and after - before >= STOP_MORE:
            yield Finding(
                "stop",
                f"{phase} {reason}",
                f"{phase}: {now:.0%} of the failures end as {reason}, {was:.0%} did; see to {settings}",
            )


def _equal_groups(records: Sequence[Record], phase: str) -> Iterator[Finding]:
    equal, success = _mean(records, "degenerate_fraction"), _mean(records, "success")
    if equal is not None and equal >= EQUAL_GROUPS and success is not None and success < SOLVED:
        remedy = "choose harder tasks in env.kwargs" if success > 0.5 else "warm-start longer (warmstart.passes)"
        yield Finding(
            "equal_groups",
            phase,
            f"{phase}: {equal:.0%} of the groups have equal returns, from which nothing is learned; set algo.resample, "
            f"raise the agent's temperature, or {remedy}",
        )


def _invalid(records: Sequence[Record], phase: str) -> Iterator[Finding]:
    now, was = _mean(records, "invalid_fraction"), _mean(records[:WINDOW], "invalid_fraction")
    if now is None or was is None:
        return
    risen = len(records) >= ENOUGH and now - was >= INVALID_GAIN
    if now >= INVALID or risen:
        yield Finding(
            "invalid_actions",
            phase,
            f"{phase}: {now:.0%} of the actions are rejected by the environment ({was:.0%} earlier); raise the "
            "magnitude of env.invalid_penalty, or lower train.learner.lr",
        )


def _too_long(records: Sequence[Record], phase: str) -> Iterator[Finding]:
    values = _series(records[-WINDOW:], "segments_too_long")
    if values and (now := statistics.fmean(values)) > TOO_LONG:
        yield Finding(
            "too_long",
            phase,
            f"{phase}: {now:.1%} of the segments do not fit into agent.max_context and end their episodes; raise it, "
            "or lower max_tokens of the replies",
        )


def slope_t(values: Sequence[float]) -> float:
    """Least-squares slope over its standard error, t = b / sqrt(SSE / (n - 2) / Sxx); 0 for fewer than 3 values.

    Without scatter about the line it is infinite, or 0 for a level one.
    """
    count = len(values)
    if count < 3:
        return 0.0
    slope, intercept = statistics.linear_regression(range(count), values)
    errors = sum((value - intercept - slope * x) ** 2 for x, value in enumerate(values))
    spread = count * (count**2 - 1) / 12
    scatter = math.sqrt(errors / (count - 2) / spread)
    if scatter <= 1e-12 * max(1.0, *map(abs, values)):
        return 0.0 if abs(slope) <= 1e-12 else math.copysign(math.inf, slope)
    return slope / scatter


def _share(records: Sequence[Record], reason: StopReason) -> tuple[float, float]:
    """Share of a reason among the failures of these records, and among all episodes."""
    stopped = [number(record, f"stop/{reason}") or 0.0 for record in records]
    failed = [1.0 - (number(record, "success") or 0.0) for record in records]
    return (sum(stopped) / sum(failed) if sum(failed) else 0.0), statistics.fmean(stopped)


def _series(records: Sequence[Record], key: str) -> list[float]:
    return [value for record in records if (value := number(record, key)) is not None]


def _mean(records: Sequence[Record], key: str) -> float | None:
    """Of the last `WINDOW` records; `None` where one lacks it."""
    values = _series(records[-WINDOW:], key)
    return statistics.fmean(values) if len(values) == WINDOW else None


def _ends(values: Sequence[float], digits: int = 0) -> str:
    first, last = statistics.fmean(values[:WINDOW]), statistics.fmean(values[-WINDOW:])
    return f"{first:.{digits}f} to {last:.{digits}f}" if digits else f"{first:.0%} to {last:.0%}"
