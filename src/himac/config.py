"""The one configuration tree and the only home of defaults; `himac.config_file` reads and writes it.

The settings of an algorithm stand beside it, those of an engine too, and are read when its name is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from himac.errors import ConfigError
from himac.plugins import Registry
from himac.settings import (
    AtOnce,
    Context,
    Decay,
    NonNegative,
    Penalty,
    Positive,
    Processes,
    Registered,
    Seconds,
    Settings,
    Temperature,
    Width,
)

Trained = Literal["hierarchical", "flat", "hiper"]
"""Agents that can be trained."""
ENGINES = Registry(
    "engine",
    "himac.engines",
    {
        "local": "himac.engines.local.settings:LocalConfig",
        "openai": "himac.engines.openai.settings:OpenAIConfig",
        "vllm": "himac.engines.vllm.settings:VllmConfig",
    },
)
ALGORITHMS = Registry(
    "algorithm",
    "himac.algorithms",
    {
        "himac": "himac.algos.himac:HimacConfig",
        "himac-plus": "himac.algos.himac_plus:HimacPlusConfig",
        "grpo": "himac.algos.grpo:GrpoConfig",
        "ppo": "himac.algos.ppo:PpoConfig",
        "rloo": "himac.algos.rloo:RlooConfig",
        "gigpo": "himac.algos.gigpo:GigpoConfig",
        "hiper": "himac.algos.hiper:HiperConfig",
    },
)
DEFAULT_ENGINE, DEFAULT_ALGORITHM = "local", "himac"


class LoraConfig(Settings):
    """A low-rank adapter that is trained in place of the weights (needs `himac[lora]`). Null: the weights are trained.

    Pictures are encoded by the model's own tower, which has no adapter.
    """

    rank: Positive = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    dropout: Decay = 0.0
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    modules_to_save: tuple[str, ...] = ()


class ModelConfig(Settings):
    """The starting weights and how they are held."""

    path: str = ""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    lora: LoraConfig | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do.

    Attributes:
        exact: Draws depend on nothing but the request and cost nothing, so that a run can be repeated.
        logprobs: It tells log-probabilities of its own tokens, and of given ones (`score`).
        weights: It samples with the weights of `model.path`, and takes new ones.
        images: Prompts may hold pictures.
        lora: It takes adapters in place of whole weights.
        abort: `release` ends a request that is under way.
    """

    exact: bool = False
    logprobs: bool = False
    weights: bool = False
    images: bool = False
    lora: bool = False
    abort: bool = False


class EngineConfig(Registered):
    """What generates. `name` chooses one of `ENGINES`, or one that an installed package brings.

    Such a package has a subclass of this and an entry point of the group `himac.engines` that names it.
    """

    kind = "engine"
    can: ClassVar[Capabilities]

    @property
    def served(self) -> str | None:
        """The model that the engine brings itself; `None` where it is that of `model.path`."""
        return None

    def cost(self, prompt_tokens: int, reply_tokens: int) -> float | None:
        """Price of so many tokens; `None` where none is known."""
        return None


class VisionInitConfig(Settings):
    """Shape of the vision tower of a model made from scratch (Qwen2.5-VL architecture). Null: it reads text only.

    A token covers `merge_size` x `merge_size` patches of `patch_size` x `patch_size` pixels.
    """

    patch_size: Width = 8
    merge_size: Width = 2
    hidden_size: Width = 96
    layers: Annotated[int, Field(gt=0, le=1000)] = 2
    heads: Width = 3
    intermediate: Width = 192
    max_pixels: Width = 65536


class InitConfig(Settings):
    """Shape of a model made from scratch by `init-model` (Qwen2 architecture, own tokenizer); with `vision` it sees."""

    vocab_size: Width = 2048
    hidden_size: Width = 192
    layers: Annotated[int, Field(gt=0, le=1000)] = 4
    heads: Width = 4
    kv_heads: Width = 4
    intermediate: Width | None = None
    lookup_heads: bool = True
    max_position: Annotated[int, Field(ge=2, le=10**6)] = 4096
    tokenizer_games: Width = 500
    vision: VisionInitConfig | None = None


