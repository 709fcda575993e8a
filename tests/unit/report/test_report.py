"""Reports from plain records: every number in them derived by hand."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file

from himac.errors import DataError
from himac.report.curves import curves, draw_curves, smooth
from himac.report.episodes import episode_markdown, episode_panel, episode_text, pick_examples, story
from himac.report.results import number, read_jsonl
from himac.report.summary import count_parameters, summarise_run, time_split
from himac.report.tables import change_table, success_rows, success_table
from himac.types import Blueprint, Episode, Role, Segment, StopReason, Task, Turn


def result(task: str, kind: str, success: bool, steps: int, ret: float = 0.0) -> dict[str, Any]:
    return {
        "task_id": task,
        "kind": kind,
        "success": success,
        "return": ret,
        "stop": "success" if success else "step_limit",
        "env_steps": steps,
        "blueprint": ["take mug", "put mug"],
        "transcript": [
            {
                "subgoal": "take mug",
                "action": "take mug 1",
                "observation": "You take it.",
                "sub_done": True,
                "invalid": False,
            },
            {
                "subgoal": "put mug",
                "action": "fly",
                "observation": "Nothing happens.",
                "sub_done": False,
                "invalid": True,
            },
            {"subgoal": "put mug", "action": None, "observation": "", "sub_done": True},
        ],
    }


def episode() -> Episode:
    ids = np.zeros(4, np.int32)
    segment = Segment(
        role=Role.EXECUTOR,
        token_ids=ids,
        sampled=np.zeros(4, np.bool_),
        logprobs=np.zeros(4, np.float32),
        turns=(Turn("take mug 1", "You take it.", 1.0, False, True, 1, 3),),
        subgoal="take mug",
    )
    return Episode(Task("t1", "pick"), 0, Blueprint(("take mug",)), None, (segment,), 10.0, StopReason.SUCCESS, 1)


def metrics() -> list[dict[str, Any]]:
    train = [
        {"kind": "train", "iteration": n, "phase": phase, "env_steps": 100 * n + 50 * k, "success": n / 10}
        | {"plan_validity": 0.9, "degenerate_fraction": 0.4}
        for n in range(4)
        for k, phase in enumerate(("macro", "micro"))
    ]
    before = {"kind": "eval", "iteration": 0, "phase": "eval", "env_steps": 0, "success": 0.1, "success/pick": 0.2}
    after = {"kind": "eval", "iteration": 4, "phase": "eval", "env_steps": 1400, "success": 0.35, "success/pick": 0.5}
    return [before, *train, after | {"stop/success": 0.35, "stop/step_limit": 0.65}]


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_jsonl_tolerates_only_a_cut_last_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n{"a":', encoding="utf-8")
    assert read_jsonl(path) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\nbroken\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 2"):
        read_jsonl(path)
    path.write_text("[1]\n", encoding="utf-8")
    with pytest.raises(DataError, match="no JSON object"):
        read_jsonl(path)
    with pytest.raises(DataError, match="cannot read"):
        read_jsonl(tmp_path / "absent.jsonl")


def test_success_by_type() -> None:
    results = [result("a", "pick", True, 4, 10), result("b", "pick", False, 8), result("c", "heat", True, 6, 10)]
    results.append(result("d", "pick", True, 3, 10))
    heat, pick, everything = success_rows(results)
    assert (heat.kind, heat.tasks, heat.success, heat.stderr) == ("heat", 1, 1.0, 0.0)
    # pick: 2 of 3; standard error sqrt(2/3 * 1/3 / 3) = sqrt(2/27); steps (4 + 8 + 3) / 3 = 5.
    assert (pick.tasks, pick.steps_mean) == (3, 5.0)
    assert pick.success == pytest.approx(2 / 3)
    assert pick.stderr == pytest.approx((2 / 27) ** 0.5)
    assert (everything.kind, everything.success, everything.return_mean) == ("all", 0.75, 7.5)
    assert "| pick | 3 | 66.7 ± 27.2 | 6.67 | 5.0 |" in success_table(results).splitlines()
    assert success_rows([]) == []


def test_change_table() -> None:
    lines = change_table({"success": 0.1, "success/pick": 0.2}, {"success": 0.35, "success/heat": 0.5}).splitlines()
    assert lines[2:] == ["| heat | – | 50.0 |  |", "| pick | 20.0 | – |  |", "| all | 10.0 | 35.0 | +25.0 |"]


def test_smoothing_halves_the_weight_every_half_life() -> None:
    # With half-life 1, d = 1/2: s = [1, (0.5*1 + 0)/1.5, (0.25*1 + 0 + 1)/1.75].
    assert smooth([1.0, 0.0, 1.0], half_life=1) == pytest.approx([1.0, 1 / 3, 5 / 7])
    assert smooth([0.3] * 50) == pytest.approx([0.3] * 50)
    assert smooth([]) == []


def test_curves_show_what_was_measured(tmp_path: Path) -> None:
    above, below = curves(metrics(), "run").axes
    lines = {str(line.get_label()): line for line in above.get_lines()}
    assert list(lines["evaluation"].get_xdata()) == [0.0, 1400.0]
    assert list(lines["evaluation"].get_ydata()) == [0.1, 0.35]
    assert {"train, macro", "train, micro"} <= set(lines)
    labels = {str(line.get_label()) for line in below.get_lines()}
    assert {"plan validity, macro", "degenerate groups, micro"} <= labels
    png = draw_curves(write(tmp_path / "metrics.jsonl", metrics()), tmp_path / "plots" / "curve.png")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in png.parent.iterdir()] == ["curve.png"]


def test_curves_need_something_to_draw() -> None:
    with pytest.raises(DataError, match="nothing to draw"):
        curves([{"kind": "train", "env_steps": 3}], "run")
    # One evaluation and no training record is enough; values that are not finite are left out.
    above, _ = curves([{"kind": "eval", "env_steps": 0, "success": 0.5}], "run").axes
    assert len(above.get_lines()) == 1
    above, _ = curves([*metrics(), {"kind": "eval", "env_steps": 9, "success": float("nan")}], "run").axes
    assert all(np.isfinite(line.get_ydata()).all() for line in above.get_lines())  # type: ignore[call-overload]


def test_episodes_read_the_same_from_types_and_results() -> None:
    text = episode_text(episode())
    assert "1. take mug" in text
    assert "> take mug 1\n  You take it.\n<sub_done>" in text
    assert text.rstrip().endswith("success after 1 steps, return 10.00")
    told = story(result("a", "pick", False, 2))
    assert [(goal, len(turns)) for goal, turns in told.parts] == [("take mug", 1), ("put mug", 2)]
    assert "> fly (invalid)" in episode_markdown(result("a", "pick", False, 2))


def test_repeated_and_missing_subgoals() -> None:
    record = result("a", "pick", True, 2)
    turn = {"subgoal": "go", "action": "east", "observation": "x", "sub_done": True}
    record["transcript"] = [turn, turn]
    assert len(story(record).parts) == 2
    record["transcript"] = [turn | {"subgoal": None}] * 2
    record["blueprint"] = None
    assert len(story(record).parts) == 1
    record["transcript"] = []
    assert "**Success**" in episode_markdown(record)


def test_observations_cannot_break_out_of_their_fence_or_their_markup() -> None:
    record = result("a", "pick", True, 2)
    record["transcript"][0]["observation"] = "```\n# Heading [red]text[/]"
    assert episode_markdown(record).count("````") == 2
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(episode_panel(record))
    assert "[red]text[/]" in console.export_text()


def test_malformed_blueprints_say_why() -> None:
    broken = Episode(
        Task("t", "k"), 0, Blueprint((), "no numbered line"), None, (), -1.0, StopReason.MALFORMED_BLUEPRINT, 0
    )
    for render in (episode_text, episode_markdown):
        assert "no numbered line" in render(broken)


def test_examples_mix_outcomes_and_types() -> None:
    results = [result(f"p{n}", "pick", True, n) for n in range(5)] + [result("h", "heat", True, 1)]
    results.append(result("f", "pick", False, 50))
    assert [record["task_id"] for record in pick_examples(results, 3)] == ["p4", "f", "h"]
    assert len(pick_examples(results, 99)) == 7
    assert pick_examples([], 3) == []


def test_time_split_weighs_rates_by_time() -> None:
    base = {"iteration": 0, "engine_s": 5.0, "env_s": 1.0, "rest_s": 2.0, "update_s": 2.0, "total_s": 10.0}
    slow = base | {"env_steps_per_s": 10.0, "trained_tokens_per_s": 100.0}
    fast = base | {"total_s": 26.0, "engine_s": 21.0, "env_steps_per_s": 40.0, "trained_tokens_per_s": 300.0}
    text = time_split([slow, fast, {"iteration": 1, "phase": "eval", "total_s": 3.0}])
    # Rollouts took 8 and 24 s: (8*10 + 24*40) / 32 = 32.5; the updates 2 s each: 200.
    assert "environment steps/s (rollout): 32\n" in text
    assert "trained tokens/s (update): 200" in text
    assert "| generation | 26.0 | 72.2 |" in text
    assert "| evaluation (besides) | 3.0 |  |" in text
    assert time_split([]) == ""


def safetensors(path: Path, shapes: dict[str, list[int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, path)


def test_parameters_are_counted_from_headers(tmp_path: Path) -> None:
    assert count_parameters(tmp_path) is None
    safetensors(tmp_path / "model-1.safetensors", {"a": [3, 4], "b": []})
    safetensors(tmp_path / "model-2.safetensors", {"c": [2, 5, 7]})
    assert count_parameters(tmp_path) == 12 + 1 + 70
    (tmp_path / "model-3.safetensors").write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(DataError, match="is damaged"):
        count_parameters(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"success": "yes"}, "success"),
        ({"return": float("inf")}, "return"),
        ({"stop": "tired"}, "stop"),
        ({"env_steps": -1}, "env_steps"),
        ({"blueprint": [1]}, "blueprint.0"),
        ({"transcript": [{"action": "look"}]}, "transcript.0.subgoal"),
        ({"kind": None}, "kind"),
    ],
)
def test_results_of_another_form_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    write(tmp_path / "metrics.jsonl", metrics())
    write(tmp_path / "results.jsonl", [result("a", "pick", True, 4), result("b", "pick", True, 4) | change])
    with pytest.raises(DataError, match=rf"line 2 of .*results\.jsonl is not usable \({words}"):
        summarise_run(tmp_path)


def test_metrics_of_another_form_are_refused(tmp_path: Path) -> None:
    for change in ({"env_steps": 10**30}, {"iteration": "x"}, {"phase": "$\\frac{$"}, {"kind": 3}):
        write(tmp_path / "metrics.jsonl", [metrics()[0] | change])
        with pytest.raises(DataError, match="line 1"):
            draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curve.png")


def test_figures_that_are_no_numbers_are_left_out() -> None:
    for value in (None, "1", True, float("nan"), float("inf"), 10**400):
        assert number({"a": value}, "a") is None
    assert number({"a": 3}, "a") == 3.0


def test_the_summary_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no run"):
        summarise_run(tmp_path)
    run = tmp_path / "household"
    write(run / "metrics.jsonl", metrics())
    bare = summarise_run(run)
    assert "| all | 10.0 | 35.0 | +25.0 |" in bare
    assert "| step_limit | 65.0 |" in bare
    assert "## Time" not in bare
    assert "## Warnings" not in bare
    write(run / "metrics.jsonl", [record | {"warnings": ["flat: too hot; cool it"]} for record in metrics()[:1]])
    assert "## Warnings\n\n- Iteration 0, flat: too hot; cool it" in summarise_run(run)
    write(run / "metrics.jsonl", metrics())
    (run / "config.yaml").write_text(
        "seed: 7\nalgo: {name: himac, num_blueprints: 8}\nenv: {name: alfworld, kwargs: {}}\n"
    )
    safetensors(run / "checkpoints" / "step-1" / "model.safetensors", {"a": [1000, 3]})
    write(run / "old" / "results.jsonl", [result("old", "pick", True, 1)])
    os.utime(run / "old" / "results.jsonl", (1, 1))
    write(run / "eval" / "results.jsonl", [result("a", "pick", True, 4), result("b", "heat", False, 50)])
    text = summarise_run(run)
    assert "| seed | `7` |" in text
    assert "| algo.num_blueprints | `8` |" in text
    assert "env.kwargs" not in text
    assert "| parameters | 3,000 |" in text
    assert "### `a` (pick)" in text
    assert "### `b` (heat)" in text
    assert "`old`" not in text
    (run / "config.yaml").write_text("algo: {name: himac, plans: 6}\n")  # of the version before
    assert "| algo.num_blueprints | `6` |" in summarise_run(run)
    (run / "config.yaml").write_text("a: [")
    with pytest.raises(DataError, match="not valid YAML"):
        summarise_run(run)
