"""Puts the parts of a run together: benchmark, model, engine, agent, environment pool, scheduler."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.agents.hiper import HiperAgent
from himac.agents.prompting import PlainAgent, PromptedHierarchicalAgent
from himac.agents.react import ReactAgent
from himac.agents.reflexion import ReflexionAgent
from himac.config import Config
from himac.engines.base import Engine, make_engine
from himac.envs.admissible import with_admissible
from himac.envs.base import SHORT_TEXTS, Benchmark
from himac.envs.pool import EnvPool
from himac.envs.registry import make_benchmark
from himac.errors import ConfigError, DataError
from himac.models.folder import check_model_folder
from himac.models.policy import Policy
from himac.rollout.collect import Collector, Runner
from himac.rollout.episode import EpisodeSpec
from himac.rollout.parallel import ParallelCollector, start_worker
from himac.seeding import derive_seed
from himac.types import Demonstration


@dataclass(slots=True)
class Runtime:
    """Everything needed to run episodes; close it when done.

    Attributes:
        policy: Whose weights the engine samples with; `None` where they are the engine's own.
    """

    config: Config
    benchmark: Benchmark
    policy: Policy | None
    engine: Engine
    agent: HierarchicalAgent | FlatAgent
    pool: EnvPool
    collector: Runner
    spec: EpisodeSpec

    def close(self) -> None:
        """Stop worker processes and requests."""
        with ExitStack() as stack:  # each of them, whatever the others do
            stack.callback(self.pool.close)
            if isinstance(self.collector, ParallelCollector):
                stack.callback(self.collector.close)
            stack.callback(self.engine.close)

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


AGENTS: dict[str, Callable[..., HierarchicalAgent | FlatAgent]] = {
    "hierarchical": HierarchicalAgent,
    "flat": FlatAgent,
    "hiper": HiperAgent,
}
PROMPTED: dict[str, Callable[..., HierarchicalAgent | FlatAgent]] = {
    "hierarchical": PromptedHierarchicalAgent,
    "plain": PlainAgent,
    "react": ReactAgent,
    "reflexion": ReflexionAgent,
}
_EXAMPLE_TRIES = 8


def build_benchmark(config: Config) -> Benchmark:
    """The benchmark named in the configuration, its splits checked.

    Raises:
        ConfigError: the benchmark has no such split.
    """
    benchmark = make_benchmark(config.env.name, **config.env.kwargs)
    known = list(benchmark.splits())
    for split in (config.env.train_split, config.env.eval_split):
        if split not in known:
            raise ConfigError(f"benchmark '{config.env.name}' has no split '{split}'; choose one of {', '.join(known)}")
    return benchmark


def build_runtime(
    config: Config,
    model_path: str | None = None,
    max_live: int = 64,
    benchmark: Benchmark | None = None,
    workers: int = 1,
    *,
    trained: bool = False,
) -> Runtime:
    """Load the model and wire the parts.

    Args:
        model_path: Replaces `config.model.path`.
        max_live: Episodes under way at once in a process.
        workers: Processes that run episodes, this one included.
        trained: The model is to be trained: by the adapter of `model.lora`, where there is one.
    """
    benchmark = benchmark or build_benchmark(config)
    policy = None
    if config.engine.can.weights:
        path = model_path or config.model.path
        check_model_path(path)
        if config.threads is not None:
            import torch

            torch.set_num_threads(config.threads)
        policy = Policy.load(path, config.model)
        if trained and config.model.lora is not None:
            policy.adapt(config.model.lora, derive_seed(config.seed, "adapter"))
    elif model_path is not None:
        raise ConfigError("--model is a directory for engine.name=local; name the endpoint's model in engine.model")
    return assemble(config, benchmark, policy, max_live, workers)


def assemble(
    config: Config, benchmark: Benchmark, policy: Policy | None, max_live: int = 64, workers: int = 1
) -> Runtime:
    """Wire engine, agent, environments and scheduler; see `build_runtime`."""
    if workers > 1 and policy is not None and policy.model.device.type != "cpu":
        raise ConfigError("train.rollout_workers above 1 is for models on a CPU; set it to 1 or model.device=cpu")
    engine = make_engine(config, policy, max_live)
    try:
        agent = make_agent(config, engine.tokenizer, benchmark)
        agent.chat.stop_also_at(() if policy is None else policy.end_ids)
        pool = env_pool(config, benchmark, config.env.workers)
    except BaseException:
        engine.close()
        raise
    local = Collector(engine, pool, max_live, overlap=config.env.overlap if config.engine.can.exact else None)
    runtime = Runtime(
        config=config,
        benchmark=benchmark,
        policy=policy,
        engine=engine,
        agent=agent,
        pool=pool,
        collector=local,
        spec=EpisodeSpec(benchmark, config, engine.max_context),
    )
    if workers > 1 and policy is not None:
        policy.model.share_memory()  # an update in this process is seen by all
        build = partial(assemble, config, benchmark, policy, max_live)
        runtime.collector = ParallelCollector(local, workers, lambda: start_worker(build))
    return runtime


def env_pool(config: Config, benchmark: Benchmark, workers: int) -> EnvPool:
    """Environments as the agent is to see them."""
    make_env = with_admissible(benchmark.make_env) if config.agent.prompting.admissible else benchmark.make_env
    return EnvPool(make_env, workers, config.env.timeout_s, config.env.max_observation_chars)


def check_model_path(path: str) -> None:
    """Refuse what is no model directory at a glance, before torch is imported.

    Raises:
        ConfigError: no path is given.
        ModelError: no such directory, or files are missing in it.
    """
    if not path:
        raise ConfigError("no model given; set model.path or pass --model with a Hugging Face directory")
    check_model_folder(Path(path))


def require_weights(config: Config, what: str) -> None:
    """Refuse what needs the weights of a model and the log-probabilities of what it samples.

    Raises:
        ConfigError: the engine does not have them.
    """
    if not (config.engine.can.weights and config.engine.can.logprobs):
        raise ConfigError(
            f"{what} needs the weights of a model, which engine '{config.engine.name}' does not have; "
            "set engine.name=local and model.path"
        )


def make_agent(config: Config, tokenizer: Any, benchmark: Benchmark) -> HierarchicalAgent | FlatAgent:
    """The agent of the configuration, in the style it names.

    Raises:
        ConfigError: there are no rules to tell an untrained model, no such style, or no demonstrator for an example.
    """
    agent = config.agent
    name = agent.name
    if agent.style == "prompting" and name == "flat":
        name = "react" if agent.flat.thoughts else "plain"
    if name in PROMPTED and (name != "hierarchical" or agent.style == "prompting"):
        texts = benchmark.texts
        told = (texts.planner and texts.executor) if name == "hierarchical" else texts.flat
        if (not told or texts == SHORT_TEXTS) and not agent.prompting.instructions:
            raise ConfigError(
                f"benchmark '{config.env.name}' has no rules to tell an untrained model here; set "
                "agent.prompting.instructions (or, for alfworld, env.kwargs.view=full)"
            )
        return PROMPTED[name](tokenizer, texts, agent, _example(config, benchmark))
    if agent.style == "prompting":
        raise ConfigError(f"agent '{name}' has no prompting style; choose one of flat, {', '.join(PROMPTED)}")
    return AGENTS[name](tokenizer, benchmark.texts, agent)


def _example(config: Config, benchmark: Benchmark) -> Demonstration | None:
    """A demonstration of a solved training task, the same in every run of one seed."""
    if not config.agent.prompting.example:
        return None
    rng = random.Random(derive_seed(config.seed, "example"))
    tasks = benchmark.tasks(config.env.train_split)
    try:
        for task in rng.sample(tasks, min(_EXAMPLE_TRIES, len(tasks))):
            demo = benchmark.demonstrate(task, rng)
            if demo.success:
                return demo
    except DataError as error:
        raise ConfigError(f"{error}; without a demonstrator set agent.prompting.example=false") from error
    raise ConfigError(
        "the demonstrator solved none of the tasks tried for an example; set agent.prompting.example=false"
    )
