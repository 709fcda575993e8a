"""Differential test against the original engine, from the extra `himac[textworld]`: identical at every step."""

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from himac.envs.alfworld import AlfworldEnv, Game, load_games

pytestmark = pytest.mark.slow

_WEIGHTS = {"take": 6.0, "move": 6.0, "clean": 6.0, "heat": 6.0, "cool": 6.0, "slice": 6.0, "go": 5.0, "open": 4.0}
_WRONG = ["", "Look", "go  to fridge 1", "take unicorn 1 from desk 1", "examine", "help "]


def original(game: Game, domain: str, grammar: str) -> Any:
    """The game in TextWorld, with ALFWorld's names."""
    textworld = pytest.importorskip("textworld", reason="needs the extra himac[textworld]")
    pddl = pytest.importorskip("textworld.envs.pddl", reason="needs the extra himac[textworld]")
    alfworld = pytest.importorskip(
        "alfworld.agents.environment.alfred_tw_env", reason="needs the extra himac[textworld]"
    )
    env = alfworld.AlfredDemangler(pddl.PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True)), shuffle=False)
    env.load(
        {
            "pddl_domain": domain,
            "grammar": grammar.replace("UNKNOWN GOAL", game.instruction),
            "pddl_problem": game.problem,
            "walkthrough": list(game.walkthrough),
            "solvable": True,
        }
    )
    return env


def choose(commands: list[str], rng: random.Random) -> str:
    """A command that is likely to change something, now and then a wrong one."""
    if rng.random() < 0.05:
        return rng.choice(_WRONG)
    by_verb = defaultdict(list)
    for command in commands:
        by_verb[command.split()[0]].append(command)
    verbs = sorted(by_verb)
    return rng.choice(by_verb[rng.choices(verbs, [_WEIGHTS.get(verb, 1.0) for verb in verbs])[0]])


@pytest.mark.parametrize("number", range(6))
def test_random_play_is_identical(shared_dir: Path, number: int) -> None:
    folder = shared_dir / "data" / "alfworld"
    games = load_games(folder, "valid_seen")
    rng = random.Random(number)
    game = rng.choice([game for game in games if game.task_type == sorted({g.task_type for g in games})[number]])
    reference = original(game, (folder / "domain.pddl").read_text(), (folder / "grammar.twl2").read_text())
    env = AlfworldEnv([game])
    expected = reference.reset()
    observation, info = env.reset(options={"game": 0})
    assert observation == expected["feedback"]
    prefix = list(game.walkthrough[: rng.randrange(len(game.walkthrough) + 1)])
    for step in range(40):
        assert info["admissible_commands"] == expected["admissible_commands"]
        action = prefix[step] if step < len(prefix) else choose(info["admissible_commands"], rng)
        expected, score, done = reference.step(action)
        observation, _, terminated, _, info = env.step(action)
        assert (action, observation) == (action, expected["feedback"])
        assert (action, info["won"], terminated, int(info["won"])) == (action, expected["won"], done, score)
