"""Chores: what can be asked for in a room besides a game's own goal, and lists of such chores."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from himac.envs.alfworld.expert import parse_instruction, plan
from himac.envs.alfworld.goals import CLEAN, COOL, GOAL_PROPERTY, HEAT, LOOK, PLACE, TASK_TYPES, TWO, WORDINGS
from himac.envs.alfworld.prior import Prior
from himac.envs.alfworld.problem import World
from himac.envs.alfworld.state import State
from himac.envs.alfworld.view import parse_overview

_WEIGHTS = {PLACE: 1, TWO: 1, CLEAN: 2, COOL: 4, HEAT: 4, LOOK: 6}
"""The fewer rooms afford a type, the more often it is drawn there, so that lists hold the six types about equally."""
_LAMP = "lamp"
_NUMBERED = re.compile(r"\d+\. ([^;]+)")

Afforded = Mapping[str, Mapping[str, Sequence[str]]]
"""Task type -> object type -> receptacle types (lamps, where something is looked at)."""


class Chore(NamedTuple):
    """One task of a list: task type, object type, receptacle type (or lamp), and how the instruction says it."""

    kind: str
    thing: str
    place: str
    words: str


def write_list(chores: Sequence[Chore]) -> str:
    """The instruction: every chore with its number, in one line."""
    return "; ".join(f"{number}. {chore.words}" for number, chore in enumerate(chores, 1))


def plan_list(
    instruction: str, overview: str, prior: Prior, rng: random.Random | None = None, hint_noise: float = 0.0
) -> tuple[str, ...]:
    """The blueprint of a list: those of its chores, as `expert.plan` writes them, one after another.

    What was looked at is still in the hand, so before the next chore it is put where such a thing most likely lies.
    """
    room = parse_overview(overview)
    subgoals: list[str] = []
    held: str | None = None
    for words in _NUMBERED.findall(instruction):
        if held is not None:
            subgoals.append(f"put {held} in {prior.rank(held, room)[0]}")
        subgoals += plan(words, overview, prior, rng, hint_noise)
        goal = parse_instruction(words)
        held = goal.thing if goal and goal.lamp else None
    return tuple(subgoals)


def draw_list(afforded: Afforded, count: int, rng: random.Random) -> tuple[Chore, ...] | None:
    """`count` chores with different object types in random order; `None` when the room ran out of them."""
    drawn: list[Chore] = []
    for _ in range(count):
        used = {chore.thing for chore in drawn}
        kinds = [kind for kind in TASK_TYPES if afforded[kind].keys() - used]
        if not kinds:
            return None
        kind = rng.choices(kinds, [_WEIGHTS[kind] for kind in kinds])[0]
        thing = rng.choice(sorted(afforded[kind].keys() - used))
        place = rng.choice(afforded[kind][thing])
        drawn.append(Chore(kind, thing, place, rng.choice(WORDINGS[kind]).format(thing=thing, place=place)))
    rng.shuffle(drawn)
    return tuple(drawn)


def affords(world: World) -> Afforded:
    """The chores of a room that are not done at the start: the object is within reach, and so is all that it takes."""
    state = State(world)
    reachable = [index for index, place in enumerate(world.places) if place >= 0]
    lies: dict[str, dict[int, int]] = defaultdict(dict)  # object type -> object -> receptacle
    lamps: set[str] = set()
    for receptacle in reachable:
        for thing in world.initial_contents[receptacle]:
            kind = world.object_types[thing]
            if thing in world.pickupable and kind:
                lies[kind][thing] = receptacle
            elif thing in world.toggleable and kind.endswith(_LAMP):
                lamps.add(kind)
    appliances = {CLEAN: world.sinks, HEAT: world.microwaves, COOL: world.fridges}
    own = {kind: {world.receptacle_types[i] for i in appliances[kind].intersection(reachable)} for kind in appliances}

    def places(kind: str, thing: str) -> list[str]:
        fits = _fits(world, lies[thing], reachable)
        if kind == LOOK:
            fits = lamps
        elif kind == TWO:
            fits -= {world.receptacle_types[receptacle] for receptacle in lies[thing].values()}
            fits = fits if len(lies[thing]) > 1 else set()
        elif kind in GOAL_PROPERTY:
            able = getattr(world, GOAL_PROPERTY[kind])
            fits = fits - own[kind] if own[kind] and able.issuperset(lies[thing]) else set()
        return sorted(place for place in fits if not state.holds(world.goal_of(kind, thing, place)))

    found = {kind: {thing: places(kind, thing) for thing in sorted(lies)} for kind in TASK_TYPES}
    return {kind: {thing: good for thing, good in row.items() if good} for kind, row in found.items()}


def _fits(world: World, things: Collection[int], reachable: Sequence[int]) -> set[str]:
    """Types of the receptacles that can hold all of these things."""
    return {world.receptacle_types[index] for index in reachable if world.accepts[index].issuperset(things)}
