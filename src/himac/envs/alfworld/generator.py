"""New solvable household games in ALFWorld's PDDL domain: six task types, four kinds of rooms, three sizes.

Objects lie by `rooms.HABITS`, an uneven distribution over receptacle types for each object type.
"""

from __future__ import annotations

import json
import lzma
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from himac.envs.alfworld.draft import Draft, write_problem, write_walkthrough
from himac.envs.alfworld.env import AlfworldEnv
from himac.envs.alfworld.games import Game
from himac.envs.alfworld.goals import WORDINGS
from himac.envs.alfworld.rooms import (
    ABILITIES,
    APPLIANCES,
    HABITS,
    LAMP,
    LOOK,
    PICK,
    ROOMS,
    TASK_TYPES,
    TWO,
    Room,
)
from himac.errors import DataError

Size = Literal["small", "medium", "large"]


@dataclass(frozen=True, slots=True)
class _Scale:
    receptacles: tuple[int, int]
    objects: tuple[int, int]
    most_of_a_type: int
    shared: float  # probability that two receptacles stand at one location


_SCALES: dict[str, _Scale] = {
    "small": _Scale((6, 9), (8, 14), 3, 0.1),
    "medium": _Scale((10, 18), (14, 22), 6, 0.25),
    "large": _Scale((20, 35), (24, 40), 16, 0.5),
}
_MOST_COPIES = 3


def generate_games(n: int, size: Size, seed: int, name: str = "generated") -> list[Game]:
    """Draw `n` different games, the task types in turn; the same arguments give the same games.

    Args:
        n: How many.
        size: Number of receptacles and objects.
        seed: Start of the random stream, which also depends on the size.
        name: What the games' ids begin with after the task folder, so that the ids of several sets differ.
    """
    if size not in _SCALES:
        raise DataError(f"unknown size {size!r}; choose one of {', '.join(_SCALES)}")
    rng = random.Random(f"alfworld/{size}/{seed}")
    games: list[Game] = []
    contents: set[str] = set()
    while len(games) < n:
        draft = _draw(TASK_TYPES[len(games) % len(TASK_TYPES)], _SCALES[size], rng)
        if draft is None:
            continue
        game = _write(draft, rng, f"{name}-{len(games):05d}")
        key = problem_key(game.problem)
        if key not in contents:
            _check(game)
            contents.add(key)
            games.append(game)
    return games


def problem_key(problem: str) -> str:
    """The content of a problem: its text without the line that names it."""
    return "\n".join(line for line in problem.splitlines() if not line.startswith("(define "))


def write_games(path: str | Path, games: Iterable[Game]) -> None:
    """Write games as a packed `.jsonl.xz` file (one JSON object a line) that `load_games` reads."""
    split = Path(path).name.split(".", 1)[0]
    lines = [
        json.dumps(
            {
                "path": f"{split}/{game.id}",
                "task": game.instruction,
                "walkthrough": list(game.walkthrough),
                "pddl_problem": game.problem,
            }
        )
        for game in games
    ]
    data = ("\n".join(lines) + "\n").encode()
    # No integrity field or time stamp depends on the machine, so equal games give equal bytes.
    Path(path).write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


def _draw(task_type: str, scale: _Scale, rng: random.Random) -> Draft | None:
    room = ROOMS[rng.choice([name for name in ROOMS if task_type in ROOMS[name].tasks])]
    counts = _furnish(room, scale, rng)
    chosen = _choose_goal(task_type, room, set(counts), rng)
    if chosen is None:
        return None
    target, goal = chosen
    receptacles = {_identify(kind, number): kind for kind in sorted(counts) for number in range(counts[kind])}
    by_kind: dict[str, list[str]] = {}
    for place, kind in receptacles.items():
        by_kind.setdefault(kind, []).append(place)

    def place_of(thing: str) -> str:
        # What is to be moved to the goal must not be there already, or the game may start solved.
        barred = goal if thing == target and task_type in (PICK, TWO) else None
        lies = {kind: weight for kind, weight in HABITS[thing].lies.items() if kind in counts and kind != barred}
        return rng.choice(by_kind[rng.choices(list(lies), list(lies.values()))[0]])

    placed = [(thing, place_of(thing)) for thing in _choose_things(task_type, target, room, set(counts), scale, rng)]
    rng.shuffle(placed)
    numbers: Counter[str] = Counter()
    things, lies = {}, {}
    for thing, place in placed:
        name = f"{thing}_bar_{numbers[thing]:02d}"
        numbers[thing] += 1
        things[name], lies[name] = thing, place
    return Draft(task_type, target, goal, receptacles, things, lies, _locate(list(receptacles), scale, rng))


