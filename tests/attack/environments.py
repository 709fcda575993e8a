"""Environments that misbehave in every arrangement, killed parents, and runs in which everything fails."""

from __future__ import annotations

import functools
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from himac.config_file import load_config
from himac.envs.pool import EnvPool
from himac.evaluation.records import write_results
from himac.evaluation.summary import summarise
from himac.rollout.collect import Collector
from himac.rollout.episode import EpisodeSpec, flat_episode
from himac.rollout.runtime import make_agent
from himac.types import Episode, StopReason, Task
from support import parents, rogue
from support.toy import ByteTokenizer, ScriptedEngine

TIMEOUT_S = 0.5
MOST_CHARACTERS = 200_000
GOOD = rogue.task()
WAYS = (*rogue.STEPS, *rogue.RESETS, *rogue.HARMLESS, *rogue.OTHER)
CONTAINED = (*WAYS, *rogue.FATAL)


def here(number: int, folder: Path) -> str | None:
    """In this process."""
    return _judged(WAYS[number % len(WAYS)], _scripted(0), folder)


def in_workers(number: int, folder: Path) -> str | None:
    """In two worker processes."""
    return _judged(CONTAINED[number % len(CONTAINED)], _scripted(2), folder)


def in_rollout_workers(number: int, folder: Path) -> str | None:
    """In two processes that run episodes, of which this is one."""
    return _judged(WAYS[number % len(WAYS)], _parallel, folder)


def parent_killed(number: int, folder: Path) -> str | None:
    """Workers of a process that gets SIGKILL."""
    kind = parents.KINDS[number % len(parents.KINDS)]
    left = parents.orphans(kind, folder, within_s=10.0)
    return f"{kind}: {len(left)} processes outlived their parent by 10 s" if left else None


def all_fails(number: int, folder: Path) -> str | None:
    """A command whose environment fails at every first step."""
    command, *more = _COMMANDS[number % len(_COMMANDS)]
    settings = folder / "config.yaml"
    settings.write_text(_SETTINGS, encoding="utf-8")
    line = [sys.executable, "-m", "himac", command, str(settings), *more, "--model", str(_model())]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, timeout=100, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if done.returncode == 0:
        return f"{command}: exit 0 although every episode failed"
    if len(errors) != 1 or "broken on purpose" not in errors[0]:
        return f"{command}: no sentence that names the cause: {done.stderr[-300:]!r}"
    return None if done.stderr.count("Traceback") <= 1 else f"{command}: {done.stderr.count('Traceback')} tracebacks"


_SETTINGS = """
env: {name: "gym:support.rogue:RogueBroken-v0", step_limit: 4, kwargs: {train_tasks: 8, valid_tasks: 8}}
agent: {name: flat, max_context: 160, flat: {max_tokens: 4}}
algo: {name: grpo, tasks: 4, group_size: 4}
train: {iterations: 2, eval_tasks: 4}
"""
_COMMANDS = (
    ("eval", "--output", "out"),
    ("train", "--run-dir", "run"),
    ("train", "--run-dir", "run", "train.eval_every=0"),
    ("play",),
)


def _judged(way: str, play: Callable[[list[Task], Path], list[Episode]], folder: Path) -> str | None:
    """Two good tasks, two in which the environment misbehaves, two good ones: what came of them."""
    logging.getLogger("himac").setLevel(logging.CRITICAL)  # each failure here is wanted
    tasks = [GOOD, GOOD, rogue.task(way), rogue.task(way), GOOD, GOOD]
    try:
        episodes = play(tasks, folder)
    except BaseException:  # what was under way would answer the next try
        for made in (_pool, _runtime):
            made.cache_clear()
        raise
    wanted = way not in (*rogue.HARMLESS, "changes its options")
    for task, episode in zip(tasks, episodes, strict=True):
        failed = episode.stop is StopReason.ENV_ERROR
        if task is GOOD and failed and way not in rogue.FATAL:
            return f"{way}: another episode failed with it: {episode.error}"
        if task is not GOOD and failed != wanted:
            return f"{way}: ended as {episode.stop}: {episode.error}"
        if max((len(str(turn.observation)) for turn in episode.turns), default=0) > MOST_CHARACTERS:
            return f"{way}: the observation was not cut"
    write_results(folder / "results.jsonl", episodes, "hash")
    json.dumps(summarise(episodes), allow_nan=False)
    return None


def _scripted(workers: int) -> Callable[[list[Task], Path], list[Episode]]:
    def play(tasks: list[Task], folder: Path) -> list[Episode]:
        config = load_config(None, ["agent.name=flat", "env.step_limit=4"])
        benchmark = rogue.RogueBenchmark()
        agent: Any = make_agent(config, ByteTokenizer(), benchmark)
        spec = EpisodeSpec(benchmark, config, 4096)
        pool = _pool() if workers else EnvPool(benchmark.make_env, timeout_s=TIMEOUT_S)
        programs = [flat_episode(spec, agent, task, 1.0, n, 0) for n, task in enumerate(tasks)]
        return Collector(ScriptedEngine(lambda *_: "red"), pool).run(programs)

    return play


@functools.cache
def _pool() -> EnvPool:
    return EnvPool(rogue.RogueBenchmark().make_env, workers=2, timeout_s=TIMEOUT_S)


def _parallel(tasks: list[Task], folder: Path) -> list[Episode]:
    runtime = _runtime()
    named = [Task(f"{n // 2}", task.kind, task.options) for n, task in enumerate(tasks)]  # both processes get some
    programs = [flat_episode(runtime.spec, runtime.agent, task, 1.0, n, 0) for n, task in enumerate(named)]
    return runtime.collector.run(programs)


@functools.cache
def _runtime() -> Any:
    from himac.rollout.runtime import build_runtime
    from support.learning import toy_config

    config = toy_config("grpo")
    env = config.env.model_copy(update={"timeout_s": TIMEOUT_S})
    return build_runtime(config.model_copy(update={"env": env}), str(_model()), 8, rogue.RogueBenchmark(), workers=2)


def _model() -> Path:
    return Path(_made().name) / "model"


@functools.cache
def _made() -> tempfile.TemporaryDirectory[str]:
    from support.learning import make_toy_model

    folder = tempfile.TemporaryDirectory()  # gone with this process
    make_toy_model(Path(folder.name) / "model")
    return folder
