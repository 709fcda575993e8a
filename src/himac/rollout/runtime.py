"""Puts the parts of a run together: benchmark, model, engine, agent, environment pool, scheduler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from himac.agents.flat import FlatAgent
from himac.agents.hierarchical import HierarchicalAgent
from himac.config import Config
from himac.engines.base import Engine
from himac.envs.base import Benchmark
from himac.envs.pool import EnvPool
from himac.envs.registry import make_benchmark
from himac.errors import ConfigError
from himac.rollout.collect import Collector
from himac.rollout.episode import Setting


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
    collector: Collector
    setting: Setting

    def close(self) -> None:
        """Stop worker processes."""
        self.pool.close()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


AGENTS: dict[str, Callable[..., HierarchicalAgent | FlatAgent]] = {"hierarchical": HierarchicalAgent, "flat": FlatAgent}


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
    config: Config, model_path: str | None = None, max_live: int = 64, benchmark: Benchmark | None = None
) -> Runtime:
    """Load the model and wire the parts.

    Args:
        model_path: Replaces `config.model.path`.
        max_live: Episodes under way at once.
    """
    from himac.engines.local.engine import LocalEngine
    from himac.engines.local.loading import load_model

    if config.threads is not None:
        import torch

        torch.set_num_threads(config.threads)
    benchmark = benchmark or build_benchmark(config)
    path = model_path or config.model.path
    if not path:
        raise ConfigError("no model given; set model.path or pass --model with a Hugging Face directory")
    model, tokenizer = load_model(path, dtype=config.model.dtype, device=config.model.device)
    positions = int(getattr(model.config, "max_position_embeddings", config.agent.max_context))
    max_context = min(config.agent.max_context, positions)
    engine = LocalEngine(model, tokenizer, max_slots=max_live, max_context=max_context)
    agent = AGENTS[config.agent.name](tokenizer, benchmark.texts, config.agent)
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    agent.chat.stop_also_at([ends] if isinstance(ends, int) else ends or ())
    pool = EnvPool(benchmark.make_env, workers=config.env.workers, timeout_s=config.env.timeout_s)
    return Runtime(
        config=config,
        benchmark=benchmark,
        model=model,
        tokenizer=tokenizer,
        engine=engine,
        agent=agent,
        pool=pool,
        collector=Collector(engine, pool, max_live=max_live),
        setting=Setting(benchmark, config, max_context),
    )
