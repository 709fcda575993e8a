"""Reads an ALFWorld PDDL problem into a `World`: everything of a game that never changes, plus its initial facts.

All games share one domain, so its semantics are written out in `state` instead of being grounded from PDDL. What
matters here are the names: ids are sorted, and the things of one kind are numbered from the highest down.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from himac.envs.alfworld.goals import GOAL_PROPERTY, LOOK, Goal, read_goal
from himac.errors import DataError

Action = tuple[str, int, int]
"""(verb, first, second): indices of objects and receptacles as the verb needs them, else 0."""

_FACT = re.compile(r"\(([^()]+)\)")
_COSTS = re.compile(r"(?:\(=\d+\))*")

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
_THINGS = 2000
"""The largest official game has 214. Work and memory grow with their square."""
_KNIVES = {"knifetype", "butterknifetype"}
_SINKS = {"sinktype", "sinkbasintype"}
_NO_GOAL = Goal("", frozenset(), (), frozenset())


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

    def goal_of(self, kind: str, thing: str, place: str) -> Goal:
        """The goal of a task type in this room.

        Args:
            thing: Object type.
            place: Receptacle type, for `look_at_obj_in_light` the type of lamp.
        """
        objects = frozenset(i for i, known in enumerate(self.object_types) if known == thing)
        if kind == LOOK:
            lamps = frozenset(i for i in self.toggleable if self.object_types[i] == place)
            return Goal(kind, objects, (), lamps)
        if kind in GOAL_PROPERTY:
            objects &= getattr(self, GOAL_PROPERTY[kind])
        return Goal(
            kind, objects, tuple(i for i, known in enumerate(self.receptacle_types) if known == place), frozenset()
        )

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
    start, end = problem.find("(:init"), problem.rfind("(:goal")
    init = problem[start + 6 : end].rstrip()
    if not 0 <= start < end or not init.endswith(")"):
        raise DataError("the PDDL problem has no (:init ...) followed by a (:goal ...); it is not an ALFWorld game.")
    facts: dict[str, list[list[str]]] = defaultdict(list)
    init = init[:-1]
    for text in _FACT.findall(init):
        words = text.split()
        predicate = words[0] if words else ""
        if _ARITY.get(predicate) != len(words) - 1:
            if predicate in ("total-cost", "distance"):
                continue
            raise DataError(
                f"the PDDL problem states the fact '({text.strip()})', which ALFWorld's domain cannot have."
            )
        facts[predicate].append(words[1:])
    rest = _FACT.sub("", init).split()
    if not _COSTS.fullmatch("".join(rest)):
        raise DataError(f"the PDDL problem's (:init ...) has '{rest[0]}' where only facts may stand.")
    return facts


def _read_objects(problem: str) -> dict[str, str]:
    """Declared kind (`object`, `receptacle`, ...) of every id."""
    start = problem.find("(:objects")
    end = problem.find(")", start)
    if not 0 <= start < end:
        raise DataError("the PDDL problem has no (:objects ...), so it is not an ALFWorld game.")
    kinds: dict[str, str] = {}
    waiting: list[str] = []
    words = iter(problem[start + len("(:objects") : end].split())
    for word in words:
        if word == "-":
            kinds.update(dict.fromkeys(waiting, next(words, "")))
            waiting.clear()
        else:
            waiting.append(word)
    return kinds


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
    facts = _read_facts(problem)
    kind_of = _read_objects(problem)
    named = {argument for rows in facts.values() for arguments in rows for argument in arguments}
    if not named <= kind_of.keys():
        raise DataError(
            f"the PDDL problem uses '{min(named - kind_of.keys())}' without declaring it in (:objects ...)."
        )
    if len(named) > _THINGS:
        raise DataError(f"the PDDL problem has {len(named)} things; a game has at most {_THINGS}.")
    names = _names(named)  # Things without any fact do not exist and do not count.
    members: dict[str, list[str]] = defaultdict(list)
    for identifier in names:
        members[kind_of[identifier]].append(identifier)
    objects = {identifier: index for index, identifier in enumerate(members["object"])}
    receptacles = {identifier: index for index, identifier in enumerate(members["receptacle"])}
    locations = {identifier: index for index, identifier in enumerate(members["location"])}
    try:
        return _build(facts, names, objects, receptacles, locations, read_goal(problem))
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
    there = set(receptacle_types.values())
    for receptacle_type, object_type in facts.get("cancontain", ()):
        if receptacle_type in there:
            accepted[receptacle_type] |= of_type[object_type]
    accepts = {kind: frozenset(things) for kind, things in accepted.items()}
    object_names = tuple(names[identifier] for identifier in objects)
    inside = _group(pairs("inreceptacleobject", objects, objects), len(objects))
    openable = only("openable", receptacles)

    def receptacles_of(kinds: set[str]) -> frozenset[int]:
        return frozenset(thing for thing, kind in receptacle_types.items() if kind in kinds)

    room = World(
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
        toggleable=only("toggleable", objects),
        sliceable=only("sliceable", objects),
        knives=frozenset(thing for thing, kind in object_types.items() if kind in _KNIVES),
        sinks=receptacles_of(_SINKS),
        microwaves=receptacles_of({"microwavetype"}),
        fridges=receptacles_of({"fridgetype"}),
        goal=_NO_GOAL,
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
    task_type, one, other = (name.removesuffix("type") for name in goal)
    wanted, where = (other, one) if task_type == LOOK else (one, other)
    return replace(room, goal=room.goal_of(task_type, wanted, where))
