"""Starting weights with which a small transformer can look things up in its context from the first step.

A model from scratch spends most of a short training run on finding induction heads (Olsson et al., 2022): a head that
marks each token with its predecessor, and a later head that finds the place whose mark equals the present token and
copies what stands there. Here both are laid out in the initial weights, in the spirit of mimetic initialisation
(Trockman and Kolter, 2023); training is free to change them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

SHARPNESS = 6.0
"""Attention logit by which the preceding token stands out, per frequency."""

FREQUENCIES = 4
"""Fastest rotary frequencies that tell neighbouring positions apart."""

MARK_GAIN, COPY_GAIN = 1.0, 1.0
"""Strength of what the heads write, relative to the token embeddings they read."""


def structure_attention(model: Any, generator: torch.Generator) -> None:
    """Lay out lookup heads in a Qwen2 or Qwen2.5-VL model whose `kv_heads` equals `heads`.

    Layer 0, head 0 attends to the preceding token. In every later layer head 0 completes the induction (it looks for
    what followed an earlier occurrence of the present token) and head 1 looks for the present token itself.
    """
    config = model.config.get_text_config()
    decoder = model.get_decoder()
    if config.num_key_value_heads != config.num_attention_heads or config.num_hidden_layers < 2:
        return
    size = config.hidden_size // config.num_attention_heads
    content, mark = _frames(config.hidden_size, size, generator)
    with torch.no_grad():
        # Heads read normalised states; this brings what they write back to the scale of the embeddings.
        scale = float(decoder.embed_tokens.weight.std())
        first = decoder.layers[0].self_attn
        _previous_token_head(first, size, _frequencies(decoder, size))
        first.v_proj.weight[:size] = content
        first.o_proj.weight[:, :size] = MARK_GAIN * scale * mark.T
        for layer in decoder.layers[1:]:
            attention = layer.self_attn
            _match_head(attention, 0, size, content, mark, COPY_GAIN * scale * content)
            if config.num_attention_heads > 1:
                _match_head(attention, 1, size, content, content, COPY_GAIN * scale * mark)


def _frames(width: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two random frames of `size` orthonormal rows [size, width], orthogonal to each other where there is room."""
    square, _ = torch.linalg.qr(torch.randn(width, width, generator=generator))
    if 2 * size <= width:
        return square[:size], square[size : 2 * size]
    other, _ = torch.linalg.qr(torch.randn(width, width, generator=generator))
    return square[:size], other[:size]


def _frequencies(decoder: Any, size: int) -> Tensor:
    inverse: Tensor = decoder.rotary_emb.inv_freq
    return inverse.detach().float()[: size // 2]


def _previous_token_head(attention: Any, size: int, frequencies: Tensor) -> None:
    """Head 0 scores a key by its distance alone: sum over frequencies of cos(frequency * (distance - 1))."""
    half = size // 2
    fast = min(FREQUENCIES, half)
    amplitude = math.sqrt(SHARPNESS * math.sqrt(size))
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight[:size] = 0
        projection.bias[:size] = 0
    attention.k_proj.bias[:fast] = amplitude
    attention.q_proj.bias[:fast] = amplitude * torch.cos(frequencies[:fast])
    attention.q_proj.bias[half : half + fast] = -amplitude * torch.sin(frequencies[:fast])


def _match_head(attention: Any, head: int, size: int, query: Tensor, key: Tensor, out: Tensor) -> None:
    """The head attends where `key` sees what `query` sees, and writes the content found there along `out`."""
    rows = slice(head * size, (head + 1) * size)
    attention.q_proj.weight[rows] = query
    attention.k_proj.weight[rows] = key
    attention.q_proj.bias[rows] = 0
    attention.k_proj.bias[rows] = 0
    attention.v_proj.weight[rows] = query
    attention.o_proj.weight[:, rows] = out.T
