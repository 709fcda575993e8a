"""Reads an ALFWorld PDDL problem into a `World`: everything of a game that never changes, plus its initial facts.

All games share one domain, so its semantics are written out in `state` instead of being grounded from PDDL. What
matters here are the names: ids are sorted, and the things of one kind are numbered from the highest down.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from himac.errors import DataError

Action = tuple[str, int, int]
"""(verb, first, second): indices of objects and receptacles as the verb needs them, else 0."""

_FACT = re.compile(r"\(([^()]+)\)")
_OBJECTS = re.compile(r"\(:objects([^()]*)\)")
_DECLARATION = re.compile(r"(\S+)\s+-\s+(\w+)")
_INIT = re.compile(r"\(:init\b(.*?)\(:goal\b", re.DOTALL)

_ARITY = {
    "atlocation": 2,
    "receptacleatlocation": 2,
    "objectatlocation": 2,
    "inreceptacle": 2,
    "inreceptacleobject": 2,
    "receptacletype": 2,
    "objecttype": 2,
    "cancontain": 2,
    "openable": 1,
    "opened": 1,
    "pickupable": 1,
    "isreceptacleobject": 1,
    "cleanable": 1,
    "heatable": 1,
    "coolable": 1,
    "toggleable": 1,
    "sliceable": 1,
    "isclean": 1,
    "ishot": 1,
    "iscool": 1,
    "issliced": 1,
    "istoggled": 1,
    # Part of the domain, but without any influence on what is seen or allowed.
    "ison": 1,
    "full": 1,
    "moveable": 1,
    "isreceptacleobjectfull": 1,
    "wasinreceptacle": 2,
}
_KNIVES = {"knifetype", "butterknifetype"}
_SINKS = {"sinktype", "sinkbasintype"}

_PLACE = (
    r"\(:goal\(and\(exists\(\?r - receptacle\)\(exists\(\?o - object\)\(and{before}\(objecttype \?o (\w+)\)"
    r"\(receptacletype \?r (\w+)\){after}\(inreceptacle \?o \?r\)\)\)\)\)\)"
)
_PUT = (
    r"\(:goal\(and\(exists\(\?r - receptacle\)\(exists\(\?o - object\)\(and\(inreceptacle \?o \?r\)"
    r"\(objecttype \?o (\w+)\)\(receptacletype \?r (\w+)\)\)\)\)\)\)"
)
_TWO = (
    r"\(:goal\(and\(exists\(\?r - receptacle\)\(exists\(\?o1 - object\)\(and\(objecttype \?o1 (\w+)\)"
    r"\(receptacletype \?r (\w+)\)\(inreceptacle \?o1 \?r\)\(exists\(\?o2 - object\)\(and\(not\(= \?o1 \?o2\)\)"
    r"\(objecttype \?o2 \1\)\(receptacletype \?r \2\)\(inreceptacle \?o2 \?r\)\)\)\)\)\)\)\)"
)
_LOOK = (
    r"\(:goal\(and\(exists\(\?ot - object \?r - receptacle \?a - agent \?l - location\)\(and\(objecttype \?ot (\w+)\)"
    r"\(toggleable \?ot\)\(istoggled \?ot\)\(receptacleatlocation \?r \?l\)\(atlocation \?a \?l\)"
    r"\(inreceptacle \?ot \?r\)\)\)\(exists\(\?o - object \?a - agent\)\(and\(objecttype \?o (\w+)\)"
    r"\(holds \?a \?o\)\)\)\)\)"
)
_GOALS = {
    "look_at_obj_in_light": _LOOK,
    "pick_and_place_simple": _PUT,
    "pick_two_obj_and_place": _TWO,
    **{
        name: _PLACE.format(before=rf"\({able} \?o\)", after=rf"\({done} \?o\)")
        for name, able, done in (
            ("pick_clean_then_place_in_recep", "cleanable", "isclean"),
            ("pick_heat_then_place_in_recep", "heatable", "ishot"),
            ("pick_cool_then_place_in_recep", "coolable", "iscool"),
        )
    },
}
_GOAL_END = r"(?:\(:metric minimize\(total-cost\)\))?\)"
_GOAL_PATTERNS = {kind: re.compile(pattern + _GOAL_END) for kind, pattern in _GOALS.items()}
_GOAL_FILTER = {
    "pick_clean_then_place_in_recep": "cleanable",
    "pick_heat_then_place_in_recep": "heatable",
    "pick_cool_then_place_in_recep": "coolable",
}

TASK_TYPES = tuple(sorted(_GOALS))
"""The six task types, in alphabetical order."""


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


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """The unchanging part of a game and its initial facts; never modified, shared by all environments.

    Objects, receptacles and locations are indices in the sorted order of their PDDL ids, the order in which the
    original lists them. `initial_*` are what `state.State` starts from.

    Attributes:
        objects, receptacles: Displayed names, by index.
        object_types, receptacle_types: Lower-case PDDL types without the `type` ending, by index (empty: untyped).
        places: Location of a receptacle, by index; -1 when it has none.
        at: Receptacles at a location, by location.
        openable: By receptacle.
        accepts: Objects that may be put into a receptacle, by receptacle.
        inside: Text names of what a container object holds, by object; only containers have an entry.
    """

    objects: tuple[str, ...]
    receptacles: tuple[str, ...]
    object_types: tuple[str, ...]
    receptacle_types: tuple[str, ...]
    places: tuple[int, ...]
    at: tuple[tuple[int, ...], ...]
    openable: tuple[bool, ...]
    accepts: tuple[frozenset[int], ...]
    inside: Mapping[int, tuple[str, ...]]
    pickupable: frozenset[int]
    cleanable: frozenset[int]
    heatable: frozenset[int]
    coolable: frozenset[int]
    toggleable: frozenset[int]
    sliceable: frozenset[int]
    knives: frozenset[int]
    sinks: frozenset[int]
    microwaves: frozenset[int]
    fridges: frozenset[int]
    goal: Goal
    start: int
    initial_contents: tuple[tuple[int, ...], ...]
    initial_here: tuple[tuple[int, ...], ...]
    initial_opened: frozenset[int]
    initial_clean: frozenset[int]
    initial_hot: frozenset[int]
    initial_cool: frozenset[int]
    initial_sliced: frozenset[int]
    initial_toggled: frozenset[int]
    _travel: dict[int, dict[str, Action]] = field(default_factory=dict, repr=False)

    def travel(self, location: int) -> dict[str, Action]:
        """Commands that depend on the agent's location alone; callers must copy before changing it."""
        known = self._travel.get(location)
        if known is None:
            known = {"help": ("help", 0, 0), "inventory": ("inventory", 0, 0), "look": ("look", 0, 0)}
            for index, place in enumerate(self.places):
                name = self.receptacles[index]
                if place == location:
                    known[f"examine {name}"] = ("inspect", index, 0)
                elif place >= 0:
                    known[f"go to {name}"] = ("go", index, 0)
            self._travel[location] = known = dict(sorted(known.items()))
        return known


