"""Configurations and matrices of strangers."""

from __future__ import annotations

import random
from importlib import resources
from pathlib import Path

import yaml

from attack.hostile import NASTY, bent, held, scrambled
from himac.bench.matrix import expand, load_matrix
from himac.config_file import dump_config, load_config

_SHIPPED = Path(str(resources.files("himac"))) / "configs"
_LINES = (
    "a: &a [x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nenv: {kwargs: {k: [*c, *c, *c]}}",
    "env: &e {kwargs: *e}",
    "seed: !!python/object/apply:os.system ['touch marker']",
    "seed: !!int ''",
    "seed: !!timestamp nonsense",
    "seed: 2024-13-45",
    "env: {kwargs: {when: 2024-01-01, what: !!binary aGk=, set: !!set {a, b}}}",
    "env: {kwargs: {1: 2, null: 3, 2024-01-01: 4}}",
    'env: {name: "\\ud800"}',
    "seed: " + "9" * 5000,
    "train: " + "[" * 900 + "]" * 900,
    "? {a: b}\n: c",
    "engine: {base_url: 'http://[::1'}",
    "env: {kwargs: {a: .nan, b: .inf}}",
    "threads: 1e400",
)


def settings(number: int, folder: Path) -> str | None:
    rng = random.Random(number)
    path, shipped = folder / "c.yaml", sorted(p for p in _SHIPPED.rglob("*.yaml") if "bench" not in p.parts)
    text = rng.choice(shipped).read_text(encoding="utf-8")
    match rng.randrange(4):
        case 0:
            path.write_bytes(scrambled(text.encode(), rng))
        case 1:
            path.write_text(yaml.safe_dump(_writable(bent(yaml.safe_load(text), rng))))
        case 2:
            path.write_text(f"{rng.choice(_LINES)}\n{text if rng.random() < 0.3 else ''}")
        case _:
            path.write_text(yaml.safe_dump(_writable(bent(load_config().model_dump(mode="json"), rng))))

    def run() -> None:
        config = load_config(path)
        (folder / "again.yaml").write_text(dump_config(config), encoding="utf-8")
        if dump_config(load_config(folder / "again.yaml")) != dump_config(config):
            raise AssertionError("the saved configuration is another one")

    said = held(run)
    return "code ran" if (folder / "marker").exists() or Path("marker").exists() else said


def matrices(number: int, folder: Path) -> str | None:
    rng = random.Random(number)
    path = folder / "m.yaml"
    (folder / "base.yaml").write_text("seed: 1\n")
    tree = {
        "base": "base.yaml",
        "overrides": {"train.eval_every": 1},
        "methods": {"himac": {}, "grpo": {"algo": {"name": "grpo"}, "agent.name": "flat"}, "react": {"kind": "eval"}},
        "tasks": {"small": {"env.step_limit": 8}},
        "seeds": [0, 1],
        "env_steps": 100,
        "reference": "grpo",
        "ablations": {"full": "himac"},
        "targets": {"small": 0.5},
    }
    match rng.randrange(3):
        case 0:
            path.write_bytes(scrambled(yaml.safe_dump(tree).encode(), rng))
        case 1:
            path.write_text(f"{rng.choice(_LINES)}\n{yaml.safe_dump(tree) if rng.random() < 0.5 else ''}")
        case _:
            path.write_text(yaml.safe_dump(_writable(bent(tree, rng))))
    return held(lambda: expand(load_matrix(path), folder))


def overrides(number: int, folder: Path) -> str | None:
    rng = random.Random(number)
    key = rng.choice(
        ["seed", "env.kwargs.x", "algo.num_blueprints", "engine.extra", "a.b.c", "train", "", ".", "env..x"]
    )
    value = rng.choice([*map(str, NASTY), "[" * 300, "{a: &a [*a]}", "!!python/name:os.system", "2024-01-01", "\x00"])
    return held(lambda: dump_config(load_config(None, [f"{key}={value}"])))


def _writable(tree: object) -> object:
    return yaml.safe_load(yaml.safe_dump(tree))
