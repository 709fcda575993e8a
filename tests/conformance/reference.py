"""Tiny random models and the plain Hugging Face forward that engines are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)


def spread(model: Any) -> Any:
    """Scale the matrices up: a fresh model gives nearly uniform logits, which would hide wrong attention."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model.eval()


def build(architecture: str, vocabulary: int) -> Any:
    """A random two-layer model of one of several architectures."""
    shape = {"vocab_size": vocabulary, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    dense = {**shape, "intermediate_size": 64, "max_position_embeddings": 512}
    small = {"vocab_size": vocabulary, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
    torch.manual_seed(1)
    match architecture:
        case "qwen2":
            return spread(Qwen2ForCausalLM(Qwen2Config(**dense, num_key_value_heads=2)))
        case "llama":
            return spread(LlamaForCausalLM(LlamaConfig(**dense, num_key_value_heads=1)))
        case "mistral-sliding":
            return spread(MistralForCausalLM(MistralConfig(**dense, num_key_value_heads=2, sliding_window=12)))
        case "qwen2-mixed":
            kinds = ["full_attention", "sliding_attention"]
            config = Qwen2Config(
                **dense, num_key_value_heads=2, use_sliding_window=True, sliding_window=9, layer_types=kinds
            )
            return spread(Qwen2ForCausalLM(config))
        case "gpt-neox":
            return spread(GPTNeoXForCausalLM(GPTNeoXConfig(**dense)))
        case "gpt2":
            return spread(GPT2LMHeadModel(GPT2Config(**small)))
        case "gptj":
            return spread(GPTJForCausalLM(GPTJConfig(**small, rotary_dim=4)))
        case "gemma2":
            caps = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0, "query_pre_attn_scalar": 1}
            config = Gemma2Config(**dense, **caps, num_key_value_heads=2, head_dim=8, sliding_window=12)
            return spread(Gemma2ForCausalLM(config))
    raise AssertionError(architecture)


# The last two do not take a custom attention function (that of Gemma 2 has soft caps), so they are padded.
ARCHITECTURES = ("qwen2", "llama", "mistral-sliding", "qwen2-mixed", "gpt-neox", "gpt2", "gptj", "gemma2")


@dataclass
class Plain:
    """Logits of one unpadded sequence by a plain forward of transformers, one call a prefix."""

    model: Any
    known: dict[tuple[int, ...], torch.Tensor] = field(default_factory=dict)

    def logits(self, tokens: Sequence[int]) -> torch.Tensor:
        """Logits [T, vocabulary] of one sequence."""
        key = tuple(tokens)
        if key not in self.known:
            with torch.no_grad():
                self.known[key] = self.model(input_ids=torch.tensor([list(tokens)])).logits[0]
        return self.known[key]

    def logprobs(self, tokens: Sequence[int], temperature: float = 1.0) -> torch.Tensor:
        """Log-probability [T - 1] of each token but the first."""
        scaled = (self.logits(tokens)[:-1] / temperature).log_softmax(-1)
        return scaled.gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]

    def check(self, prompt: Sequence[int], reply: Sequence[int], logprobs: Sequence[float]) -> None:
        """The reply is greedy and its log-probabilities are those of the plain forward."""
        whole = [*prompt, *reply]
        logits = self.logits(whole)[len(prompt) - 1 : -1]
        best = logits.max(dim=-1).values
        chosen = logits.gather(1, torch.tensor(list(reply))[:, None])[:, 0]
        assert torch.all(best - chosen < 1e-4)  # equal up to ties of rounding
        expected = self.logprobs(whole)[len(prompt) - 1 :]
        assert torch.allclose(torch.tensor(logprobs), expected, atol=1e-4)
