"""Rollout and training speed of the local engine against plain transformers, on this machine, as ratios.

Rollout: episodes of several turns, each turn some new observation tokens and a short reply. The baseline calls
`model.generate` on the whole left-padded history every turn. Training: one forward and backward pass over ragged rows
of which a few tokens are trained; the baseline pads the rows and computes all logits.

    python benchmarks/rollout_engine.py --episodes 32 --turns 10
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from himac.engines.base import GenerateRequest, SamplingParams
from himac.engines.local.engine import LocalEngine
from himac.machine import machine
from himac.models.forward import logits_at, packed_forward
from himac.models.init_model import init_model
from himac.models.loading import load_model

RESULT = Path(__file__).parent / "results" / "rollout_engine.json"
VOCABULARY = 300  # prompts use byte and number tokens only
GROUP = 8


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=32)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--prompt", type=int, default=200, help="tokens of a prompt, shared by eight episodes")
    parser.add_argument("--observation", type=int, default=60, help="new tokens a turn")
    parser.add_argument("--reply", type=int, default=8, help="generated tokens a turn")
    parser.add_argument("--rows", type=int, default=16, help="rows of the training step")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULT)
    return parser.parse_args()


def timed(work: Callable[[], Any], device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


class Episodes:
    """Growing contexts with reproducible observations."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.rng = np.random.default_rng(0)
        self.options = options
        prompts = [self.tokens(options.prompt) for _ in range(-(-options.episodes // GROUP))]
        self.contexts = [list(prompts[index // GROUP]) for index in range(options.episodes)]

    def tokens(self, count: int) -> list[int]:
        return [int(token) for token in self.rng.integers(0, VOCABULARY, count)]

    def observe(self, index: int, reply: list[int]) -> None:
        self.contexts[index] += reply + self.tokens(self.options.observation)


def roll_engine(model: Any, tokenizer: Any, options: argparse.Namespace) -> None:
    longest = options.prompt + options.turns * (options.observation + options.reply) + 1
    engine = LocalEngine(model, tokenizer, max_slots=options.episodes, max_context=longest)
    episodes = Episodes(options)
    for _ in range(options.turns):
        requests = [
            GenerateRequest(index, index, context, SamplingParams(options.reply, seed=index))
            for index, context in enumerate(episodes.contexts)
        ]
        for index, completion in enumerate(engine.generate(requests)):
            episodes.observe(index, list(completion.token_ids))


def roll_generate(model: Any, tokenizer: Any, options: argparse.Namespace) -> None:
    episodes = Episodes(options)
    for _ in range(options.turns):
        longest = max(map(len, episodes.contexts))
        ids = torch.full((options.episodes, longest), tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for index, context in enumerate(episodes.contexts):
            ids[index, longest - len(context) :] = torch.tensor(context)
            mask[index, longest - len(context) :] = 1
        with torch.inference_mode():
            out = model.generate(
                ids.to(options.device),
                attention_mask=mask.to(options.device),
                max_new_tokens=options.reply,
                min_new_tokens=options.reply,
                do_sample=True,
                top_k=0,
            )
        for index, reply in enumerate(out[:, longest:].tolist()):
            episodes.observe(index, reply)


def training_rows(options: argparse.Namespace) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Token rows of 200 to 800 tokens, and in each the positions of the trained tokens (one in twelve)."""
    rng = np.random.default_rng(1)
    rows, trained = [], []
    for length in rng.integers(200, 801, options.rows):
        rows.append(torch.from_numpy(rng.integers(0, VOCABULARY, length)).to(options.device))
        trained.append(torch.from_numpy(np.sort(rng.choice(np.arange(1, length), length // 12, replace=False))))
    return rows, [index.to(options.device) for index in trained]


def train_packed(model: Any, rows: list[torch.Tensor], trained: list[torch.Tensor]) -> float:
    ids = torch.cat(rows)
    lengths = [len(row) for row in rows]
    starts = np.cumsum([0, *lengths])[:-1]
    target = torch.cat([index + int(start) for index, start in zip(trained, starts, strict=True)])
    logits = logits_at(model, packed_forward(model, ids, lengths), target - 1)
    return backward(model, logits, ids[target])


def train_padded(model: Any, rows: list[torch.Tensor], trained: list[torch.Tensor]) -> float:
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    chosen = torch.cat([logits[row, index - 1] for row, index in enumerate(trained)])
    return backward(model, chosen, torch.cat([row[index] for row, index in zip(rows, trained, strict=True)]))


def backward(model: Any, logits: torch.Tensor, targets: torch.Tensor) -> float:
    loss = torch.nn.functional.cross_entropy(logits.float(), targets)
    model.zero_grad(set_to_none=True)
    loss.backward()
    return loss.item()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model"
        words = [f"go to drawer {index} and take object{index} from shelf{index * 7}" for index in range(400)]
        parameters = init_model(path, words, hidden_size=options.hidden, layers=options.layers)
        model, tokenizer = load_model(path, options.dtype, options.device)
        plain, _ = load_model(path, options.dtype, options.device)
        plain.set_attn_implementation("sdpa")
    roll_engine(model, tokenizer, argparse.Namespace(**{**vars(options), "episodes": 4, "turns": 1}))
    # The two alternate, so that both meet the same other load on the machine; medians are reported.
    seconds: dict[str, list[float]] = {"engine": [], "generate": [], "packed": [], "padded": []}
    rows, trained = training_rows(options)
    losses = [train_packed(model, rows, trained), train_padded(plain, rows, trained)]
    if abs(losses[0] - losses[1]) > (1e-3 if options.dtype == "float32" else 5e-2):
        raise SystemExit(f"packed and padded losses differ: {losses}")
    for _ in range(options.repeats):
        seconds["engine"].append(timed(lambda: roll_engine(model, tokenizer, options), options.device))
        seconds["generate"].append(timed(lambda: roll_generate(plain, tokenizer, options), options.device))
        seconds["packed"].append(timed(lambda: train_packed(model, rows, trained), options.device))
        seconds["padded"].append(timed(lambda: train_padded(plain, rows, trained), options.device))
    turns, tokens = options.episodes * options.turns, sum(len(row) for row in rows)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "rollout": {
            "engine_turns_per_s": round(turns / median["engine"], 1),
            "generate_turns_per_s": round(turns / median["generate"], 1),
            "ratio": round(median["generate"] / median["engine"], 2),
        },
        "training": {
            "packed_tokens_per_s": round(tokens / median["packed"]),
            "padded_tokens_per_s": round(tokens / median["padded"]),
            "ratio": round(median["padded"] / median["packed"], 2),
        },
        "parameters": parameters,
        "options": {name: value for name, value in vars(options).items() if name != "output"},
        "seconds": {name: [round(value, 3) for value in values] for name, values in seconds.items()},
        "machine": machine(),
        "transformers": transformers.__version__,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: result[key] for key in ("rollout", "training")}, indent=2))


if __name__ == "__main__":
    main()
