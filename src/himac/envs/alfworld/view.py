"""Two ways to show ALFWorld to a model: `full` (the environment's own text) and `compact` (for small models).

Everything here is a pure function of the text, so the same rules hold for demonstrations and at rollout time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, SupportsFloat

import gymnasium

View = Literal["compact", "full"]

NOTHING_HAPPENS = "Nothing happens."

_OVERVIEW = re.compile(r"Looking quickly around you, you see (.+?)\.\s*(?:\n|$)")
_ARTICLED = re.compile(r"\ban? (\S+ \d+)")
_NUMBERED = re.compile(r"(\S+) (\d+)")
_CLOSED = re.compile(r"(?:^|\. )The (\S+ \d+) is closed\.$")
_CONTENTS = re.compile(r"(?:^|\. )(?:On the (\S+ \d+)|The (\S+ \d+) is open\. In it), you see (.+)\.$")
_COMPACT = re.compile(r"^([a-z]+ \d+): (closed|nothing|[a-z]+ \d+(?:, [a-z]+ \d+)*)$")
_COMPACT_ROOM = re.compile(r"^room: (.+)$", re.MULTILINE)
_GREETING = "-= Welcome to TextWorld"
_STATIONARY = ("clean", "heat", "cool", "put", "move", "place")


@dataclass(frozen=True, slots=True)
class Sight:
    """What an observation says of one receptacle.

    Attributes:
        place: Its name, "drawer 2".
        things: Names of what lies there, in the order of the text; empty when closed.
    """

    place: str
    closed: bool
    things: tuple[str, ...] = ()


def sight(observation: str) -> Sight | None:
    """The receptacle an observation (of either view) describes, or `None`."""
    text = observation.strip()
    if match := _COMPACT.match(text):
        place, content = match.groups()
        things = () if content in ("closed", "nothing") else tuple(content.split(", "))
        return Sight(place, content == "closed", things)
    if match := _CLOSED.search(text):
        return Sight(match[1], True)
    if match := _CONTENTS.search(text):
        return Sight(match[1] or match[2], False, tuple(_ARTICLED.findall(match[3])))
    return None


def parse_overview(text: str) -> dict[str, int]:
    """Receptacle types of the room with the highest number of each, alphabetical; empty when not in `text`."""
    room: dict[str, int] = {}
    found = _COMPACT_ROOM.search(text) or _OVERVIEW.search(text)
    for kind, number in _NUMBERED.findall(found[1].replace(",", " ")) if found else ():
        room[kind] = max(room.get(kind, 0), int(number))
    return dict(sorted(room.items()))


def compact(feedback: str) -> str:
    """Shorten the environment's text; what has no short form comes back unchanged.

    The initial text becomes "room: bed 1, drawer 10" (each receptacle type with its highest number), a look at a
    receptacle becomes "drawer 2: cellphone 2, pen 1", "drawer 2: closed" or "drawer 2: nothing".
    """
    if feedback.lstrip().startswith(_GREETING):
        room = parse_overview(feedback)
        return "room: " + (", ".join(f"{kind} {number}" for kind, number in room.items()) or "nothing")
    seen = sight(feedback)
    if seen is None:
        return feedback
    return f"{seen.place}: " + ("closed" if seen.closed else ", ".join(seen.things) or "nothing")


def apply_view(view: View, feedback: str) -> str:
    """The text of `feedback` in `view`."""
    return compact(feedback) if view == "compact" else feedback


def needs_overview(subgoal: str) -> bool:
    """Whether the sub-goal may search the room; cleaning, heating, cooling and putting name their place."""
    words = subgoal.split()
    return not words or words[0].lower() not in _STATIONARY


def start_text(subgoal: str, overview: str, last_observation: str) -> str:
    """The text a segment starts with: the last observation, after the overview where the sub-goal searches.

    Before the first action the last observation is the room itself, which is then not said twice.
    """
    if not needs_overview(subgoal):
        return last_observation
    if not last_observation or compact(last_observation) == overview:
        return overview
    return f"{overview}\n{last_observation}"


class ViewWrapper(gymnasium.Wrapper[str, str, str, str]):
    """Shows an `AlfworldEnv` in a view.

    At reset `info["overview"]` is the compact room text and `info["instruction"]` the task without its final dot.
    """

    keeps_no_state = True

    def __init__(self, env: gymnasium.Env[str, str], view: View = "compact") -> None:
        super().__init__(env)
        self.view: View = view

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Reset the inner environment; `options={"game": id}` selects the game."""
        feedback, info = self.env.reset(seed=seed, options=options)
        info = dict(info)
        info["overview"] = compact(feedback)
        if "instruction" in info:
            info["instruction"] = str(info["instruction"]).strip().rstrip(".")
        return apply_view(self.view, feedback), info

    def step(self, action: str) -> tuple[str, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the inner environment."""
        feedback, reward, terminated, truncated, info = self.env.step(action)
        return apply_view(self.view, feedback), reward, terminated, truncated, info
