"""The goals of ALFWorld's six task types, recognised by their shape in the PDDL problem."""

from __future__ import annotations

import re
from dataclasses import dataclass

from himac.errors import DataError

LOOK = "look_at_obj_in_light"
CLEAN = "pick_clean_then_place_in_recep"
HEAT = "pick_heat_then_place_in_recep"
COOL = "pick_cool_then_place_in_recep"
PLACE = "pick_and_place_simple"
TWO = "pick_two_obj_and_place"
TASK_TYPES = (LOOK, PLACE, CLEAN, COOL, HEAT, TWO)
TITLES = {PLACE: "Pick", LOOK: "Look", CLEAN: "Clean", HEAT: "Heat", COOL: "Cool", TWO: "Pick2"}
"""As tables of the literature have them, in their order."""
"""The six task types, in alphabetical order."""

GOAL_PROPERTY = {CLEAN: "cleanable", HEAT: "heatable", COOL: "coolable"}
"""The property an object needs to count, for the task types that ask for one."""

WORDINGS = {
    PLACE: ("put a {thing} in {place}", "put some {thing} on {place}"),
    LOOK: ("look at {thing} under the {place}", "examine the {thing} with the {place}"),
    CLEAN: ("put a clean {thing} in {place}", "clean some {thing} and put it in {place}"),
    HEAT: ("put a hot {thing} in {place}", "heat some {thing} and put it in {place}"),
    COOL: ("put a cool {thing} in {place}", "cool some {thing} and put it in {place}"),
    TWO: ("put two {thing} in {place}", "find two {thing} and put them in {place}"),
}
"""How instructions say a goal; `place` is the lamp where one is looked at."""

_TREAT_GOAL = (
    r"\(:goal\(and\(exists\(\?r - receptacle\)\(exists\(\?o - object\)\(and{before}\(objecttype \?o (\w+)\)"
    r"\(receptacletype \?r (\w+)\){after}\(inreceptacle \?o \?r\)\)\)\)\)\)"
)
_PLACE_GOAL = (
    r"\(:goal\(and\(exists\(\?r - receptacle\)\(exists\(\?o - object\)\(and\(inreceptacle \?o \?r\)"
    r"\(objecttype \?o (\w+)\)\(receptacletype \?r (\w+)\)\)\)\)\)\)"
)
_TWO_GOAL = (
    r"\(:goal\(and\(exists\(\?r - receptacle\)\(exists\(\?o1 - object\)\(and\(objecttype \?o1 (\w+)\)"
    r"\(receptacletype \?r (\w+)\)\(inreceptacle \?o1 \?r\)\(exists\(\?o2 - object\)\(and\(not\(= \?o1 \?o2\)\)"
    r"\(objecttype \?o2 \1\)\(receptacletype \?r \2\)\(inreceptacle \?o2 \?r\)\)\)\)\)\)\)\)"
)
_LOOK_GOAL = (
    r"\(:goal\(and\(exists\(\?ot - object \?r - receptacle \?a - agent \?l - location\)\(and\(objecttype \?ot (\w+)\)"
    r"\(toggleable \?ot\)\(istoggled \?ot\)\(receptacleatlocation \?r \?l\)\(atlocation \?a \?l\)"
    r"\(inreceptacle \?ot \?r\)\)\)\(exists\(\?o - object \?a - agent\)\(and\(objecttype \?o (\w+)\)"
    r"\(holds \?a \?o\)\)\)\)\)"
)
_GOAL_END = r"(?:\(:metric minimize\(total-cost\)\))?\)"
_PATTERNS = {
    kind: re.compile(pattern + _GOAL_END)
    for kind, pattern in {
        LOOK: _LOOK_GOAL,
        PLACE: _PLACE_GOAL,
        CLEAN: _TREAT_GOAL.format(before=r"\(cleanable \?o\)", after=r"\(isclean \?o\)"),
        COOL: _TREAT_GOAL.format(before=r"\(coolable \?o\)", after=r"\(iscool \?o\)"),
        HEAT: _TREAT_GOAL.format(before=r"\(heatable \?o\)", after=r"\(ishot \?o\)"),
        TWO: _TWO_GOAL,
    }.items()
}


@dataclass(frozen=True, slots=True)
class Goal:
    """What wins a game.

    Attributes:
        kind: One of `TASK_TYPES`.
        objects: Indices of the objects that can satisfy the goal.
        receptacles: Indices of the receptacles that can; empty for `look_at_obj_in_light`.
        lamps: Indices of the lamps of `look_at_obj_in_light`, otherwise empty.
    """

    kind: str
    objects: frozenset[int]
    receptacles: tuple[int, ...]
    lamps: frozenset[int]


def read_goal(problem: str) -> tuple[str, str, str]:
    """(task type, first PDDL type, second PDDL type) of the goal of a lower-case problem.

    The types are object and receptacle, for `look_at_obj_in_light` lamp and object.
    """
    goal = re.sub(r"\s*([()])\s*", r"\1", re.sub(r"\s+", " ", problem[problem.rindex("(:goal") :]))
    for kind, pattern in _PATTERNS.items():
        found = pattern.fullmatch(goal)
        if found:
            return kind, found[1], found[2]
    raise DataError(f"the goal {goal[:200]} is not one of ALFWorld's six task types, so the game cannot be played.")


def task_type_of(problem: str) -> str:
    """The task type that a problem's goal stands for."""
    problem = problem.lower()
    if "(:goal" not in problem:
        raise DataError("the PDDL problem has no (:goal ...); it is not an ALFWorld game.")
    return read_goal(problem)[0]