class EnvConfig(Settings):
    """Which tasks: a benchmark by name, its options and its splits.

    An answer is taken `overlap` engine steps after its question, so the run is the same with any number of `workers`.
    """

    name: str = "alfworld"
    kwargs: dict[str, Any] = Field(default_factory=dict)
    train_split: str = "train"
    eval_split: str = "valid"
    step_limit: Positive = 50
    invalid_penalty: Penalty = -0.1
    workers: Processes = 0
    overlap: NonNegative = 0
    timeout_s: Seconds = 60.0
    max_observation_chars: Positive = 65536


class PlannerConfig(Settings):
    """The macro policy. An invalid blueprint (`malformed_blueprint`) gets the failure floor."""

    sees_observation: bool = True
    max_subgoals: Positive = 8
    max_tokens: Positive = 192
    temperature: Temperature = 1.0


class ExecutorConfig(Settings):
    """The micro policy.

    `step_limit` is T_limit of the paper: steps allowed on one sub-goal. `sub_done: false` is the ablation in which
    each sub-goal gets exactly that many steps.
    """

    sees_task: bool = False
    repeat_subgoal: bool = False
    step_limit: Positive = 30
    max_tokens: Positive = 24
    temperature: Temperature = 1.0
    failure_keywords: tuple[str, ...] = ()
    max_repeats: NonNegative = 4
    sub_done: bool = True


class EpisodePolicyConfig(Settings):
    """What policies with one context for the whole episode share."""

    repeat_task: bool = False
    max_tokens: Positive = 48
    temperature: Temperature = 1.0
    max_repeats: NonNegative = 4


class FlatConfig(EpisodePolicyConfig):
    """The flat ReAct-style policy; `thoughts` lets it write a sub-goal down."""

    thoughts: bool = True


class HiperAgentConfig(EpisodePolicyConfig):
    """The KEEP/SWITCH policy; `restate` lets KEEP repeat the sub-goal."""

    restate: bool = False


class PromptingConfig(Settings):
    """How a model is addressed that was not trained for the task: `plain`, `react`, `reflexion`, `style: prompting`."""

    instructions: str = ""
    example: bool = False
    admissible: bool = False
    max_tokens: Positive = 512
    trials: Positive = 3
    memory: Positive = 3


class AgentConfig(Settings):
    """Which agent acts, and the limits all kinds share."""

    name: Literal["hierarchical", "flat", "hiper", "plain", "react", "reflexion"] = "hierarchical"
    style: Literal["trained", "prompting"] = "trained"
    max_context: Context = 2048
    failure_penalty: Penalty = -1.0
    planner: PlannerConfig = PlannerConfig()
    executor: ExecutorConfig = ExecutorConfig()
    flat: FlatConfig = FlatConfig()
    hiper: HiperAgentConfig = HiperAgentConfig()
    prompting: PromptingConfig = PromptingConfig()

    @property
    def temperature(self) -> float:
        """At which the tokens that are trained are sampled, and scored: one for all roles.

        Raises:
            ConfigError: planner and executor differ.
        """
        whole = {"flat": self.flat, "hiper": self.hiper}.get(self.name)
        if whole is not None:
            return whole.temperature
        if self.planner.temperature != self.executor.temperature:
            raise ConfigError(
                "planner.temperature and executor.temperature must be equal: both are trained in one update"
            )
        return self.executor.temperature


class AlgoConfig(Registered):
    """What is trained how. `name` chooses one of `ALGORITHMS`, or one that an installed package brings.

    Such a package has a subclass of this and an entry point of the group `himac.algorithms` that names it.

    Attributes:
        trains: `agent.name` of the agent that is trained.
        learner: Keys of `train.learner` that it brings where they are not given.
    """

    kind = "algorithm"
    trains: ClassVar[Trained] = "hierarchical"
    learner: ClassVar[Mapping[str, Any]] = {}

    @property
    def value_heads(self) -> int:
        """Values that its critic predicts."""
        return 0

    @property
    def needs_reference(self) -> bool:
        """Whether the algorithm itself asks for the frozen starting weights."""
        return False

    @property
    def episodes(self) -> int:
        """Sampled in an iteration, those that take the place of others left out; 0: nobody knows beforehand."""
        return 0

    def resolved(self) -> AlgoConfig:
        """What is trained, where a switch makes another algorithm of this one."""
        return self


