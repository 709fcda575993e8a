"""`himac doctor`: what is installed, what there is to compute with, and what a configuration would take of it."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from himac import __version__
from himac.cli.console import console
from himac.cli.runs import choose
from himac.config import Config
from himac.config_file import load_config
from himac.machine import in_words, machine, memory_bytes
from himac.models.folder import check_model_folder

if TYPE_CHECKING:
    import torch

_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "gymnasium", "numpy")
_EXTRAS = {
    "lora": ("peft", "adapters, model.lora"),
    "api": ("openai", "chat endpoints, engine.name=openai"),
    "vllm": ("vllm", "sampling, engine.name=vllm"),
    "minigrid": ("minigrid", "the benchmark babyai"),
    "wandb": ("wandb", "a tracker"),
    "mlflow": ("mlflow", "a tracker"),
    "trackio": ("trackio", "a tracker"),
    "inspect": ("inspect_ai", "himac export --inspect"),
    "textworld": ("textworld", "the original engine of ALFWorld, for tests"),
}
_GB = 1e9
_SIDE, _STREAM = 1536, 1 << 26


def doctor_command(config_path: Path | None, overrides: Sequence[str], gpu: float | None = None) -> None:
    """Tell what is here, and what the configuration takes.

    Args:
        config_path: Configuration file or run directory.
        overrides: Of the configuration.
        gpu: Memory in GB of a GPU that it is meant for; by default what is here.
    """
    config = None if config_path is None else load_config(choose(config_path, None).config, overrides)
    import torch

    found = machine()
    console.print(f"himac {__version__}, Python {found['python']}, {found['platform']}")
    console.print(", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES))
    for name, (package, use) in _EXTRAS.items():
        # A package may be there under another name, as vLLM's build for CPUs is.
        brought_by = metadata.packages_distributions().get(package)
        state = metadata.version(brought_by[0]) if brought_by else f"missing; pip install 'himac[{name}]'"
        console.print(f"{package} ({use}): {state}", soft_wrap=True)
    console.print(f"CPU: {in_words(found)}, {memory_bytes() / _GB:.1f} GB", soft_wrap=True)
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        console.print(f"GPU {number}: {card.name}, {card.total_memory / _GB:.1f} GB")
    if not torch.cuda.device_count():
        console.print("GPU: none that torch sees")
    console.print(f"attention: {', '.join(_attention())}")
    if config is not None:
        _plan(config, gpu)


def _attention() -> list[str]:
    """Kernels that packed rows and the cache would run with."""
    import torch

    if not torch.cuda.is_available():
        return ["torch's scaled dot product on the CPU, row by row"]
    kernels = {
        "flash": torch.backends.cuda.is_flash_attention_available(),
        "memory-efficient": torch.backends.cuda.mem_efficient_sdp_enabled(),  # type: ignore[no-untyped-call]
        "cudnn": torch.backends.cuda.cudnn_sdp_enabled(),  # type: ignore[no-untyped-call]
        "variable length": importlib.util.find_spec("torch.nn.attention.varlen") is not None,
    }
    return [f"{name}: {'yes' if there else 'no'}" for name, there in kernels.items()]


def _plan(config: Config, gpu: float | None) -> None:
    """Memory by part and time of an iteration, nothing loaded."""
    import torch

    from himac.models.loading import resolve_device
    from himac.training.estimate import fitting, memory, seconds, size_of

    if config.model.path:
        check_model_folder(Path(config.model.path))
    device = resolve_device(config.model.device if gpu is None else "cpu")
    kind = device.type if gpu is None else "cuda"
    size, parts = size_of(config, kind), memory(config, kind)
    share = f", of which {size.trained / 1e6:,.1f} M are trained" if size.trained < size.parameters else ""
    console.print(f"model: {size.parameters / 1e6:,.1f} M parameters{share}, in {config.model.dtype}, on {kind}")
    for name, amount in parts.parts():
        console.print(f"  {name:12s} {amount / _GB:9.2f} GB")
    console.print(f"  at most {parts.update / _GB:.2f} GB in updates and {parts.rollout / _GB:.2f} GB in rollouts")
    if gpu is not None:
        total = int(gpu * _GB)
    else:
        total = torch.cuda.get_device_properties(device).total_memory if kind == "cuda" else memory_bytes()
    if parts.peak > total:
        changes = fitting(config, int(0.9 * total), kind)
        remedy = (
            "take a smaller model or a shorter agent.max_context" if changes is None else f"set {' '.join(changes)}"
        )
        console.print(f"  more than the {total / _GB:.1f} GB there are: {remedy}", soft_wrap=True)
    if gpu is not None:
        return
    flops, bandwidth = _rates(device)
    spent = seconds(config, flops, bandwidth, kind)
    console.print(f"speed: {flops / 1e9:,.0f} GFLOP/s in large products, {bandwidth / _GB:,.1f} GB/s read")
    if spent is not None:
        console.print(
            f"an iteration of {spent.episodes} episodes, if each fills a context of {config.agent.max_context} tokens: "
            f"at least {spent.rollout:,.0f} s of rollouts and {spent.update:,.0f} s of updates",
            soft_wrap=True,
        )


def _rates(device: torch.device) -> tuple[float, float]:
    """Measured in a moment: floating-point operations a second, bytes read a second."""
    import torch

    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    left = torch.ones(_SIDE, _SIDE, dtype=kind, device=device)
    stream = torch.ones(_STREAM, device=device)

    def best(work: str) -> float:
        times = list[float]()
        for _ in range(3):
            started = time.perf_counter()
            (left @ left if work == "product" else stream.sum()).sum().item()  # waits for the device
            times.append(time.perf_counter() - started)
        return min(times)

    return 2 * _SIDE**3 / best("product"), 4 * _STREAM / best("stream")
