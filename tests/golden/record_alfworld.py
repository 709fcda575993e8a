"""Plays built-in games in TextWorld and writes digests of what it shows.

`python -m golden.record_alfworld GAME` in tests/, with PYTHONHASHSEED=0. Needs the extra `himac[textworld]` (recorded
with alfworld 0.4.2, textworld 1.7.0). GAME is any official `game.tw-pddl`: it holds the domain and the grammar that all
games share.
"""

from __future__ import annotations

import json
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from himac.envs.alfworld import Game, load_games
from himac.envs.alfworld.benchmark import BUILTIN_DIR, SIZES
from support.golden import Record, Trail, ship

GAMES = 10
"""Of each built-in file, one in turn of each task type."""
_STEPS = 30
_AFTER_END = 2
_TASK = "Your task is to: "
_WEIGHTS = {"take": 6.0, "move": 6.0, "clean": 6.0, "heat": 6.0, "cool": 6.0, "slice": 6.0, "go": 5.0, "open": 4.0}
_WRONG = ["", "Look", "go  to fridge 1", "take unicorn 1 from desk 1", "examine", "help "]


def original(game: Game, domain: str, grammar: str) -> Any:
    """A game in TextWorld, with ALFWorld's names; the grammar is that of any game."""
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld.envs.pddl import PddlEnv

    before, _, after = grammar.partition(_TASK)
    task, end, after = after.partition('."\n')
    assert task
    assert end, "the grammar has another form"
    env = AlfredDemangler(PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True)), shuffle=False)
    env.load(
        {
            "pddl_domain": domain,
            "grammar": f"{before}{_TASK}{game.instruction}{end}{after}",
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


def record(game: Game, number: int, domain: str, grammar: str) -> Record:
    """Every second game is won by its walkthrough; in the others play leaves it somewhere."""
    rng = random.Random(number)
    walkthrough = list(game.walkthrough)
    planned = walkthrough if number % 2 else walkthrough[: rng.randrange(len(walkthrough))]
    length = len(planned) + _AFTER_END if number % 2 else _STEPS
    env, trail, actions = original(game, domain, grammar), Trail(), list[str]()
    state = env.reset()
    trail.add(state["feedback"], sorted(state["admissible_commands"]), state["won"])
    for step in range(length):
        action = planned[step] if step < len(planned) else choose(sorted(state["admissible_commands"]), rng)
        state, score, done = env.step(action)
        actions.append(action)
        trail.add(state["feedback"], sorted(state["admissible_commands"]), state["won"], score, done)
    return {"id": game.id, "actions": actions} | trail.record()


def main() -> None:
    shared = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    records = []
    for split in ("train", "valid"):
        for size in SIZES:
            games = defaultdict(list)
            for game in load_games(BUILTIN_DIR, f"{split}-{size}"):
                games[game.task_type].append(game)
            kinds = sorted(games)
            for number in range(GAMES):
                game = games[kinds[number % len(kinds)]][number // len(kinds)]
                one = record(game, len(records), shared["pddl_domain"], shared["grammar"])
                records.append({"split": f"{split}-{size}"} | one)
                print(len(records), game.id, flush=True)
    print(ship("alfworld", records), len(records), sum(len(one["actions"]) for one in records))


if __name__ == "__main__":
    main()
