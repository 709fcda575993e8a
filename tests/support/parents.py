"""Processes that start workers and are killed: `python -m support.parents KIND FOLDER` prints a line when they run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

KINDS = ("environment workers asleep", "environment workers computing", "environment workers idle", "rollout workers")


def orphans(kind: str, folder: Path, within_s: float) -> list[int]:
    """Start such a process, kill it with SIGKILL, and tell which of its descendants live after `within_s` seconds."""
    command = [sys.executable, "-m", "support.parents", kind, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    assert process.stdout is not None
    left = list[int]()
    try:
        assert process.stdout.readline().strip() == "running"
        left = descendants(process.pid)
        assert left, "it has no workers"
        process.kill()
        process.wait()
        deadline = time.monotonic() + within_s
        while (left := [pid for pid in left if _alive(pid)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return list(left)
    finally:
        process.kill()
        process.stdout.close()
        for pid in left:
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Processes below this one."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found, new = list[int](), {pid}
    while new:
        new = {child for child, parent in pairs if parent in new}
        found += new
    return found


def _alive(pid: int) -> bool:
    stat = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(stat.strip()) and not stat.strip().startswith("Z")


def _environments(way: str) -> None:
    from himac.envs.pool import EnvPool
    from support import rogue

    with EnvPool(rogue.RogueEnv, workers=2, timeout_s=600.0) as pool:
        handles = [pool.acquire() for _ in range(2)]
        for handle in handles:
            pool.submit(handle, ("reset", rogue.task(way).options, 0))
        while pool.pending:
            pool.poll(block=True)
        for _ in range(2 if way else 0):
            for handle in handles:
                pool.submit(handle, ("step", "red"))
            time.sleep(0.5)
            pool.poll(block=False)
        print("running", flush=True)
        time.sleep(600)


def _rollout(folder: Path) -> None:
    from himac.rollout.episode import flat_episode
    from himac.rollout.runtime import build_runtime
    from support import rogue
    from support.learning import make_toy_model, toy_config

    model = make_toy_model(folder / "model")
    with build_runtime(toy_config("grpo"), str(model), 8, rogue.RogueBenchmark(), workers=2) as runtime:

        def episodes(way: str) -> list[object]:
            tasks = [rogue.task(way, ("red", colour)) for colour in ("blue", "green")]
            return [flat_episode(runtime.spec, runtime.agent, task, 1.0, 1, 0) for task in tasks]

        runtime.collector.run(episodes(""))  # the worker is ready
        threading.Timer(0.5, lambda: print("running", flush=True)).start()
        runtime.collector.run(episodes("reset sleeps"))


if __name__ == "__main__":
    kind, folder = sys.argv[1], Path(sys.argv[2])
    ways = dict(zip(KINDS, ("sleeps", "computes", ""), strict=False))
    if kind in ways:
        _environments(ways[kind])
    else:
        _rollout(folder)
