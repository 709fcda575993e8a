"""Episodes of runs for a page: a list with the columns that are filtered by, and packed chunks with what happened."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from himac.errors import DataError
from himac.files import inside, read_bytes
from himac.inert import inert
from himac.report.episodes import Line, story
from himac.report.pictures import FOLDER, mentioned
from himac.report.results import RECORDED, TOLD, Record, read_jsonl
from himac.report.runs import EPISODES, RESULTS, Run

MOST_EPISODES = 5000
_CHUNK_EPISODES, _CHUNK_CHARACTERS = 40, 400_000
_TEXT_CHARACTERS = 20_000
_PICTURE_BYTES, _PICTURES_BYTES = 1 << 20, 1 << 24
_VERBS = 12
_PNG = b"\x89PNG\r\n\x1a\n"
_DONE = re.compile(r"(?:iteration|step)-(\d+)")
_CHECKS = re.compile(
    r"(?:double[- ])?check\b|verify\b|confirm\b|ensure\b|make sure\b|see (?:if|whether)\b", re.IGNORECASE
)
"""How a sub-goal begins that checks what was done."""


@dataclass(frozen=True, slots=True)
class Source:
    """Episodes that were played together: an evaluation, or the recorded ones of a training phase.

    Attributes:
        run: Number of the run.
        iteration: Iterations of training before it; `None` for an evaluation outside a run.
    """

    run: int
    label: str
    split: str
    iteration: int | None
    training: bool
    folder: Path
    episodes: list[dict[str, Any]]


@dataclass(slots=True)
class Trajectories:
    """What the page holds of episodes.

    Attributes:
        sources, episodes, blueprints, contexts: Plain values of the page.
        chunks: gzip of JSON, in base64: a list of episodes each.
        pictures: PNG in base64 by key.
        left_out: Episodes beyond the most a page holds.
    """

    sources: list[dict[str, Any]] = field(default_factory=list)
    episodes: dict[str, Any] = field(default_factory=dict)
    blueprints: list[dict[str, Any]] = field(default_factory=list)
    contexts: list[dict[str, Any]] = field(default_factory=list)
    chunks: list[str] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    left_out: int = 0


def _spread(episodes: Sequence[Record], most: int) -> list[Record]:
    """At most so many, evenly over the whole."""
    count = min(len(episodes), most)
    return [episodes[number * len(episodes) // count] for number in range(count)]


def _kinds(episodes: Sequence[Record]) -> Iterator[dict[str, Any]]:
    """Of all episodes by task type: how many, how many solved, why the others ended."""
    for kind in sorted({str(record["kind"]) for record in episodes}):
        own = [record for record in episodes if str(record["kind"]) == kind]
        stops = Counter(str(record["stop"]) for record in own if not record["success"])
        yield {
            "kind": inert(kind),
            "count": len(own),
            "solved": sum(bool(record["success"]) for record in own),
            "reasons": [[inert(reason), times] for reason, times in stops.most_common()],
        }


def trajectories(runs: Sequence[Run], most: int = MOST_EPISODES) -> Trajectories:
    """Episodes of evaluations and of training.

    Args:
        most: Where there are more, every source gives some of all its parts: the same tasks where sources are as long.

    Raises:
        DataError: a file of theirs is damaged.
    """
    played = [source for n, run in enumerate(runs) for source in sources(n, run)]
    share = _share([len(source.episodes) for source in played], most)
    made = Trajectories(left_out=sum(max(0, len(source.episodes) - share) for source in played))
    made.blueprints = list(_blueprints(played))
    made.contexts = [told for n, run in enumerate(runs) for told in _contexts(n, run, played)]
    columns: dict[str, list[Any]] = {name: [] for name in ("source", *_COLUMNS)}
    words: dict[str, dict[str, int]] = {name: {} for name in ("task", "kind", "stop", "group", "plan")}
    packed, size = list[str](), 0
    for number, source in enumerate(played):
        kept = _spread(source.episodes, share)
        made.sources.append(
            {"run": source.run, "label": source.label, "split": source.split, "training": source.training}
            | {"iteration": source.iteration, "split_hash": str(kept[0].get("split_hash") or "") if kept else ""}
            | {"count": len(source.episodes), "kinds": list(_kinds(source.episodes))}
        )
        made.pictures |= _pictures(source.folder, kept, _PICTURES_BYTES - sum(map(len, made.pictures.values())))
        for record in kept:
            what = _told(record) | ({"contexts": record["contexts"]} if source.training else {})
            text = json.dumps(_shown(what), ensure_ascii=False, separators=(",", ":"))
            if packed and (len(packed) == _CHUNK_EPISODES or size + len(text) > _CHUNK_CHARACTERS):
                made.chunks.append(_packed(packed))
                packed, size = [], 0
            columns["source"].append(number)
            for name, value in zip(_COLUMNS, _row(record), strict=True):
                if name in words:
                    value = words[name].setdefault(inert(value), len(words[name]))
                columns[name].append(value)
            columns["chunk"][-1], columns["place"][-1] = len(made.chunks), len(packed)
            packed.append(text)
            size += len(text)
    if packed:
        made.chunks.append(_packed(packed))
    del words["plan"]  # which blueprints are equal is told, what they are stands in the chunks
    made.episodes = columns | {"words": {name: list(known) for name, known in words.items()}}
    return made


_COLUMNS = ("task", "kind", "stop", "group", "member", "success", "return", "steps", "goals", "plan", "chunk", "place")


def _row(record: Record) -> tuple[Any, ...]:
    return (
        str(record["task_id"]),
        str(record["kind"]),
        str(record["stop"]),
        str(record.get("group") or ""),
        record.get("member", 0),
        int(record["success"]),
        round(float(record["return"]), 4),
        record["env_steps"],
        len(record.get("blueprint") or ()),
        json.dumps(record.get("blueprint")),
        0,
        0,
    )


def sources(number: int, run: Run) -> Iterator[Source]:
    """In the order of training, what was trained on before what was evaluated after it."""
    found = list[Source]()
    recorded: dict[tuple[int, str], list[dict[str, Any]]] = {}
    if inside(run.folder, run.folder / EPISODES):
        for line in read_jsonl(run.folder / EPISODES, RECORDED):
            recorded.setdefault((line["iteration"], line["phase"]), []).append(line)
    train_split = run.config.get("env.train_split", "train")
    found += [
        Source(number, f"training, {phase}", train_split, iteration, True, run.folder, lines)
        for (iteration, phase), lines in recorded.items()
    ]
    for path in sorted(run.folder.rglob(RESULTS)):
        if not inside(run.folder, path):
            continue
        place = path.parent.relative_to(run.folder).as_posix()
        done = _DONE.search(place)
        label = "evaluation" if re.fullmatch(r"eval/iteration-\d+", place) else f"himac eval, {place}".rstrip(", .")
        eval_split = run.config.get("env.eval_split", "")
        iteration = int(done[1]) if done else None
        found.append(Source(number, label, eval_split, iteration, False, path.parent, read_jsonl(path, TOLD)))
    return iter(sorted(found, key=lambda source: (source.iteration or 0, source.training, source.label)))


def _share(counts: Sequence[int], most: int) -> int:
    """The largest number of first episodes a source may give so that all together give at most `most`."""
    low, high = 0, max(counts, default=0)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(count, middle) for count in counts) <= most:
            low = middle
        else:
            high = middle - 1
    return low


def _told(record: Record) -> dict[str, Any]:
    """What happened: blueprint, turns by sub-goal; nothing that is absent."""
    told = story(record)
    more = {name: record.get(name) for name in ("opening", "error", "plan")}
    return {
        "blueprint": list(told.blueprint),
        "parts": [[goal, [_turn(line) for line in turns]] for goal, turns in told.parts],
        **{name: value for name, value in {**more, "malformed": told.plan_error}.items() if value},
    }


def _turn(line: Line) -> list[Any]:
    """Action, observation, reward, whether it closed the sub-goal, whether it was rejected, and the reply."""
    told = [line.action, line.observation, line.reward, line.sub_done, line.invalid]
    return [*told, line.reply] if line.reply else told


def _shown(value: Any) -> Any:
    """Texts without control characters and of bounded length: a page is read by people, the files hold everything."""
    if isinstance(value, str):
        cut = len(value) - _TEXT_CHARACTERS
        return inert(
            value if cut <= 0 else f"{value[:_TEXT_CHARACTERS]} … ({cut:,} more characters in the run's files)"
        )
    if isinstance(value, Mapping):
        return {key: _shown(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_shown(part) for part in value]
    return value


def _packed(episodes: Sequence[str]) -> str:
    return base64.b64encode(gzip.compress(f"[{','.join(episodes)}]".encode(), 9, mtime=0)).decode()


def _blueprints(sources: Sequence[Source]) -> Iterator[dict[str, Any]]:
    """Figures of the valid blueprints of each evaluation: what they are made of, and how many are others than before.

    `verbs` is the mean number of sub-goals a blueprint that begin with a word.
    """
    first: dict[int, dict[str, tuple[str, ...]]] = {}
    for source in sources:
        plans = {str(r["task_id"]): tuple(map(str, r["blueprint"])) for r in source.episodes if r.get("blueprint")}
        if source.training or source.iteration is None or not plans:
            continue
        before = first.setdefault(source.run, plans)
        both = [task for task in plans if task in before]
        verbs = Counter(goal.split()[0].lower() for plan in plans.values() for goal in plan if goal.strip())
        yield {
            "run": source.run,
            "label": source.label,
            "iteration": source.iteration,
            "goals": float(np.mean([len(plan) for plan in plans.values()])),
            "checking": float(np.mean([any(map(_CHECKS.match, plan)) for plan in plans.values()])),
            "distinct": len(set(plans.values())) / len(plans),
            "changed": float(np.mean([plans[task] != before[task] for task in both])) if both else None,
            "verbs": {verb: count / len(plans) for verb, count in verbs.most_common(_VERBS)},
        }


def _contexts(number: int, run: Run, sources: Sequence[Source]) -> Iterator[dict[str, Any]]:
    """Lengths in tokens of the recorded contexts, by role."""
    lengths: dict[str, list[int]] = {}
    for source in sources:
        for record in source.episodes if source.training and source.run == number else ():
            for context in record["contexts"]:
                lengths.setdefault(str(context["role"]), []).append(context["tokens"])
    for role, counts in lengths.items():
        middle, high = np.percentile(counts, (50, 95)).tolist()
        yield {
            "run": number,
            "role": role,
            "count": len(counts),
            "median": middle,
            "high": high,
            "most": max(counts),
        } | {"limit": run.config.get("agent.max_context")}


def _pictures(folder: Path, records: Sequence[Record], room: int) -> dict[str, str]:
    """PNG files in base64 of the pictures that the episodes name, as far as there is room."""
    found = dict[str, str]()
    for key in mentioned(records) if (folder / FOLDER).is_dir() else ():
        path = folder / FOLDER / f"{key}.png"
        if not inside(folder, path):
            continue
        try:
            content = read_bytes(path, _PICTURE_BYTES)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be shown ({error}); remove that file.") from error
        room -= len(content) * 4 // 3
        if content.startswith(_PNG) and room > 0:
            found[key] = base64.b64encode(content).decode()
    return found
