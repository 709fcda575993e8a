"""Measured memory of updates and rollouts on a CPU, beside what `himac doctor` works out before anything is loaded.

Each case is a process of its own: a random model of a real shape, an engine that fills its cache, and updates in full
micro-batches. Memory is the peak of what tensors hold, as torch's allocator tells it. The resident set of the process
stands beside it, beyond that before there is a model: the C library keeps what it has freed in pieces.

    python benchmarks/memory.py
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "memory.json"
LIVE, TURNS = 8, 4
SMALL = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
HALF = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14}
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": SMALL | {"num_key_value_heads": 4, "vocab_size": 8192},
    "0.5B": HALF | {"num_key_value_heads": 2, "vocab_size": 151936},
    "0.5B, 6 layers": HALF | {"num_hidden_layers": 6, "num_key_value_heads": 2, "vocab_size": 151936},
}
LORA = {"lora": {"rank": 16}}
AGAIN = {"gradient_checkpointing": 1}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], int]] = {
    "tiny, full": ("tiny", {}, {}, 4096),
    "tiny, full, layers again": ("tiny", {}, AGAIN, 4096),
    "tiny, full, with a reference": ("tiny", {}, {"kl_coef": 0.01}, 4096),
    "tiny, LoRA": ("tiny", LORA, {"kl_coef": 0.01}, 4096),
    "tiny, bfloat16": ("tiny", {"dtype": "bfloat16"}, {}, 2048),
    "0.5B, 6 layers, full": ("0.5B, 6 layers", {}, {}, 128),
    "0.5B, LoRA": ("0.5B", LORA, {"kl_coef": 0.01}, 128),
    "0.5B, LoRA, layers again": ("0.5B", LORA, AGAIN, 128),
}
"""Shape, settings of the model and of the learner, tokens of a micro-batch."""


def resident(name: str) -> int:
    """`VmRSS` or `VmHWM`, its peak, in bytes."""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def fresh_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def allocated(work: Callable[[], Any]) -> int:
    """Most bytes of tensors that the work adds to those before it."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as told:
        work()
    events = [one for one in told.profiler.kineto_results.events() if one.name() == "[memory]"]
    steps = [one.nbytes() for one in sorted(events, key=lambda one: one.start_ns())]
    return max(itertools.accumulate(steps, initial=0))


def held(learner: Any) -> int:
    """Bytes of weights, reference and optimisers."""
    optimisers = [member for part in learner._parts.values() for member in part.optimizer.members.values()]
    state = [one for member in optimisers for kept in member.state.values() for one in kept.values()]
    copies = [copy for part in learner._parts.values() for _, copy in part.optimizer.masters]
    models = [learner.model] + ([] if learner.reference is None else [learner.reference])
    tensors = [one for model in models for one in model.parameters()] + copies + state
    return sum(one.numel() * one.element_size() for one in tensors)


class Silent:
    """A tokenizer whose words nobody reads."""

    def decode(self, tokens: list[int], **_: Any) -> str:
        return ""


def measure(name: str) -> dict[str, Any]:
    """One case, in this process."""
    import numpy as np
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from himac.config_file import parse_config
    from himac.engines.base import GenerateRequest, SamplingParams
    from himac.engines.local.engine import LocalEngine
    from himac.models.attention import enable_attention
    from himac.models.loading import DTYPES, tune_malloc
    from himac.models.policy import Policy
    from himac.training.estimate import memory, seconds
    from himac.training.factory import make_learner
    from himac.types import Role, Row

    torch.set_num_threads(1)
    tune_malloc()
    shape, model_settings, learner_settings, budget = CASES[name]
    context = min(256, budget // 2)
    architecture = Qwen2Config(**SHAPES[shape], tie_word_embeddings=True, max_position_embeddings=4096)
    folder = tempfile.mkdtemp()
    architecture.save_pretrained(folder)
    learner = {"max_tokens_per_microbatch": budget, "kl_coef": 0.0, "loss_chunk": 128} | learner_settings
    config = parse_config(
        {
            "model": {"path": folder, "device": "cpu"} | model_settings,
            "agent": {"max_context": context},
            "algo": {"name": "grpo", "tasks": 1, "group_size": 2 * budget // context},
            "train": {"max_live": LIVE, "learner": learner},
        }
    )
    expected = memory(config)
    rates, left = [], torch.ones(1536, 1536)
    for _ in range(3):
        started = time.perf_counter()
        left @ left
        rates.append(2 * 1536**3 / (time.perf_counter() - started))
    planned = seconds(config, max(rates), 1e10)
    assert planned is not None

    before = resident("VmRSS")
    torch.manual_seed(0)
    torch.set_default_dtype(DTYPES[config.model.dtype])
    model = Qwen2ForCausalLM(architecture).eval()
    torch.set_default_dtype(torch.float32)
    enable_attention(model)
    policy = Policy(model)
    if config.model.lora is not None:
        policy.adapt(config.model.lora, 0)
    trainer = make_learner(policy, config, total_steps=10)
    rng, vocabulary = np.random.default_rng(0), SHAPES[shape]["vocab_size"]

    rows = []
    for _ in range(2 * budget // context):
        mask = np.ones(context, bool)
        mask[0] = False
        ids = rng.integers(0, vocabulary, context).astype(np.int32)
        old, advantage = (np.where(mask, np.float32(value), np.float32(0)) for value in (-10, 1))
        rows.append(Row(ids, mask, old, advantage, Role.FLAT, "g"))
    fresh_peak()
    started = time.perf_counter()
    trainer.update(rows)  # the optimiser has its state from here on
    spent = time.perf_counter() - started
    whole = resident("VmHWM") - before
    update = held(trainer) + allocated(lambda: trainer.update(rows))

    engine = LocalEngine(model, Silent(), max_slots=LIVE, max_context=context, cache_tokens=LIVE * context)

    def play() -> None:
        for turn in range(1, TURNS + 1):
            prompts = [rng.integers(0, vocabulary, context * turn // TURNS - 4).tolist() for _ in range(LIVE)]
            engine.generate([GenerateRequest(n, n, p, SamplingParams(4, seed=n)) for n, p in enumerate(prompts)])
        engine.forget()

    rollout = held(trainer) + allocated(play)
    return {
        "parameters": sum(one.numel() for one in model.parameters()),
        "tokens": budget,
        "estimated": {"update": expected.update, "rollout": expected.rollout, "parts": dict(expected.parts())},
        "measured": {"update": update, "rollout": rollout},
        "resident": {"update": whole},
        "ratio": {
            "update": expected.update / update,
            "rollout": expected.rollout / rollout,
            "peak": expected.peak / max(update, rollout),
        },
        "update_s": {"estimated": planned.update, "measured": spent, "gflops": max(rates) / 1e9},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=CASES, help="only these")
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    from himac.machine import machine

    found = {}
    for name in options.case or CASES:
        done = subprocess.run([sys.executable, __file__, "--one", name], stdout=subprocess.PIPE, text=True, check=True)
        one = found[name] = json.loads(done.stdout.splitlines()[-1])
        took = one["update_s"]
        print(
            f"{name:28s} update {one['measured']['update'] / 1e6:6.0f} MB (estimated {one['ratio']['update']:.2f}, "
            f"resident {one['resident']['update'] / 1e6:.0f}), "
            f"rollout {one['measured']['rollout'] / 1e6:6.0f} MB ({one['ratio']['rollout']:.2f}), "
            f"{took['measured']:.1f} s ({took['estimated'] / took['measured']:.2f})",
            flush=True,
        )
    options.output.write_text(json.dumps({"machine": machine(), "cases": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
