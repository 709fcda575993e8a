"""Checks a demonstration by doing what it says."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from typing import Any

from himac.envs.base import Benchmark
from himac.envs.check.asking import ask, kind
from himac.envs.check.environment import (
    NONSENSE,
    AnyEnv,
    Moment,
    check_kind,
    check_same,
    check_text,
    reset,
    step,
)
from himac.envs.snapshot import restore, snapshot
from himac.errors import ConfigError, DataError
from himac.scene import Content, Scene, plain, retold
from himac.types import Demonstration, DemoSegment, DemoTurn, Task

NO_DEMONSTRATOR = "no demonstrator"
"""What a `DataError` of `demonstrate` says where there is none."""


def check_demonstration(benchmark: Benchmark, task: Task, other: Task, seed: int) -> Demonstration | None:
    """Replay a demonstration, in an environment of its own and beside another one that plays `other`.

    Returns:
        The demonstration; `None` where the benchmark says that it has no demonstrator.

    Raises:
        ConfigError: it is no demonstration.
        DataError: it is empty, does not repeat, or the environment does not do what it says.
    """
    what = f"the demonstration of task '{task.id}' of '{benchmark.name}'"
    demo, again = (_demonstrate(benchmark, task, seed, what) for _ in range(2))
    if demo is None:
        return None
    if demo != again:
        raise DataError(f"{what} is another one each time; draw every random number from the given rng.")
    _check_form(demo, task, what)
    envs: list[AnyEnv] = [ask("make_env()", benchmark.make_env) for _ in range(2)]
    try:
        for env in envs:
            check_kind(env)
        first = list(_replay(envs[0], demo, seed))
        _check_told(benchmark, demo, first, what)
        repeat = "draw every random number from self.np_random, and keep nothing from one episode to the next."
        check_same(first, list(_replay(envs[0], demo, seed)), f"two replays of {what}", repeat)
        beside = _beside(envs[1], other, seed, [turn.action or "" for turn in reversed(_actions(demo))])
        together = [(next(beside), moment)[1] for moment in _replay(envs[0], demo, seed)]
        check_same(first, together, f"{what} alone and beside another environment", "let environments share no state.")
        _check_rejection(envs[1], demo, first, seed, what)
        _check_snapshot(envs[0], envs[1], demo, first, seed, what)
    finally:
        for env in envs:
            if callable(close := getattr(env, "close", None)):
                ask("close()", close)
    return demo


def _demonstrate(benchmark: Benchmark, task: Task, seed: int, what: str) -> Demonstration | None:
    try:
        demo: Any = ask(what, lambda: benchmark.demonstrate(task, random.Random(seed)))
    except DataError as error:
        if NO_DEMONSTRATOR in str(error):
            return None
        raise
    if not isinstance(demo, Demonstration):
        raise ConfigError(
            f"demonstrate() of '{benchmark.name}' returned {kind(demo)}; return a himac.types.Demonstration, or raise "
            f"DataError('... has {NO_DEMONSTRATOR} ...')."
        )
    return demo


def _check_form(demo: Demonstration, task: Task, what: str) -> None:
    if demo.task.id != task.id:
        raise DataError(f"{what} is of task '{demo.task.id}'; demonstrate the task that is asked for.")
    if not demo.segments or not any(turn.action for segment in demo.segments for turn in segment.turns):
        raise DataError(f"{what} is empty; show the sub-goals and the actions that achieve them.")
    _check_content(f"the observation of {what}", demo.observation)
    for segment in demo.segments:
        if not isinstance(segment, DemoSegment) or not isinstance(segment.subgoal, str) or not segment.subgoal.strip():
            raise ConfigError(f"{what} has the segment {segment!r:.100}; give each a sub-goal in words.")
        check_text(f"a sub-goal of {what}", segment.subgoal)
        _check_content(f"a start of {what}", segment.start)
        if not segment.turns:
            raise DataError(f"sub-goal '{segment.subgoal}' of {what} has no turns; leave it out or show its actions.")
        for turn in segment.turns:
            if not isinstance(turn, DemoTurn) or not isinstance(turn.action, str | None):
                raise ConfigError(
                    f"{what} has the turn {turn!r:.100}; its action is a str, or None for <sub_done> alone."
                )
            _check_content(f"an observation of {what}", turn.observation)


def _check_content(what: str, content: Any) -> None:
    if not isinstance(content, str | Scene):
        raise ConfigError(f"{what} is {kind(content)}; set it to text or to a himac.scene.Scene.")
    check_text(what, plain(content))


def _actions(demo: Demonstration) -> list[DemoTurn]:
    """The turns that step the environment."""
    return [turn for segment in demo.segments for turn in segment.turns if turn.action is not None]


def _replay(env: AnyEnv, demo: Demonstration, seed: int, before: str | None = None) -> Iterator[Moment]:
    """The moments of a replay, up to the end of the episode.

    Args:
        before: Said first, and left out of what is returned unless it was taken.
    """
    yield reset(env, demo.task.options, seed)
    if before is not None and not (said := step(env, before)).info["invalid"]:
        yield said
        return
    for turn in _actions(demo):
        moment = step(env, turn.action or "")
        yield moment
        if moment.ended:
            return


def _beside(env: AnyEnv, task: Task, seed: int, actions: Sequence[str]) -> Iterator[Moment]:
    """An endless play of some task by these actions, or by admissible commands where there are any."""
    said = cycle(actions)
    while True:
        moment = reset(env, task.options, seed)
        yield moment
        while not moment.ended:
            commands = moment.info.get("admissible_commands")
            moment = step(env, commands[-1] if commands else next(said))
            yield moment


def _check_told(benchmark: Benchmark, demo: Demonstration, moments: list[Moment], what: str) -> None:
    """Compare what the demonstration says with what the environment and `start_text` say."""
    overview = str(moments[0].info.get("overview", ""))
    _expect(what, "the instruction", demo.instruction, moments[0].info["instruction"])
    _expect(what, "the first observation", demo.observation, moments[0].observation)
    number, latest = 0, moments[0].observation
    for segment in demo.segments:
        start = _start_text(benchmark, segment.subgoal, overview, latest, what)
        _expect(what, f"the start of sub-goal '{segment.subgoal}'", segment.start, retold(latest, start))
        for turn in segment.turns:
            if turn.action is None:
                continue
            number += 1
            if number >= len(moments):
                raise DataError(f"{what} goes on after the episode has ended; end it with the step that reaches won.")
            latest = moments[number].observation
            _expect(what, f"what follows '{turn.action}'", turn.observation, latest)
    won = bool(moments[-1].info["won"])
    if won != demo.success:
        said, seen = ("won", "not won") if demo.success else ("failed", "won")
        raise DataError(f"{what} says it is {said}, but its replay is {seen} after {number} steps; show every step.")


def _start_text(benchmark: Benchmark, subgoal: str, overview: str, latest: Content, what: str) -> str:
    text: Any = ask("start_text()", lambda: benchmark.start_text(subgoal, overview, plain(latest)))
    if not isinstance(text, str):
        raise ConfigError(f"start_text() of '{benchmark.name}' returned {kind(text)} in {what}; return a str.")
    if not text.strip() and isinstance(latest, str):
        raise DataError(f"start_text() of '{benchmark.name}' is empty in {what}; say what the executor should know.")
    return text


def _expect(what: str, name: str, told: Content, seen: Content) -> None:
    if told != seen:
        raise DataError(
            f"{what} tells {name} as {told!r:.120}, where a run shows {seen!r:.120}; demonstrate with the environment "
            "and the start_text() of the benchmark."
        )


def _check_snapshot(env: AnyEnv, other: AnyEnv, demo: Demonstration, first: list[Moment], seed: int, what: str) -> None:
    """Where there are snapshots, another environment goes on from one as this one would have."""
    half = 1 + len(first) // 2
    played = list(islice(_replay(env, demo, seed), half))
    state = ask("clone_state()", lambda: snapshot(env))
    if state is None:
        return
    ask("restore_state()", lambda: restore(other, state))
    played += [step(other, moment.action or "") for moment in first[half:]]
    remedy = "put all that answers depend on into clone_state and take it over in restore_state."
    check_same(first, played, f"{what} at one go and from a snapshot in its middle", remedy)


def _check_rejection(env: AnyEnv, demo: Demonstration, first: list[Moment], seed: int, what: str) -> None:
    """Nonsense that is rejected leaves the episode as it would have been."""
    spoiled = list(_replay(env, demo, seed, before=NONSENSE))
    if len(spoiled) > 1 and spoiled[1].action == NONSENSE:
        return  # it was taken for an action; an environment may take any text
    check_same(first, spoiled, f"{what} with and without a rejected action", "let rejected actions change nothing.")
