"""The demonstrator: an optimal solution told as a blueprint of pushes, then played with optional shown mistakes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from himac.envs.sokoban.env import SokobanEnv
from himac.envs.sokoban.level import WALL, Level
from himac.envs.sokoban.solver import Solution, solve, walk_distances, walk_path
from himac.envs.sokoban.state import DIRECTIONS, State, strides
from himac.envs.sokoban.text import View, caption_text, cell_names, inner_cells, start_text
from himac.scene import Content, observed
from himac.types import Demonstration, DemoSegment, DemoTurn, Task


class Push(NamedTuple):
    """Pushes of one box in one direction without another push between them; cells as in `State`."""

    box: int
    direction: str
    end: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A level's pushes in order and as sub-goals."""

    pushes: tuple[Push, ...]
    subgoals: tuple[str, ...]


def make_plan(level: Level, solution: Solution, view: View) -> Plan:
    """Group the pushes of a solution."""
    state, pushes = State(level), list[Push]()
    for direction in solution.path:
        _, pushed = state.move(direction)
        if not pushed:
            continue
        box = state.player  # the player stands where the box was
        end = box + strides(level.width)[direction]
        if pushes and pushes[-1].end == box and pushes[-1].direction == direction:
            pushes[-1] = Push(pushes[-1].box, direction, end)
        else:
            pushes.append(Push(box, direction, end))
    return Plan(tuple(pushes), tuple(describe(level, push, view) for push in pushes))


def describe(level: Level, push: Push, view: View) -> str:
    """A push as a sub-goal: "push box r3c2 left to r3c1", or "push box 32 left to 31"."""
    names = cell_names(level.height, level.width, view)
    return f"push box {names[push.box]} {push.direction} to {names[push.end]}"


def random_pushes(level: Level, view: View, rng: random.Random, most: int = 4) -> tuple[str, ...]:
    """Sub-goals in the demonstrator's words with random cells inside the border; none twice in a row."""
    step = strides(level.width)
    inside = inner_cells(level.height, level.width)
    lines = [
        describe(level, Push(box, direction, box + step[direction]), view)
        for box in inside
        for direction in DIRECTIONS
        if box + step[direction] in inside
    ]
    return tuple(rng.sample(lines, min(rng.randint(1, most), len(lines))))


def demonstrate(
    env: SokobanEnv, task: Task, rng: random.Random, noise: float = 0.0, step_limit: int = 15
) -> Demonstration:
    """Play a level by its optimal plan; a level without a solution gives an unsuccessful, empty demonstration.

    Args:
        env: What it shows, text or pictures, is what the demonstration shows.
        rng: Draws mistakes; unused without noise.
        noise: Probability, before each right move, of a shown mistake (`DemoTurn.train` false): a move that is rejected
            or a step elsewhere, never a push.
        step_limit: Moves, mistakes included, before the episode is given up.
    """
    first, info = env.reset(options=dict(task.options))
    state, instruction, overview = env.state, str(info["instruction"]), str(info["overview"])
    solution = solve(state.level)
    plan = make_plan(state.level, solution, env.view) if solution is not None else Plan((), ())
    opening = _seen(env, first)
    last, won, steps = opening, False, 0
    segments = list[DemoSegment]()
    for push, subgoal in zip(plan.pushes, plan.subgoals, strict=True):
        start = start_text(overview, last) if isinstance(last, str) else last
        turns = list[DemoTurn]()
        while not won and steps < step_limit:
            action = next_move(state, push)
            if action is None:
                turns.append(DemoTurn(None, "", sub_done=True))
                break
            mistake = _mistake(state, action, rng, turns) if noise and rng.random() < noise else None
            answer, _, won, _, _ = env.step(mistake or action)
            last = _seen(env, answer)
            turns.append(DemoTurn(mistake or action, last, train=mistake is None))
            steps += 1
        if turns:
            segments.append(DemoSegment(subgoal, start, tuple(turns)))
    return Demonstration(task, instruction, opening, tuple(segments), won)


def _seen(env: SokobanEnv, observation: Any) -> Content:
    return observed(observation, caption_text(env.state, env.view))


def next_move(state: State, push: Push) -> str | None:
    """The next move of a push, walking there first; `None` when it is done or its box cannot be reached or found."""
    step = strides(state.level.width)
    stride = step[push.direction]
    boxes = state.boxes()
    box = next((cell for cell in _line(push, stride) if cell in boxes), None)
    if box is None or box == push.end:
        return None
    if state.player == box - stride:
        return push.direction if state.pushes(push.direction) else None
    walls = [cell for cell, code in enumerate(state.beneath) if code == WALL]
    reach = walk_distances(state.player, walls, boxes, tuple(step.values()))
    return walk_path(reach, box - stride, step)[0] if box - stride in reach else None


def _line(push: Push, stride: int) -> range:
    """The cells a push passes, its end first."""
    return range(push.end, push.box - stride, -stride)


def _mistake(state: State, right: str, rng: random.Random, turns: Sequence[DemoTurn]) -> str | None:
    """Another move that pushes nothing; not the one just shown, lest the demonstration walk in circles."""
    shown = turns[-1].action if turns and not turns[-1].train else None
    wrong = [name for name in DIRECTIONS if name not in (right, shown) and not state.pushes(name)]
    return rng.choice(wrong) if wrong else None
