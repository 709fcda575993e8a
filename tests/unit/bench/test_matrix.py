"""A matrix file becomes cells with the right configurations, or is refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from himac.bench.matrix import expand, load_matrix
from himac.config_file import load_config
from himac.errors import ConfigError
from himac.training.factory import check_training

CONFIGS = Path(__file__).resolve().parents[3] / "src" / "himac" / "configs"
SHIPPED = sorted((CONFIGS / "bench").glob("*.yaml"))

TREE: dict[str, Any] = {
    "base": "base.yaml",
    "env_steps": 100,
    "seeds": [0, 1],
    "overrides": {"agent.max_context": 700, "algo.tasks": 4},
    "methods": {
        "himac": None,
        "grpo": {"agent.name": "flat", "algo": {"name": "grpo", "group_size": 3}, "algo.tasks": 5},
        "prompted": {"kind": "eval", "agent.name": "react"},
    },
    "tasks": {"small": {"env.kwargs.data": "builtin:small"}, "large": {"algo.tasks": 6, "train.eval_tasks": 9}},
    "reference": "himac",
}


def write(folder: Path, **changes: Any) -> Path:
    (folder / "base.yaml").write_text(yaml.safe_dump({"agent": {"max_context": 300}, "seed": 7}), encoding="utf-8")
    path = folder / "matrix.yaml"
    path.write_text(yaml.safe_dump(TREE | changes, sort_keys=False), encoding="utf-8")
    return path


def test_cells_and_their_configurations(tmp_path: Path) -> None:
    matrix = load_matrix(write(tmp_path))
    cells, warm = expand(matrix, tmp_path)
    assert [cell.name for cell in cells[:4]] == [
        "small/himac/seed-0",
        "small/grpo/seed-0",
        "small/prompted/seed-0",
        "large/himac/seed-0",
    ]
    assert len(cells) == 2 * 2 * 3
    configs = {cell.name: cell.config for cell in cells}
    small, large = configs["small/grpo/seed-1"], configs["large/grpo/seed-1"]
    assert (small.seed, small.threads, small.train.env_steps, small.train.iterations) == (1, 1, 100, 1000)
    assert (small.agent.max_context, small.agent.name, small.algo.name) == (700, "flat", "grpo")
    # The method replaces the section that the shared override was written into; the task has the last word.
    assert (configs["small/himac/seed-0"].algo.tasks, small.algo.tasks, large.algo.tasks) == (4, 5, 6)
    assert (small.env.kwargs, large.env.kwargs, large.train.eval_tasks) == ({"data": "builtin:small"}, {}, 9)
    assert [cell.kind for cell in cells[:3]] == ["train", "train", "eval"]
    # Shared and task overrides only, the base's own seed, and a format for each agent that is trained.
    assert set(warm) == {"small", "large"}
    assert warm["small"].warmstart.formats == ("hierarchical", "flat")
    assert (warm["small"].seed, warm["small"].agent.name, warm["large"].algo.tasks) == (7, "hierarchical", 6)


def test_a_replaced_section_keeps_the_budget(tmp_path: Path) -> None:
    matrix = load_matrix(write(tmp_path, methods={"himac": {"train": {"eval_every": 3}}, "grpo": None}))
    trains = [cell.config.train for cell in expand(matrix, tmp_path, seeds=[0])[0]]
    assert [(train.env_steps, train.iterations) for train in trains] == [(100, 1000)] * 4
    assert trains[0].eval_every == 3


def test_a_part_of_the_cells_has_the_same_warm_start(tmp_path: Path) -> None:
    matrix = load_matrix(write(tmp_path))
    cells, warm = expand(matrix, tmp_path, only=["grpo"], seeds=[5, 5])
    assert [cell.name for cell in cells] == ["small/grpo/seed-5", "large/grpo/seed-5"]
    assert warm == expand(matrix, tmp_path)[1]


def test_a_given_model_or_endpoint_needs_no_warm_start(tmp_path: Path) -> None:
    methods = TREE["methods"] | {"api": {"kind": "eval", "engine": {"name": "openai", "model": "m"}}}
    matrix = load_matrix(write(tmp_path, overrides={"model.path": "somewhere"}, methods=methods))
    assert expand(matrix, tmp_path)[1] == {}
    matrix = load_matrix(write(tmp_path, methods=methods))
    assert expand(matrix, tmp_path, only=["api"])[1] == {}


def test_formats_that_the_warm_start_does_not_show_are_refused(tmp_path: Path) -> None:
    methods = TREE["methods"] | {"wordless": {"agent.name": "flat", "agent.flat.thoughts": False, "algo.name": "grpo"}}
    matrix = load_matrix(write(tmp_path, methods=methods))
    with pytest.raises(
        ConfigError, match=r"'wordless' on .* agent\.flat\.thoughts to False, .* demonstrated with True"
    ):
        expand(matrix, tmp_path)
    # The same in all cells, of a model that is given, or of an agent that is not trained: nothing to object to.
    for changes in ({"agent.flat.thoughts": False}, {"model.path": "somewhere"}):
        expand(load_matrix(write(tmp_path, methods=methods, overrides=changes)), tmp_path)
    prompted = {"kind": "eval", "agent.name": "flat", "agent.flat.thoughts": False}
    expand(load_matrix(write(tmp_path, methods=TREE["methods"] | {"prompted": prompted})), tmp_path)


def test_the_marker_can_be_taken_away_but_not_given(tmp_path: Path) -> None:
    without = {"agent.executor.sub_done": False}
    expand(load_matrix(write(tmp_path, methods={"himac": {}, "no-sub-done": without})), tmp_path)
    matrix = load_matrix(write(tmp_path, methods={"himac": {"agent.executor.sub_done": True}}, overrides=without))
    with pytest.raises(ConfigError, match=r"executor\.sub_done to True, .* with False; set it in `overrides`"):
        expand(matrix, tmp_path)


def test_chosen_formats_stay(tmp_path: Path) -> None:
    matrix = load_matrix(write(tmp_path, overrides={"warmstart.formats": ["hiper", "flat"]}))
    assert expand(matrix, tmp_path)[1]["small"].warmstart.formats == ("hiper", "flat")


def test_processes_fit_the_cores(tmp_path: Path) -> None:
    matrix = load_matrix(write(tmp_path, cores=8, threads=2))
    plain, *crowded = (
        load_config(None, [f"train.rollout_workers={workers}", f"env.workers={others}"])
        for workers, others in ((1, 0), (2, 0), (9, 0), (1, 1), (1, 6))
    )
    # 2 threads of each rollout process, and a core for each process of environments.
    assert [matrix.slots([plain, one]) for one in (plain, *crowded)] == [4, 2, 1, 2, 1]
    assert matrix.slots() == 4
    assert load_matrix(write(tmp_path, cores=8, threads=2, jobs=3)).slots() == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methds": {}}, "'methds'"),
        ({"env_steps": 0}, "'env_steps'"),
        ({"seeds": []}, "'seeds'"),
        ({"methods": {"a/b": {}}}, "a/b"),
        ({"methods": {}}, "'methods'"),
        ({"reference": "ppo"}, "'ppo' is no method"),
        ({"ablations": {"none": "nothing"}}, "'nothing' is no method"),
        ({"targets": {"medium": 0.5}}, "'medium', which is no task"),
        ({"methods": {"himac": {"kind": "test"}}}, "kind of method 'himac' is 'test'"),
        ({"methods": {"himac": {"train.env_steps": 900}}}, "set the matrix's own key 'env_steps'"),
        ({"tasks": {"small": {"threads": 2}}}, "set the matrix's own key 'threads'"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match="matrix") as caught:
        load_matrix(write(tmp_path, **changes))
    assert message in str(caught.value)


def test_mistakes_in_overrides(tmp_path: Path) -> None:
    matrix = load_matrix(write(tmp_path, methods={"himac": {"algo.rollouts": 3}}))
    with pytest.raises(ConfigError, match=r"method 'himac' on task 'small': unknown .*did you mean 'num_rollouts'"):
        expand(matrix, tmp_path)
    matrix = load_matrix(write(tmp_path, overrides={"train.eval_every": 0}))
    with pytest.raises(ConfigError, match=r"evaluated at its end only.*train\.eval_every above 0"):
        expand(matrix, tmp_path)
    with pytest.raises(ConfigError, match="no method 'ppo'; choose from himac, grpo, prompted"):
        expand(load_matrix(write(tmp_path)), tmp_path, only=["ppo"])
    with pytest.raises(ConfigError, match="cannot read matrix"):
        load_matrix(tmp_path / "absent.yaml")


def test_there_are_shipped_matrices() -> None:
    assert {"alfworld-builtin", "smoke"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_cell_can_be_trained(path: Path) -> None:
    matrix = load_matrix(path)
    cells, warm = expand(matrix, path.parent)
    assert set(warm) == {cell.task for cell in cells if not cell.config.model.path}
    shown = load_config(path.parent / matrix.base).warmstart.formats  # of a model that is made beforehand
    for cell in cells:
        assert cell.kind == "train"
        check_training(cell.config)
        if "model.path" not in matrix.methods[cell.method]:  # others bring a model of their own format
            assert cell.config.agent.name in (warm[cell.task].warmstart.formats if cell.task in warm else shown)


def test_shipped_ablations_differ_in_one_switch() -> None:
    """Each has one companion at most: as many optimiser steps in one update as in two, steps that fill an episode."""
    path = CONFIGS / "bench" / "alfworld-builtin.yaml"
    matrix = load_matrix(path)
    assert len(matrix.seeds) == 3
    configs = {cell.method: cell.config.model_dump() for cell in expand(matrix, path.parent, seeds=[0])[0]}
    full = configs["himac"]
    for method, section, key, value in (
        ("no-coevolution", ("algo",), "co_evolution", False),
        ("no-coevolution", ("train", "learner"), "mini_batches", 2 * full["train"]["learner"]["mini_batches"]),
        ("random-blueprint", ("algo",), "blueprint_selection", "random"),
        ("no-sub-done", ("agent", "executor"), "sub_done", False),
        ("no-sub-done", ("agent", "executor"), "step_limit", full["env"]["step_limit"] // 3 + 1),
    ):
        node = configs[method]
        for part in section:
            node = node[part]
        assert node[key] == value
        shipped = full
        for part in (*section, key):
            shipped = shipped[part]
        node[key] = shipped
    for method in ("no-coevolution", "random-blueprint", "no-sub-done"):
        assert configs[method] == full
