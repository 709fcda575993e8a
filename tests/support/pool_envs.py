"""Misbehaving environments for the pool's tests; a module, so that worker processes can import them."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import gymnasium


class Scripted(gymnasium.Env[str, str]):
    """Counts its steps; some actions make it raise, hang or die."""

    def __init__(self) -> None:
        self.count = 0
        self.tag = ""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        self.tag = (options or {}).get("tag", "")
        if self.tag == "raise":
            raise RuntimeError("no such task")
        return f"start {self.tag}", {"instruction": self.tag, "overview": f"seed {seed}", "anchor": str(os.getpid())}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.count += 1
        if action == "raise":
            raise RuntimeError("broken on purpose")
        if action == "exit":
            raise SystemExit(3)
        if action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if action.startswith("sleep"):
            time.sleep(float(action.split()[1]))
        if action == "unpicklable":
            return "", 0.0, False, False, {"function": lambda: None}
        if action == "large":
            return "x" * 1_000_000, 0.0, False, False, {}
        if action == "malformed":
            return "only", 0.0  # type: ignore[return-value]
        return f"{self.tag} {self.count} {action[:20]}", 0.5, self.count == 5, False, {"won": self.count == 5}


def make_scripted() -> Scripted:
    return Scripted()


def make_nothing() -> Scripted:
    raise OSError("no display")
