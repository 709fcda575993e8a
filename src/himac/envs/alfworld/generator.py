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

from himac.envs.alfworld.env import AlfworldEnv
from himac.envs.alfworld.games import Game
from himac.envs.alfworld.rooms import CLEAN, COOL, HABITS, HEAT, LOOK, OPENABLE, PICK, ROOMS, TASK_TYPES, TWO, Room
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
_LAMP = "DeskLamp"

_APPLIANCES = {CLEAN: "SinkBasin", HEAT: "Microwave", COOL: "Fridge"}
_ABILITIES = {CLEAN: "cleanable", HEAT: "heatable", COOL: "coolable"}
_STATES = {CLEAN: "isClean", HEAT: "isHot", COOL: "isCool"}
_VERBS = {CLEAN: "clean", HEAT: "heat", COOL: "cool"}
_WORDINGS = {
    PICK: ("put a {o} in {r}", "put some {o} on {r}"),
    LOOK: ("look at {o} under the {r}", "examine the {o} with the {r}"),
    CLEAN: ("put a clean {o} in {r}", "clean some {o} and put it in {r}"),
    HEAT: ("put a hot {o} in {r}", "heat some {o} and put it in {r}"),
    COOL: ("put a cool {o} in {r}", "cool some {o} and put it in {r}"),
    TWO: ("put two {o} in {r}", "find two {o} and put them in {r}"),
}


@dataclass(frozen=True, slots=True)
class _Draft:
    """A game before it becomes text.

    Attributes:
        goal: Receptacle type of the goal, or the lamp's type.
        receptacles: id -> type.
        things: id -> type.
        lies: object id -> receptacle id.
        locations: receptacle id -> location id.
    """

    task_type: str
    target: str
    goal: str
    receptacles: dict[str, str]
    things: dict[str, str]
    lies: dict[str, str]
    locations: dict[str, str]


def generate_games(n: int, size: Size, seed: int, name: str = "generated") -> list[Game]:
    """Draw `n` different games, the task types in turn; the same arguments give the same games.

    Args:
        name: First part of the games' ids, so that the ids of several sets differ.
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
        game = _write(draft, rng, f"{name}/{{}}/trial_{len(games):05d}")
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
    lines = [
        json.dumps(
            {
                "path": game.id,
                "task": game.instruction,
                "walkthrough": list(game.walkthrough or ()),
                "pddl_problem": game.problem,
            }
        )
        for game in games
    ]
    data = ("\n".join(lines) + "\n").encode()
    # No integrity field or time stamp depends on the machine, so equal games give equal bytes.
    Path(path).write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


def _draw(task_type: str, scale: _Scale, rng: random.Random) -> _Draft | None:
    room = ROOMS[rng.choice([name for name in ROOMS if task_type in ROOMS[name].tasks])]
    counts = _furnish(room, scale, rng)
    chosen = _choose_goal(task_type, room, set(counts), rng)
    if chosen is None:
        return None
    target, goal = chosen
    receptacles = {f"{_stem(kind)}_bar_{i:02d}{_suffix(kind)}": kind for kind in sorted(counts) for i in range(counts[kind])}
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
    return _Draft(task_type, target, goal, receptacles, things, lies, _locate(list(receptacles), scale, rng))


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
    if task_type == LOOK and not kinds & set(HABITS[_LAMP].lies):
        return None
    pairs: dict[str, list[str]] = {}
    for thing in room.things:
        habit = HABITS[thing]
        if habit.lamp or (task_type in _ABILITIES and _ABILITIES[task_type] not in habit.flags):
            continue
        found = kinds & set(habit.lies)
        if task_type == LOOK:
            goals = [_LAMP] if found else []
        elif task_type in _APPLIANCES:
            goals = sorted((habit.fits & kinds) - {_APPLIANCES[task_type]}) if found else []
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
        chosen[_LAMP] = 1
    wanted = rng.randint(*scale.objects)
    others = [thing for thing in room.things if thing not in (target, _LAMP) and kinds & set(HABITS[thing].lies)]
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


def _stem(kind: str) -> str:
    return kind.removesuffix("Basin")


def _suffix(kind: str) -> str:
    # Ids of basins name the sink or tub they belong to first, as the official ones do.
    return f"_bar_{kind}" if kind.endswith("Basin") else ""


def _names(kinds: dict[str, str]) -> dict[str, str]:
    """The game's names of ids, "drawer 3": the sorted ids of a type are numbered from their count down to 1."""
    left = Counter(kinds.values())
    names = {}
    for name in sorted(kinds):
        names[name] = f"{kinds[name].lower()} {left[kinds[name]]}"
        left[kinds[name]] -= 1
    return names


