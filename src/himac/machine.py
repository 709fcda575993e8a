"""What figures were measured on: rounding, and so every trained model, depends on processor, arithmetic and threads."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

_ARITHMETIC = re.compile(r"avx|amx|fma|f16c|asimd|sve|bf16|i8mm")
_SETTINGS = ("ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "ONEDNN_MAX_CPU_ISA")
_CPUINFO = Path("/proc/cpuinfo")
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


def machine() -> dict[str, Any]:
    """This machine, for files of results.

    Returns:
        `processor`, `architecture`, `cores` (usable by this process), `features` (instruction sets for arithmetic,
        where the system tells), `settings` (variables that choose among them), `python`, `platform` and, where torch is
        loaded, `torch`: its version, the `capability` that it chose, and its threads.
    """
    fields = _cpuinfo()
    flags = fields.get("flags", fields.get("Features", "")).split()
    found: dict[str, Any] = {
        "processor": fields.get("model name") or platform.processor() or "unknown",
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "features": sorted({flag for flag in flags if _ARITHMETIC.match(flag)}),
        "settings": {name: os.environ[name] for name in _SETTINGS if name in os.environ},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    torch: Any = sys.modules.get("torch")  # not imported for this: loading it takes seconds
    if torch is not None:
        found["torch"] = {
            "version": str(torch.__version__),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
        }
    return found


def in_words(found: dict[str, Any]) -> str:
    """One line of it."""
    torch = found.get("torch")
    arithmetic = f", {torch['capability']} with {torch['threads']} thread(s)" if torch else ""
    return f"{found['processor']} ({found['architecture']}), {found['cores']} core(s){arithmetic}"


def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or less where a container limits it."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(total, int(_MEMORY_LIMIT.read_text(encoding="ascii")))
    except (OSError, ValueError):  # none, or "max"
        return total


def _cpuinfo() -> dict[str, str]:
    """The fields of the first processor; empty where the system has no such file."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}
