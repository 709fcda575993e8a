"""What an agent of MiniGrid and BabyAI sees, in words: `describe: himac.envs.minigrid:describe`."""

from __future__ import annotations

from typing import Any

_OBJECTS = {4: "door", 5: "key", 6: "ball", 7: "box", 8: "goal", 9: "lava"}
_COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
_DOORS = ("open", "closed", "locked")
_EMPTY, _FLOOR, _DOOR = 1, 3, 4
_DIRECTIONS = ("east", "south", "west", "north")
ACTIONS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle", "done")
"""Names of the seven actions, for `env.kwargs.actions`."""


def describe(observation: Any, env: Any) -> str:
    """Things in sight from near to far, how far the way ahead is free, the direction, and what is carried.

    Args:
        observation: MiniGrid's own: `image` uint8 [W, H, 3] (object, colour, state), the agent at the middle of the
            last row and looking toward the first; `direction`.
        env: Asked for what is carried.
    """
    image = observation["image"]
    width, height = image.shape[:2]
    middle, last = width // 2, height - 1
    things = []
    for x in range(width):
        for y in range(height):
            kind, colour, state = (int(value) for value in image[x, y])
            if kind in _OBJECTS and (x, y) != (middle, last):
                ahead, side = last - y, x - middle
                opened = f"{_DOORS[state]} " if kind == _DOOR else ""
                name = _OBJECTS[kind] if kind in (8, 9) else f"{opened}{_COLOURS[colour]} {_OBJECTS[kind]}"
                things.append((ahead + abs(side), f"{name} {_place(ahead, side)}"))
    free = 0
    while free < last and _passable(image[middle, last - 1 - free]):
        free += 1
    carried = getattr(env.unwrapped, "carrying", None)
    carries = "" if carried is None else f" You carry a {carried.color} {carried.type}."
    seen = "; ".join(text for _, text in sorted(things)) or "nothing"
    return f"You see {seen}. Free ahead: {free}. You face {_DIRECTIONS[int(observation['direction'])]}.{carries}"


def _passable(cell: Any) -> bool:
    kind, _, state = (int(value) for value in cell)
    return kind in (_EMPTY, _FLOOR) or (kind == _DOOR and _DOORS[state] == "open")


def _place(ahead: int, side: int) -> str:
    parts = [f"{ahead} ahead"] if ahead else []
    parts += [f"{abs(side)} {'left' if side < 0 else 'right'}"] if side else []
    return ", ".join(parts)
