"""Puts the parts of a run together: benchmark, model, engine, agent, environment pool, scheduler."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.agents.hiper import HiperAgent
from himac.agents.prompting import PlainAgent, PromptedHierarchicalAgent
from himac.agents.react import ReactAgent
from himac.agents.reflexion import ReflexionAgent
from himac.config import Config
from himac.engines.base import Engine
from himac.engines.openai import OpenAIEngine
from himac.envs.admissible import with_admissible
from himac.envs.base import SHORT_TEXTS, Benchmark
from himac.envs.pool import EnvPool
from himac.envs.registry import make_benchmark
from himac.errors import ConfigError, DataError
from himac.models.folder import check_model_folder
from himac.rollout.collect import Collector, Runner
from himac.rollout.episode import Setting
from himac.rollout.parallel import ParallelCollector, start_worker
from himac.seeding import derive_seed
from himac.types import Demonstration


@dataclass(slots=True)
class Runtime:
    """Everything needed to run episodes; close it when done."""

    config: Config
    benchmark: Benchmark
    model: Any
    tokenizer: Any
    engine: Engine
    agent: HierarchicalAgent | FlatAgent
    pool: EnvPool
    collector: Runner
    setting: Setting

    def close(self) -> None:
        """Stop worker processes and requests."""
        with ExitStack() as stack:  # each of them, whatever the others do
            stack.callback(self.pool.close)
            if isinstance(self.collector, ParallelCollector):
                stack.callback(self.collector.close)
            if isinstance(self.engine, OpenAIEngine):
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
) -> Runtime:
    """Load the model and wire the parts.

    Args:
        model_path: Replaces `config.model.path`.
        max_live: Episodes under way at once in a process.
        workers: Processes that run episodes, this one included.
    """
    benchmark = benchmark or build_benchmark(config)
    if config.engine.name == "openai":
        if model_path is not None:
            raise ConfigError("--model is a directory for engine.name=local; name the endpoint's model in engine.model")
        endpoint = OpenAIEngine(config.engine)
        try:
            return _wire(config, benchmark, None, endpoint.tokenizer, endpoint, max_live, endpoint.max_context)
        except BaseException:
            endpoint.close()
            raise
    path = model_path or config.model.path
    check_model_path(path)
    from himac.models.loading import load_model

    if config.threads is not None:
        import torch

        torch.set_num_threads(config.threads)
    model, tokenizer = load_model(path, dtype=config.model.dtype, device=config.model.device)
    return assemble(config, benchmark, model, tokenizer, max_live, workers)


def assemble(
    config: Config, benchmark: Benchmark, model: Any, tokenizer: Any, max_live: int = 64, workers: int = 1
) -> Runtime:
    """Wire a loaded model; see `build_runtime`."""
    from himac.engines.local.engine import LocalEngine

    if workers > 1 and model.device.type != "cpu":
        raise ConfigError("train.rollout_workers above 1 is for models on a CPU; set it to 1 or model.device=cpu")
    positions = int(getattr(model.config.get_text_config(), "max_position_embeddings", config.agent.max_context))
    max_context = min(config.agent.max_context, positions)
    engine = LocalEngine(model, tokenizer, max_slots=max_live, max_context=max_context)
    runtime = _wire(config, benchmark, model, tokenizer, engine, max_live, max_context)
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    runtime.agent.chat.stop_also_at([ends] if isinstance(ends, int) else ends or ())
    if workers > 1:
        assert isinstance(runtime.collector, Collector)
        runtime.collector = ParallelCollector(
            runtime.collector, workers, lambda: start_worker(config, benchmark, model, tokenizer, max_live)
        )
    return runtime


def _wire(
    config: Config,
    benchmark: Benchmark,
    model: Any,
    tokenizer: Any,
    engine: Engine,
    max_live: int,
    max_context: int,
) -> Runtime:
    """Agent, environments and scheduler around an engine."""
    agent = make_agent(config, tokenizer, benchmark)
    pool = env_pool(config, benchmark, config.env.workers)
    return Runtime(
        config=config,
        benchmark=benchmark,
        model=model,
        tokenizer=tokenizer,
        engine=engine,
        agent=agent,
        pool=pool,
        collector=Collector(engine, pool, max_live, overlap=None if model is None else config.env.overlap),
        setting=Setting(benchmark, config, max_context),
    )


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


def require_local(config: Config, what: str) -> None:
    """Refuse what needs the weights of a model.

    Raises:
        ConfigError: the model is behind an endpoint.
    """
    if config.engine.name != "local":
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
