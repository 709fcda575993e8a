"""The configuration tree: overrides, refusals and differences."""

from __future__ import annotations

import contextlib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from himac.algos.grpo import GrpoConfig
from himac.algos.himac import HimacConfig
from himac.config import Config
from himac.config_file import difference, dump_config, load_config, parse_config, save_config
from himac.engines.base import make_engine
from himac.engines.local.settings import LocalConfig
from himac.errors import ConfigError, MissingDependencyError


def test_defaults_without_a_file() -> None:
    assert load_config() == Config()
    assert isinstance(Config().algo, HimacConfig)


def test_saved_and_loaded_again(tmp_path: Path) -> None:
    config = load_config(None, ["algo={name: grpo, group_size: 3}", "train.learner.lr=3e-5", "env.kwargs.noise=0.2"])
    save_config(config, tmp_path / "c.yaml")
    assert load_config(tmp_path / "c.yaml") == config
    assert yaml.safe_load(dump_config(config))["algo"] == {
        "name": "grpo",
        "tasks": 16,
        "group_size": 3,
        "resample": 0,
        "std": "population",
    }


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("seed=7", "seed", 7),
        ("train.learner.lr=1e-4", "train.learner.lr", 1e-4),
        ("train.learner.lr=.5", "train.learner.lr", 0.5),
        ("train.env_steps=null", "train.env_steps", None),
        ("agent.executor.sub_done=false", "agent.executor.sub_done", False),
        ("agent.executor.failure_keywords=[a, b]", "agent.executor.failure_keywords", ("a", "b")),
        ("model.path=runs/a=b", "model.path", "runs/a=b"),
        ("model.path=''", "model.path", ""),
        ("train={iterations: 4}", "train.iterations", 4),
    ],
)
def test_overrides(override: str, path: str, value: object) -> None:
    node: object = load_config(None, [override])
    for part in path.split("."):
        node = getattr(node, part)
    assert node == value
    assert type(node) is type(value)


def test_overrides_apply_in_order_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("train: {iterations: 3, eval_every: 2}\n", encoding="utf-8")
    config = load_config(tmp_path / "c.yaml", ["train.iterations=4", "train.iterations=5"])
    assert (config.train.iterations, config.train.eval_every) == (5, 2)


def test_one_switch_takes_the_hierarchy_away(tmp_path: Path) -> None:
    algo = {"tasks": 4, "num_blueprints": 6, "num_rollouts": 5, "std": "none", "resample": 2}
    tree = {"algo": algo | {"hierarchy": False}, "agent": {"max_context": 700}, "warmstart": {"passes": 3}}
    config = parse_config(tree)
    assert config.algo == GrpoConfig(tasks=4, group_size=5, std="none", resample=2)
    assert (config.agent.name, config.agent.max_context) == ("flat", 700)
    assert (config.warmstart.formats, config.warmstart.passes) == (("flat",), 3)
    save_config(config, tmp_path / "c.yaml")
    assert load_config(tmp_path / "c.yaml") == config
    both = parse_config(tree | {"warmstart": {"formats": ["hierarchical", "flat"]}})
    assert both.warmstart.formats == ("hierarchical", "flat")
    with pytest.raises(ConfigError, match=r"unknown configuration key 'algo\.plan'"):
        parse_config({"algo": {"hierarchy": False, "plan": 3}})


def test_himac_plus_brings_the_learner_it_was_measured_with(tmp_path: Path) -> None:
    config = parse_config({"algo": {"name": "himac-plus"}, "train": {"learner": {"epochs": 2, "lr": 1e-3}}})
    learner = config.train.learner
    assert (learner.apart, learner.mini_batches, learner.target_kl) == (True, 4, 0.02)
    assert (learner.epochs, learner.lr) == (2, 1e-3), "what is given stays"
    save_config(config, tmp_path / "c.yaml")
    assert load_config(tmp_path / "c.yaml") == config
    assert parse_config({"train": {"learner": {}}}).train.learner == Config().train.learner


FILE = """
algo: {name: himac, tasks: 3, num_blueprints: 4, num_rollouts: 5, std: none}
agent: {name: hierarchical, max_context: 300}
warmstart: {formats: [hierarchical], passes: 3}
"""


