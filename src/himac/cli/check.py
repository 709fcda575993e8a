"""`himac check-env`: a benchmark is tried before anyone trains on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from himac.cli.console import console
from himac.config_file import load_config
from himac.envs.check.benchmark import check_members, check_play
from himac.envs.registry import make_benchmark
from himac.rollout.preflight import try_environment
from himac.shipped import located


def check_command(target: str, overrides: Sequence[str], tasks: int) -> None:
    """Print each check that passes.

    Raises:
        HimacError: says what to correct.
    """
    path = located(Path(target))
    file = path if path.suffix in (".yaml", ".yml") or path.is_file() else None
    named = [] if file is not None else [f"env.name={json.dumps(target)}"]
    config = load_config(file, [*named, *overrides])
    benchmark = make_benchmark(config.env.name, **config.env.kwargs)

    def tell(passed: str) -> None:
        console.print(f"ok  {passed}", soft_wrap=True)

    chosen = check_members(benchmark, tasks, tell)
    try_environment(config, benchmark, chosen)
    tell(f"rollout: made, reset and stepped as in a run, in {len(chosen)} tasks")
    check_play(benchmark, chosen, config.seed, tell)