def _names(ids: Iterable[str]) -> dict[str, str]:
    """Displayed name of every id: ids sorted, each kind numbered from its count down to 1."""
    kinds: dict[str, str] = {}
    for identifier in sorted(ids):
        kind, bar, _ = identifier.partition("_bar_")
        kinds[identifier] = (kind + ("basin" if "basin" in identifier else "")) if bar else ""
    left = Counter(kinds.values())
    names = {}
    for identifier, kind in kinds.items():
        if kind:
            names[identifier] = f"{kind} {left[kind]}"
            left[kind] -= 1
        else:
            names[identifier] = f"{identifier} "
    return names


def _read_facts(problem: str) -> dict[str, list[list[str]]]:
    """Initial facts by predicate, each as its list of arguments."""
    init = _INIT.search(problem)
    if init is None:
        raise DataError("the PDDL problem has no (:init ...) followed by a (:goal ...); it is not an ALFWorld game.")
    facts: dict[str, list[list[str]]] = defaultdict(list)
    for text in _FACT.findall(init[1]):
        predicate, *arguments = text.split() or [""]
        if _ARITY.get(predicate) != len(arguments):
            if predicate in ("=", "total-cost") or predicate.startswith("distance"):
                continue
            raise DataError(f"the PDDL problem states the fact '({text.strip()})', which ALFWorld's domain cannot have.")
        facts[predicate].append(arguments)
    return facts


