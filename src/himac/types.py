"""The records that flow through the system: tasks, blueprints, segments, episodes, groups, rows.

All are frozen and free of torch. Token sequences are numpy arrays made once, at generation, and never
re-tokenised. Shape suffix: T tokens of one segment or row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from himac.scene import Content, Placed

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


class Role(StrEnum):
    """The part the one language model plays in a segment; only the prompt differs."""

    PLANNER = "planner"
    EXECUTOR = "executor"
    FLAT = "flat"


class StopReason(StrEnum):
    """Why an episode ended. Everything but `SUCCESS` is a failure and receives the failure floor."""

    SUCCESS = "success"
    FAILURE = "failure"
    PLAN_EXHAUSTED = "plan_exhausted"
    SUBGOAL_BUDGET = "subgoal_budget"
    FAILURE_KEYWORD = "failure_keyword"
    STEP_LIMIT = "step_limit"
    MALFORMED_BLUEPRINT = "malformed_blueprint"
    CONTEXT_LIMIT = "context_limit"
    ENV_ERROR = "env_error"
    ENGINE_ERROR = "engine_error"


@dataclass(frozen=True, slots=True)
class Task:
    """One problem of a benchmark.

    Attributes:
        id: Unique and stable within its benchmark; the key of manifests and results files.
        kind: Task type of the per-type report (`pick_and_place_simple`, ...).
        options: What `env.reset(options=...)` needs to set up exactly this problem.
    """

    id: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PromptTexts:
    """What a benchmark tells the agents about itself; agents assemble prompts from these.

    Attributes:
        planner: Rules given to the planner before the task.
        executor: Rules given to the executor before the sub-goal.
        flat: Rules given to a flat policy before the task.
    """

    planner: str
    executor: str
    flat: str


@dataclass(frozen=True, slots=True)
class Blueprint:
    """An ordered list of natural-language sub-goals, or the reason why a reply is not one.

    Attributes:
        subgoals: The sub-goals g_1..g_K; empty when malformed.
        malformed: `None` for a valid blueprint, otherwise why it is invalid.
    """

    subgoals: tuple[str, ...]
    malformed: str | None = None

    @property
    def valid(self) -> bool:
        return self.malformed is None


@dataclass(frozen=True, slots=True)
class Turn:
    """One reply of the model inside a segment and what came of it.

    Attributes:
        action: The environment action, or `None` when the reply was a bare `<sub_done>`.
        observation: What the environment answered (empty without a step), text or with pictures.
        reward: Environment reward of the step plus the penalty of an invalid action.
        invalid: The environment rejected the action; the state did not change.
        sub_done: The reply closed the sub-goal.
        start, end: Half-open span of the reply's tokens in the segment's `token_ids`.
        anchor: What tells the state the reply was given in from others: the observation before it, or the
            environment's own `info["anchor"]`.
    """

    action: str | None
    observation: Content
    reward: float
    invalid: bool
    sub_done: bool
    start: int
    end: int
    anchor: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One append-only context of the model: a planner call, one sub-goal's steps, or a flat episode.

    Attributes:
        token_ids: int32 [T], prompt and replies as they were fed and sampled.
        sampled: bool [T], true where the policy drew the token itself. Prompts, observations and
            forced tokens (closing tags after the length cap) are false and never trained on.
        logprobs: float32 [T], log-probability under the sampling policy; 0 where not sampled.
        subgoal: Text of the active sub-goal for executor segments, else `None`.
        pictures: Those in the context; the token ids there are the model's placeholders.
        policy_version: Of the weights that sampled it, the oldest where they changed meanwhile; 0 for what is given or
            demonstrated, and where nobody counts.
    """

    role: Role
    token_ids: IntArray
    sampled: BoolArray
    logprobs: FloatArray
    turns: tuple[Turn, ...] = ()
    subgoal: str | None = None
    pictures: tuple[Placed, ...] = ()
    policy_version: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Boundary:
    """Where one sub-goal of an execution ends and the next begins: it can be gone on with from here once more.

    Attributes:
        done: Segments before it.
        world: The episode's side (counts, rewards, last observation), plain values.
        state: Snapshot of the environment; `None` where it has none.
    """

    done: int
    world: Mapping[str, Any]
    state: bytes | None


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """One finished attempt at a task.

    Attributes:
        plan: The planner's segment, `None` for flat agents and for episodes that follow a given blueprint.
        segments: Executor segments in order (one `FLAT` segment for flat agents).
        ret: Undiscounted return with penalties and, for failures, the floor (see `rollout.returns`).
        env_steps: Environment steps taken.
        score: The benchmark's own score (`info["score"]`), `None` where it has none besides success.
        wall_s: Seconds from start to end, waiting included.
        error: Traceback text when `stop` is `ENV_ERROR`, the cause when it is `ENGINE_ERROR`.
        solved: Share of successes among the sampled executions for which this one stands; `None`: for itself.
        boundaries: Where branches may start; none unless they were asked for.
        shared: The first so many segments are those of the episode that this one branched off from.
    """

    task: Task
    seed: int
    blueprint: Blueprint | None
    plan: Segment | None
    segments: tuple[Segment, ...]
    ret: float
    stop: StopReason
    env_steps: int
    wall_s: float = 0.0
    error: str | None = None
    score: float | None = None
    solved: float | None = None
    boundaries: tuple[Boundary, ...] = ()
    shared: int = 0

    @property
    def success(self) -> bool:
        return self.stop is StopReason.SUCCESS

    @property
    def broken(self) -> bool:
        """The environment or the engine failed: the episode says nothing about the policy."""
        return self.stop in (StopReason.ENV_ERROR, StopReason.ENGINE_ERROR)

    @property
    def contexts(self) -> tuple[Segment, ...]:
        """The planner's segment, where there is one, and those of the executor."""
        return self.segments if self.plan is None else (self.plan, *self.segments)

    @property
    def own(self) -> tuple[Segment, ...]:
        """The segments that were sampled for this episode: without those it shares."""
        return self.segments[self.shared :]

    @property
    def turns(self) -> tuple[Turn, ...]:
        return tuple(turn for segment in self.segments for turn in segment.turns)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Episodes whose returns are compared with one another (eq. 2)."""

    id: str
    task: Task
    episodes: tuple[Episode, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ValueTargets:
    """What the value heads learn from a row: for H heads, the value of the state in which each token was chosen.

    Attributes:
        mask: bool [T, H], where head h is trained.
        old: float32 [T, H], predicted when the row was made (for value clipping).
        target: float32 [T, H], the return to predict.
    """

    mask: BoolArray
    old: FloatArray
    target: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One sequence of the update; the learner sees nothing but rows.

    Attributes:
        input_ids: int32 [T].
        loss_mask: bool [T], true on the tokens that are trained; `loss_mask[0]` is false.
        old_logprobs: float32 [T], of the sampling policy; 0 where not trained.
        advantages: float32 [T], one value a token (constant for trajectory-level methods); in supervised training the
            token's weight.
        group_id: Comparison group, for logging and sequence-level aggregation.
        value: Targets of the value heads, for methods with a critic.
        pictures: As in `Segment`; shared, never copied.
        segment: What the row was made of, for records of the episode; `None` for made-up and demonstrated rows.
    """

    input_ids: IntArray
    loss_mask: BoolArray
    old_logprobs: FloatArray
    advantages: FloatArray
    role: Role
    group_id: str
    value: ValueTargets | None = None
    pictures: tuple[Placed, ...] = ()
    segment: Segment | None = None


@dataclass(frozen=True, slots=True)
class DemoTurn:
    """One demonstrated reply.

    Attributes:
        observation: What the environment answered to `action` (empty without a step).
        train: False for a shown mistake: it stays in the context but is never imitated.
    """

    action: str | None
    observation: Content
    sub_done: bool = False
    train: bool = True


@dataclass(frozen=True, slots=True)
class DemoSegment:
    """A sub-goal with the turns that achieved it.

    Attributes:
        start: Observation shown when the sub-goal becomes active.
    """

    subgoal: str
    start: Content
    turns: tuple[DemoTurn, ...]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A scripted episode from which planner, executor and flat training rows are all made."""

    task: Task
    instruction: str
    observation: Content
    segments: tuple[DemoSegment, ...]
    success: bool

    @property
    def blueprint(self) -> tuple[str, ...]:
        return tuple(segment.subgoal for segment in self.segments)
