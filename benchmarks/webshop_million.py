"""The search engine at one million products; writes benchmarks/results/webshop_million.json.

    python benchmarks/webshop_million.py [--products 1000000] [--queries 300] [--folder FOLDER]

The products are those of `webshop_products.py`, as official files in a temporary folder. The build and the queries are
each measured in a process of their own; memory is read from /proc (Linux). A query is the instruction of a goal, asked
once, for the best 50; wall time, and CPU time, which other work on the machine blurs less. Some queries are also
answered by reading all postings, and the results must be equal to the last digit.
"""

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import webshop_products

from himac.envs.webshop import index
from himac.envs.webshop.benchmark import WebShopBenchmark
from himac.envs.webshop.env import WebShopEnv
from himac.envs.webshop.session import HITS
from himac.machine import machine

BAR_MS = 30.0
CHECKED = 30
SETTLE_S = 11
"""What is remembered of the files is remembered once they are this old."""


class Timer:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def seconds(self) -> dict[str, float]:
        return {"wall": time.perf_counter() - self._wall, "cpu": time.process_time() - self._cpu}


def memory_mb(name: str) -> float:
    """A line of /proc/self/status: VmHWM is the peak, RssAnon what cannot be dropped, RssFile mapped files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return round(int(lines[name].split()[0]) * 1024 / 1e6, 1)


def build(data: str) -> dict[str, Any]:
    """Read the product file, draw the goals, make the index."""
    before, timer = memory_mb("VmRSS"), Timer()
    store = WebShopBenchmark(data, tagger="rule").store
    return {
        **{f"{name}_s": round(seconds, 1) for name, seconds in timer.seconds().items()},
        "peak_rss_mb": memory_mb("VmHWM"),
        "rss_before_mb": before,
        "products": len(store),
        "goals": store.goals("synthetic"),
        "terms": len(store.index.word_ends),
        "postings": len(store.index.documents),
    }


def queries(data: str, count: int, seed: int) -> dict[str, Any]:
    """Open what was built, and search."""
    before, timer = memory_mb("RssAnon"), Timer()
    store = WebShopBenchmark(data, tagger="rule").store
    env = WebShopEnv(store, tagger="rule")
    env.reset(options={"goal": 0})
    opened = {f"{name}_s": round(seconds, 3) for name, seconds in timer.seconds().items()}
    opened |= {"anonymous_mb": memory_mb("RssAnon"), "mapped_mb": memory_mb("RssFile"), "anonymous_before_mb": before}
    goals = random.Random(seed).sample(range(store.goals("synthetic")), count)
    texts = [store.goal("synthetic", number).instruction.lower() for number in goals]
    found, times = [], []
    for text in texts:
        timer = Timer()
        found.append(store.index.ranked(text, HITS))
        times.append(timer.seconds())
    after = {"anonymous_mb": memory_mb("RssAnon"), "mapped_mb": memory_mb("RssFile")}
    index.FEW = sys.maxsize
    for text, (numbers, scores) in list(zip(texts, found, strict=True))[:CHECKED]:
        expected = store.index.ranked(text, HITS)
        if not (np.array_equal(numbers, expected[0]) and np.array_equal(scores, expected[1])):
            raise SystemExit(f"another result than from reading all postings: {text}")
    return {
        "open": opened,
        "queries": count,
        "checked_against_reading_all": min(CHECKED, count),
        **{
            f"{clock}_ms": {
                name: round(1e3 * float(np.percentile([taken[clock] for taken in times], share)), 2)
                for name, share in (("median", 50), ("p95", 95), ("max", 100))
            }
            for clock in ("wall", "cpu")
        },
        "after_queries": after,
    }


def apart(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """The work's result, from a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def main() -> int:
    """Measure, print, write; the exit status says whether the median query keeps its bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "webshop_million.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        root = Path(folder)
        os.environ["HIMAC_CACHE"] = str(root / "cache")
        data = root / "data"
        data.mkdir()
        webshop_products.write(data, arguments.products)
        time.sleep(SETTLE_S)
        result = {
            "command": f"python benchmarks/webshop_million.py --products {arguments.products}",
            "numpy": np.__version__,
            "machine": machine(),
            "input_mb": megabytes(data),
            "build": apart(build, str(data)),
            "disk_mb": megabytes(root / "cache"),
            **apart(queries, str(data), arguments.queries, arguments.seed),
            "bar_ms": BAR_MS,
        }
    text = json.dumps(result, indent=2)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")
    return 0 if result["cpu_ms"]["median"] <= BAR_MS else 1


def megabytes(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1)


if __name__ == "__main__":
    raise SystemExit(main())