def test_another_method_replaces_what_the_file_says_for_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "c.yaml").write_text(FILE, encoding="utf-8")
    config = load_config(tmp_path / "c.yaml", ["algo.name=grpo"])
    assert config.algo == GrpoConfig(tasks=3, std="none")
    assert (config.agent.name, config.agent.max_context) == ("flat", 300)
    assert (config.warmstart.formats, config.warmstart.passes) == (("flat",), 3)
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.endswith(": algo.num_blueprints, algo.num_rollouts, agent.name, warmstart.formats")


@pytest.mark.parametrize(
    "overrides", [["algo.name=grpo", "algo.num_blueprints=3"], ["algo.num_blueprints=3", "algo.name=grpo"]]
)
def test_a_typed_key_of_another_method_is_refused(tmp_path: Path, overrides: list[str]) -> None:
    (tmp_path / "c.yaml").write_text(FILE, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"unknown configuration key 'algo\.num_blueprints'"):
        load_config(tmp_path / "c.yaml", overrides)


@pytest.mark.parametrize(
    ("overrides", "agent", "formats"),
    [
        ([], "hierarchical", ("hierarchical",)),
        (["algo.name=himac"], "hierarchical", ("hierarchical",)),
        (["algo.name=hiper"], "hiper", ("hiper",)),
        (["agent.name=flat"], "flat", ("flat",)),
        (["agent.name=react"], "react", ("hierarchical",)),
        (["algo={name: ppo}"], "flat", ("flat",)),
        (["algo.name=ppo", "agent.name=hiper"], "hiper", ("hiper",)),
        (["agent.name=flat", "warmstart.formats=[hiper]"], "flat", ("hiper",)),
    ],
)
def test_agent_and_demonstrations_follow_unless_they_are_given(
    tmp_path: Path, overrides: list[str], agent: str, formats: tuple[str, ...]
) -> None:
    (tmp_path / "c.yaml").write_text("algo: {num_blueprints: 3}\nwarmstart: {passes: 3}\n", encoding="utf-8")
    config = load_config(tmp_path / "c.yaml", overrides)
    assert (config.agent.name, config.warmstart.formats) == (agent, formats)


