"""The changing part of a game: what each command does, which commands there are, whether the goal holds.

One method a verb, the semantics of ALFWorld's PDDL domain written out. Quirks of the original that are kept on purpose:
heating, cooling and cleaning need no opened appliance; `use` works on what a closed receptacle holds and always turns
on; only a held object can be examined; there is no `go to` for the place where the agent already is.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import Any

from himac.envs.alfworld import text
from himac.envs.alfworld.goals import CLEAN, COOL, HEAT, LOOK, TWO, Goal
from himac.envs.alfworld.problem import Action, World


class State:
    """One running game. Objects, receptacles and locations are indices into `world`.

    Attributes:
        location: Where the agent is.
        held: The held object or -1.
        contents: Sorted objects of each receptacle.
        here: Sorted objects at each location; not always consistent with `contents`, exactly as in the original.
        opened, clean, hot, cool, sliced, toggled: What the names say; receptacles for `opened`, else objects.
        removed: (object, receptacle) pairs of things taken out and not put back. The original shows such a thing as
            lying on the floor when it was then put into another receptacle of the same location.
    """

    __slots__ = (
        "clean",
        "contents",
        "cool",
        "held",
        "here",
        "hot",
        "location",
        "opened",
        "removed",
        "sliced",
        "toggled",
        "world",
    )

    def __init__(self, world: World) -> None:
        self.world = world
        self.location = world.start
        self.held = -1
        self.contents = list(world.initial_contents)
        self.here = list(world.initial_here)
        self.opened = set(world.initial_opened)
        self.clean = set(world.initial_clean)
        self.hot = set(world.initial_hot)
        self.cool = set(world.initial_cool)
        self.sliced = set(world.initial_sliced)
        self.toggled = set(world.initial_toggled)
        self.removed: set[tuple[int, int]] = set()

    def kept(self) -> dict[str, Any]:
        """What changes, by name; shared with this state."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "world"}

    @classmethod
    def of(cls, world: World, kept: dict[str, Any]) -> State:
        """A state that takes over what `kept` gave of another one of the same world."""
        state = cls(world)
        for name, value in kept.items():
            setattr(state, name, value)
        return state

    def opening(self, instruction: str) -> str:
        """The first observation."""
        world = self.world
        if world.at[self.location]:
            return text.opening(self.look(), instruction)
        room = text.middle_of_room(
            [name for name, place in zip(world.receptacles, world.places, strict=True) if place >= 0]
        )
        return text.opening(room, instruction)

    def is_accessible(self, receptacle: int) -> bool:
        """Whether things can be seen in, taken from and put into a receptacle."""
        return not self.world.openable[receptacle] or receptacle in self.opened

    def commands(self) -> dict[str, Action]:
        """Every admissible command with the action it stands for, unsorted."""
        world, held = self.world, self.held
        commands = world.travel(self.location).copy()
        objects = world.objects
        for place in world.at[self.location]:
            name = world.receptacles[place]
            contents = self.contents[place]
            if world.openable[place]:
                accessible = place in self.opened
                if accessible:
                    commands["close " + name] = ("close", place, 0)
                else:
                    commands["open " + name] = ("open", place, 0)
            else:
                accessible = True
            if held < 0:
                if accessible:
                    for thing in contents:
                        if thing in world.pickupable:
                            commands[f"take {objects[thing]} from {name}"] = ("take", thing, place)
            else:
                held_name = objects[held]
                if accessible and held in world.accepts[place]:
                    commands[f"move {held_name} to {name}"] = ("move", held, place)
                if place in world.sinks and held in world.cleanable:
                    commands[f"clean {held_name} with {name}"] = ("clean", held, place)
                if place in world.microwaves and held in world.heatable:
                    commands[f"heat {held_name} with {name}"] = ("heat", held, place)
                if place in world.fridges and held in world.coolable:
                    commands[f"cool {held_name} with {name}"] = ("cool", held, place)
            if not world.toggleable.isdisjoint(contents):
                for thing in contents:
                    if thing in world.toggleable:
                        commands["use " + objects[thing]] = ("use", thing, 0)
        if held >= 0:
            commands["examine " + objects[held]] = ("examine", held, 0)
            if held in world.knives:
                for thing in self.here[self.location]:
                    if thing in world.sliceable:
                        commands[f"slice {objects[thing]} with {objects[held]}"] = ("slice", thing, held)
        return commands

    def apply(self, action: Action) -> str:
        """Carry out an admissible action and tell what the agent sees."""
        verb, first, second = action
        return _VERBS[verb](self, first, second)

    def won(self) -> bool:
        """Whether the game's goal holds now."""
        return self.holds(self.world.goal)

    def holds(self, goal: Goal) -> bool:
        """Whether a goal of this room holds now; it can cease to hold when play goes on."""
        kind = goal.kind
        if kind == LOOK:
            if self.held not in goal.objects:
                return False
            lit = goal.lamps & self.toggled
            return bool(lit) and any(not lit.isdisjoint(self.contents[place]) for place in self.world.at[self.location])
        ready = goal.objects
        if kind == CLEAN:
            ready = ready & self.clean
        elif kind == HEAT:
            ready = ready & self.hot
        elif kind == COOL:
            ready = ready & self.cool
        elif kind == TWO:
            return any(len(ready.intersection(self.contents[place])) > 1 for place in goal.receptacles)
        return bool(ready) and any(not ready.isdisjoint(self.contents[place]) for place in goal.receptacles)

    def look(self, _first: int = 0, _second: int = 0) -> str:
        """What is around; away from every receptacle the original's grammar finds nothing to list."""
        world = self.world
        near = world.at[self.location]
        if not near:
            return text.middle_of_room(())
        floor: list[str] = []
        if self.removed:
            floor = [
                world.objects[thing]
                for thing in self.here[self.location]
                for place in near
                if (thing, place) in self.removed
            ]
        return text.facing([world.receptacles[place] for place in near], floor)

    def inspect(self, receptacle: int, _second: int = 0) -> str:
        """What a receptacle at the agent's location shows."""
        world = self.world
        return text.receptacle(
            world.receptacles[receptacle],
            world.openable[receptacle],
            receptacle in self.opened,
            [world.objects[thing] for thing in self.contents[receptacle]],
        )

    def _help(self, _first: int, _second: int) -> str:
        return text.HELP

    def _inventory(self, _first: int, _second: int) -> str:
        return text.inventory(self.world.objects[self.held] if self.held >= 0 else None)

    def _examine(self, thing: int, _second: int) -> str:
        world = self.world
        name = world.objects[thing]
        if thing in world.inside:
            return text.container(name, world.inside[thing])
        return text.condition(
            name,
            clean=thing in self.clean,
            hot=thing in self.hot,
            cool=thing in self.cool,
            sliced=thing in self.sliced,
            lit=thing in self.toggled and thing in world.toggleable,
            sliceable=thing in world.sliceable,
        )

    def _go(self, receptacle: int, _second: int) -> str:
        self.location = self.world.places[receptacle]
        return f"You arrive at {self.world.receptacles[receptacle]}. {self.inspect(receptacle)}"

    def _open(self, receptacle: int, _second: int) -> str:
        self.opened.add(receptacle)
        return f"You open the {self.world.receptacles[receptacle]}. {self.inspect(receptacle)}"

    def _close(self, receptacle: int, _second: int) -> str:
        self.opened.discard(receptacle)
        return f"You close the {self.world.receptacles[receptacle]}."

    def _take(self, thing: int, receptacle: int) -> str:
        self.contents[receptacle] = tuple(other for other in self.contents[receptacle] if other != thing)
        self.here[self.location] = tuple(other for other in self.here[self.location] if other != thing)
        self.removed.add((thing, receptacle))
        self.held = thing
        return f"You pick up the {self.world.objects[thing]} from the {self.world.receptacles[receptacle]}."

    def _move(self, thing: int, receptacle: int) -> str:
        self.contents[receptacle] = _with(self.contents[receptacle], thing)
        self.here[self.location] = _with(self.here[self.location], thing)
        self.removed.discard((thing, receptacle))
        self.held = -1
        return f"You move the {self.world.objects[thing]} to the {self.world.receptacles[receptacle]}."

    def _use(self, thing: int, _second: int) -> str:
        self.toggled.add(thing)
        return f"You turn on the {self.world.objects[thing]}."

    def _clean(self, thing: int, receptacle: int) -> str:
        self.clean.add(thing)
        return f"You clean the {self.world.objects[thing]} using the {self.world.receptacles[receptacle]}."

    def _heat(self, thing: int, receptacle: int) -> str:
        self.hot.add(thing)
        self.cool.discard(thing)
        return f"You heat the {self.world.objects[thing]} using the {self.world.receptacles[receptacle]}."

    def _cool(self, thing: int, receptacle: int) -> str:
        self.cool.add(thing)
        self.hot.discard(thing)
        return f"You cool the {self.world.objects[thing]} using the {self.world.receptacles[receptacle]}."

    def _slice(self, thing: int, knife: int) -> str:
        self.sliced.add(thing)
        return f"You sliced the {self.world.objects[thing]} with the {self.world.objects[knife]}."


_VERBS: dict[str, Callable[[State, int, int], str]] = {
    "look": State.look,
    "inspect": State.inspect,
    "help": State._help,
    "inventory": State._inventory,
    "examine": State._examine,
    "go": State._go,
    "open": State._open,
    "close": State._close,
    "take": State._take,
    "move": State._move,
    "use": State._use,
    "clean": State._clean,
    "heat": State._heat,
    "cool": State._cool,
    "slice": State._slice,
}


def _with(things: tuple[int, ...], thing: int) -> tuple[int, ...]:
    """A sorted set with one more member."""
    if thing in things:
        return things
    extended = list(things)
    insort(extended, thing)
    return tuple(extended)
