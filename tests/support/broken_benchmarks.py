"""A benchmark that keeps every promise, and the same with one fault each."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gymnasium

from himac.types import Demonstration, DemoSegment, DemoTurn, PromptTexts, Task
from support.toy import COLOURS, ColourBenchmark, ColourEnv

Answer = tuple[str, float, bool, bool, dict[str, Any]]


class Sound(ColourBenchmark):
    """The colours in splits of their own, with hooks for an environment and its answers."""

    def __init__(self, env: Callable[[], Any] = ColourEnv, **members: Any) -> None:
        self.env = env
        for name, value in members.items():
            setattr(self, name, value)

    def tasks(self, split: str) -> list[Task]:
        every = super().tasks(split)
        return every[:4] if split == "train" else every[4:]

    def split_hash(self, split: str) -> str:
        return f"hash of {split}"

    def make_env(self) -> gymnasium.Env[str, str]:
        return self.env()


class Spoiled(ColourEnv):
    """Changes the answer to every accepted action."""

    def __init__(self, spoil: Callable[[Answer], Any]) -> None:
        self.spoil = spoil

    def step(self, action: str) -> Any:
        answer = super().step(action)
        return answer if answer[4]["invalid"] else self.spoil(answer)


class Shared(ColourEnv):
    """All environments hear what is said in one of them."""

    heard: list[str] = []  # noqa: RUF012

    def reset(self, **given: Any) -> Any:
        answer = super().reset(**given)
        self.heard.clear()
        self.said = self.heard
        return answer


class Forgetful(ColourEnv):
    """Nonsense makes it forget what was said, though it calls it rejected."""

    def step(self, action: str) -> Answer:
        if action not in COLOURS:
            self.wanted = [*self.wanted, "red"]
        return super().step(action)


class Remembering(ColourEnv):
    """Tells in every episode how many there were."""

    episodes = 0

    def step(self, action: str) -> Answer:
        answer = super().step(action)
        self.episodes += answer[2]
        return (f"{answer[0]} in episode {self.episodes}", *answer[1:])


class Boastful(ColourEnv):
    """Lists a command that it rejects."""

    def reset(self, **given: Any) -> Any:
        observation, info = super().reset(**given)
        return observation, {**info, "admissible_commands": ["purple"]}


class Amnesiac(ColourEnv):
    """Its snapshots hold what is wanted, and not what was said."""

    def clone_state(self) -> list[str]:
        return self.wanted

    def restore_state(self, state: list[str]) -> None:
        self.wanted, self.said = state, []


def spoiled(spoil: Callable[[Answer], Any]) -> Sound:
    return Sound(lambda: Spoiled(spoil))


def with_info(**changes: Any) -> Sound:
    return spoiled(lambda answer: (*answer[:4], answer[4] | changes))


def _demo(task: Task) -> Demonstration:
    return ColourBenchmark().demonstrate(task, random.Random(0))


def _demo_with(change: Callable[[Demonstration], Any]) -> Sound:
    return Sound(demonstrate=lambda task, rng: change(_demo(task)))


def _raises(error: Exception) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise error

    return call


def _changed(demo: Demonstration, number: int, **changes: Any) -> Demonstration:
    segments = list(demo.segments)
    segments[number] = replace(segments[number], **changes)
    return replace(demo, segments=tuple(segments))


def _tasks(**splits: Sequence[str]) -> Sound:
    return Sound(tasks=lambda split: [Task(name, "kind", {"colours": ["red", "blue"]}) for name in splits[split]])


_BAD_TEXTS = PromptTexts(planner="Plan.", executor="Act.", flat=None)  # type: ignore[arg-type]
_MORE = DemoSegment("say more", "you said gold", (DemoTurn("red", "you said red"),))

FAULTS: dict[str, tuple[Callable[[], Sound], str]] = {
    "no name": (lambda: Sound(name=""), "name is ''"),
    "texts are None": (lambda: Sound(texts=None), "texts of 'colours' is type NoneType"),
    "a text is None": (lambda: Sound(texts=_BAD_TEXTS), "texts.flat of 'colours' is type NoneType"),
    "reward_scale is NaN": (lambda: Sound(reward_scale=float("nan")), "reward_scale of 'colours' is nan"),
    "worst_step_reward above 0": (lambda: Sound(worst_step_reward=0.5), "worst_step_reward of 'colours' is 0.5"),
    "splits is a str": (lambda: Sound(splits=lambda: "train"), "splits() returned type str"),
    "a split twice": (lambda: Sound(splits=lambda: ("train", "train")), "name each split once"),
    "no split": (lambda: Sound(splits=lambda: ()), "name each split once, and at least one"),
    "tasks that are none": (lambda: Sound(tasks=lambda split: ["a"]), "fill it with Task"),
    "tasks is None": (lambda: Sound(tasks=lambda split: None), "return a list of Task"),
    "tasks raises": (lambda: Sound(tasks=_raises(KeyError("x"))), "raised KeyError"),
    "unsorted": (lambda: _tasks(train="ba", valid="c"), "not sorted"),
    "shared by two splits": (lambda: _tasks(train="ab", valid="b"), "'train' and again in 'valid'"),
    "twice in a split": (lambda: _tasks(train="aa", valid="b"), "again in 'train'"),
    "empty split": (lambda: _tasks(train="a", valid=""), "no tasks"),
    "hash is None": (lambda: Sound(split_hash=lambda split: None), "return a hash as str"),
    "hash changes": (lambda: Sound(split_hash=lambda split: str(random.random())), "changes from call to call"),
    "one hash for all": (lambda: Sound(split_hash=lambda split: "toy"), "have one hash"),
    "make_env gives None": (lambda: Sound(env=lambda: None), "make_env() returned type NoneType"),
    "make_env raises": (lambda: Sound(env=_raises(OSError("gone"))), "make_env() raised OSError: gone"),
    "random_blueprint is missing": (lambda: Sound(random_blueprint=None), "no method random_blueprint()"),
    "random_blueprint is a str": (lambda: Sound(random_blueprint=lambda task, rng: "say red"), "tuple of sub-goals"),
    "random_blueprint is empty": (lambda: Sound(random_blueprint=lambda task, rng: ()), "one sub-goal or more"),
    "random_blueprint of blanks": (lambda: Sound(random_blueprint=lambda task, rng: (" ",)), "none of them empty"),
    "random_blueprint without its rng": (
        lambda: Sound(random_blueprint=lambda task, rng: (f"say {random.random()}",)),
        "two plans for one rng",
    ),
    "start_text is None": (
        lambda: Sound(start_text=lambda *_: None),
        "start_text() of 'colours' returned type NoneType",
    ),
    "start_text is empty": (lambda: Sound(start_text=lambda *_: ""), "is empty"),
    "start_text raises": (lambda: Sound(start_text=_raises(IndexError("1"))), "start_text() raised IndexError"),
    "start_text not demonstrated": (lambda: Sound(start_text=lambda *_: "a room"), "tells the start of sub-goal"),
    "demonstrate is missing": (lambda: Sound(demonstrate=None), "no method demonstrate()"),
    "demonstrate gives None": (lambda: _demo_with(lambda demo: None), "return a himac.types.Demonstration"),
    "demonstrate raises": (lambda: Sound(demonstrate=_raises(ValueError("lost"))), "raised ValueError: lost"),
    "demonstrate is empty": (lambda: _demo_with(lambda demo: replace(demo, segments=())), "is empty"),
    "demonstrate shows no action": (
        lambda: _demo_with(lambda d: replace(d, segments=(DemoSegment("x", "start", (DemoTurn(None, "", True),)),))),
        "is empty",
    ),
    "demonstrate is cut short": (lambda: _demo_with(lambda demo: replace(demo, segments=demo.segments[:1])), "not won"),
    "demonstrate goes on": (
        lambda: _demo_with(lambda demo: replace(demo, segments=(*demo.segments, _MORE))),
        "tells the start of sub-goal|goes on after the episode has ended",
    ),
    "demonstrate never wins": (
        lambda: _demo_with(lambda demo: replace(demo, segments=demo.segments[:1], success=False)),
        "solved none of",
    ),
    "demonstrate calls a success a failure": (
        lambda: _demo_with(lambda demo: replace(demo, success=False)),
        "says it is failed, but its replay is won",
    ),
    "demonstrate changes": (
        lambda: _demo_with(lambda demo: _changed(demo, 0, subgoal=f"say {random.random()}")),
        "another one each time",
    ),
    "demonstrate of another task": (
        lambda: Sound(demonstrate=lambda task, rng: _demo(replace(task, id="red-red"))),
        "is of task 'red-red'",
    ),
    "demonstrate with an empty sub-goal": (lambda: _demo_with(lambda demo: _changed(demo, 0, subgoal="")), "in words"),
    "demonstrate with another answer": (
        lambda: _demo_with(lambda demo: _changed(demo, 1, turns=(DemoTurn(demo.segments[1].turns[0].action, "ok"),))),
        "tells what follows",
    ),
    "demonstrate with another instruction": (
        lambda: _demo_with(lambda demo: replace(demo, instruction="say nothing")),
        "tells the instruction",
    ),
    "random observations": (lambda: spoiled(lambda a: (f"{a[0]} {random.random()}", *a[1:])), "tells what follows"),
    "random rewards": (lambda: spoiled(lambda a: (a[0], random.random(), *a[2:])), "differ at step 1"),
    "state of the former episode": (lambda: Sound(Remembering), "tells what follows|differ at step"),
    "state of another environment": (lambda: Sound(Shared), "alone and beside another"),
    "rejected actions that count": (lambda: Sound(Forgetful), "with and without a rejected action"),
    "snapshots that forget": (lambda: Sound(Amnesiac), "from a snapshot in its middle differ at step 2"),
    "admissible commands that are rejected": (lambda: Sound(Boastful), "was admissible and rejected"),
    "four values from step": (lambda: spoiled(lambda answer: answer[:4]), "step() returned type tuple"),
    "observation is a number": (lambda: spoiled(lambda a: (3, *a[1:])), "observation of type int"),
    "half a surrogate pair": (lambda: spoiled(lambda a: (a[0] + "\ud800", *a[1:])), "cannot be written as UTF-8"),
    "reward is a str": (lambda: spoiled(lambda a: (a[0], "1", *a[2:])), "return a finite number"),
    "reward is infinite": (lambda: spoiled(lambda a: (a[0], float("inf"), *a[2:])), "return a finite number"),
    "won without an end": (lambda: spoiled(lambda a: (*a[:2], False, *a[3:])), "without terminated"),
    "won is a number": (lambda: with_info(won=1), "info['won'] of step() is 1"),
    "score is a str": (lambda: with_info(score="high"), "info['score'] of step() is 'high'"),
    "step raises": (lambda: spoiled(_raises(ZeroDivisionError("division by zero"))), "raised ZeroDivisionError"),
}
"""By name: makes a benchmark with one fault, and what the check says of it (parts of which one is found, with |)."""
