"""Token choice, vectorised over requests: one uniform number a token, inverse of the cumulative distribution.

The uniform is a hash of (seed, position), so a request draws the same numbers whatever runs beside it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def uniforms(seeds: NDArray[np.uint64], positions: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers in [0, 1) for (seed, position) pairs: splitmix64's finaliser, applied to each half in turn."""
    mixed = _finalise(_finalise(seeds * _GOLDEN + _GOLDEN) + positions * _GOLDEN)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def choose(
    logits_BV: Tensor,  # noqa: N803
    temperature_B: NDArray[np.float32],  # noqa: N803
    top_p_B: NDArray[np.float32],  # noqa: N803
    uniform_B: NDArray[np.float64],  # noqa: N803
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Pick one token a row.

    Args:
        logits_BV: Logits of each request's next token.
        temperature_B: 0 takes the most probable token and reports its unscaled log-probability.
        top_p_B: The smallest set of most probable tokens with at least this mass is kept; 1 keeps all.
        uniform_B: A number in [0, 1) a row.

    Returns:
        Token ids [B] and their log-probabilities [B] under the distribution they were drawn from.
    """
    device = logits_BV.device
    logits = logits_BV.float()
    greedy = temperature_B <= 0
    if not np.all(greedy | (temperature_B == 1)):
        scale = torch.from_numpy(1 / np.where(greedy, np.float32(1), temperature_B)).to(device)
        logits = logits * scale[:, None]
    probs = torch.softmax(logits, dim=-1)
    if greedy.all():
        values, tokens = probs.max(dim=-1)
        return tokens.cpu().numpy(), values.log().cpu().numpy()
    uniform = torch.from_numpy(uniform_B).to(device)
    truncated = (top_p_B < 1) & ~greedy
    if truncated.any():
        tokens, values = _draw_nucleus(probs, torch.from_numpy(top_p_B).to(device), uniform)
        plain_rows = ~truncated
        if plain_rows.any():
            rows = torch.from_numpy(np.flatnonzero(plain_rows)).to(device)
            tokens[rows], values[rows] = _draw(probs[rows], uniform[rows])
    else:
        tokens, values = _draw(probs, uniform)
    if greedy.any():
        rows = torch.from_numpy(np.flatnonzero(greedy)).to(device)
        values[rows], tokens[rows] = probs[rows].max(dim=-1)
    return tokens.cpu().numpy(), values.log().cpu().numpy()


def _draw(probs: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    # Double precision: a float32 running sum over a large vocabulary is off by more than a rare token's share.
    cumulative = probs.cumsum(dim=-1, dtype=torch.float64)
    total = cumulative[:, -1]
    # Strictly below the total, so that the found token is never a trailing one of probability zero.
    target = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total))).unsqueeze(-1)
    tokens = torch.searchsorted(cumulative, target, right=True)
    return tokens.squeeze(-1), probs.gather(-1, tokens).squeeze(-1)


def _draw_nucleus(probs: Tensor, top_p: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    ordered, order = probs.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1, dtype=torch.float64) - ordered
    kept = torch.where(before < top_p[:, None], ordered, 0.0)
    kept[:, 0] = ordered[:, 0]
    rank, value = _draw(kept, uniform)
    tokens = order.gather(-1, rank[:, None]).squeeze(-1)
    return tokens, value / kept.sum(dim=-1)


def _finalise(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    result: NDArray[np.uint64] = value ^ (value >> np.uint64(31))
    return result
