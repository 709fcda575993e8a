"""Warnings from made series: each fires where something is wrong, once, and not on noise."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from himac.config import Config
from himac.config_file import load_config
from himac.training.diagnosis import WINDOW, findings, slope_t

PLAIN = load_config(None, ["algo.name=grpo"])
Series = Callable[[int], dict[str, float]]


def run(series: Series, count: int = 40, config: Config = PLAIN, phase: str = "flat") -> list[tuple[int, str, str]]:
    """(iteration, kind, message) of every warning of a run with these records."""
    records = [{"kind": "train", "iteration": n, "phase": phase} | usual() | series(n) for n in range(count)]
    return [(n, one.kind, one.message) for n in range(count) for one in findings(records[: n + 1], config)]


def usual() -> dict[str, float]:
    return {"success": 0.5, "return_mean": 5.0, "invalid_fraction": 0.2, "degenerate_fraction": 0.2, "approx_kl": 0.002}


def ramp(n: int, first: float, last: float, count: int = 40) -> float:
    return first + (last - first) * n / (count - 1)


def test_slope_t() -> None:
    # x = 0, 1, 2, 3 and y = 0, 2, 1, 3: Sxx = 5, Sxy = 4, slope 0.8; residuals -0.3, 0.9, -0.9, 0.3 (SSE 1.8).
    # t = 0.8 / sqrt(1.8 / 2 / 5) = 0.8 / sqrt(0.18).
    assert slope_t([0.0, 2.0, 1.0, 3.0]) == pytest.approx(0.8 / math.sqrt(0.18))
    assert slope_t([3.0, 1.0, 2.0, 0.0]) == pytest.approx(-0.8 / math.sqrt(0.18))
    assert (slope_t([1.0, 2.0, 3.0]), slope_t([2.0, 2.0, 2.0]), slope_t([1.0, 2.0])) == (math.inf, 0.0, 0.0)


def test_success_that_falls_while_the_return_rises() -> None:
    def apart(n: int) -> dict[str, float]:
        noise = 0.05 * (-1) ** n
        return {"success": ramp(n, 0.6, 0.3) + noise, "return_mean": ramp(n, 2.0, 5.0) + noise}

    ((iteration, kind, message), *again) = run(apart)
    assert (kind, iteration) == ("return_without_success", 14), "as soon as there are enough records"
    assert again == [], "it lasts, and is told once"
    assert "success falls (" in message
    assert "env.invalid_penalty" in message
    together = {"success": 0.3, "return_mean": -1.0}
    assert run(lambda n: {key: ramp(n, usual()[key], last) for key, last in together.items()}) == []


def test_an_occasion_ends_and_another_begins() -> None:
    """Records 10 to 14 and 90 to 94 are bad: two occasions, for the first is forgotten by then."""
    bad = {"invalid_fraction": 0.9}
    told = run(lambda n: bad if n % 80 in range(10, 10 + WINDOW) else {}, count=100)
    # Of five, three bad ones make the mean (3 x 0.9 + 2 x 0.2) / 5 = 0.62. With enough records before them two do: the
    # mean is 0.48 then, which is 0.28 more than earlier.
    assert [(n, kind) for n, kind, _ in told] == [(12, "invalid_actions"), (91, "invalid_actions")]


@pytest.mark.parametrize(
    ("last", "warned"),
    [(0.55, True), (0.42, True), (0.3, False)],
)
def test_invalid_actions(last: float, warned: bool) -> None:
    """From 0.2: more than half, or 0.2 more than in the first five of the last forty."""
    told = run(lambda n: {"invalid_fraction": 0.2 if n < 20 else last})
    assert [kind for _, kind, _ in told] == ["invalid_actions"] * warned
    assert all("env.invalid_penalty" in message for *_, message in told)


def test_equal_groups() -> None:
    equal = {"degenerate_fraction": 0.7}
    ((iteration, kind, message),) = run(lambda n: equal)
    assert (iteration, kind) == (WINDOW - 1, "equal_groups")
    assert "algo.resample" in message
    assert "warmstart.passes" in message
    assert "harder tasks" in run(lambda n: equal | {"success": 0.7})[0][2]
    assert run(lambda n: equal | {"success": 0.95}) == [], "nearly everything is solved"
    assert run(lambda n: {"degenerate_fraction": 0.9 if n % 2 else 0.1}) == []
    assert run(lambda n: equal, config=load_config(None, ["algo.name=ppo"])) == [], "it compares no returns"


def test_the_kl_of_a_role_against_its_target() -> None:
    config = load_config(None, ["train.learner.target_kl=0.02", "train.learner.apart=true"])

    def moved(planner: float) -> Series:
        return lambda n: {"moved/planner": planner, "moved/executor": 0.015, "approx_kl": 0.01}

    ((iteration, kind, message),) = run(moved(0.05), config=config, phase="nested")
    assert (iteration, kind) == (WINDOW - 1, "kl")
    assert "of the planner runs away (median 0.050, against train.learner.target_kl 0.02)" in message
    assert message.endswith("lower train.learner.roles.planner.lr_scale")
    assert run(moved(0.03), config=config) == []
    first = lambda n: {"moved/planner": 0.2 if n < 2 else 0.01}  # noqa: E731 - the first updates of a run are large
    assert run(first, config=config) == []


def test_the_kl_of_a_phase_against_its_history() -> None:
    ((iteration, kind, message),) = run(lambda n: {"approx_kl": 0.002 if n < 20 else 0.03}, count=30, phase="macro")
    assert (iteration, kind) == (22, "kl"), "the median of five needs three"
    assert "macro runs away (median 0.030, against 0.0020 before)" in message
    assert "train.learner.target_kl" in message
    assert run(lambda n: {"approx_kl": 0.0002 if n < 20 else 0.01}) == [], "fifty times as much, and still small"
    assert run(lambda n: {"approx_kl": 0.02 if n % 5 == 0 else -0.001}) == [], "single large updates"


def test_a_stop_reason_that_takes_over() -> None:
    def stops(n: int) -> dict[str, float]:
        limit = ramp(n, 0.1, 0.48)
        return {"stop/step_limit": limit, "stop/failure": 0.5 - limit, "stop/success": 0.5}

    ((_, kind, message),) = run(stops)
    assert kind == "stop"
    assert "of the failures end as step_limit" in message
    assert "env.step_limit" in message
    fewer = lambda n: {  # noqa: E731 - other failures go, and this one is what is left
        "success": ramp(n, 0.3, 0.85),
        "stop/step_limit": 0.14,
        "stop/failure": ramp(n, 0.56, 0.01),
    }
    assert run(fewer) == []
    assert run(lambda n: {"stop/failure": 0.5}) == [], "it was always so"


def test_noise_and_steady_learning_are_quiet() -> None:
    """200 runs of 60 records whose tasks differ in difficulty; one of them may be unlucky."""

    def made(rng: random.Random, learns: float) -> Sequence[dict[str, Any]]:
        records = []
        for n in range(60):
            success = min(max(rng.gauss(0.4 + learns * n / 60, 0.13), 0.0), 1.0)
            limit = (1 - success) * min(max(rng.gauss(0.4, 0.15), 0.0), 1.0)
            figures = {
                "success": success,
                "return_mean": 10 * success - 2 + rng.gauss(0, 0.5),
                "invalid_fraction": min(max(rng.gauss(0.3, 0.06), 0.0), 1.0),
                "degenerate_fraction": rng.choice([0, 1, 2, 3, 4, 5, 6]) / 16,
                "approx_kl": abs(rng.gauss(0.001, 0.002)),
                "stop/step_limit": limit,
                "stop/failure": 1 - success - limit,
            }
            records.append({"kind": "train", "iteration": n, "phase": "flat"} | figures)
        return records

    false = 0
    for seed in range(200):
        records = made(random.Random(seed), learns=0.4 * (seed % 2))
        false += any(findings(records[: n + 1], PLAIN) for n in range(len(records)))
    assert false <= 1


def test_segments_that_do_not_fit() -> None:
    """Told at once and once, when more than one in a hundred are cut off."""
    assert run(lambda n: {"segments_too_long": 0.01}) == []
    ((first, kind, message),) = run(lambda n: {"segments_too_long": 0.012})
    assert (first, kind) == (0, "too_long")
    assert "1.2% of the segments do not fit into agent.max_context" in message