def test_demonstrations_of_a_file_stay_where_they_teach_the_chosen_agent(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("warmstart: {formats: [hierarchical, flat]}\n", encoding="utf-8")
    for override, formats in (("algo.name=rloo", ("hierarchical", "flat")), ("algo.name=hiper", ("hiper",))):
        assert load_config(tmp_path / "c.yaml", [override]).warmstart.formats == formats


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("# nothing\n", encoding="utf-8")
    assert load_config(tmp_path / "c.yaml") == Config()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algo.rollouts=3", r"^unknown configuration key 'algo\.rollouts'; did you mean 'num_rollouts'\?$"),
        ("train.learner.l=3", r"^unknown configuration key 'train\.learner\.l'; did you mean 'lr'\?$"),
        ("agent.executor.zzz=3", r"known keys here: failure_keywords, max_repeats"),
        ("algo={name: grpo, num_blueprints: 3}", r"^unknown configuration key 'algo\.num_blueprints'"),
        (
            "algo.num_blueprints=1",
            r"^configuration key 'algo\.num_blueprints': .*greater than or equal to 2 \(got 1\)$",
        ),
        ("train.learner.clip_low=0", r"'train\.learner\.clip_low'.*greater than 0"),
        ("env.invalid_penalty=1", r"'env\.invalid_penalty'.*less than or equal to 0"),
        ("seed=x", r"'seed'.*\(got 'x'\)"),
        ("seed=1.5", r"'seed'"),
        (f"seed={10**30}", r"'seed'.*less than or equal to 1000000000000000000"),
        ("threads=100000", r"'threads'.*less than or equal to 1024"),
        ("env.workers=100000", r"'env\.workers'.*less than or equal to 256"),
        ("train.rollout_workers=100000", r"'train\.rollout_workers'.*less than or equal to 256"),
        ("train.learner.betas=[1.5,2]", r"'train\.learner\.betas\.0'.*less than 1 \(got 1\.5\); 1 more"),
        ("train.learner.lr=.inf", r"'train\.learner\.lr'.*finite number"),
        ("env.invalid_penalty=-.inf", r"'env\.invalid_penalty'.*finite number"),
        ("agent.failure_penalty=-1e308", r"'agent\.failure_penalty'.*greater than or equal to -1000000"),
        ("algo.gamma=.nan", r"'algo\.gamma'.*finite number"),
        ("env.timeout_s=1e300", r"'env\.timeout_s'.*less than or equal to 1000000"),
        ("agent.max_context=1", r"'agent\.max_context'.*greater than or equal to 2"),
        ("agent.planner.temperature=1e-40", r"'agent\.planner\.temperature'.*greater than or equal to 0\.001"),
        ("eval.temperature=1e-40", r"'eval': a temperature below 0\.001 overflows; set temperature=0"),
        ("warmstart.formats=[tree]", r"'warmstart\.formats\.0'.*'hierarchical', 'flat', 'hiper' or 'captions'"),
        ("=3", r"is not of the form key\.sub=value"),
        ("a..b=3", r"is not of the form key\.sub=value"),
        ("train", r"is not of the form key\.sub=value"),
        (
            "engine={name: openai, base_url: 'http://host/v1?api_key=sk-123'}",
            r"^configuration key 'engine': base_url must not have a query",
        ),
        (
            "engine={name: openai, base_url: 'http://host/v1#sk-123'}",
            r"^configuration key 'engine': base_url must not have a query",
        ),
        (
            "engine={name: openai, key_variable: sk-123}",
            r"^configuration key 'engine': key_variable is the name of an environment variable",
        ),
        ("engine.base_url=http://sk-123/v1", r"key 'engine\.base_url'; it belongs to engine\.name=openai$"),
        ("engine.name=other", r"^configuration key 'engine': unknown engine 'other'; known: local, openai, vllm$"),
        ("engine=local", r"^configuration key 'engine': .*dictionary"),
        ("seed={a: &a [*a]}", r"is not valid YAML"),
        ("seed=[1", r"the value of override 'seed=\[1' is not valid YAML"),
    ],
)
def test_refusals_name_the_key(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        load_config(None, [override])
    assert "sk-123" not in str(refusal.value)


def test_files_of_strangers(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for text, words in (
        ("a: &a [x]\nenv: {kwargs: {k: [*a, *a]}}", "not valid YAML: line 2 has an alias"),
        ("env: {kwargs: {k: " + "[" * 100 + "]" * 100 + "}}", "nested deeper"),
        ("env: {kwargs: {when: 2024-01-01}}", "no plain value; quote it"),
        ("#" * (1 << 20) + "\n", "larger than"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=words):
            load_config(path)
    path.write_text("seed: [" + "x, " * 10_000 + "x]")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("method", ["gigpo", "ppo", "hiper"])
def test_groups_with_equal_returns_stay_where_they_teach(method: str) -> None:
    with pytest.raises(ConfigError, match=rf"'algo': resample replaces .*{method} learns .*set algo\.resample=0"):
        load_config(None, [f"algo.name={method}", "algo.resample=1"])


@pytest.mark.parametrize("algo", ["{name: grpo}", "{name: rloo}", "{name: gigpo, step_weight: 0}", "{name: himac}"])
def test_groups_with_equal_returns_can_be_replaced(algo: str) -> None:
    assert load_config(None, [f"algo={algo}", "algo.resample=1"]).algo.resample == 1


FORMER_ENGINE = {  # as it was saved when every engine had the keys of an endpoint
    "name": "local",
    "model": "",
    "base_url": "",
    "key_variable": "OPENAI_API_KEY",
    "concurrency": 16,
    "timeout_s": 120.0,
    "max_tries": 6,
    "max_wait_s": 60.0,
    "max_context": 65536,
    "logprobs": False,
    "length_field": "max_tokens",
    "omit": [],
    "extra": {},
    "price_in": None,
    "price_out": None,
}


def test_a_run_saved_before_engines_had_their_own_keys_is_the_same_run() -> None:
    assert difference(parse_config({"engine": FORMER_ENGINE}), Config()) == []
    endpoint = FORMER_ENGINE | {"name": "openai", "model": "m"}
    assert parse_config({"engine": endpoint}).model_dump(mode="json")["engine"] == endpoint


def test_a_value_that_the_chosen_algorithm_cannot_have_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("algo: {name: ppo, gamma: 1.0, tasks: 3}")  # the values of a graph with circles need gamma < 1
    algo = load_config(path, ["algo.name=himac-plus"]).algo
    assert algo.model_dump(include={"gamma", "tasks"}) == {"gamma": 0.95, "tasks": 3}
    assert "algo.gamma" in caplog.text
    with pytest.raises(ConfigError, match=r"'algo\.gamma'"):
        load_config(path, ["algo.name=himac-plus", "algo.gamma=1.0"])


def test_another_engine_leaves_the_keys_of_the_file_s_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("engine: {name: openai, model: m, concurrency: 4}")
    assert load_config(path, ["engine.name=local"]).engine == LocalConfig()
    assert "engine.model, engine.concurrency" in caplog.text
    with pytest.raises(ConfigError, match=r"'engine\.model'; it belongs to engine\.name=openai"):
        load_config(path, ["engine.name=local", "engine.model=k"])  # asked for now


def test_an_installed_package_brings_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("elsewhere", "support.toy:ElsewhereConfig", "himac.engines"),
        EntryPoint("broken", "nowhere:Config", "himac.engines"),
        EntryPoint("local", "nowhere:Config", "himac.engines"),
    ]
    monkeypatch.setattr("himac.plugins.entry_points", lambda group: points)
    config = load_config(None, ["engine.name=elsewhere", "engine.speed=3"])
    assert config.model_dump()["engine"] == {"name": "elsewhere", "speed": 3}
    assert load_config(None, ["engine.name=local"]).engine == LocalConfig()
    with pytest.raises(ConfigError, match=r"'engine\.sped'; did you mean 'speed'\?"):
        load_config(None, ["engine.name=elsewhere", "engine.sped=3"])
    with pytest.raises(MissingDependencyError, match="engine 'broken' needs the module 'nowhere'"):
        load_config(None, ["engine.name=broken"])
    with pytest.raises(ConfigError, match="known: local, openai, vllm, broken, elsewhere"):
        load_config(None, ["engine.name=other"])
    with pytest.raises(MissingDependencyError, match="engine 'elsewhere' needs the module 'nowhere'"):
        make_engine(config, None, 4)


def test_an_unknown_algorithm_is_told_with_those_there_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    points = [EntryPoint("broken", "nowhere:Config", "himac.algorithms")]
    monkeypatch.setattr("himac.plugins.entry_points", lambda group: points)
    (tmp_path / "c.yaml").write_text("algo: {tasks: 3}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"unknown algorithm 'grop'; did you mean 'grpo'\? .*, broken"):
        load_config(tmp_path / "c.yaml", ["algo.name=grop"])
    with pytest.raises(MissingDependencyError, match="algorithm 'broken' needs the module 'nowhere'"):
        load_config(None, ["algo.name=broken"])


def test_suggestions_know_the_chosen_algorithm_and_engine() -> None:
    with pytest.raises(ConfigError, match=r"'algo\.groups'; did you mean 'group_size'\?"):
        load_config(None, ["algo={name: grpo, groups: 3}"])
    with pytest.raises(ConfigError, match=r"'engine\.concurency'; did you mean 'concurrency'\?"):
        load_config(None, ["engine.name=openai", "engine.concurency=3"])


def test_several_mistakes_are_counted() -> None:
    with pytest.raises(ConfigError, match=r"; 1 more$"):
        parse_config({"train": {"iterations": 0, "checkpoint_every": 0}})


@given(st.text(max_size=30))
def test_any_override_is_applied_or_refused(text: str) -> None:
    for overrides in ([text], [f"seed={text}"], [f"{text}=1"], [f"algo.{text}=1"]):
        with contextlib.suppress(ConfigError):
            assert isinstance(load_config(None, overrides), Config)


def test_difference_names_old_and_new_values() -> None:
    old = load_config(None, ["env.kwargs={noise: 0.1}"])
    new = load_config(None, ["env.kwargs={noise: 0.2, view: full}", "train.iterations=3", "seed=1"])
    assert difference(old, new) == [
        "env.kwargs.noise (0.1 -> 0.2)",
        "env.kwargs.view (None -> full)",
        "seed (0 -> 1)",
        "train.iterations (100 -> 3)",
    ]
    assert difference(old, new, ["train.iterations", "env"]) == ["seed (0 -> 1)"]
    assert difference(old, old) == []


def test_difference_ignores_whole_keys_only() -> None:
    """`train.iterations` must not hide `train.iterations_x`, nor `threads` a `threads_y`."""
    old, new = load_config(None, []), load_config(None, ["train.eval_tasks=5", "train.eval_every=3"])
    assert difference(old, new, ["train.eval"]) == ["train.eval_every (10 -> 3)", "train.eval_tasks (None -> 5)"]
    assert difference(old, new, ["train"]) == []


def test_algorithms_differ_in_every_key() -> None:
    old = Config()
    new = old.model_copy(update={"algo": GrpoConfig()})
    assert "algo.name (himac -> grpo)" in difference(old, new)
    assert "algo.group_size (None -> 8)" in difference(old, new)