def _furnish(room: Room, scale: _Scale, rng: random.Random) -> Counter[str]:
    counts = Counter(room.always)
    wanted = rng.randint(*scale.receptacles)
    while counts.total() < wanted:
        free = {
            kind: weight
            for kind, weight in room.maybe.items()
            if counts[kind] < (1 if kind in room.single else scale.most_of_a_type)
        }
        counts[rng.choices(list(free), list(free.values()))[0]] += 1
    return counts


def _choose_goal(task_type: str, room: Room, kinds: set[str], rng: random.Random) -> tuple[str, str] | None:
    """The object type and the receptacle type (or lamp) of the goal; `None` when the room has no such pair."""
    if task_type == LOOK and not kinds & set(HABITS[LAMP].lies):
        return None
    pairs: dict[str, list[str]] = {}
    for thing in room.things:
        habit = HABITS[thing]
        if habit.lamp or (task_type in ABILITIES and ABILITIES[task_type] not in habit.flags):
            continue
        found = kinds & set(habit.lies)
        if task_type == LOOK:
            goals = [LAMP] if found else []
        elif task_type in APPLIANCES:
            goals = sorted((habit.fits & kinds) - {APPLIANCES[task_type]}) if found else []
        else:
            goals = [goal for goal in sorted(habit.fits & kinds) if found - {goal}]
        if goals:
            pairs[thing] = goals
    if not pairs:
        return None
    target = rng.choice(list(pairs))
    return target, rng.choice(pairs[target])


def _choose_things(
    task_type: str, target: str, room: Room, kinds: set[str], scale: _Scale, rng: random.Random
) -> list[str]:
    chosen = Counter({target: (2 if task_type == TWO else 1) + (rng.random() < 0.3)})
    if task_type == LOOK:
        chosen[LAMP] = 1
    wanted = rng.randint(*scale.objects)
    others = [thing for thing in room.things if thing not in (target, LAMP) and kinds & set(HABITS[thing].lies)]
    free = [thing for thing in others for _ in range(_MOST_COPIES)]
    chosen.update(rng.sample(free, min(wanted - chosen.total(), len(free))))
    return list(chosen.elements())


def _locate(places: list[str], scale: _Scale, rng: random.Random) -> dict[str, str]:
    order = rng.sample(range(1, len(places) + 1), len(places))
    located = {place: f"loc_bar_{number:02d}" for place, number in zip(places, order, strict=True)}
    if rng.random() < scale.shared:
        first, second = rng.sample(places, 2)
        located[first] = located[second]
    return located


def _identify(kind: str, number: int) -> str:
    # Ids of basins name the sink or tub they belong to first, as the official ones do.
    stem = kind.removesuffix("Basin")
    return f"{stem}_bar_{number:02d}" + (f"_bar_{kind}" if stem != kind else "")


def _write(draft: Draft, rng: random.Random, name: str) -> Game:
    wording = rng.choice(WORDINGS[draft.task_type])
    goal = LAMP if draft.task_type == LOOK else draft.goal
    return Game(
        id=f"{draft.task_type}-{draft.target}-None-{goal}/{name}",
        task_type=draft.task_type,
        instruction=wording.format(thing=draft.target.lower(), place=goal.lower()),
        problem=write_problem(draft, name),
        walkthrough=tuple(write_walkthrough(draft)),
    )


def _check(game: Game) -> None:
    """Play the walkthrough; raise unless it wins, and only with its last action."""
    env = AlfworldEnv([game])
    _, info = env.reset(options={"game": game.id})
    for number, action in enumerate(game.walkthrough):
        if info["won"]:
            raise DataError(f"generated game {game.id} is won after {number} actions; report the seed")
        _, _, _, _, info = env.step(action)
    if not info["won"]:
        raise DataError(f"the walkthrough of generated game {game.id} does not win; report the seed")


BUILTIN_COUNTS: dict[Size, tuple[int, int]] = {"small": (1500, 200), "medium": (800, 200), "large": (300, 200)}
"""Games in the built-in train and valid splits of each size."""
_BUILTIN_SEED = 2026


def builtin_games(size: Size) -> tuple[list[Game], list[Game]]:
    """The built-in train and valid games of a size, from different seeds; no problem is in both."""
    trained, validated = BUILTIN_COUNTS[size]
    train = generate_games(trained, size, _BUILTIN_SEED, f"train-{size}")
    known = {problem_key(game.problem) for game in train}
    spare = generate_games(validated + 30, size, _BUILTIN_SEED + 1, f"valid-{size}")
    return train, [game for game in spare if problem_key(game.problem) not in known][:validated]


def write_builtin(folder: str | Path) -> None:
    """Write the splits that come with the package; the same bytes each time."""
    for size in BUILTIN_COUNTS:
        for split, games in zip(("train", "valid"), builtin_games(size), strict=True):
            write_games(Path(folder) / f"{split}-{size}.jsonl.xz", sorted(games, key=lambda game: game.id))
