"""The uniform numbers and the choice made with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from himac.engines.local.sampling import choose, uniforms


def one(logits: list[float], uniform: float, temperature: float = 1.0, top_p: float = 1.0) -> tuple[int, float]:
    tokens, logprobs = choose(
        torch.tensor([logits]),
        np.array([temperature], dtype=np.float32),
        np.array([top_p], dtype=np.float32),
        np.array([uniform]),
    )
    return int(tokens[0]), float(logprobs[0])


def test_uniforms_are_uniform_and_independent() -> None:
    seeds, positions = np.meshgrid(np.arange(300, dtype=np.uint64), np.arange(300, dtype=np.uint64))
    values = uniforms(seeds.ravel(), positions.ravel())
    assert values.min() >= 0
    assert values.max() < 1
    assert len(np.unique(values)) == len(values)
    counts, _ = np.histogram(values, bins=50, range=(0, 1))
    # 90,000 draws in 50 cells: 1,800 expected, deviation sqrt(1800 * 0.98) = 42; five deviations.
    assert np.abs(counts - 1800).max() < 5 * 42
    grid = values.reshape(300, 300)
    for axis in (0, 1):  # neighbouring seeds and neighbouring positions: |correlation| ~ 1 / sqrt(89,700) = 0.0033
        left, right = np.delete(grid, 0, axis).ravel(), np.delete(grid, -1, axis).ravel()
        assert abs(np.corrcoef(left, right)[0, 1]) < 5 * 0.0034


def test_inverse_of_the_cumulative_distribution() -> None:
    logits = np.log([0.5, 0.3, 0.2]).tolist()
    for uniform, token, prob in ((0.0, 0, 0.5), (0.49, 0, 0.5), (0.51, 1, 0.3), (0.79, 1, 0.3), (0.81, 2, 0.2)):
        assert one(logits, uniform) == (token, pytest.approx(np.log(prob), abs=1e-6))


def test_temperature_reshapes_and_zero_is_greedy() -> None:
    logits = np.log([0.8, 0.2]).tolist()
    # Temperature 0.5 squares the probabilities: 0.64 and 0.04, that is 16/17 and 1/17.
    assert one(logits, 0.95, temperature=0.5) == (1, pytest.approx(np.log(1 / 17), abs=1e-5))
    assert one(logits, 0.94, temperature=0.5) == (0, pytest.approx(np.log(16 / 17), abs=1e-5))
    assert one(logits, 0.999, temperature=0.0, top_p=0.1) == (0, pytest.approx(np.log(0.8), abs=1e-6))


def test_nucleus_keeps_the_smallest_sufficient_set() -> None:
    logits = np.log([0.2, 0.5, 0.3]).tolist()
    # 0.5 alone is less than 0.6, so 0.3 is kept as well: 5/8 and 3/8, the most probable first.
    assert one(logits, 0.62, top_p=0.6) == (1, pytest.approx(np.log(5 / 8), abs=1e-6))
    assert one(logits, 0.63, top_p=0.6) == (2, pytest.approx(np.log(3 / 8), abs=1e-6))
    assert one(logits, 0.999, top_p=0.4) == (1, pytest.approx(0.0, abs=1e-6))
    assert one(logits, 0.999, top_p=0.0) == (1, pytest.approx(0.0, abs=1e-6))


def test_impossible_tokens_are_never_drawn() -> None:
    last = 1 - 2.0**-53
    assert one([0.0, 1.0, -torch.inf], last)[0] == 1
    assert one([-torch.inf, 1.0, 0.0], 0.0)[0] == 1


def test_rows_of_one_batch_do_not_disturb_one_another() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 50) * 3
    temperature = np.array([0, 1, 0.5, 1, 0, 2], dtype=np.float32)
    top_p = np.array([1, 1, 0.7, 0.9, 0.5, 1], dtype=np.float32)
    uniform = uniforms(np.arange(6, dtype=np.uint64), np.arange(6, dtype=np.uint64))
    tokens, logprobs = choose(logits, temperature, top_p, uniform)
    for row in range(6):
        alone = one(logits[row].tolist(), uniform[row], float(temperature[row]), float(top_p[row]))
        assert (int(tokens[row]), float(logprobs[row])) == (alone[0], pytest.approx(alone[1], abs=1e-6))
