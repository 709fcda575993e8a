import lzma
from collections import Counter
from pathlib import Path

import pytest

from himac.envs.alfworld.benchmark import BUILTIN_DIR, SIZES
from himac.envs.alfworld.env import AlfworldEnv
from himac.envs.alfworld.games import load_games
from himac.envs.alfworld.generator import (
    BUILTIN_COUNTS,
    builtin_games,
    generate_games,
    problem_key,
    write_builtin,
    write_games,
)
from himac.envs.alfworld.rooms import HABITS, ROOMS, TASK_TYPES
from himac.errors import DataError

RECEPTACLES = {"small": (6, 9), "medium": (10, 18), "large": (20, 35)}


@pytest.mark.parametrize("size", SIZES)
def test_games_are_solved_by_their_walkthrough_only(size: str) -> None:
    games = generate_games(24, size, seed=7)
    env = AlfworldEnv(games)
    for game in games:
        _, info = env.reset(options={"game": game.id})
        low, high = RECEPTACLES[size]
        assert low <= len(env.world.receptacles) <= high
        won = [info["won"]]
        for action in game.walkthrough:
            *_, info = env.step(action)
            assert not info["invalid"]
            won.append(info["won"])
        assert won == [False] * len(game.walkthrough) + [True]


def test_small_games_have_8_to_14_objects() -> None:
    for game in generate_games(60, "small", seed=3):
        assert 8 <= len(game.world.objects) <= 14


def test_task_types_are_balanced_and_problems_differ() -> None:
    games = generate_games(60, "small", seed=1)
    assert Counter(game.task_type for game in games) == dict.fromkeys(TASK_TYPES, 10)
    assert {game.world.goal.kind == game.task_type for game in games} == {True}
    assert len({problem_key(game.problem) for game in games}) == 60


def test_same_seed_same_games() -> None:
    assert generate_games(12, "medium", seed=5) == generate_games(12, "medium", seed=5)
    keys = [{problem_key(game.problem) for game in generate_games(12, "medium", seed)} for seed in (5, 6)]
    assert not keys[0] & keys[1]


def test_unknown_size() -> None:
    with pytest.raises(DataError, match="small, medium, large"):
        generate_games(1, "huge", seed=0)  # type: ignore[arg-type]


def test_written_games_are_loaded_again(tmp_path: Path) -> None:
    games = generate_games(12, "small", seed=2, name="mine")
    for name in ("mine", "again"):
        write_games(tmp_path / f"{name}.jsonl.xz", games)
    assert load_games(tmp_path, "mine") == sorted(games, key=lambda game: game.id)
    first = lzma.decompress((tmp_path / "mine.jsonl.xz").read_bytes()).decode()
    second = lzma.decompress((tmp_path / "again.jsonl.xz").read_bytes()).decode()
    assert first.replace('"mine/', '"again/') == second


def test_objects_of_a_type_prefer_their_habitual_places() -> None:
    """In 180 games an egg lies in the fridge (weight 7 of 11) most of all, and never where it has no weight."""
    lying: Counter[str] = Counter()
    for game in generate_games(180, "small", seed=11):
        world = game.world
        for place, things in enumerate(world.initial_contents):
            lying.update(world.receptacle_types[place] for thing in things if world.object_types[thing] == "egg")
    assert lying.most_common(1)[0][0] == "fridge"
    assert lying["fridge"] > 0.4 * lying.total()
    assert {kind.lower() for kind in HABITS["Egg"].lies} >= set(lying)


def test_tables_are_consistent() -> None:
    assert set(HABITS) == {thing for room in ROOMS.values() for thing in room.things}
    standing = {kind for room in ROOMS.values() for kind in (*room.always, *room.maybe)}
    for name, room in ROOMS.items():
        for thing in room.things:
            assert set(HABITS[thing].lies) & {*room.always, *room.maybe}, (name, thing)
    for habit in HABITS.values():
        assert habit.fits <= standing


@pytest.mark.parametrize("size", SIZES)
def test_builtin_splits(size: str) -> None:
    train, valid = (load_games(BUILTIN_DIR, f"{split}-{size}") for split in ("train", "valid"))
    assert (len(train), len(valid)) == BUILTIN_COUNTS[size]
    keys = [problem_key(game.problem) for game in (*train, *valid)]
    assert len(set(keys)) == len(keys)
    assert len({game.id for game in (*train, *valid)}) == len(keys)
    for games in (train, valid):
        counts = Counter(game.task_type for game in games)
        assert set(counts) == set(TASK_TYPES)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_builtin_large_games_are_what_the_generator_gives() -> None:
    first = generate_games(12, "large", 2026, "train-large")
    shipped = {game.id: game for game in load_games(BUILTIN_DIR, "train-large")}
    assert all(shipped[game.id] == game for game in first)


@pytest.mark.slow
def test_builtin_files_can_be_written_again(tmp_path: Path) -> None:
    write_builtin(tmp_path)
    for file in sorted(tmp_path.iterdir()):
        # Compressors of another version may pack the same text differently.
        assert lzma.decompress(file.read_bytes()) == lzma.decompress((BUILTIN_DIR / file.name).read_bytes())


def test_package_data_is_small() -> None:
    assert sum(file.stat().st_size for file in BUILTIN_DIR.glob("*.jsonl.xz")) < 3_000_000


@pytest.mark.slow
def test_builtin_train_and_valid_come_from_different_seeds() -> None:
    train, valid = builtin_games("large")
    assert not {problem_key(game.problem) for game in train} & {problem_key(game.problem) for game in valid}
