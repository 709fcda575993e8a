"""A generated game before it becomes text, and its text: PDDL problem and walkthrough."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from himac.envs.alfworld.rooms import ABILITIES, APPLIANCES, CLEAN, COOL, HABITS, HEAT, LAMP, LOOK, OPENABLE, PICK, TWO

_STATES = {CLEAN: "isClean", HEAT: "isHot", COOL: "isCool"}
_VERBS = {CLEAN: "clean", HEAT: "heat", COOL: "cool"}


@dataclass(frozen=True, slots=True)
class Draft:
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


def _names(kinds: dict[str, str]) -> dict[str, str]:
    """The game's names of ids, "drawer 3": the sorted ids of a type are numbered from their count down to 1."""
    left = Counter(kinds.values())
    names = {}
    for name in sorted(kinds):
        names[name] = f"{kinds[name].lower()} {left[kinds[name]]}"
        left[kinds[name]] -= 1
    return names


def write_walkthrough(draft: Draft) -> list[str]:
    """Commands that win the game, by one who knows where everything is."""
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
            lamp = next(name for name, kind in draft.things.items() if kind == LAMP)
            visit(draft.lies[lamp], inside=True)
            actions.append(f"use {things[lamp]}")
            continue
        if draft.task_type in APPLIANCES:
            appliance = first(APPLIANCES[draft.task_type])
            visit(appliance, inside=False)
            actions.append(f"{_VERBS[draft.task_type]} {things[thing]} with {places[appliance]}")
        goal = first(draft.goal)
        visit(goal, inside=True)
        actions.append(f"move {things[thing]} to {places[goal]}")
    return actions


def write_problem(draft: Draft, name: str) -> str:
    """The PDDL problem, facts in sorted order; the types that play no part are left out."""
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
    return (
        f"(define (problem {name})\n(:domain alfred)\n(:objects\n{listed}\n)\n"
        f"(:init\n{true}\n)\n(:goal {_goal(draft)})\n)\n"
    )


def _goal(draft: Draft) -> str:
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
        able, state = ABILITIES[draft.task_type], _STATES[draft.task_type]
        body = f"({able} ?o) (objectType ?o {thing}) (receptacleType ?r {goal}) ({state} ?o) (inReceptacle ?o ?r)"
    return f"(and (exists (?r - receptacle) (exists (?o - object) (and {body}))))"