def _read_goal(problem: str) -> tuple[str, str, str]:
    """(task type, first PDDL type, second PDDL type) of the goal."""
    goal = re.sub(r"\s*([()])\s*", r"\1", re.sub(r"\s+", " ", problem[problem.rindex("(:goal") :]))
    for kind, pattern in _GOAL_PATTERNS.items():
        found = pattern.fullmatch(goal)
        if found:
            return kind, found[1], found[2]
    raise DataError(f"the goal {goal[:200]} is not one of ALFWorld's six task types, so the game cannot be played.")


def task_type_of(problem: str) -> str:
    """The task type that a problem's goal stands for."""
    problem = problem.lower()
    if "(:goal" not in problem:
        raise DataError("the PDDL problem has no (:goal ...); it is not an ALFWorld game.")
    return _read_goal(problem)[0]


def _group(pairs: Iterable[tuple[int, int]], size: int) -> tuple[tuple[int, ...], ...]:
    """Sorted first members by second member (`size` groups)."""
    groups: list[set[int]] = [set() for _ in range(size)]
    for member, group in pairs:
        groups[group].add(member)
    return tuple(tuple(sorted(group)) for group in groups)


@lru_cache(maxsize=512)
def parse_problem(problem: str) -> World:
    """Read a problem; results are cached, because many environments play the same game.

    Raises:
        DataError: The text is no problem of ALFWorld's domain.
    """
    problem = problem.lower()
    if ";" in problem:
        problem = re.sub(r";[^\n]*", "", problem)
    if not re.search(r"\(:domain\s+alfred\s*\)", problem):
        raise DataError("the PDDL problem does not belong to the domain 'alfred', so it is not an ALFWorld game.")
    declared = _OBJECTS.search(problem)
    if declared is None:
        raise DataError("the PDDL problem has no (:objects ...), so it is not an ALFWorld game.")
    facts = _read_facts(problem)
    kind_of = dict(_DECLARATION.findall(declared[1]))
    named = {argument for rows in facts.values() for arguments in rows for argument in arguments}
    if not named <= kind_of.keys():
        raise DataError(f"the PDDL problem uses '{min(named - kind_of.keys())}' without declaring it in (:objects ...).")
    names = _names(named)  # Things without any fact do not exist and do not count.
    members: dict[str, list[str]] = defaultdict(list)
    for identifier in names:
        members[kind_of[identifier]].append(identifier)
    objects = {identifier: index for index, identifier in enumerate(members["object"])}
    receptacles = {identifier: index for index, identifier in enumerate(members["receptacle"])}
    locations = {identifier: index for index, identifier in enumerate(members["location"])}
    try:
        return _build(facts, names, objects, receptacles, locations, _read_goal(problem))
    except KeyError as error:
        raise DataError(f"the PDDL problem uses {error} in a fact that needs another kind of thing.") from None


