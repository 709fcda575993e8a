"""Finds and loads ALFWorld games: the official tree of `game.tw-pddl` files, or packed `.jsonl.xz` files."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from himac.envs.alfworld.goals import TASK_TYPES, task_type_of
from himac.envs.alfworld.problem import World, parse_problem
from himac.errors import DataError
from himac.files import encodable, parse_json, read_lines, read_text

_GAME_FILE = "game.tw-pddl"
_GAME_BYTES = 1 << 24
_TREE = "json_2.1.1"
_PACKED = (".jsonl.xz", ".jsonl")
_SPLIT_ORDER = ("train", "valid_train", "valid_seen", "valid_unseen")
_DOWNLOAD = "download the games again with 'alfworld-download' of alfworld 0.4"
# SHA-256 of ALFWorld 0.4's domain (without comments) and of its grammar (without the task), white space collapsed.
_DOMAIN_HASH = "f7f645da8a56408ef15a93af43a3c1da23c87f66b1ea08b9e23808361f5b1970"
_GRAMMAR_HASH = "e91a84daf21cd4e4df7386d3889316b4afeeedd9c47602426e81f984bfde0aef"
_TASK = re.compile(r'"Your task is to: (.*)\."\s*\}')


@dataclass(frozen=True, slots=True)
class Game:
    """One text game.

    Attributes:
        id: `<task folder>/<trial folder>` of the official tree, without the split.
        task_type: One of the six of `goals.TASK_TYPES`.
        instruction: The task in words, as it follows "Your task is to: " (without the full stop).
        problem: PDDL text of the problem.
        walkthrough: Commands that win the game; may be empty.
    """

    id: str
    task_type: str
    instruction: str
    problem: str = field(repr=False)
    walkthrough: tuple[str, ...] = ()

    @property
    def world(self) -> World:
        """The parsed problem, cached and shared by every environment that plays the game."""
        try:
            return parse_problem(self.problem)
        except DataError as error:
            raise DataError(f"game {self.id}: {error}") from error


def load_games(path: str | Path | None = None, split: str | None = None) -> list[Game]:
    """Load games, sorted by id.

    As the official loader does, games with a movable receptacle or a sliced object and unsolvable games are left out.

    Args:
        path: The official data folder (or its `json_2.1.1`), a split's folder, one trial's folder or `game.tw-pddl`,
            a packed file (`.jsonl.xz`, one game a line with the keys path, task, walkthrough and pddl_problem), or a
            folder of packed files. By default the folder named by the variable ALFWORLD_DATA.
        split: Which split to load; everything under `path` by default. A packed file's name is its split.

    Raises:
        DataError: Something is missing, broken, or not of ALFWorld 0.4.
    """
    if path is None:
        named = os.environ.get("ALFWORLD_DATA", "")
        if not named:
            raise DataError(
                "no path to ALFWorld games was given; pass one or set ALFWORLD_DATA to the folder of json_2.1.1."
            )
        path = named
    root = Path(os.path.expandvars(path)).expanduser()
    if not root.exists():
        raise DataError(
            f"the ALFWorld games '{root}' do not exist; check the path, or get them with 'alfworld-download'."
        )
    games: dict[str, Game] = {}
    for source in _sources(root, split):
        for game in _read_packed(source) if source.name.endswith(_PACKED) else _read_tree(source):
            known = games.setdefault(game.id, game)
            if known is not game and known.problem != game.problem:
                raise DataError(f"'{root}' holds two different games with the id {game.id}; name one split to load.")
    if not games:
        raise DataError(
            f"no ALFWorld game was found in '{root}'; expected {_GAME_FILE} files or packed .jsonl.xz files."
        )
    return [games[identifier] for identifier in sorted(games)]


def _stem(path: Path) -> str:
    return path.name.split(".", 1)[0]


def _sources(root: Path, split: str | None) -> list[Path]:
    """The files and folders to read; packed files win over a tree beside them."""
    if root.is_file():
        if not root.name.endswith(_PACKED) and not root.name.endswith(".tw-pddl"):
            raise DataError(f"'{root}' is neither a {_GAME_FILE} nor a packed .jsonl.xz file; name one of those.")
        holder = _stem(root) if root.name.endswith(_PACKED) else None
        if split is not None and holder not in (split, None):
            raise DataError(
                f"'{root}' holds the split '{holder}', not '{split}'; name that split's file or drop the split."
            )
        if holder is not None:
            _check_shared_files(root.parent)
        return [root]
    packed = {_stem(file): file for file in sorted(root.iterdir()) if file.name.endswith(_PACKED)}
    if packed:
        _check_shared_files(root)
    tree = root / _TREE if (root / _TREE).is_dir() else root
    if split is None:
        return list(packed.values()) or [tree]
    if split in packed:
        return [packed[split]]
    if (tree / split).is_dir():
        return [tree / split]
    if tree.name == split:
        return [tree]
    if (tree / _GAME_FILE).is_file():
        return [tree]
    found = sorted({*packed, *(folder.name for folder in tree.iterdir() if folder.is_dir())})
    listed = ", ".join(name for name in found if name in packed or name in _SPLIT_ORDER) or "none"
    raise DataError(f"'{root}' has no ALFWorld split '{split}'; the splits there are: {listed}.")


@lru_cache(maxsize=8)
def _check_domain(domain: str) -> None:
    text = re.sub(r"\s*([()])\s*", r"\1", " ".join(re.sub(r";[^\n]*", "", domain).split()))
    if hashlib.sha256(text.encode()).hexdigest() != _DOMAIN_HASH:
        raise DataError(f"its PDDL domain is not ALFWorld 0.4's; {_DOWNLOAD}.")


@lru_cache(maxsize=8)
def _check_grammar(without_task: str) -> None:
    if hashlib.sha256(without_task.encode()).hexdigest() != _GRAMMAR_HASH:
        raise DataError(f"its text grammar is not ALFWorld 0.4's; {_DOWNLOAD}.")


def _instruction(grammar: str) -> str:
    """The task line of a grammar that is otherwise the known one."""
    task = _TASK.search(grammar)
    rest = grammar if task is None else grammar[: task.start(1)] + grammar[task.end(1) :]
    _check_grammar(" ".join(rest.split()))
    assert task is not None  # The known grammar has a task line.
    return task[1]


def _check_shared_files(folder: Path) -> None:
    """Check the domain and grammar that lie beside packed games, where they do."""
    for name, check in (("domain.pddl", _check_domain), ("grammar.twl2", _instruction)):
        file = folder / name
        if file.is_file():
            try:
                check(read_text(file, _GAME_BYTES))
            except (DataError, OSError, ValueError) as error:
                raise DataError(f"'{file}' cannot be used: {error}") from error


def _playable(identifier: str) -> bool:
    return "movable" not in identifier and "Sliced" not in identifier


def _game(identifier: str, instruction: Any, problem: Any, walkthrough: Any) -> Game:
    if not isinstance(instruction, str) or not isinstance(problem, str):
        raise DataError("its task and its problem must be texts.")
    steps = walkthrough or ()
    if not isinstance(steps, list | tuple) or not all(isinstance(step, str) for step in steps):
        raise DataError("its walkthrough must be a list of commands.")
    prefix = identifier.split("-", 1)[0]
    task_type = prefix if prefix in TASK_TYPES else task_type_of(problem)
    return Game(identifier, task_type, instruction, problem, tuple(steps))


def _read_tree(root: Path) -> Iterator[Game]:
    files: Iterable[Path] = [root] if root.is_file() else root.rglob(_GAME_FILE)
    for file in files:
        trial = file.absolute().parent
        identifier = f"{trial.parent.name}/{trial.name}"
        if not _playable(identifier):
            continue
        try:
            data = encodable(parse_json(read_text(file, _GAME_BYTES)))
            if data.get("solvable", True):
                _check_domain(data["pddl_domain"])
                walkthrough = data.get("walkthrough")
                yield _game(identifier, _instruction(data["grammar"]), data["pddl_problem"], walkthrough)
        except DataError as error:
            raise DataError(f"'{file}' cannot be used: {error}") from error
        except KeyError as error:
            raise DataError(f"'{file}' has no key {error}; {_DOWNLOAD}.") from error
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"'{file}' is not a readable ALFWorld game ({error}); {_DOWNLOAD}.") from error


def _read_packed(file: Path) -> Iterator[Game]:
    number = 0
    try:
        for number, line in enumerate(read_lines(file), 1):  # noqa: B007 - used in the messages below
            if line.strip():
                game = _packed_game(encodable(parse_json(line)))
                if game is not None:
                    yield game
    except DataError as error:
        raise DataError(f"'{file}', line {number}: {error}") from error
    except KeyError as error:
        raise DataError(f"'{file}', line {number} has no key {error}; pack the file again.") from error
    except OSError as error:
        raise DataError(f"'{file}' cannot be read after line {number} ({error}); copy or pack it again.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"'{file}', line {number} is not a packed game ({error}); pack the file again.") from error


def _packed_game(record: Mapping[str, Any]) -> Game | None:
    identifier = "/".join(record["path"].strip("/").split("/")[-2:])
    if not _playable(identifier) or not record.get("solvable", True):
        return None
    return _game(identifier, record["task"], record["pddl_problem"], record.get("walkthrough"))
