"""Median CPU time of loading, resetting and stepping ALFWorld games; writes benchmarks/results/alfworld_engine.json.

    python benchmarks/alfworld_engine.py [--games PATH] [--split SPLIT] [--count 100]

`--games` is anything `load_games` accepts; by default $ALFWORLD_DATA, else the built-in games. "load" parses a game's
PDDL problem and builds its tables; "reset" and "step" include the sorted list of admissible commands. CPU time, not
wall time, so that other work on the machine does not blur the comparison; the engine neither waits nor starts threads.
"""

import argparse
import json
import os
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from himac.envs.alfworld import AlfworldEnv, load_games
from himac.envs.alfworld.problem import parse_problem
from himac.machine import machine

BUILT_IN = Path(__file__).parents[1] / "src" / "himac" / "envs" / "alfworld" / "builtin"
BARS_MS = {"load": 10.0, "reset": 1.0, "step": 0.3}


def measure(path: Path | None, split: str | None, count: int, seed: int) -> dict[str, Any]:
    """CPU times in milliseconds over `count` games with 50 random steps each."""
    started = time.perf_counter()
    games = load_games(path, split)
    read_s = time.perf_counter() - started
    rng = random.Random(seed)
    chosen = rng.sample(games, min(count, len(games)))
    env = AlfworldEnv(chosen)
    times: dict[str, list[float]] = {"load": [], "reset": [], "step": []}
    commands = []
    for game in chosen:
        parse_problem.cache_clear()
        started = time.process_time()
        _ = game.world
        times["load"].append(time.process_time() - started)
        started = time.process_time()
        _, info = env.reset(options={"game": game.id})
        times["reset"].append(time.process_time() - started)
        for _step in range(50):
            action = rng.choice(info["admissible_commands"])
            started = time.process_time()
            _, _, _, _, info = env.step(action)
            times["step"].append(time.process_time() - started)
            commands.append(len(info["admissible_commands"]))
    return {
        "games": len(games),
        "read_files_s": round(read_s, 3),
        "measured_games": len(chosen),
        "steps": len(times["step"]),
        "mean_admissible_commands": round(statistics.fmean(commands), 1),
        "median_ms": {name: round(1e3 * statistics.median(values), 4) for name, values in times.items()},
        "p95_ms": {name: round(1e3 * statistics.quantiles(values, n=20)[-1], 4) for name, values in times.items()},
        "bars_ms": BARS_MS,
        "machine": machine(),
    }


def main() -> int:
    """Measure, print, write; the exit status says whether every median keeps its bar."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--games", type=Path, default=None)
    parser.add_argument("--split", default=None)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "alfworld_engine.json")
    arguments = parser.parse_args()
    path = arguments.games or (None if os.environ.get("ALFWORLD_DATA") else BUILT_IN)
    result = measure(path, arguments.split, arguments.count, arguments.seed)
    text = json.dumps(result, indent=2)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")
    return 0 if all(result["median_ms"][name] <= bar for name, bar in BARS_MS.items()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
