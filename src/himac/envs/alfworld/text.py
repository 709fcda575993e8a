"""The English of the ALFWorld text games, word for word that of the original grammar."""

from __future__ import annotations

from collections.abc import Sequence

WELCOME = "-= Welcome to TextWorld, ALFRED! =-"
NOTHING_HAPPENS = "Nothing happens."
HELP = """\
Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""


def listing(parts: Sequence[str]) -> str:
    """Join as the original does: `a`, then `a, and b`, then `a, b, and c`; `nothing` when empty."""
    if not parts:
        return "nothing"
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])}, and {parts[-1]}"


def things(names: Sequence[str]) -> str:
    """A listing with articles; the original says `a` before vowels too."""
    return listing([f"a {name}" for name in names])


def opening(room: str, instruction: str) -> str:
    """The first observation of a game."""
    return f"{WELCOME}\n\n{room}\n\nYour task is to: {instruction}."


def middle_of_room(receptacles: Sequence[str]) -> str:
    """What `look` says away from every receptacle."""
    return f"You are in the middle of a room. Looking quickly around you, you see {things(receptacles)}."


def facing(receptacles: Sequence[str], floor: Sequence[str]) -> str:
    """What `look` says in front of receptacles."""
    return f"You are facing the {listing(receptacles)}. Next to it, you see {things(floor)}."


def receptacle(name: str, openable: bool, opened: bool, contents: Sequence[str]) -> str:
    """A receptacle and, unless it is closed, what it holds."""
    if not openable:
        return f"On the {name}, you see {things(contents)}."
    if opened:
        return f"The {name} is open. In it, you see {things(contents)}."
    return f"The {name} is closed."


def inventory(held: str | None) -> str:
    """What the agent carries."""
    return "You are not carrying anything." if held is None else f"You are carrying: a {held}."


def container(name: str, contents: Sequence[str]) -> str:
    """A held object that can itself hold things (a mug, a pan)."""
    return f"This is a normal {name}. In it, you see {things(contents)}."


def condition(name: str, *, clean: bool, hot: bool, cool: bool, sliced: bool, lit: bool, sliceable: bool) -> str:
    """A held object's condition; the first rule of the original that fits wins.

    `lit` is true for a toggleable object that was used. A sliced object counts as such alone only when `sliceable`.
    """
    if sliced:
        heat = "hot" if hot else "cool" if cool else ""
        words = f"{heat} and clean" if heat and clean else heat or ("clean" if clean else "")
        if words:
            return f"This is a {words} sliced {name}."
    if clean and (hot or cool):
        return f"This is a {'hot' if hot else 'cool'} and clean {name}."
    if hot:
        return f"This is a hot {name}."
    if clean:
        return f"This is a clean {name}."
    if cool:
        return f"This is a cold {name}."
    if lit:
        return f"This {name} is on."
    if sliceable and sliced:
        return f"This is a sliced {name}."
    return f"There's nothing special about {name}."
