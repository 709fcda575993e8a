"""Do the learning tests hold whatever the CPU's arithmetic? `python -m arithmetic --help` from the folder `tests`.

Each kind of vector instructions and each number of threads rounds in its own way, which makes other imitators and
other runs. Every algorithm learns from several seeds under all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from himac.machine import machine

KINDS = ("default", "avx2", "avx512")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m arithmetic", description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--kinds", nargs="+", default=kinds(), help="values of ATEN_CPU_CAPABILITY")
    parser.add_argument("--algorithms", nargs="+", help="all by default")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument(
        "--json", type=Path, help="write the figures here; those of other arithmetics and algorithms are kept"
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        for run in runs(options.seeds, options.algorithms):
            print(json.dumps(run), flush=True)
        return 0
    print("| arithmetic | threads | algorithm, phase | runs | start | end | failed |\n|---|---|---|---|---|---|---|")
    found = {
        (kind, n): measure(kind, n, options.seeds, options.algorithms)
        for n in options.threads
        for kind in options.kinds
    }
    done = [run for part in found.values() for run in part]
    failed = [run for run in done if run["objection"]]
    for run in failed:
        print(f"{run['algorithm']}, {run['phase']}, seed {run['seed']}: {run['objection']} {run['success']}")
    print(f"\n{len(done)} curves, {len(failed)} failed")
    if options.json:
        write(options.json, found)
    return 1 if failed or not all(found.values()) else 0


def kinds() -> list[str]:
    """The arithmetics that torch knows for this CPU, the plainest first."""
    import torch

    best = torch.backends.cpu.get_cpu_capability().lower()
    return list(KINDS[: KINDS.index(best) + 1]) if best in KINDS else ["default", best]


def runs(seeds: int, algorithms: list[str] | None) -> Iterator[dict[str, Any]]:
    """The curves of all algorithms and seeds under the arithmetic of this process; one imitator a kind of agent."""
    from support.learning import AGENTS, CASES, learning_run, make_imitator, objection

    with tempfile.TemporaryDirectory() as root:
        imitator = cache(lambda agent: make_imitator(agent, Path(root, agent)))
        for algorithm in algorithms or CASES:
            for seed in range(seeds):
                curves = learning_run(algorithm, seed, imitator(AGENTS[algorithm]), Path(root, f"{algorithm}-{seed}"))
                for phase, success in curves.items():
                    said = objection(success)
                    yield {
                        "algorithm": algorithm,
                        "phase": phase,
                        "seed": seed,
                        "success": [round(one, 3) for one in success],
                        "objection": said,
                    }


def measure(kind: str, threads: int, seeds: int, algorithms: list[str] | None) -> list[dict[str, Any]]:
    """The curves under one arithmetic, from a process of its own, as rows of the table."""
    # Threads that spin while they wait make the runs about six times slower where cores are shared.
    environment = {"ATEN_CPU_CAPABILITY": kind, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    chosen = ["--algorithms", *algorithms] if algorithms else []
    child = subprocess.run(
        [sys.executable, "-m", "arithmetic", "--child", "--seeds", str(seeds), *chosen],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    done = [json.loads(line) for line in child.stdout.splitlines()]
    for name in dict.fromkeys((run["algorithm"], run["phase"]) for run in done):
        curves = [run for run in done if (run["algorithm"], run["phase"]) == name]
        start = [run["success"][0] for run in curves]
        end = [statistics.mean(run["success"][-3:]) for run in curves]
        failed = sum(run["objection"] is not None for run in curves)
        spans = f"{min(start):.2f} to {max(start):.2f} | {min(end):.2f} to {max(end):.2f}"
        print(f"| {kind} | {threads} | {', '.join(name)} | {len(curves)} | {spans} | {failed} |", flush=True)
    return done


def write(path: Path, found: dict[tuple[str, int], list[dict[str, Any]]]) -> None:
    """Add the curves to the file, in place of earlier ones of the same algorithm, arithmetic and processor."""
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"machine": {}}
    here = machine()
    curves = earlier["curves"] if earlier["machine"].get("processor") == here["processor"] else {}
    for (kind, threads), part in found.items():
        name, measured = f"{kind}, {threads} thread(s)", {run["algorithm"] for run in part}
        curves[name] = [run for run in curves.get(name, []) if run["algorithm"] not in measured] + part
    figures = {
        "machine": here,
        "measured": time.strftime("%Y-%m-%d"),
        "failed": sum(run["objection"] is not None for part in curves.values() for run in part),
        "curves": curves,
    }
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
