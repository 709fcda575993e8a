"""Differential test against the original engine, from the extra `himac[textworld]`: identical at every step."""

import random
from pathlib import Path

import pytest

from golden.record_alfworld import choose, original
from himac.envs.alfworld import AlfworldEnv, load_games

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", range(6))
def test_random_play_is_identical(shared_dir: Path, number: int) -> None:
    pytest.importorskip("textworld", reason="needs the extra himac[textworld]")
    pytest.importorskip("alfworld", reason="needs the extra himac[textworld]")
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
