"""Median CPU time of Sokoban's reset, step, solver and generator; writes benchmarks/results/sokoban_engine.json.

    python benchmarks/sokoban_engine.py [--count 100]

Random valid moves on the built-in sets. CPU time, not wall time, so that other work on the machine does not blur the
comparison; the engine neither waits nor starts threads.
"""

import argparse
import json
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from himac.envs.sokoban import Scale, SokobanEnv, generate_level, load_levels, solve
from himac.envs.sokoban.levels import BUILTIN_DIR, BUILTIN_SETS
from himac.machine import machine

BARS_MS = {"step grid": 0.05, "step coordinates": 0.05, "step image": 0.5}
MODES: dict[str, dict[str, Any]] = {
    "grid": {"view": "grid"},
    "coordinates": {"view": "coordinates"},
    "image": {"observation": "image"},
    "image 256x256": {"observation": "image", "image_size": (256, 256)},
}


def measure(name: str, count: int, seed: int) -> dict[str, Any]:
    """CPU times in milliseconds over `count` levels of a set, with 30 random moves each."""
    rng = random.Random(seed)
    levels = rng.sample(load_levels(BUILTIN_DIR / f"train-{name}.jsonl.xz"), count)
    times: dict[str, list[float]] = {}

    def timed(what: str, started: float) -> None:
        times.setdefault(what, []).append(1e3 * (time.process_time() - started))

    for mode, options in MODES.items():
        env = SokobanEnv(levels, **options)
        for level in levels:
            started = time.process_time()
            _, info = env.reset(options={"level": level.id})
            timed(f"reset {mode}", started)
            for _ in range(30):
                action = rng.choice(info["admissible_commands"] or ["up"])
                started = time.process_time()
                _, _, _, _, info = env.step(action)
                timed(f"step {mode}", started)
    for level in levels:
        for objective in ("moves", "pushes"):
            started = time.process_time()
            solve(level, "moves" if objective == "moves" else "pushes")
            timed(f"solve {objective}", started)
    first = levels[0]
    for _ in range(count):
        started = time.process_time()
        generate_level(rng, Scale(first.height, first.width, first.boxes))
        timed("generate", started)
    return {
        "levels": count,
        "median_ms": {what: round(statistics.median(values), 4) for what, values in times.items()},
        "p95_ms": {what: round(statistics.quantiles(values, n=20)[-1], 4) for what, values in times.items()},
    }


def main() -> int:
    """Measure, print, write; the exit status says whether every median keeps its bar."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sokoban_engine.json")
    arguments = parser.parse_args()
    sets = {name: measure(name, arguments.count, arguments.seed) for name in BUILTIN_SETS}
    result = {"sets": sets, "bars_ms": BARS_MS, "machine": machine()}
    text = json.dumps(result, indent=2)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")
    kept = all(one["median_ms"][what] <= bar for one in sets.values() for what, bar in BARS_MS.items())
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
