"""Former names of configuration keys, wherever a configuration is read."""

import json
from pathlib import Path

import pytest

from himac import renamed
from himac.algos.grpo import GrpoConfig
from himac.algos.himac import HimacConfig
from himac.algos.himac_plus import HimacPlusConfig
from himac.bench.matrix import expand, load_matrix
from himac.config import ALGORITHMS, algorithm_settings
from himac.config_file import difference, dump_config, load_config, parse_config
from himac.errors import ConfigError
from himac.renamed import RENAMED, present_names

HIMAC = "algo: {name: himac, plans: 4, executions: 5}\n"
SAID = (
    "configuration keys with former names, which the next version refuses: "
    "algo.plans is now algo.num_blueprints, algo.executions is now algo.num_rollouts"
)


@pytest.fixture(autouse=True)
def nothing_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renamed, "_told", set())


def write(folder: Path, text: str) -> Path:
    (folder / "c.yaml").write_text(text, encoding="utf-8")
    return folder / "c.yaml"


def test_present_names_are_keys_and_former_ones_are_not() -> None:
    keys = {f"algo.{key}" for method in map(algorithm_settings, ALGORITHMS.builtin) for key in method.model_fields}
    assert set(RENAMED.values()) <= keys
    assert not RENAMED.keys() & keys
    assert all(old.split(".")[:-1] == new.split(".")[:-1] for old, new in RENAMED.items()), "the section stays"


def test_a_file_with_former_names_is_told_of_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, HIMAC)
    for _ in range(2):
        assert load_config(path).algo == HimacConfig(num_blueprints=4, num_rollouts=5)
    assert [record.getMessage() for record in caplog.records] == [SAID]


@pytest.mark.parametrize(
    "overrides",
    [
        ["algo.plans=4", "algo.executions=5"],
        ["algo={plans: 4, executions: 5}"],
        ["algo.plans=3", "algo.plans=4", "algo.num_rollouts=5"],
        ["algo={plans: 3, num_rollouts: 5}", "algo.num_blueprints=4"],
    ],
)
def test_overrides_with_former_names_stand_over_present_ones_of_the_file(tmp_path: Path, overrides: list[str]) -> None:
    path = write(tmp_path, "algo: {name: himac, num_blueprints: 7, num_rollouts: 8}")
    assert load_config(path, overrides).algo == HimacConfig(num_blueprints=4, num_rollouts=5)


def test_present_overrides_stand_over_former_names_of_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, HIMAC), ["algo.name=himac-plus", "algo.num_rollouts=6"])
    assert config.algo == HimacPlusConfig(num_blueprints=4, num_rollouts=6)


def test_file_and_overrides_are_told_of_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_config(write(tmp_path, "algo: {executions: 5}"), ["algo.plans=4"])
    assert [record.getMessage() for record in caplog.records] == [SAID]


def test_former_names_of_the_file_s_own_method_are_left_out_with_it(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, HIMAC), ["algo.name=grpo", "algo.samples=3"]).algo == GrpoConfig(group_size=3)


def test_a_matrix_with_former_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, HIMAC)
    tree = {
        "base": "c.yaml",
        "methods": {"himac": {"algo.plans": 2}, "grpo": {"algo": {"name": "grpo", "samples": 3}}},
        "tasks": {"one": {}, "two": {}},
        "env_steps": 100,
    }
    (tmp_path / "matrix.yaml").write_text(json.dumps(tree), encoding="utf-8")
    cells, _ = expand(load_matrix(tmp_path / "matrix.yaml"), tmp_path)
    first, second = (cell.config.algo for cell in cells[:2])
    assert first == HimacConfig(num_blueprints=2, num_rollouts=5)
    assert second == GrpoConfig(group_size=3)
    assert [record.getMessage() for record in caplog.records] == [
        SAID,
        SAID.split("algo.")[0] + "algo.samples is now algo.group_size",
    ], "of each name once, not in every cell"


def test_a_run_that_was_saved_with_former_names_is_the_same_run(tmp_path: Path) -> None:
    present = load_config(None, ["algo.num_blueprints=4"])
    saved = dump_config(present).replace("num_blueprints:", "plans:").replace("num_rollouts:", "executions:")
    assert "plans: 4" in saved
    assert difference(load_config(write(tmp_path, saved)), present) == []


def test_both_names_of_a_setting_are_refused(tmp_path: Path) -> None:
    said = r"^'algo\.plans' is the former name of 'algo\.num_blueprints', and both are given; remove 'algo\.plans'$"
    both = "algo: {plans: 4, num_blueprints: 4}"
    for path, overrides in (
        (write(tmp_path, both), []),
        (None, ["algo={plans: 4, num_blueprints: 4}"]),
        (None, ["algo.plans=4", "algo.num_blueprints=4"]),
    ):
        with pytest.raises(ConfigError, match=said):
            load_config(path, overrides)
    with pytest.raises(ConfigError, match=said):
        parse_config({"algo": {"plans": 4, "num_blueprints": 4}})


def test_only_the_key_itself_is_renamed() -> None:
    tree = {"env": {"kwargs": {"plans": 1, "algo": {"plans": 2}}}, "algo.plans": 3, "plans": 4, "algo": [{"plans": 5}]}
    assert present_names(tree) == (tree, frozenset())
