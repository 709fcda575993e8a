"""The one configuration tree and the only home of defaults; `himac.config_file` reads and writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, model_validator

from himac.errors import ConfigError

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Discount = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Penalty = Annotated[float, Field(ge=-1e6, le=0)]
Seconds = Annotated[float, Field(gt=0, le=1e6)]
Temperature = Annotated[float, Field(ge=1e-3, le=1e3)]
"""What is divided by less overflows."""
Processes = Annotated[int, Field(ge=0, le=256)]
AtOnce = Annotated[int, Field(gt=0, le=65536)]
Width = Annotated[int, Field(gt=0, le=10**6)]
Context = Annotated[int, Field(ge=2)]
"""In tokens: one is told and one is said."""
StdKind = Literal["population", "sample", "none"]
StatisticsKind = Literal["trajectories", "rows"]
Trained = Literal["hierarchical", "flat", "hiper"]
"""Agents that can be trained."""

_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")


S = TypeVar("S", bound="_Node")


class _Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class ModelConfig(_Node):
    """The starting weights and how they are held."""

    path: str = ""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"


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


class _Registered(_Node):
    """Settings that name what they are for.

    Attributes:
        kind: What it is, for messages.
        factory: `<module>:<class>`, imported when one is made.
    """

    kind: ClassVar[str]
    factory: ClassVar[str]
    name: str

    def load_factory(self) -> Any:
        """The class that `factory` names.

        Raises:
            ConfigError: its module or class is not there.
        """
        try:
            return resolve_name(self.factory)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{self.kind} '{self.name}' cannot be loaded ({error}); reinstall its package") from error


class EngineConfig(_Registered):
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


class OpenAIConfig(EngineConfig):
    """An OpenAI-compatible chat endpoint, for evaluation only.

    Its key is read from the environment variable `key_variable` and never stored.
    """

    can = Capabilities(abort=True)
    factory = "himac.engines.openai.engine:OpenAIEngine"
    name: Literal["openai"] = "openai"
    model: str = ""
    base_url: str = ""
    key_variable: str = "OPENAI_API_KEY"
    concurrency: AtOnce = 16
    timeout_s: Seconds = 120.0
    max_tries: Positive = 6
    max_wait_s: Seconds = 60.0
    max_context: Context = 65536
    logprobs: bool = False
    length_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    omit: tuple[str, ...] = ()
    extra: dict[str, Any] = Field(default_factory=dict)
    price_in: Annotated[float, Field(ge=0)] | None = None
    price_out: Annotated[float, Field(ge=0)] | None = None

    @property
    def served(self) -> str:
        return self.model

    def cost(self, prompt_tokens: int, reply_tokens: int) -> float | None:
        if self.price_in is None or self.price_out is None:
            return None
        return (prompt_tokens * self.price_in + reply_tokens * self.price_out) / 1e6

    @model_validator(mode="after")
    def _coherent(self) -> OpenAIConfig:
        address = urlsplit(self.base_url)
        if address.username or address.password:
            raise ValueError("base_url must not hold a key or password; give the key in the variable of key_variable")
        if address.query or address.fragment:
            raise ValueError("base_url must not have a query, which may hold a key; end it before the ? or #")
        if not _VARIABLE.fullmatch(self.key_variable):
            raise ValueError("key_variable is the name of an environment variable, such as OPENAI_API_KEY, not the key")
        if self.base_url and (address.scheme not in ("http", "https") or not address.hostname):
            raise ValueError("base_url is an address such as http://localhost:8000/v1")
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("give both price_in and price_out, or neither")
        return self


class LocalConfig(EngineConfig):
    """The model of `model.path` in this process."""

    can = Capabilities(exact=True, logprobs=True, weights=True, images=True, abort=True)
    factory = "himac.engines.local.engine:LocalEngine"
    name: Literal["local"] = "local"

    @model_validator(mode="before")
    @classmethod
    def _endpoint_left_out(cls, tree: Any) -> Any:
        """Runs saved when there was one class for all engines hold the keys of an endpoint at their defaults."""
        unset = OpenAIConfig().model_dump(mode="json", exclude={"name"}).items()
        return dict(pair for pair in tree.items() if pair not in unset) if isinstance(tree, dict) else tree


ENGINES: dict[str, type[EngineConfig]] = {"local": LocalConfig, "openai": OpenAIConfig}


def engine_settings(name: str) -> type[EngineConfig]:
    """The settings of an engine by its name; raises what `_registered` raises."""
    return _registered("engine", name, ENGINES, "himac.engines")


def _registered(kind: str, name: str, known: Mapping[str, type[S]], group: str) -> type[S]:
    """Settings by their name; built-in names cannot be replaced by a package.

    Raises:
        ValueError: nobody brings this name, or its package is broken.
    """
    if name in known:
        return known[name]
    installed = {point.name: point for point in entry_points(group=group)}
    if name not in installed:
        raise ValueError(f"there is no {kind} '{name}'; choose one of {', '.join([*known, *installed])}")
    try:
        settings: type[S] = installed[name].load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{kind} '{name}' cannot be loaded ({error}); reinstall its package") from error
    return settings


def _of_its_engine(tree: Any) -> Any:
    return engine_settings(str(tree.get("name", "local"))).model_validate(tree) if isinstance(tree, dict) else tree


class VisionInitConfig(_Node):
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


class InitConfig(_Node):
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


class EnvConfig(_Node):
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


class PlannerConfig(_Node):
    """The macro policy. An invalid blueprint (`malformed_blueprint`) gets the failure floor."""

    sees_observation: bool = True
    max_subgoals: Positive = 8
    max_tokens: Positive = 192
    temperature: Temperature = 1.0


class ExecutorConfig(_Node):
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


class EpisodePolicyConfig(_Node):
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


class PromptingConfig(_Node):
    """How a model is addressed that was not trained for the task: `plain`, `react`, `reflexion`, `style: prompting`."""

    instructions: str = ""
    example: bool = False
    admissible: bool = False
    max_tokens: Positive = 512
    trials: Positive = 3
    memory: Positive = 3


class AgentConfig(_Node):
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


class AlgoConfig(_Registered):
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


class HimacConfig(AlgoConfig):
    """Algorithm 1. `num_blueprints` is G and `num_rollouts` is M of the paper.

    `hierarchy: false` makes flat GRPO of it, see `config_file.parse_config`.
    """

    factory = "himac.algos.himac:Himac"
    name: Literal["himac"] = "himac"
    hierarchy: bool = True
    tasks: Positive = 16
    num_blueprints: Annotated[int, Field(ge=2)] = 8
    num_rollouts: Annotated[int, Field(ge=2)] = 8
    std: StdKind = "population"
    blueprint_selection: Literal["best", "random", "learnability"] = "best"
    co_evolution: bool = True
    require_positive: bool = False
    resample: NonNegative = 0
    resample_executions: NonNegative = 0
    score_executions: NonNegative = 0
    step_weight: Annotated[float, Field(ge=0)] = 0.0
    gamma: Discount = 0.95

    @model_validator(mode="after")
    def _switches_fit(self) -> HimacConfig:
        if self.blueprint_selection == "learnability" and self.score_executions < 2:
            raise ValueError(
                "blueprint_selection=learnability compares how often sampled executions succeed; set "
                "algo.score_executions to 2 or more, or algo.blueprint_selection=best"
            )
        if self.resample_executions and self.step_weight:
            raise ValueError(
                "resample_executions replaces groups with equal returns, whose steps teach all the same; set "
                "algo.resample_executions=0 or algo.step_weight=0"
            )
        return self


class HimacPlusConfig(AlgoConfig):
    """HiMAC with nested executions: `num_blueprints` a task, `num_rollouts` sampled executions of each.

    A turn of the executor has the advantage of its execution among those of its blueprint, plus `step_weight` times
    its own by the values of the states that the task's episodes visited. The planner is trained in every
    `plan_every`-th iteration. `branches` more ends of a task's executions are sampled from the end of a sub-goal, that
    of which it is least certain whether it leads to success. Unless they are given, `train.learner` has `apart: true`,
    `epochs: 3`, `mini_batches: 4` and `target_kl: 0.02`.
    """

    learner = {"apart": True, "epochs": 3, "mini_batches": 4, "target_kl": 0.02}
    factory = "himac.algos.himac_plus:HimacPlus"
    name: Literal["himac-plus"] = "himac-plus"
    tasks: Positive = 16
    num_blueprints: Annotated[int, Field(ge=2)] = 2
    num_rollouts: Annotated[int, Field(ge=2)] = 4
    std: StdKind = "none"
    step_weight: Annotated[float, Field(ge=0)] = 5.0
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.95
    plan_every: Positive = 1
    branches: NonNegative = 0
    resample: NonNegative = 0


class FlatAlgoConfig(AlgoConfig):
    """What the methods without a hierarchy share."""

    trains: ClassVar[Trained] = "flat"
    tasks: Positive = 16
    group_size: Annotated[int, Field(ge=2)] = 8
    resample: NonNegative = 0

    @property
    def equal_returns_teach(self) -> bool:
        """Whether something can be learned from a group whose returns are all equal."""
        return False

    @model_validator(mode="after")
    def _resample_drops_nothing_of_use(self) -> FlatAlgoConfig:
        if self.resample and self.equal_returns_teach:
            raise ValueError(
                f"resample replaces groups with equal returns, from which {self.name} learns all the same; "
                "set algo.resample=0" + (" or algo.step_weight=0" if self.name == "gigpo" else "")
            )
        return self


class GrpoConfig(FlatAlgoConfig):
    """Flat GRPO: whole trajectories of one task compared with one another. HiMAC without its hierarchy."""

    factory = "himac.algos.grpo:Grpo"
    name: Literal["grpo"] = "grpo"
    std: StdKind = "population"


class RlooConfig(FlatAlgoConfig):
    """Flat RLOO: each trajectory compared with the mean of the others of its task."""

    factory = "himac.algos.rloo:Rloo"
    name: Literal["rloo"] = "rloo"


class GigpoConfig(FlatAlgoConfig):
    """GiGPO: as GRPO, and steps taken in the same state compared with one another.

    Both standard deviations `none` is GiGPO without std.
    """

    factory = "himac.algos.gigpo:Gigpo"
    name: Literal["gigpo"] = "gigpo"
    std: StdKind = "population"
    step_std: StdKind = "population"
    gamma: Discount = 0.95
    step_weight: Annotated[float, Field(ge=0)] = 1.0
    similarity: Annotated[float, Field(gt=0, lt=1)] | None = None
    statistics: StatisticsKind = "trajectories"

    @property
    def equal_returns_teach(self) -> bool:
        """Steps are compared besides."""
        return self.step_weight > 0


class HiperConfig(FlatAlgoConfig):
    """HiPER: a policy that keeps or switches its sub-goal, with hierarchical advantages from learned values."""

    trains: ClassVar[Trained] = "hiper"
    factory = "himac.algos.hiper:Hiper"
    name: Literal["hiper"] = "hiper"
    heads: Literal[1, 2, 3] = 3
    gamma: Discount = 1.0
    lam_turn: Annotated[float, Field(ge=0, le=1)] = 1.0
    lam_seg: Annotated[float, Field(ge=0, le=1)] = 0.95
    keep_penalty: Penalty = -0.3
    keep_penalty_mode: Literal["fixed", "normalized"] = "normalized"
    consistency_penalty: Penalty = -0.3
    normalise: bool = True

    @property
    def value_heads(self) -> int:
        return self.heads

    @property
    def equal_returns_teach(self) -> bool:
        """Nothing is compared within a group."""
        return True


class PpoConfig(FlatAlgoConfig):
    """PPO: a critic values every token of an episode. `reward_kl` penalises leaving the starting model."""

    factory = "himac.algos.ppo:Ppo"
    name: Literal["ppo"] = "ppo"
    group_size: Positive = 8
    gamma: Discount = 1.0
    lam: Annotated[float, Field(ge=0, le=1)] = 0.95
    whiten: bool = True
    reward_kl: Annotated[float, Field(ge=0)] = 0.0

    @property
    def value_heads(self) -> int:
        return 1

    @property
    def needs_reference(self) -> bool:
        return self.reward_kl > 0

    @property
    def equal_returns_teach(self) -> bool:
        """Nothing is compared within a group."""
        return True


ALGORITHMS: dict[str, type[AlgoConfig]] = {
    method.model_fields["name"].default: method
    for method in (HimacConfig, HimacPlusConfig, GrpoConfig, PpoConfig, RlooConfig, GigpoConfig, HiperConfig)
}


def algorithm_settings(name: str) -> type[AlgoConfig]:
    """The settings of an algorithm by its name; raises what `_registered` raises."""
    return _registered("algorithm", name, ALGORITHMS, "himac.algorithms")


def _of_its_algorithm(tree: Any) -> Any:
    return algorithm_settings(str(tree.get("name", "himac"))).model_validate(tree) if isinstance(tree, dict) else tree


class RoleConfig(_Node):
    """What differs for the rows of one role; null: as the learner."""

    lr_scale: Annotated[float, Field(gt=0, le=100)] = 1.0
    epochs: Positive | None = None
    mini_batches: Positive | None = None


class LearnerConfig(_Node):
    """Optimisation of one update."""

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
    value_coef: Annotated[float, Field(ge=0)] = 0.02
    value_clip: Annotated[float, Field(gt=0)] | None = None
    value_detach: bool = True
    value_lr: Annotated[float, Field(gt=0)] = 10.0
    value_warmup: NonNegative = 0
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    freeze_vision: bool = True


class WarmstartConfig(_Node):
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


class TrainConfig(_Node):
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
    max_live: AtOnce = 64
    rollout_workers: Annotated[int, Field(gt=0, le=256)] = 1


FIELD_TEMPERATURE, FIELD_REPEATS = 0.4, 3
"""How success is compared with that of others: sampled at this temperature, every task so often. `himac eval` and the
end of a benchmark's run play every task greedily besides."""


class EvalConfig(_Node):
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


class Config(_Node):
    """Everything that defines a run."""

    seed: Annotated[int, Field(ge=-(10**18), le=10**18)] = 0
    threads: Annotated[int, Field(gt=0, le=1024)] | None = None
    model: ModelConfig = ModelConfig()
    engine: Annotated[SerializeAsAny[EngineConfig], BeforeValidator(_of_its_engine)] = LocalConfig()
    init: InitConfig = InitConfig()
    env: EnvConfig = EnvConfig()
    agent: AgentConfig = AgentConfig()
    algo: Annotated[SerializeAsAny[AlgoConfig], BeforeValidator(_of_its_algorithm)] = HimacConfig()
    warmstart: WarmstartConfig = WarmstartConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
