"""The table attack -> tried -> failures. `python -m attack --help` from the folder `tests`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from attack.registry import ATTACKS
from attack.runner import Outcome, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m attack", description=__doc__)
    parser.add_argument("--only", help="attacks whose name holds this text")
    parser.add_argument("--share", type=float, default=1.0, help="share of the tries of each attack")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="attacks at a time")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--before", type=Path, help="figures of another version, for a column beside")
    options = parser.parse_args()
    chosen = [attack for attack in ATTACKS if options.only is None or options.only in attack.name]
    before = json.loads(options.before.read_text(encoding="utf-8"))["attacks"] if options.before else {}
    started, outcomes = time.monotonic(), list[Outcome]()
    print(f"| attack | tried | {'failures before | ' if before else ''}failures |")
    print("|---|---|---|---|" if before else "|---|---|---|")
    pool = ThreadPoolExecutor(options.jobs)  # each attack has a process of its own
    for outcome in pool.map(lambda attack: run(attack, max(1, round(options.share * attack.tries))), chosen):
        outcomes.append(outcome)
        was = before.get(outcome.name)
        column = "" if not before else "– | " if was is None else f"{was['failed']} of {was['tried']} | "
        print(f"| {outcome.name} | {outcome.tried} | {column}{len(outcome.failures)} |", flush=True)
        for failure in outcome.failures[:5]:
            print(f"  {failure}", file=sys.stderr)
    tried, failed = sum(o.tried for o in outcomes), sum(len(o.failures) for o in outcomes)
    print(f"\n{tried} tries, {failed} failures, {time.monotonic() - started:.0f} s")
    if options.json:
        figures = {
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "attacks": {
                o.name: {
                    "tried": o.tried,
                    "failed": len(o.failures),
                    "seconds": round(o.seconds, 1),
                    "failures": o.failures[:20],
                }
                for o in outcomes
            },
        }
        options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if failed or not tried else 0


if __name__ == "__main__":
    sys.exit(main())
