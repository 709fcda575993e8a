"""Where things usually lie, counted from the initial states of games."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from himac.envs.alfworld.games import Game
from himac.errors import DataError
from himac.files import parse_json, read_text

_FACT = re.compile(r"\((inReceptacle|receptacleType|objectType|openable) ([^()?\s]+)(?: ([^()?\s]+))?\s*\)")


@dataclass(frozen=True, slots=True)
class Prior:
    """How promising one receptacle of each type is.

    Attributes:
        chances: object type -> receptacle type -> expected objects of the type in one such receptacle, halved where
            it must be opened first; all names lower-case as in the game's text.
    """

    chances: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def rank(self, thing: str, places: Iterable[str]) -> list[str]:
        """`places` (receptacle types), most promising for an object type first; ties by name."""
        chances = self.chances.get(thing, {})
        return sorted(places, key=lambda place: (-chances.get(place, 0.0), place))

    def to_json(self) -> str:
        """A JSON document that `from_json` reads back to an equal prior."""
        return json.dumps({"alfworld_prior": 1, "chances": self.chances}, sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Prior:
        """Read what `to_json` wrote."""
        try:
            chances = parse_json(text)["chances"]
            return cls({str(o): {str(r): float(p) for r, p in row.items()} for o, row in chances.items()})
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise DataError(f"the prior is not a JSON object with 'chances' ({error}); write it anew") from error

    @classmethod
    def load(cls, path: str | Path) -> Prior:
        """Read a prior file."""
        try:
            return cls.from_json(read_text(Path(path)))
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the prior {path}: {error}; give an existing file") from error


def learn_prior(games: Iterable[Game]) -> Prior:
    """Count where the objects of `games` lie at the start.

    The chance of (object, receptacle type) is the number of such objects in such receptacles divided by the number of
    such receptacles, over the games that have the object at all.
    """
    lying: dict[str, Counter[str]] = defaultdict(Counter)
    receptacles: dict[str, Counter[str]] = defaultdict(Counter)
    closable: set[str] = set()
    for game in games:
        kinds, things, pairs, openable = _facts(game.problem)
        room = Counter(kinds.values())
        closable.update(kinds[name] for name in openable if name in kinds)
        for thing in set(things.values()):
            receptacles[thing].update(room)
        for name, place in pairs:
            if name in things and place in kinds:
                lying[things[name]][kinds[place]] += 1
    return Prior(
        {
            thing: {
                place: round(count / receptacles[thing][place] * (0.5 if place in closable else 1.0), 4)
                for place, count in sorted(lying[thing].items())
            }
            for thing in sorted(lying)
        }
    )


def _facts(problem: str) -> tuple[dict[str, str], dict[str, str], list[tuple[str, str]], list[str]]:
    kinds: dict[str, str] = {}
    things: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    openable: list[str] = []
    for predicate, first, second in _FACT.findall(problem):
        if predicate == "inReceptacle":
            pairs.append((first, second))
        elif predicate == "receptacleType":
            kinds[first] = second.removesuffix("Type").lower()
        elif predicate == "objectType":
            things[first] = second.removesuffix("Type").lower()
        else:
            openable.append(first)
    return kinds, things, pairs, openable
