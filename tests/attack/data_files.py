"""Games, levels and products of strangers."""

from __future__ import annotations

import functools
import json
import lzma
import os
import random
from importlib import resources
from pathlib import Path
from typing import Any

from attack.hostile import bent, held, scrambled
from himac.envs.alfworld.benchmark import AlfworldBenchmark
from himac.envs.alfworld.games import load_games
from himac.envs.alfworld.prior import Prior
from himac.envs.sokoban.level import canonical
from himac.envs.sokoban.levels import load_levels
from himac.envs.webshop.benchmark import WebShopBenchmark
from himac.envs.webshop.catalogue import read_products

_PACKAGE = Path(str(resources.files("himac.envs")))


@functools.cache
def _lines(name: str) -> list[Any]:
    return [json.loads(line) for line in lzma.decompress((_PACKAGE / name).read_bytes()).splitlines()[:40]]


def _write(path: Path, records: list[Any], rng: random.Random) -> None:
    text = "".join(json.dumps(record) + "\n" for record in records).encode()
    if rng.random() < 0.3:
        text = scrambled(text, rng)
    packed = lzma.compress(text, preset=0) if path.suffix == ".xz" else text
    path.write_bytes(scrambled(packed, rng) if rng.random() < 0.2 else packed)


def games(number: int, folder: Path) -> str | None:
    rng = random.Random(number)
    records = rng.sample(_lines("alfworld/builtin/valid-small.jsonl.xz"), 2)
    at = rng.randrange(2)
    if rng.random() < 0.5:
        records[at] = bent(records[at], rng)
    else:  # words of the problem in other places
        words = records[at]["pddl_problem"].split()
        for _ in range(rng.randint(1, 4)):
            words[rng.randrange(len(words))] = rng.choice([*words, "(", ")", "()", "-", ";", "", "\x1b[2J"])
        records[at] = records[at] | {"pddl_problem": " ".join(words)}
    path = folder / f"valid.jsonl{rng.choice(('', '.xz'))}"
    _write(path, records, rng)

    def run() -> None:
        for game in load_games(folder):
            _ = game.world
        benchmark = AlfworldBenchmark(str(folder))
        tasks = benchmark.tasks("valid")
        benchmark.split_hash("valid")
        env = benchmark.make_env()
        _, info = env.reset(seed=0, options=dict(tasks[0].options))
        for _ in range(3):
            env.step(rng.choice(list(info.get("admissible", ["look"]))))

    return held(run)


def trees(number: int, folder: Path) -> str | None:
    """The official layout, without its domain: every file is refused, and says so."""
    rng = random.Random(number)
    trial = folder / "train" / "look_at_obj_in_light-A" / "trial_T1"
    trial.mkdir(parents=True)
    game = {"solvable": True, "pddl_domain": "(define)", "grammar": "g", "pddl_problem": "p", "walkthrough": ["look"]}
    (trial / "game.tw-pddl").write_bytes(scrambled(json.dumps(bent(game, rng)).encode(), rng))
    return held(lambda: load_games(folder, "train"))


def levels(number: int, folder: Path) -> str | None:
    rng = random.Random(number)
    records = rng.sample(_lines("sokoban/builtin/train-two.jsonl.xz"), 3)
    if rng.random() < 0.5:
        records[1] = bent(records[1], rng)
        _write(folder / "a.jsonl.xz", records, rng)
    else:
        text = "\n\n".join("\n".join(record["rows"]) for record in records)
        (folder / "a.txt").write_bytes(scrambled(text.encode(), rng))

    def run() -> None:
        for level in load_levels(folder):
            _ = level.kind, level.content, level.state(), level.beneath(), canonical(level.rows)

    return held(run)


PRODUCT = {
    "asin": "B000000001",
    "name": "red mug",
    "full_description": "A mug.",
    "small_description": ["for tea", "red"],
    "query": "mugs",
    "category": "kitchen",
    "product_category": "Home › Kitchen",
    "pricing": "$5.99 - $7.50",
    "customization_options": {"Colour": [{"value": "red"}, {"value": "blue"}], "size": None},
}
KNOWN = {"B000000001": {"attributes": ["red"], "instruction": "find a mug", "instruction_attributes": ["red"]}}
_HUMAN = {"B000000001": [{"instruction": "a mug", "instruction_attributes": ["red"], "instruction_options": ["red"]}]}


def products(number: int, folder: Path) -> str | None:
    rng = random.Random(number)
    names = ("items_shuffle_1000.json", "items_ins_v2_1000.json", "items_human_ins.json")
    trees: list[Any] = [[PRODUCT, PRODUCT | {"asin": "B000000002"}], KNOWN, _HUMAN]
    at = rng.choice((0, 0, 1, 2))
    trees[at] = bent(trees[at], rng)
    paths = [folder / name for name in names]
    for place, (path, tree) in enumerate(zip(paths, trees, strict=True)):
        text = json.dumps(tree).encode()
        path.write_bytes(scrambled(text, rng) if place == at and rng.random() < 0.3 else text)
    if number % 4:
        return held(lambda: list(read_products(*paths)))

    def run() -> None:
        os.environ["HIMAC_CACHE"] = str(folder / "cache")
        for goals in ("synthetic", "human"):
            shop = WebShopBenchmark(str(folder), goals=goals, tagger="rule")  # type: ignore[arg-type]
            for split in shop.splits():
                shop.split_hash(split)
                env = shop.make_env()
                env.reset(seed=0, options=dict(shop.tasks(split)[0].options))
                env.step("search[mug]")

    return held(run)


def priors(number: int, folder: Path) -> str | None:
    rng = random.Random(number)
    text = json.dumps(bent({"alfworld_prior": 1, "chances": {"mug": {"shelf": 0.5, "desk": 1}}}, rng)).encode()
    (folder / "p.json").write_bytes(scrambled(text, rng) if rng.random() < 0.5 else text)
    return held(lambda: Prior.load(folder / "p.json"))
