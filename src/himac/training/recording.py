"""Training episodes kept for people: a sample of the compared groups with their tokens, in `episodes.jsonl`."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from himac.evaluation.records import record
from himac.report.pictures import FOLDER, write_pictures
from himac.seeding import derive_seed
from himac.store.atomic import WriteGuard
from himac.training.checkpoint import MetricsLog
from himac.types import Episode, FloatArray, Group, Row, Segment

FILE = "episodes.jsonl"
_DIGITS = 4


class EpisodeLog:
    """Lines of sampled groups, an episode each. They follow from the run's seed, so a resumed run writes the same.

    Args:
        rate: Share of the groups that are kept. Which ones depends on their place in the run alone.
        tokenizer: Gives the text of tokens.
    """

    def __init__(self, run_dir: Path, rate: float, seed: int, tokenizer: Any) -> None:
        self._path, self._rate, self._seed, self._tokenizer = run_dir / FILE, rate, seed, tokenizer
        self._log = MetricsLog(self._path) if rate or self._path.exists() else None

    def resume(self, lines: int) -> int:
        """Keep the lines that the checkpoint counts; returns how many there are, since a run can do without them."""
        if self._log is None:
            return 0
        self._log.truncate_to(min(lines, len(self._log)))
        return len(self._log)

    def add(self, iteration: int, phase: str, groups: Sequence[Group], rows: Sequence[Row]) -> int:
        """Keep some groups of a phase; returns the number of new lines."""
        chosen = [group for group in groups if self._keeps(iteration, phase, group)]
        if self._log is None or not chosen:
            return 0
        advantages = {(row.group_id, id(row.segment)): row.advantages for row in rows if row.segment is not None}
        before = len(self._log)
        for group in chosen:
            for member, episode in enumerate(group.episodes):
                place = {"iteration": iteration, "phase": phase, "group": group.id, "member": member}
                own = {id(part): advantages.get((group.id, id(part))) for part in episode.contexts}
                self._log.append(place | record(episode, "") | {"contexts": self._contexts(episode, own)})
        with WriteGuard(f"pictures beside {self._path}"):
            write_pictures(self._path.parent / FOLDER, (e for group in chosen for e in group.episodes))
        return len(self._log) - before

    def _keeps(self, iteration: int, phase: str, group: Group) -> bool:
        draw = random.Random(derive_seed(self._seed, "record", iteration, phase, group.id)).random()
        return draw < self._rate

    def _contexts(self, episode: Episode, advantages: Mapping[int, FloatArray | None]) -> list[dict[str, Any]]:
        return [
            {"role": str(part.role), "subgoal": part.subgoal, "tokens": len(part.token_ids)}
            | {"pieces": list(self._pieces(part, advantages[id(part)]))}
            for part in episode.contexts
        ]

    def _pieces(self, segment: Segment, advantages: FloatArray | None) -> Iterable[list[Any]]:
        """What was given: `[text, tokens]`. A sampled token: `[text, log-probability, advantage]`.

        The advantage is `null` where the token was not trained.
        """
        # Sampled tokens stand alone; neighbours that were given stand together.
        edges = np.flatnonzero(segment.sampled[1:] | segment.sampled[:-1]) + 1
        for span in np.split(np.arange(len(segment.token_ids)), edges):
            if not len(span):
                continue
            text = self._text(segment.token_ids[span])
            start = int(span[0])
            if not segment.sampled[start]:
                yield [text, len(span)]
                continue
            trained = advantages is not None and 0 < start < len(advantages)
            credit = round(float(advantages[start]), _DIGITS) if trained and advantages is not None else None
            yield [text, round(float(segment.logprobs[start]), _DIGITS), credit]

    def _text(self, token_ids: Any) -> str:
        text: str = self._tokenizer.decode(
            token_ids.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text
