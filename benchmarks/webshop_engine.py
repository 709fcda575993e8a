"""Speed of the WebShop engine and the scripted customers' results; writes benchmarks/results/webshop_engine.json.

    python benchmarks/webshop_engine.py [--official FOLDER] [--count 200] [--keep-speeds]

For the generated catalogue and, where a folder with the official files is given (or $WEBSHOP_DATA names one), for them:
CPU time of a search (for the kind of product with its attributes, and for a whole instruction; every query was asked
once before) and of a reset and a step with the original's text over random actions; score and success of the scripted
customer and of the first-hit baseline on the whole test and eval splits, with the default rules and with
`fixed_options`. It is CPU time, not wall time, so that other work on the machine blurs it less; `--keep-speeds` takes
the times from the results file instead of measuring them.
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

from himac.envs.webshop.benchmark import BUILTIN, WebShopBenchmark
from himac.envs.webshop.env import WebShopEnv
from himac.envs.webshop.pages import PAGE_SIZE
from himac.envs.webshop.session import HITS
from himac.envs.webshop.shopper import demonstrate, first_hit
from himac.machine import machine

BARS_MS = {"search": 0.3, "reset": 1.0, "step": 1.0}
SPEEDS = ("steps", "median_ms", "p95_ms")
STEPS = 15


def speed(benchmark: WebShopBenchmark, count: int, seed: int) -> dict[str, Any]:
    """CPU times in milliseconds over `count` test goals: the instruction as a query, then random actions."""
    rng = random.Random(seed)
    env = WebShopEnv(benchmark.store)
    times: dict[str, list[float]] = {name: [] for name in (*BARS_MS, "search_instruction")}

    def timed(name: str, call: Any, *arguments: Any, **named: Any) -> Any:
        started = time.process_time()
        result = call(*arguments, **named)
        times[name].append(time.process_time() - started)
        return result

    for task in rng.sample(benchmark.tasks("test"), count):
        _, info = timed("reset", env.reset, options=dict(task.options))
        goal = env.session.goal
        queries = {"search": " ".join([goal.query, *goal.attributes]), "search_instruction": goal.instruction.lower()}
        for name, query in queries.items():
            env.store.search(query, HITS)
            timed(name, env.store.search, query, HITS)
        action = f"search[{info['instruction']}]"
        for _ in range(STEPS):
            _, _, terminated, _, info = timed("step", env.step, action)
            if terminated:
                break
            action = rng.choice([f"search[{goal.query}]", *info["admissible_commands"]])
    return {
        "steps": len(times["step"]),
        "median_ms": {name: round(1e3 * statistics.median(values), 4) for name, values in times.items()},
        "p95_ms": {name: round(1e3 * statistics.quantiles(values, n=20)[-1], 4) for name, values in times.items()},
    }


def customer(benchmark: WebShopBenchmark, split: str, fixed_options: bool) -> dict[str, Any]:
    """The scripted customer on a split."""
    env = WebShopEnv(benchmark.store, benchmark.view, benchmark.goals, True, fixed_options)
    scores, wins, steps = [], 0, []
    for task in benchmark.tasks(split):
        demo = demonstrate(env, task, random.Random(0), step_limit=benchmark.step_limit)
        purchase = env.session.purchase
        scores.append(purchase.reward if purchase else 0.0)
        wins += demo.success
        steps.append(sum(turn.action is not None for segment in demo.segments for turn in segment.turns))
    return {
        "tasks": len(scores),
        "score": round(100 * statistics.fmean(scores), 1),
        "success": round(100 * wins / len(scores), 1),
        "mean_steps": round(statistics.fmean(steps), 2),
        "tagger": env.tagger.name,
    }


def baseline(benchmark: WebShopBenchmark, split: str, fixed_options: bool) -> dict[str, Any]:
    """The first-hit baseline on a split, and how often the instruction finds the very product."""
    env = WebShopEnv(benchmark.store, benchmark.view, benchmark.goals, True, fixed_options)
    scores, places = [], []
    for task in benchmark.tasks(split):
        scores.append(first_hit(env, task))
        goal, store = env.session.goal, env.store
        found = [store.product(int(number)).asin for number in store.search(goal.instruction.lower(), PAGE_SIZE)]
        places.append(found.index(goal.asin) if goal.asin in found else None)
    return {
        "tasks": len(scores),
        "score": round(100 * statistics.fmean(scores), 1),
        "success": round(100 * scores.count(1.0) / len(scores), 1),
        "target_first": round(100 * places.count(0) / len(places), 1),
        "target_on_page_1": round(100 - 100 * places.count(None) / len(places), 1),
        "tagger": env.tagger.name,
    }


def scripted(benchmark: WebShopBenchmark, split: str) -> dict[str, Any]:
    """Both of them on a split, with either rule."""
    runs, rules = {"customer": customer, "first_hit": baseline}, {"default": False, "fixed_options": True}
    return {name: {rule: run(benchmark, split, fixed) for rule, fixed in rules.items()} for name, run in runs.items()}


def main() -> int:
    """Measure, print, write; the exit status says whether every median keeps its bar."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--official", default=os.environ.get("WEBSHOP_DATA"))
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep-speeds", action="store_true", help="take them from the results file")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "webshop_engine.json")
    arguments = parser.parse_args()
    known: dict[str, Any] = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.keep_speeds else {}
    result: dict[str, Any] = {"bars_ms": BARS_MS, "machine": machine()}
    result |= known
    sources = {"builtin": BUILTIN, **({"official": arguments.official} if arguments.official else {})}
    for name, data in sources.items():
        benchmark = WebShopBenchmark(data)
        result[name] = {
            "products": len(benchmark.store),
            "goals": benchmark.store.goals("synthetic"),
            "test_hash": benchmark.split_hash("test"),
            **(
                {key: known[name][key] for key in SPEEDS}
                if arguments.keep_speeds
                else speed(benchmark, arguments.count, arguments.seed)
            ),
            **scripted(benchmark, "test"),
            "eval": {"hash": benchmark.split_hash("eval"), **scripted(benchmark, "eval")},
        }
    text = json.dumps(result, indent=2)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")
    return 0 if all(result[name]["median_ms"][part] <= bar for name in sources for part, bar in BARS_MS.items()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