def _walkthrough(draft: _Draft) -> list[str]:
    places, things = _names(draft.receptacles), _names(draft.things)
    opened: set[str] = set()
    here = ""
    actions: list[str] = []

    def visit(place: str, inside: bool) -> None:
        nonlocal here
        if draft.locations[place] != here:
            actions.append(f"go to {places[place]}")
            here = draft.locations[place]
        if inside and draft.receptacles[place] in OPENABLE and place not in opened:
            actions.append(f"open {places[place]}")
            opened.add(place)

    def first(kind: str) -> str:
        return min(place for place, k in draft.receptacles.items() if k == kind)

    targets = sorted(thing for thing, kind in draft.things.items() if kind == draft.target)
    for thing in targets[: 2 if draft.task_type == TWO else 1]:
        visit(draft.lies[thing], inside=True)
        actions.append(f"take {things[thing]} from {places[draft.lies[thing]]}")
        if draft.task_type == LOOK:
            lamp = next(name for name, kind in draft.things.items() if kind == _LAMP)
            visit(draft.lies[lamp], inside=True)
            actions.append(f"use {things[lamp]}")
            continue
        if draft.task_type in _APPLIANCES:
            appliance = first(_APPLIANCES[draft.task_type])
            visit(appliance, inside=False)
            actions.append(f"{_VERBS[draft.task_type]} {things[thing]} with {places[appliance]}")
        goal = first(draft.goal)
        visit(goal, inside=True)
        actions.append(f"move {things[thing]} to {places[goal]}")
    return actions


def _write(draft: _Draft, rng: random.Random, path: str) -> Game:
    wording = rng.choice(_WORDINGS[draft.task_type])
    goal = _LAMP if draft.task_type == LOOK else draft.goal
    identity = path.format(f"{draft.task_type}-{draft.target}-None-{goal}")
    return Game(
        id=identity,
        task_type=draft.task_type,
        instruction=wording.format(o=draft.target.lower(), r=goal.lower()),
        problem=_problem(draft, identity.rsplit("/", 1)[-1]),
        walkthrough=tuple(_walkthrough(draft)),
    )


def _problem(draft: _Draft, name: str) -> str:
    kinds = sorted(set(draft.receptacles.values()))
    thing_kinds = sorted(set(draft.things.values()))
    objects = ["agent1 - agent"]
    objects += [f"{kind}Type - otype" for kind in thing_kinds]
    objects += [f"{kind}Type - rtype" for kind in kinds]
    objects += [f"{thing} - object" for thing in sorted(draft.things)]
    objects += [f"{place} - receptacle" for place in sorted(draft.receptacles)]
    objects += [f"{location} - location" for location in sorted({"loc_bar_00", *draft.locations.values()})]
    facts = ["atLocation agent1 loc_bar_00"]
    for place, kind in sorted(draft.receptacles.items()):
        facts += [f"receptacleType {place} {kind}Type", f"receptacleAtLocation {place} {draft.locations[place]}"]
        if kind in OPENABLE:
            facts.append(f"openable {place}")
    facts += [f"canContain {k}Type {thing}Type" for k in kinds for thing in thing_kinds if k in HABITS[thing].fits]
    for thing, kind in sorted(draft.things.items()):
        place = draft.lies[thing]
        facts += [f"objectType {thing} {kind}Type"]
        facts += [f"{flag} {thing}" for flag in HABITS[kind].flags]
        facts += [f"toggleable {thing}" if HABITS[kind].lamp else f"pickupable {thing}"]
        facts += [f"inReceptacle {thing} {place}", f"objectAtLocation {thing} {draft.locations[place]}"]
    listed, true = "\n".join(objects), "\n".join(f"({fact})" for fact in facts)
    return f"(define (problem {name})\n(:domain alfred)\n(:objects\n{listed}\n)\n(:init\n{true}\n)\n(:goal {_goal(draft)})\n)\n"


def _goal(draft: _Draft) -> str:
    thing, goal = f"{draft.target}Type", f"{draft.goal}Type"
    if draft.task_type == LOOK:
        lamp = (
            "(exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and "
            f"(objectType ?ot {goal}) (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l)"
            " (atLocation ?a ?l) (inReceptacle ?ot ?r)))"
        )
        return f"(and {lamp} (exists (?o - object ?a - agent) (and (objectType ?o {thing}) (holds ?a ?o))))"
    if draft.task_type == TWO:
        second = (
            f"(exists (?o2 - object) (and (not (= ?o1 ?o2)) (objectType ?o2 {thing})"
            f" (receptacleType ?r {goal}) (inReceptacle ?o2 ?r)))"
        )
        body = f"(objectType ?o1 {thing}) (receptacleType ?r {goal}) (inReceptacle ?o1 ?r) {second}"
        return f"(and (exists (?r - receptacle) (exists (?o1 - object) (and {body}))))"
    if draft.task_type == PICK:
        body = f"(inReceptacle ?o ?r) (objectType ?o {thing}) (receptacleType ?r {goal})"
    else:
        able, state = _ABILITIES[draft.task_type], _STATES[draft.task_type]
        body = f"({able} ?o) (objectType ?o {thing}) (receptacleType ?r {goal}) ({state} ?o) (inReceptacle ?o ?r)"
    return f"(and (exists (?r - receptacle) (exists (?o - object) (and {body}))))"


def _check(game: Game) -> None:
    """Play the walkthrough; raise unless it wins, and only with its last action."""
    env = AlfworldEnv([game])
    _, info = env.reset(options={"game": game.id})
    for number, action in enumerate(game.walkthrough or ()):
        if info["won"]:
            raise DataError(f"generated game {game.id} is won after {number} actions; report the seed")
        _, _, _, _, info = env.step(action)
    if not info["won"]:
        raise DataError(f"the walkthrough of generated game {game.id} does not win; report the seed")
