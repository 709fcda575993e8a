"""Pictures of the episodes that a report shows: files beside the results, links in the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from himac.report.episodes import pick_examples
from himac.report.results import Record
from himac.scene import Image, Scene
from himac.types import Episode

FOLDER = "pictures"
_MENTION = re.compile(r"\[picture ([0-9a-f]{64})\]")
_SHORT = 12


def save_pictures(folder: Path, episodes: Sequence[Episode], records: Sequence[Record]) -> None:
    """Write what the examples of a report were shown as `pictures/<key>.png` into a results folder.

    Args:
        records: The episodes' lines of `results.jsonl`, in the same order.
    """
    examples = {id(record) for record in pick_examples(records)}
    shown = [episode for episode, record in zip(episodes, records, strict=True) if id(record) in examples]
    write_pictures(folder / FOLDER, shown)


def write_pictures(folder: Path, episodes: Iterable[Episode]) -> None:
    """Write what the episodes were shown as `<key>.png` into a folder that is made for the first one."""
    shown = {picture.key: picture for episode in episodes for picture in _pictures(episode)}
    if not shown:
        return
    from PIL.Image import fromarray

    folder.mkdir(parents=True, exist_ok=True)
    for key, picture in shown.items():
        fromarray(picture.pixels).save(folder / f"{key}.png")


def mentioned(records: Iterable[Record]) -> list[str]:
    """Keys of the pictures that the records name, each once."""
    texts = (
        text
        for record in records
        for text in (record.get("opening", ""), *(turn["observation"] for turn in record.get("transcript") or ()))
    )
    return list(dict.fromkeys(key for text in texts for key in _MENTION.findall(text)))


def illustrated(page: str, record: Record, folder: Path, base: Path) -> str:
    """An example with short names for its pictures, and below it those whose files exist.

    Args:
        page: The episode as Markdown.
        folder: Holds the results.
        base: Folder of the page, to which links are relative.
    """
    keys = dict.fromkeys(_MENTION.findall(f"{record.get('opening', '')}\n{page}"))
    files = {key: folder / FOLDER / f"{key}.png" for key in keys}
    links = [
        f"![picture {key[:_SHORT]}]({path.relative_to(base).as_posix()})"
        for key, path in files.items()
        if path.is_file()
    ]
    text = _MENTION.sub(lambda found: f"[picture {found[1][:_SHORT]}]", page)
    return "\n\n".join([text.rstrip(), *([" ".join(links)] if links else [])])


def _pictures(episode: Episode) -> Iterable[Image]:
    for segment in episode.contexts:
        yield from (placed.picture for placed in segment.pictures)
        for turn in segment.turns:
            if isinstance(turn.observation, Scene):
                yield from turn.observation.pictures
