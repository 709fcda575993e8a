"""Small models that vLLM can run on a CPU, where the heads of its attention have at least 32 dimensions."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from conformance.reference import spread

SMALL = "engine={name: vllm, cache_gib: 0.1}"
_SHAPE = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
_SHAPE |= {"num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 512}
ARCHITECTURES = {
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {"tie_word_embeddings": True}),
    "qwen2-untied": (Qwen2ForCausalLM, Qwen2Config, {"tie_word_embeddings": False}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"tie_word_embeddings": True}),
}


def random_model(architecture: str, vocabulary: int, seed: int = 1) -> Any:
    """A random two-layer model, with logits far from uniform."""
    kind, config, more = ARCHITECTURES[architecture]
    torch.manual_seed(seed)
    return spread(kind(config(vocab_size=vocabulary, **_SHAPE, **more)))


def for_vllm(tiny: tuple[Any, Any]) -> tuple[Any, Any]:
    """A model of another shape for the tokenizer of the tiny one."""
    return random_model("qwen2", len(tiny[1])), tiny[1]
