"""What the attacks with files share: mutations, and what counts as held."""

from __future__ import annotations

import json
import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from himac.errors import HimacError

MEMORY = 1 << 20
"""KiB by which a try may raise the peak of the process."""

NASTY = (
    *(
        None,
        True,
        -1,
        0,
        10**30,
        1e308,
        float("nan"),
        float("inf"),
        "",
        "\x1b[2J",
        "\ud800",
        "../../victim",
        "/dev/zero",
    ),
    *([], {}, [[]], {"a": {"b": []}}, ["x"] * 300, "x" * 100_000, [1, "a", None], {"": 1}, "$\\frac{", "nan"),
)
"""Values where others belong."""


def held(run: Callable[[], object]) -> str | None:
    """What is wrong with how a call ends: it may come back, or raise one sentence of ours, in little memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        run()
    except HimacError as error:
        text = str(error)
        if "\n" in text or "Traceback" in text:
            return f"no one sentence: {text[:200]!r}"
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return f"took {grown >> 10} MiB" if grown > MEMORY else None


def scrambled(content: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut, doubled, moved or replaced in one to four places."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 8, 100)))
        match rng.randrange(6):
            case 0:
                data[at:end] = rng.randbytes(end - at)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = data[at:end]
            case 3:
                data[at:at] = rng.choice(
                    (b"\x00", b"\xff", b"\n", b'"', b"{", b"[" * 50, b"\x1b[2J", b"&a [*a]", b": ")
                )
            case 4:
                data[at:] = b""
            case _ if end > at:
                data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


def bent(tree: Any, rng: random.Random) -> Any:
    """A JSON tree in which one value is nasty, gone, or in another's place."""
    tree = json.loads(json.dumps(tree))
    places = list(_places(tree))
    if not places:
        return rng.choice(NASTY)
    holder, key = rng.choice(places)
    match rng.randrange(4):
        case 0:
            del holder[key]
        case 1:
            other, name = rng.choice(places)
            holder[key] = json.loads(json.dumps(other.get(name) if isinstance(other, dict) else None))
        case _:
            holder[key] = rng.choice(NASTY)
    return tree


def _places(tree: Any) -> Any:
    if isinstance(tree, dict | list):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _places(tree[key])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