def engine_settings(name: str) -> type[EngineConfig]:
    """The settings of an engine by its name; raises what `Registry.load` raises."""
    return cast("type[EngineConfig]", ENGINES.load(name))


def algorithm_settings(name: str) -> type[AlgoConfig]:
    """The settings of an algorithm by its name; raises what `Registry.load` raises."""
    return cast("type[AlgoConfig]", ALGORITHMS.load(name))


def _of_its_engine(tree: Any) -> Any:
    return _validated(tree, engine_settings, DEFAULT_ENGINE)


def _of_its_algorithm(tree: Any) -> Any:
    return _validated(tree, algorithm_settings, DEFAULT_ALGORITHM)


def _validated(tree: Any, settings: Callable[[str], type[Settings]], default: str) -> Any:
    """The section as the settings that its name chooses; whoever reads the file tells which key is wrong."""
    if not isinstance(tree, dict):
        return tree
    try:
        chosen = settings(str(tree.get("name", default)))
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return chosen.model_validate(tree)


class RoleConfig(Settings):
    """What differs for the rows of one role; null: as the learner."""

    lr_scale: Annotated[float, Field(gt=0, le=100)] = 1.0
    epochs: Positive | None = None
    mini_batches: Positive | None = None


class LearnerConfig(Settings):
    """Optimisation of one update.

    Attributes:
        max_grad_norm: Gradients are scaled down to this norm.
        mini_batches: Optimiser steps an epoch; rows are split evenly among them.
        max_tokens_per_microbatch: Bounds memory; the result does not depend on it.
        dual_clip: See `algos.losses.policy_loss`; `None` is off.
        aggregation_horizon: The constant of `seq-mean-token-sum-norm`.
        kl_coef: beta of eq. 3; 0 needs no reference.
        target_kl: An update ends before a step at which the policy has moved half as far again from the one that
            sampled, and the rate of later updates follows how far it moved (see `training.parts`). Falls with the
            square of the schedule. `None` is off.
        apart: Rows of each role are trained one role after the other, each with an optimiser state, a warm-up and a
            rate of its own.
        roles: What differs for a role, by its name; with `apart`.
        credit: `dgpo` redistributes advantages over tokens, see `training.credit`.
        correction, correction_cap: For a sampler that is not quite the policy, see `training.correction`.
        value_coef: Weight of the value loss, a mean of squares.
        value_clip: See `algos.losses.value_loss`; `None` is off.
        value_detach: No gradient of the value loss reaches the policy. Without it that gradient is clipped together
            with the policy's, whose step large errors of the critic then shrink.
        value_lr: Learning rate of the heads as a multiple of `lr`.
        value_warmup: Updates at the start in which the heads alone are trained.
        precision: `fp32`, `bf16` autocast, or `auto`: bf16 where the hardware has it.
        freeze_vision: The vision tower of a model that sees pictures stays as it is.
    """

    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-4
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup_steps: NonNegative = 0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    mini_batches: Positive = 1
    epochs: Positive = 1
    max_tokens_per_microbatch: Positive = 8192
    clip_low: Annotated[float, Field(gt=0)] = 0.2
    clip_high: Annotated[float, Field(gt=0)] = 0.2
    dual_clip: Annotated[float, Field(gt=1)] | None = None
    ratio: Literal["token", "sequence"] = "token"
    aggregation: Literal["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"] = (
        "token-mean"
    )
    aggregation_horizon: Positive | None = None
    kl_kind: Literal["k1", "k2", "k3"] = "k3"
    kl_coef: Annotated[float, Field(ge=0)] = 0.01
    entropy_coef: Annotated[float, Field(ge=0)] = 0.0
    target_kl: Annotated[float, Field(gt=0)] | None = None
    apart: bool = False
    roles: dict[Literal["planner", "executor", "flat"], RoleConfig] = Field(default_factory=dict)
    credit: Literal["uniform", "dgpo"] = "uniform"
    credit_temperature: Annotated[float, Field(gt=0)] = 0.1
    correction: Literal["none", "token", "sequence"] = "none"
    correction_cap: Annotated[float, Field(ge=1)] = 2.0
    value_coef: Annotated[float, Field(ge=0)] = 0.02
    value_clip: Annotated[float, Field(gt=0)] | None = None
    value_detach: bool = True
    value_lr: Annotated[float, Field(gt=0)] = 10.0
    value_warmup: NonNegative = 0
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    gradient_checkpointing: NonNegative = 0
    loss_chunk: Positive | None = None
    offload_reference: bool = False
    freeze_vision: bool = True


