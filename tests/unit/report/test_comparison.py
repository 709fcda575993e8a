"""Statistics and tables of benchmark results: every number derived by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from himac.envs.alfworld.goals import TITLES
from himac.errors import DataError
from himac.report.cells import CellResult, read_evaluation, read_training
from himac.report.comparison import (
    ablation_table,
    change_table,
    comparison_page,
    cost_table,
    difference_table,
    differences,
    score_table,
    success_table,
    target_table,
    unequal_budgets,
)
from himac.report.curves import comparison, save_figure
from himac.report.statistics import (
    CurvePoint,
    Spread,
    first_reaching,
    mean_curve,
    paired_bootstrap,
    paired_differences,
    shares_at,
    spread,
    success_at,
)


def cell(method: str, seed: int, success: float, **changes: Any) -> CellResult:
    fields: dict[str, Any] = {
        "task": "small",
        "sampled": None,
        "sampled_std": None,
        "greedy": None,
        "outcomes_sampled": None,
        "success_before": 0.25,
        "by_kind": {"pick_and_place_simple": success, "look_at_obj_in_light": 0.5},
        "score": None,
        "plan_validity": None,
        "curve": (CurvePoint(0, 0, 0.25), CurvePoint(100, 10, success)),
        "budget": 100,
        "env_steps": 105,
        "tokens": 2000,
        "iterations": 10,
        "optimizer_steps": 20,
        "seconds": {"generation": 7.0, "evaluation": 3.0},
        "split_hash": "h",
        "outcomes": {"a": success},
        "outcomes_at_budget": {"a": success},
    }
    return CellResult(method=method, seed=seed, success_after=success, **(fields | changes))


def line(table: str, start: str) -> str:
    (found,) = [one for one in table.splitlines() if one.startswith(f"| {start} |")]
    return found


# ---- statistics


def test_spread() -> None:
    # Mean of 1, 2, 6 is 3; deviations -2, -1, 3; variance (4 + 1 + 9) / 2 = 7.
    assert spread([1.0, 2.0, 6.0]) == Spread(3.0, pytest.approx(math.sqrt(7)), 3)
    assert spread([0.5]) == Spread(0.5, None, 1)
    assert spread([]) is None


def test_differences_are_paired_by_seed_and_task() -> None:
    outcomes = {0: {"a": 1.0, "b": 0.0}, 1: {"b": 1.0, "a": 1.0}, 7: {"a": 1.0}}
    reference = {1: {"a": 0.0, "b": 1.0}, 0: {"a": 0.0, "b": 0.5}}
    assert paired_differences(outcomes, reference) == ((1.0, -0.5), (1.0, 0.0))
    with pytest.raises(DataError, match=r"seeds 0 were .* different tasks \(c is"):
        paired_differences({0: {"a": 1.0, "c": 1.0}}, {0: {"a": 1.0}})
    other = {0: {"a": 1.0}, 1: {"b": 1.0}}
    with pytest.raises(DataError, match=r"seeds 0, 1 were .* different tasks \(a is"):
        paired_differences(other, other)


def test_bootstrap_over_tasks() -> None:
    """Two tasks, differences 1 and 0: the resampled mean is 0, 1/2, 1 with probability 1/4, 1/2, 1/4."""
    interval = paired_bootstrap([[1.0, 0.0]])
    assert interval is not None
    assert (interval.mean, interval.low, interval.high, interval.pairs) == (0.5, 0.0, 1.0, 2)
    middle = paired_bootstrap([[1.0, 0.0]], confidence=0.4)  # quantiles 0.3 and 0.7, inside the middle half
    assert middle is not None
    assert (middle.low, middle.high) == (0.5, 0.5)


def test_bootstrap_over_seeds() -> None:
    """Equal tasks inside a seed leave the seeds only: the same three values with the same probabilities."""
    interval = paired_bootstrap([[1.0] * 50, [0.0] * 50])
    assert interval is not None
    assert (interval.mean, interval.low, interval.high, interval.pairs) == (0.5, 0.0, 1.0, 100)
    middle = paired_bootstrap([[1.0] * 50, [0.0] * 50], confidence=0.4)
    assert middle is not None
    assert (middle.low, middle.high) == (0.5, 0.5)


def test_bootstrap_draws_tasks_once_for_all_seeds() -> None:
    """Two seeds that agree on every task, 1 and 0, say no more than one: 0, 1/2, 1 have 1/4, 1/2, 1/4.

    Were tasks drawn anew for each seed, 0 would have 1/16 and the second interval would be [1/4, 3/4].
    """
    for confidence, low in ((0.95, 0.0), (0.75, 0.0), (0.40, 0.5)):
        interval = paired_bootstrap([[1.0, 0.0], [1.0, 0.0]], confidence=confidence)
        assert interval is not None
        assert (interval.low, interval.high) == (low, 1 - low), confidence


def test_bootstrap_crosses_seeds_with_tasks() -> None:
    """Two seeds that solve one task each, the other one.

    Both seeds are drawn half of the time, then every task is worth 1/2; else the mean is 0, 1/2, 1 with 1/4, 1/2, 1/4.
    So 0 has 1/8.
    """
    for confidence, low in ((0.80, 0.0), (0.70, 0.5)):
        interval = paired_bootstrap([[1.0, 0.0], [0.0, 1.0]], confidence=confidence)
        assert interval is not None
        assert (interval.low, interval.high) == (low, 1 - low), confidence


def test_bootstrap_without_doubt_or_data() -> None:
    sure = paired_bootstrap([[0.5, 0.5], [0.5, 0.5]])
    assert sure is not None
    assert (sure.mean, sure.low, sure.high) == (0.5, 0.5, 0.5)
    assert paired_bootstrap([]) is None
    assert paired_bootstrap([[]]) is None
    assert paired_bootstrap([[1.0, 0.0, 0.5]]) == paired_bootstrap([[1.0, 0.0, 0.5]])


def test_first_reaching() -> None:
    curve = [CurvePoint(0, 0, 0.1), CurvePoint(50, 5, 0.6), CurvePoint(90, 9, 0.4), CurvePoint(120, 12, 0.7)]
    assert first_reaching(curve, 0.6) == curve[1]
    assert first_reaching(curve, 0.65) == curve[3]
    assert first_reaching(curve, 0.8) is None


def test_mean_curve() -> None:
    one = [CurvePoint(0, 0, 0.0), CurvePoint(100, 1, 1.0)]
    other = [CurvePoint(0, 0, 0.5), CurvePoint(50, 1, 0.5), CurvePoint(80, 2, 1.0)]
    steps, means, deviations = mean_curve([one, other])
    assert steps == [0.0, 50.0, 80.0]  # as far as both reach
    # At 50 the first is half way up; at 80 it is at 0.8.
    assert means == pytest.approx([0.25, 0.5, 0.9])
    # Two values x, y: sample deviation |x - y| / sqrt(2).
    assert deviations == pytest.approx([0.5 / 2**0.5, 0.0, 0.2 / 2**0.5])
    assert mean_curve([one]) == ([0.0, 100.0], [0.0, 1.0], [0.0, 0.0])


def test_success_between_evaluations() -> None:
    curve = [CurvePoint(0, 0, 0.2), CurvePoint(0, 1, 0.0), CurvePoint(80, 2, 0.4), CurvePoint(120, 3, 0.8)]
    # Twice at 0 steps: the later one. 100 is half way from 80 to 120; nothing is known beyond 120.
    assert success_at(curve, [0, 40, 100, 120, 500]) == pytest.approx([0.0, 0.2, 0.6, 0.8, 0.8])
    assert shares_at(curve, 0) == [(1, 1.0)]
    assert shares_at(curve, 90) == [(2, pytest.approx(0.75)), (3, pytest.approx(0.25))]
    assert shares_at(curve, 500) == [(3, 1.0)]
    for steps in (0, 13, 80, 101, 120, 500):
        mixed = sum(share * curve[number].success for number, share in shares_at(curve, steps))
        assert mixed == pytest.approx(success_at(curve, [steps])[0])


def test_success_at_the_budget() -> None:
    curve = (CurvePoint(0, 0, 0.0), CurvePoint(80, 8, 0.4), CurvePoint(120, 12, 0.8))
    over = cell("himac", 0, 0.8, curve=curve, env_steps=120)
    assert over.success_at_budget == pytest.approx(0.6)
    assert over.to_json()["success_at_budget"] == pytest.approx(0.6)
    assert cell("himac", 0, 0.8, curve=curve, budget=200).success_at_budget == 0.8  # it ended before
    assert cell("react", 0, 0.5, budget=None).success_at_budget == 0.5


# ---- tables


def test_table_1() -> None:
    cells = [
        cell("himac", 0, 0.5, sampled=0.75, greedy=0.5),
        cell("himac", 1, 1.0, sampled=0.25, greedy=0.5),
        cell("grpo", 0, 0.25),
    ]
    table = success_table(cells, TITLES)
    assert table.splitlines()[0] == "| method | T=0.4 | greedy | at budget | at end | Pick | Look | seeds |"
    assert "| look_at_obj_in_light | pick_and_place_simple |" in success_table(cells)
    # Sample deviation of 50 and 100, or of 75 and 25: 50 / sqrt(2) = 35.36.
    assert line(table, "himac") == (
        "| himac | 50.0 ± 35.4 | 50.0 ± 0.0 | 75.0 ± 35.4 | 75.0 ± 35.4 | 75.0 ± 35.4 | 50.0 ± 0.0 | 2 |"
    )
    assert line(table, "grpo") == "| grpo | – | – | 25.0 | 25.0 | 25.0 | 50.0 | 1 |"
    assert score_table(cells) == ""


def test_tables_1_and_2_with_scores() -> None:
    shop = {"task": "shop", "by_kind": {}, "score": 80.0}
    cells = [cell("himac", 0, 0.5, **shop), cell("grpo", 0, 0.25, **(shop | {"score": 41.5})), cell("himac", 0, 1.0)]
    assert (
        success_table(cells[:2]).splitlines()[0] == "| method | T=0.4 | greedy | at budget | at end | Score | seeds |"
    )
    assert line(success_table(cells[:2]), "grpo") == "| grpo | – | – | 25.0 | 25.0 | 41.50 | 1 |"
    table = score_table(cells)
    assert table.splitlines()[0] == (
        "| method | shop T=0.4 | shop greedy | shop at budget | shop at end | shop Score |"
    )
    assert line(table, "himac") == "| himac | – | – | 50.0 | 50.0 | 80.00 |"


def test_table_3() -> None:
    shop = {"task": "shop", "score": 80.0}
    late = (CurvePoint(0, 0, 0.0), CurvePoint(200, 10, 1.0))
    cells = [cell("himac", 0, 1.0, curve=late), cell("himac", 0, 0.5, **shop), cell("grpo", 0, 0.25)]
    table = ablation_table(cells, {"full": "himac", "w/o hierarchy": "grpo", "not run": "absent"})
    assert table.splitlines()[0] == (
        "| variant | small T=0.4 | small greedy | small at budget | small at end "
        "| shop T=0.4 | shop greedy | shop at budget | shop at end | shop Score |"
    )
    assert table.splitlines()[2:] == [
        "| full | – | – | 50.0 | 100.0 | – | – | 50.0 | 50.0 | 80.00 |",
        "| w/o hierarchy | – | – | 25.0 | 25.0 | – | – | – | – | – |",
    ]
    assert ablation_table(cells, {}) == ""


def test_table_4() -> None:
    slow = (CurvePoint(0, 0, 0.0), CurvePoint(60, 6, 0.5), CurvePoint(120, 12, 0.75))
    cells = [cell("himac", 0, 0.75), cell("himac", 1, 0.75, curve=slow), cell("himac", 2, 0.5), cell("grpo", 0, 0.5)]
    table = target_table(cells, {"small": 0.75})
    # Reached after 100 and 120 steps: mean 110, deviation 20 / sqrt(2) = 14.1; iterations 10 and 12: 11 and 1.4.
    assert table.splitlines()[2] == (
        "| small (75 %) | himac | 11 ± 1 (2/3) | 110 ± 14 (2/3) | 66.7 ± 14.4 |"  # 75, 75, 50: sqrt(1250 / 6) = 14.4
    )
    assert table.splitlines()[3] == "| small (75 %) | grpo | – (0/1) | – (0/1) | 50.0 |"
    assert target_table(cells, {}) == ""


def test_differences() -> None:
    """Of two tasks, see test_bootstrap_over_tasks: at the budget 1/2 and 0, at the end 0 and -1.

    Sampled it is 1/3 and 1/3, so that every resample has the mean 1/3; unknown where one of the two was not sampled.
    """
    cells = [
        cell("himac", 0, 1.0, outcomes={"a": 1.0, "b": 1.0}, outcomes_at_budget={"a": 0.5, "b": 0.0}),
        cell("grpo", 0, 0.5, outcomes={"a": 1.0, "b": 0.0}, outcomes_at_budget={"a": 1.0, "b": 0.0}),
        cell("lonely", 5, 0.5),
    ]
    table = difference_table(cells, "himac")
    in_training = "+25.0 | [+0.0, +50.0] | -50.0 | [-100.0, +0.0]"
    assert table.splitlines()[2:] == [f"| small | grpo | – | – | {in_training} | 2 |"]
    thirds = ({"a": 1 / 3, "b": 0.0}, {"a": 2 / 3, "b": 1 / 3})
    sampled = [replace(one, outcomes_sampled=own) for one, own in zip(cells, thirds, strict=False)]
    table = difference_table(sampled, "himac")
    assert table.splitlines()[2:] == [f"| small | grpo | +33.3 | [+33.3, +33.3] | {in_training} | 2 |"]
    assert differences([cells[0], cells[2]], "himac") == [], "no seed in common"
    with pytest.raises(DataError, match="different splits"):
        differences([cells[0], cell("grpo", 0, 0.5, split_hash="other")], "himac")


def test_change_and_cost() -> None:
    cells = [
        cell("himac", 0, 0.5, plan_validity=0.5),
        cell("himac", 1, 1.0, plan_validity=1.0, env_steps=120, tokens=4000),
        cell("react", 0, 0.5, success_before=None, budget=None, env_steps=1234, tokens=None),
    ]
    table = change_table(cells)
    assert table.splitlines()[2] == "| small | himac | 25.0 ± 0.0 | 75.0 ± 35.4 | 50.0 ± 35.4 | 75.0 ± 35.4 |"
    assert table.splitlines()[3] == "| small | react | – | 50.0 | – | – |"
    table = cost_table(cells)
    # (105 + 120) / 2 = 112.5 steps; the worst seed is 20 % over 100; (2000 + 4000) / 2 tokens.
    assert table.splitlines()[2] == "| small | himac | 112 | +20.0 % | 3,000 | 10 | 20 | 7 | 0 | 0 | 0 | 3 |"
    assert table.splitlines()[3].startswith("| small | react | 1,234 | – | – | 10 |")
    assert unequal_budgets(cells) == ["small/himac/seed-1 took 120 environment steps of 100 (+20.0 %)."]
    assert unequal_budgets([cell("himac", 0, 1.0, env_steps=80)]) != []
    longer = cell("grpo", 0, 1.0, budget=2000, env_steps=2000)
    assert unequal_budgets([cells[0], longer, cell("ppo", 0, 1.0, task="shop", budget=7, env_steps=7)]) == [
        "The runs of small have budgets of 100 and 2,000 environment steps."
    ]


def test_the_page_leaves_out_what_is_empty() -> None:
    page = comparison_page([cell("himac", 0, 0.5)], "mine", None, {}, {})
    assert page.startswith("# mine\n\nSeeds: 0.")
    headings = [one for one in page.splitlines() if one.startswith("#")]
    assert headings == ["# mine", "## Success", "### small", "## Before and after training", "## Cost"]
    assert "\n\n\n" not in page
    assert "on the line between the two around it" in page


def test_the_picture(tmp_path: Path) -> None:
    runs = {"himac": [cell("himac", s, 0.5).curve for s in (0, 1)], "react": [(CurvePoint(0, 0, 0.4),)]}
    figure = comparison(runs, "small")
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["himac", "react"]
    assert list(axes.lines[0].get_ydata()) == [0.25, 0.5]
    assert list(axes.lines[1].get_ydata()) == [0.4, 0.4]
    assert len(axes.collections) == 1  # the band of two seeds
    assert save_figure(figure, tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


# ---- reading


def test_cells_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"summary\.json"):
        read_evaluation(tmp_path, "small", "react", 0, 1.0)
    for name in ("metrics", "timings"):
        (tmp_path / f"{name}.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="no evaluation"):
        read_training(tmp_path, "small", "himac", 0, 100)


def test_repeated_tasks_count_once(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"success": 0.5, "success/pick": 0.5, "score": 7}', encoding="utf-8")
    rows = [("a", "true"), ("b", "false"), ("a", "false"), ("b", "true"), ("a", "false"), ("b", "true")]
    text = "".join(f'{{"task_id": "{t}", "success": {s}, "split_hash": "h", "env_steps": 5}}\n' for t, s in rows)
    (tmp_path / "results.jsonl").write_text(text, encoding="utf-8")
    got = read_evaluation(tmp_path, "small", "react", 3, 12.5)
    assert got.outcomes == got.outcomes_at_budget == {"a": pytest.approx(1 / 3), "b": pytest.approx(2 / 3)}
    assert (got.env_steps, got.tokens) == (30, None)
    assert (got.seed, got.score, got.budget, got.overshoot, got.seconds) == (3, 7.0, None, None, {"evaluation": 12.5})
    assert got.to_json()["tasks"] == 2


@pytest.mark.parametrize(
    ("summary", "sampled", "greedy"),
    [
        ({"temperature": 0.4, "success_std": 0.1, "greedy": {"success": 0.25}}, 0.5, 0.25),
        ({"temperature": 0.4}, 0.5, None),
        ({"temperature": 0.0}, None, 0.5),
        ({"temperature": 1.0}, None, None),
        ({}, None, None),  # of an older version
    ],
)
def test_which_way_an_evaluation_was(
    summary: dict[str, Any], sampled: float | None, greedy: float | None, tmp_path: Path
) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"success": 0.5} | summary), encoding="utf-8")
    (tmp_path / "results.jsonl").write_text('{"task_id": "a", "success": true, "split_hash": "h"}\n', encoding="utf-8")
    got = read_evaluation(tmp_path, "small", "react", 0, 1.0)
    assert (got.sampled, got.greedy, got.success_after) == (sampled, greedy, 0.5)
    assert got.sampled_std == summary.get("success_std")
    assert got.outcomes_sampled == (None if sampled is None else {"a": 1.0})


def test_the_trials_of_an_evaluation_are_paid_for(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"success": 1.0, "completion_tokens": 70}', encoding="utf-8")
    line = {"task_id": "a", "success": True, "split_hash": "h", "env_steps": 4, "env_steps_all": 24}
    (tmp_path / "results.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    got = read_evaluation(tmp_path, "small", "reflexion", 0, 1.0)
    assert (got.env_steps, got.tokens, got.budget) == (24, 70, None)


def test_outcomes_at_the_budget(tmp_path: Path) -> None:
    """Evaluations after 0, 80 and 120 steps; a budget of 90 is a quarter of the way from the second to the third."""
    solved = {0: {"a": False, "b": False}, 4: {"a": True, "b": False}, 6: {"a": True, "b": True}}
    records = []
    for (iteration, tasks), steps in zip(solved.items(), (0, 80, 120), strict=True):
        success = sum(tasks.values()) / 2
        records.append({"kind": "eval", "iteration": iteration, "env_steps": steps, "tokens": 0, "success": success})
        folder = tmp_path / "eval" / f"iteration-{iteration:06d}"
        folder.mkdir(parents=True)
        lines = [{"task_id": task, "success": won, "split_hash": "h"} for task, won in tasks.items()]
        (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for name, lines in (("metrics", records), ("timings", [])):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    got = read_training(tmp_path, "small", "himac", 0, 90)
    assert got.outcomes == {"a": 1.0, "b": 1.0}
    assert got.outcomes_at_budget == {"a": 1.0, "b": pytest.approx(0.25)}
    assert got.success_at_budget == pytest.approx(sum(got.outcomes_at_budget.values()) / 2)
    assert read_training(tmp_path, "small", "himac", 0, 500).outcomes_at_budget == got.outcomes
    (folder / "results.jsonl").write_text(json.dumps({"task_id": "c", "success": True}) + "\n")
    with pytest.raises(DataError, match="different tasks"):
        read_training(tmp_path, "small", "himac", 0, 90)
