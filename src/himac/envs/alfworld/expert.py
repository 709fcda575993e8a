"""A scripted expert that explores without hidden knowledge: it reads the task, the room text and observations only.

It first writes a blueprint (`plan`), then acts sub-goal by sub-goal. `next_action` is a pure function of one segment
(sub-goal, start text, turns), so a model that sees no more than the segment can imitate it exactly.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from himac.envs.alfworld.prior import Prior
from himac.envs.alfworld.view import (
    NOTHING_HAPPENS,
    Sight,
    parse_overview,
    sight,
    start_text,
)
from himac.envs.base import TextEnv
from himac.types import Demonstration, DemoSegment, DemoTurn, Task

HINTS = 3
"""Receptacle types a searching sub-goal names."""

_SEARCH = re.compile(r"^(take|use) (another )?(\w+)(?: \(look in ([\w, ]+)\))?$")
_TRANSFORM = re.compile(r"^(clean|heat|cool) (\w+) with (\w+)$")
_PUT = re.compile(r"^put (\w+) in (\w+)$")

_PICKED = re.compile(r"^You pick up the (\w+ \d+) from the (\w+ \d+)\.")
_TRANSFORMED = re.compile(r"^You (clean|heat|cool) the (\w+ \d+) using the (\w+ \d+)\.")
_MOVED = re.compile(r"^You move the (\w+ \d+) to the (\w+ \d+)\.")
_TURNED_ON = re.compile(r"^You turn on the (\w+ \d+)\.")
_CHORE_DONE = re.compile(r"^Chore \d+ of \d+ is done\.(?: You carry the (\w+ \d+)\.)?$", re.MULTILINE)

_STUBBORN = 0.4
"""Probability that a rejected mistake is repeated, as an imperfect policy does."""

_ABSENT = ("apple", "book", "candle", "cellphone", "cup", "fork", "keychain", "knife", "mug", "pen", "pillow", "vase")
_APPLIANCES = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}


@dataclass(frozen=True, slots=True)
class Goal:
    """An instruction, understood.

    Attributes:
        thing: Object type to fetch.
        place: Receptacle type it belongs in, or the lamp to hold it under.
        change: `clean`, `heat`, `cool` or `None`.
        lamp: `place` is a lamp.
        count: How many objects are wanted.
    """

    thing: str
    place: str
    change: str | None = None
    lamp: bool = False
    count: int = 1


_TEMPLATES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Goal]], ...] = (
    (re.compile(r"^(?:look at|examine the) (\w+) (?:under|with) the (\w+)$"), lambda m: Goal(m[1], m[2], lamp=True)),
    (re.compile(r"^put two (\w+) in (\w+)$"), lambda m: Goal(m[1], m[2], count=2)),
    (re.compile(r"^find two (\w+) and put them in (\w+)$"), lambda m: Goal(m[1], m[2], count=2)),
    (re.compile(r"^(clean|heat|cool) some (\w+) and put it in (\w+)$"), lambda m: Goal(m[2], m[3], change=m[1])),
    (
        re.compile(r"^put a (clean|hot|cool) (\w+) in (\w+)$"),
        lambda m: Goal(m[2], m[3], change="heat" if m[1] == "hot" else m[1]),
    ),
    (re.compile(r"^put (?:a|some) (\w+) (?:in|on) (\w+)$"), lambda m: Goal(m[1], m[2])),
)


def parse_instruction(instruction: str) -> Goal | None:
    """Understand a templated instruction, or `None` when it is none (a human annotation, say)."""
    text = instruction.strip().rstrip(".")
    for pattern, build in _TEMPLATES:
        if match := pattern.match(text):
            return build(match)
    return None


def plan(
    instruction: str, overview: str, prior: Prior, rng: random.Random | None = None, hint_noise: float = 0.0
) -> tuple[str, ...]:
    """The blueprint for a task, empty when the instruction is not understood.

    With probability `hint_noise` a searching sub-goal names random receptacle types of the room, or the right ones
    in random order, instead of the most promising ones.
    """
    goal = parse_instruction(instruction)
    if goal is None:
        return ()
    room = parse_overview(overview)

    def search(verb: str, thing: str, avoid: str | None) -> str:
        # A type with a single receptacle that may not hold the object (it is the goal) is no place to look.
        places = prior.rank(thing, [kind for kind in room if kind != avoid])[:HINTS]
        if rng is not None and hint_noise and rng.random() < hint_noise:
            places = rng.sample(places, len(places)) if rng.random() < 0.5 else rng.sample(sorted(room), len(places))
        return f"{verb} {thing} (look in {', '.join(places)})" if places else f"{verb} {thing}"

    avoid = None if goal.lamp or goal.change else goal.place
    subgoals = [search("take", goal.thing, avoid)]
    if goal.change:
        subgoals.append(f"{goal.change} {goal.thing} with {_APPLIANCES[goal.change]}")
    if goal.lamp:
        return (*subgoals, search("use", goal.place, None))
    put = f"put {goal.thing} in {goal.place}"
    for _ in range(goal.count - 1):
        subgoals += [put, search("take another", goal.thing, avoid)]
    return (*subgoals, put)


@dataclass(slots=True)
class _Trail:
    """What the turns of one segment tell."""

    here: str | None = None
    held: str | None = None
    put_down: str | None = None
    put_where: str | None = None
    done: bool = False
    seen: dict[str, Sight] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    def read_start(self, observation: str) -> None:
        if match := _PICKED.match(observation):
            self.held, self.here = match.groups()
        elif match := _TRANSFORMED.match(observation):
            self.held, self.here = match[2], match[3]
        elif match := _MOVED.match(observation):
            self.put_down, self.put_where = match.groups()
            self.here = self.put_where
        else:
            self._look(observation)

    def read_turn(self, action: str, observation: str, verb: str) -> None:
        if observation.strip() == NOTHING_HAPPENS:
            self.failed.add(action)
            return
        if match := _PICKED.match(observation):
            self.held = match[1]
            self.done = self.done or verb == "take"
        elif match := _TRANSFORMED.match(observation):
            self.done = self.done or match[1] == verb
        elif match := _MOVED.match(observation):
            self.done = self.done or verb == "put"
        elif _TURNED_ON.match(observation):
            self.done = self.done or verb == "use"
        elif self._look(observation) and action.startswith(("go to ", "open ")):
            # What failed elsewhere, or before the door was open, may work now.
            self.failed = {act for act in self.failed if act.startswith(("take ", "use "))}

    def closed(self, place: str) -> bool:
        return place in self.seen and self.seen[place].closed

    def inspected(self, place: str) -> bool:
        return place in self.seen and not self.seen[place].closed

    def _look(self, observation: str) -> bool:
        found = sight(observation)
        if found is None:
            return False
        self.here = found.place
        self.seen[found.place] = found
        return True

    def first_untried(self, *actions: str) -> str | None:
        return next((action for action in actions if action not in self.failed), None)

    def approach(self, place: str) -> str | None:
        # `go to` is rejected for a receptacle at the agent's own location; there it can be examined instead.
        return self.first_untried(f"go to {place}", f"examine {place}")


def next_action(subgoal: str, start: str, turns: Sequence[tuple[str, str]]) -> str | None:
    """The expert's reply in a segment: an action, or `None` to close the sub-goal (achieved or hopeless).

    Args:
        subgoal: In one of the forms that `plan` writes.
        start: The segment's start text (see `view.start_text`), in either view.
        turns: (action, observation) of this segment so far.
    """
    if match := _SEARCH.match(subgoal):
        verb, another, thing, hints = match.groups()
        trail = _read(start, turns, verb)
        listed = hints.split(", ") if hints else []
        return None if trail.done else _search(trail, verb, thing, listed, parse_overview(start), bool(another))
    if match := _TRANSFORM.match(subgoal):
        verb, thing, place = match[1], match[2], f"{match[3]} 1"
        trail = _read(start, turns, verb)
        if trail.done:
            return None
        action = f"{verb} {trail.held or thing + ' 1'} with {place}"
        return trail.first_untried(action) if trail.here == place else trail.approach(place)
    if match := _PUT.match(subgoal):
        thing, place = match[1], f"{match[2]} 1"
        trail = _read(start, turns, "put")
        if trail.done:
            return None
        if trail.here != place:
            return trail.approach(place)
        move, unlock = f"move {trail.held or thing + ' 1'} to {place}", f"open {place}"
        return trail.first_untried(*((unlock, move) if trail.closed(place) else (move, unlock)))
    return None


def achieved(subgoal: str, observation: str) -> bool:
    """Whether `observation` reports what the sub-goal wanted."""
    verb = subgoal.split()[0]
    patterns = {"take": _PICKED, "use": _TURNED_ON, "put": _MOVED}
    if verb == "use" and _CHORE_DONE.search(observation):
        return True
    return bool(patterns.get(verb, _TRANSFORMED).match(_answer(observation)))


def _read(start: str, turns: Sequence[tuple[str, str]], verb: str) -> _Trail:
    trail = _Trail()
    trail.read_start(_answer(start))
    for action, observation in turns:
        trail.read_turn(action, _answer(observation), verb)
    for text in (start, *(observation for _, observation in turns)):
        if match := _CHORE_DONE.search(text):
            trail.held = match[1] or trail.held
            trail.done = trail.done or verb == "use"  # under a lamp that is lit already
    return trail


def _answer(text: str) -> str:
    """What the command brought about: the last line; the room or a word about the task may stand before it."""
    return text.rsplit("\n", 1)[-1]


def _search(
    trail: _Trail, verb: str, thing: str, hints: Sequence[str], room: dict[str, int], another: bool
) -> str | None:
    settled, avoid = (trail.put_down, trail.put_where) if another else (None, None)
    for place in _here_first(trail):
        for name in trail.seen[place].things:
            action = f"take {name} from {place}" if verb == "take" else f"use {name}"
            if name.split()[0] == thing and name != settled and place != avoid and action not in trail.failed:
                return action if place == trail.here else trail.approach(place)
    for place in _order(hints, room):
        if place == avoid or trail.inspected(place):
            continue
        step = trail.first_untried(f"open {place}") if trail.closed(place) and trail.here == place else None
        if step := step or trail.approach(place):
            return step
    return None


def _here_first(trail: _Trail) -> list[str]:
    return sorted(trail.seen, key=lambda place: place != trail.here)


def _order(hints: Sequence[str], room: dict[str, int]) -> Iterator[str]:
    """The named types first, then the others, those with the fewest receptacles before the rest."""
    kinds = [kind for kind in dict.fromkeys(hints) if kind in room]
    others = sorted((kind for kind in room if kind not in kinds), key=lambda kind: room[kind])
    for kind in (*kinds, *others):
        yield from (f"{kind} {number}" for number in range(1, room[kind] + 1))


def demonstrate(
    env: TextEnv,
    task: Task,
    rng: random.Random,
    prior: Prior,
    noise: float = 0.0,
    hint_noise: float = 0.0,
    step_limit: int = 50,
    planner: Callable[[str, str, Prior, random.Random, float], tuple[str, ...]] = plan,
) -> Demonstration:
    """Play a game as the expert does.

    Args:
        env: An `AlfworldEnv` in a view; `info["overview"]` is the room.
        task: Its options name the game.
        rng: Draws mistakes and other hints; unused when both noises are 0.
        prior: Where things usually lie.
        noise: Probability, before each of the expert's actions, of a shown mistake (`DemoTurn.train` false) first.
        hint_noise: See `plan`.
        step_limit: Environment steps, mistakes included, before the episode is given up.
        planner: Writes the blueprint, as `plan` does.
    """
    first, info = env.reset(options=dict(task.options))
    instruction, overview, last = str(info["instruction"]), str(info["overview"]), first
    segments: list[DemoSegment] = []
    steps, won = 0, False
    for subgoal in planner(instruction, overview, prior, rng, hint_noise):
        start = start_text(subgoal, overview, last)
        turns: list[DemoTurn] = []
        trail: list[tuple[str, str]] = []
        while not won and steps < step_limit:
            action = next_action(subgoal, start, trail)
            if action is None:
                turns.append(DemoTurn(None, "", sub_done=True))
                break
            mistake = _next_mistake(action, subgoal, trail, turns, overview, info, rng, noise)
            last, _, terminated, _, info = env.step(mistake or action)
            turns.append(DemoTurn(mistake or action, last, train=mistake is None))
            trail.append((mistake or action, last))
            steps += 1
            won = bool(info["won"])
            if terminated:
                break
        segments.append(DemoSegment(subgoal, start, tuple(turns)))
        if won or not achieved(subgoal, last):
            break
    return Demonstration(task, instruction, first, tuple(segments), won)


def _next_mistake(
    action: str,
    subgoal: str,
    trail: Sequence[tuple[str, str]],
    turns: Sequence[DemoTurn],
    overview: str,
    info: dict[str, Any],
    rng: random.Random,
    noise: float,
) -> str | None:
    """A mistake to show in place of `action`, sometimes the one just rejected once more, mostly none."""
    if not noise:
        return None
    if turns and not turns[-1].train and turns[-1].observation == NOTHING_HAPPENS and rng.random() < _STUBBORN:
        return None if turns[-1].action == action else turns[-1].action
    return _mistake(action, subgoal, trail, overview, info, rng) if rng.random() < noise else None


def _mistake(
    action: str, subgoal: str, trail: Sequence[tuple[str, str]], overview: str, info: dict[str, Any], rng: random.Random
) -> str | None:
    """A command that is rejected or leads nowhere, in place of `action`; `None` when the draw is not such a one."""
    admissible: list[str] = info["admissible_commands"]
    visited = [turn[0].removeprefix("go to ") for turn in trail if turn[0].startswith("go to ")]
    room = parse_overview(overview)
    kind = rng.choice(sorted(room)) if room else "drawer"
    place = visited[-1] if visited else f"{kind} 1"
    words = action.split()
    wanted = subgoal.split(" (")[0].split()[-1]
    wrong = {
        "hope": f"take {wanted} {rng.randint(1, 3)} from {place}",
        "number": re.sub(r"\d+", lambda m: str(int(m[0]) + rng.randint(1, 4)), action, count=1),
        "absent": f"take {rng.choice(_ABSENT)} {rng.randint(1, 2)} from {place}",
        "typo": " ".join(words[:-1] if rng.random() < 0.5 else [w for i, w in enumerate(words) if i != 1]),
        "here": f"go to {place}",
        "nowhere": f"go to {kind} {room.get(kind, 1) + rng.randint(1, 3)}",
    }
    detours = [f"go to {kind} {rng.randint(1, room.get(kind, 1))}", "look", "inventory"]
    if rng.random() < 0.3:
        detour = rng.choice(detours)
        return detour if detour in admissible and detour != action else None
    candidate = wrong["hope" if rng.random() < 0.4 else rng.choice(sorted(wrong))]
    return None if candidate in admissible or candidate == action else candidate