class WarmstartConfig(Settings):
    """Supervised training on scripted demonstrations before reinforcement learning."""

    games: Positive | None = None
    passes: Positive = 2
    batch_tokens: Positive = 8192
    optimizer: Literal["adamw", "muon"] = "muon"
    lr: Annotated[float, Field(gt=0)] = 0.01
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.02
    formats: tuple[Literal["hierarchical", "flat", "hiper", "captions"], ...] = ("hierarchical",)
    context_weight: Annotated[float, Field(ge=0)] = 0.2
    keep_success_only: bool = True
    freeze_vision: bool = False
    checkpoint_steps: Positive = 100


class TrainConfig(Settings):
    """The loop around the algorithm. Training ends at `iterations` or `env_steps`, whichever comes first.

    `rollout_workers` are processes that run episodes side by side, for small models on a CPU; `max_live` is for each.
    """

    iterations: Positive = 100
    env_steps: Positive | None = None
    learner: LearnerConfig = LearnerConfig()
    eval_every: NonNegative = 10
    eval_tasks: Positive | None = None
    checkpoint_every: Positive = 5
    checkpoint_phases: bool = False
    keep_checkpoints: Positive = 2
    record_episodes: Annotated[float, Field(ge=0, le=1)] = 0.02
    trackers: tuple[str, ...] = ("tensorboard",)
    max_live: AtOnce = 64
    rollout_workers: Annotated[int, Field(gt=0, le=256)] = 1


FIELD_TEMPERATURE, FIELD_REPEATS = 0.4, 3
"""How success is compared with that of others: sampled at this temperature, every task so often. `himac eval` and the
end of a benchmark's run play every task greedily besides."""


class EvalConfig(Settings):
    """Evaluation with one setting: every task of a split once and greedily, or `repeats` times at `temperature`.

    The evaluations inside training have this one.
    """

    temperature: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    repeats: Positive = 1
    max_live: AtOnce = 64

    @model_validator(mode="after")
    def _greedy_or_warm(self) -> EvalConfig:
        if 0 < self.temperature < 1e-3:
            raise ValueError("a temperature below 0.001 overflows; set temperature=0 for greedy choices")
        return self


class Config(Settings):
    """Everything that defines a run."""

    seed: Annotated[int, Field(ge=-(10**18), le=10**18)] = 0
    threads: Annotated[int, Field(gt=0, le=1024)] | None = None
    model: ModelConfig = ModelConfig()
    engine: Annotated[SerializeAsAny[EngineConfig], BeforeValidator(_of_its_engine)] = Field(
        default_factory=lambda: _of_its_engine({})
    )
    init: InitConfig = InitConfig()
    env: EnvConfig = EnvConfig()
    agent: AgentConfig = AgentConfig()
    algo: Annotated[SerializeAsAny[AlgoConfig], BeforeValidator(_of_its_algorithm)] = Field(
        default_factory=lambda: _of_its_algorithm({})
    )
    warmstart: WarmstartConfig = WarmstartConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