def _build(
    facts: Mapping[str, list[list[str]]],
    names: Mapping[str, str],
    objects: Mapping[str, int],
    receptacles: Mapping[str, int],
    locations: Mapping[str, int],
    goal: tuple[str, str, str],
) -> World:
    def only(predicate: str, index: Mapping[str, int]) -> frozenset[int]:
        return frozenset(index[row[0]] for row in facts.get(predicate, ()))

    def pairs(predicate: str, first: Mapping[str, int], second: Mapping[str, int]) -> list[tuple[int, int]]:
        return [(first[one], second[two]) for one, two in facts.get(predicate, ())]

    start = [locations[place] for _, place in facts.get("atlocation", ())]
    if len(start) != 1:
        raise DataError("the PDDL problem must place the agent at exactly one location.")
    places = dict(at := pairs("receptacleatlocation", receptacles, locations))
    if len(places) != len(set(at)):
        raise DataError("the PDDL problem puts a receptacle at two locations, which no ALFWorld game does.")
    object_types = {objects[thing]: kind for thing, kind in facts.get("objecttype", ())}
    receptacle_types = {receptacles[thing]: kind for thing, kind in facts.get("receptacletype", ())}
    of_type: dict[str, set[int]] = defaultdict(set)
    for thing, kind in object_types.items():
        of_type[kind].add(thing)
    accepted: dict[str, set[int]] = defaultdict(set)
    for receptacle_type, object_type in facts.get("cancontain", ()):
        accepted[receptacle_type] |= of_type[object_type]
    accepts = {kind: frozenset(things) for kind, things in accepted.items()}
    object_names = tuple(names[identifier] for identifier in objects)
    inside = _group(pairs("inreceptacleobject", objects, objects), len(objects))
    openable = only("openable", receptacles)

    def receptacles_of(kinds: set[str]) -> frozenset[int]:
        return frozenset(thing for thing, kind in receptacle_types.items() if kind in kinds)

    kind, first, second = goal
    wanted = of_type[second if kind == "look_at_obj_in_light" else first]
    if kind in _GOAL_FILTER:
        wanted = wanted & only(_GOAL_FILTER[kind], objects)
    looking = kind == "look_at_obj_in_light"
    toggleable = only("toggleable", objects)
    return World(
        objects=object_names,
        receptacles=tuple(names[identifier] for identifier in receptacles),
        object_types=tuple(object_types.get(i, "").removesuffix("type") for i in range(len(objects))),
        receptacle_types=tuple(receptacle_types.get(i, "").removesuffix("type") for i in range(len(receptacles))),
        places=tuple(places.get(i, -1) for i in range(len(receptacles))),
        at=_group(at, len(locations)),
        openable=tuple(i in openable for i in range(len(receptacles))),
        accepts=tuple(accepts.get(receptacle_types.get(i, ""), frozenset()) for i in range(len(receptacles))),
        inside={i: tuple(object_names[j] for j in inside[i]) for i in only("isreceptacleobject", objects)},
        pickupable=only("pickupable", objects),
        cleanable=only("cleanable", objects),
        heatable=only("heatable", objects),
        coolable=only("coolable", objects),
        toggleable=toggleable,
        sliceable=only("sliceable", objects),
        knives=frozenset(thing for thing, kind in object_types.items() if kind in _KNIVES),
        sinks=receptacles_of(_SINKS),
        microwaves=receptacles_of({"microwavetype"}),
        fridges=receptacles_of({"fridgetype"}),
        goal=Goal(
            kind=kind,
            objects=frozenset(wanted),
            receptacles=() if looking else tuple(sorted(receptacles_of({second}))),
            lamps=frozenset(of_type[first]) & toggleable if looking else frozenset(),
        ),
        start=start[0],
        initial_contents=_group(pairs("inreceptacle", objects, receptacles), len(receptacles)),
        initial_here=_group(pairs("objectatlocation", objects, locations), len(locations)),
        initial_opened=only("opened", receptacles),
        initial_clean=only("isclean", objects),
        initial_hot=only("ishot", objects),
        initial_cool=only("iscool", objects),
        initial_sliced=only("issliced", objects),
        initial_toggled=only("istoggled", objects),
    )
