from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from himac.envs.sokoban.generator import (
    BUILTIN_COUNTS,
    BUILTIN_SCALES,
    Scale,
    generate_level,
    generate_levels,
    write_builtin,
)
from himac.envs.sokoban.level import Level, canonical
from himac.envs.sokoban.levels import BUILTIN_DIR, BUILTIN_SETS, load_levels
from himac.envs.sokoban.solver import solve
from himac.errors import ConfigError


@pytest.mark.parametrize("scale", [Scale(), Scale(5, 9, 2), Scale(8, 7, 3, 6, 30), Scale(7, 7, 2, min_moves=12)])
def test_levels_are_solvable_with_the_stated_lengths(scale: Scale) -> None:
    for level in generate_levels(6, scale, seed=1):
        assert (level.height, level.width, level.boxes) == scale[:3]
        assert "*" not in level.cells
        shortest, pushing = solve(level), solve(level, "pushes")
        assert shortest is not None
        assert pushing is not None
        assert (level.moves, level.pushes) == (shortest.moves, pushing.pushes)
        assert scale.min_moves <= shortest.moves <= (scale.max_moves or shortest.moves)


def test_the_seed_decides_and_no_global_state_is_used() -> None:
    np.random.seed(0)
    random.seed(0)
    before = random.getstate()
    first = generate_levels(20, seed=5)
    assert random.getstate() == before
    assert np.random.rand() == pytest.approx(0.5488135039273248)
    assert generate_levels(20, seed=5) == first
    assert [level.rows for level in generate_levels(20, seed=6)] != [level.rows for level in first]


def test_no_two_levels_are_symmetric_and_known_ones_are_avoided() -> None:
    seen = set[str]()
    first = generate_levels(60, Scale(5, 5), seed=1, seen=seen)
    second = generate_levels(60, Scale(5, 5), seed=1, seen=seen)
    assert len({canonical(level.rows) for level in first + second}) == 120
    assert seen == {canonical(level.rows) for level in first + second}


@pytest.mark.parametrize("scale", [Scale(3, 6), Scale(6, 6, 0), Scale(6, 6, 1, depth=0)])
def test_impossible_scales_are_refused(scale: Scale) -> None:
    with pytest.raises(ConfigError, match="at least 4x4"):
        generate_level(random.Random(0), scale)


def test_a_range_without_levels_is_named() -> None:
    with pytest.raises(ConfigError, match="99 to any moves"):
        generate_level(random.Random(0), Scale(4, 4, 1, min_moves=99))


def test_too_many_levels_for_a_small_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("himac.envs.sokoban.generator._ATTEMPTS", 30)
    with pytest.raises(ConfigError, match="different levels of 5000"):
        generate_levels(5000, Scale(4, 5))


@pytest.fixture(scope="module")
def builtin() -> dict[str, dict[str, list[Level]]]:
    return {
        name: {split: load_levels(BUILTIN_DIR / f"{split}-{name}.jsonl.xz") for split in BUILTIN_COUNTS}
        for name in BUILTIN_SETS
    }


def test_built_in_sets_share_no_board(builtin: dict[str, dict[str, list[Level]]]) -> None:
    assert set(builtin) == set(BUILTIN_SCALES)
    for splits in builtin.values():
        assert {split: len(levels) for split, levels in splits.items()} == BUILTIN_COUNTS
    boards = Counter(
        canonical(level.rows) for splits in builtin.values() for levels in splits.values() for level in levels
    )
    assert max(boards.values()) == 1
    assert len(boards) == len(builtin) * sum(BUILTIN_COUNTS.values())


def test_built_in_levels_have_the_stated_lengths(builtin: dict[str, dict[str, list[Level]]]) -> None:
    for name, splits in builtin.items():
        scale = BUILTIN_SCALES[name]
        for split, levels in splits.items():
            for level in levels:
                assert (level.height, level.width, level.boxes) == scale[:3]
                assert level.moves is not None
                assert scale.min_moves <= level.moves <= (scale.max_moves or level.moves)
            for level in levels[:: 100 if split == "train" else 10]:
                shortest, pushing = solve(level), solve(level, "pushes")
                assert shortest is not None
                assert pushing is not None
                assert (level.moves, level.pushes) == (shortest.moves, pushing.pushes)


@pytest.mark.slow
def test_built_in_files_are_those_the_generator_writes(tmp_path: Path) -> None:
    write_builtin(tmp_path)
    for name in BUILTIN_SETS:
        for split in BUILTIN_COUNTS:
            assert load_levels(tmp_path / f"{split}-{name}.jsonl.xz") == load_levels(
                BUILTIN_DIR / f"{split}-{name}.jsonl.xz"
            )
