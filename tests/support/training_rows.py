"""A tiny model and rows drawn by hand."""

from typing import Any

import numpy as np
import torch

from himac.config import Config
from himac.training import factory
from himac.training.settings import LearnerSettings
from himac.types import Role, Row

VOCABULARY = 32


def tiny_model(seed: int = 0) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
    ).eval()


def learner_config(**changes: Any) -> LearnerSettings:
    """The default settings without a KL term, at a rate that moves a tiny model."""
    return factory.learner_settings(Config(), **({"lr": 1e-2, "kl_coef": 0.0} | changes))


def make_row(
    ids: list[int],
    mask: list[int],
    advantage: float = 1.0,
    old: list[float] | None = None,
    group: str = "g",
) -> Row:
    trained = np.array(mask, dtype=bool)
    old_logprobs = np.zeros(len(ids), np.float32) if old is None else np.array(old, np.float32)
    return Row(
        input_ids=np.array(ids, np.int32),
        loss_mask=trained,
        old_logprobs=old_logprobs,
        advantages=np.where(trained, np.float32(advantage), np.float32(0)),
        role=Role.EXECUTOR,
        group_id=group,
    )


@torch.no_grad()
def logprobs(model: Any, row: Row, temperature: float = 1.0) -> torch.Tensor:
    """Log-probability of each token after the first, from a plain forward pass of one row, [T - 1]."""
    ids = torch.from_numpy(row.input_ids.astype(np.int64))
    scores = model(input_ids=ids[None]).logits[0, :-1] / temperature
    return torch.log_softmax(scores.double(), -1).gather(-1, ids[1:, None])[:, 0]


def sampled_rows(model: Any, count: int = 7, seed: int = 0, temperature: float = 1.0) -> list[Row]:
    """Random rows of different lengths whose old log-probabilities are nearly the model's own."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        length = int(rng.integers(4, 14))
        mask = rng.random(length) < 0.5
        mask[0], mask[-1] = False, True
        ids = rng.integers(0, VOCABULARY, length)
        row = make_row(ids.tolist(), mask.tolist(), float(rng.normal()), group=f"g{number % 3}")
        own = np.concatenate([[0.0], logprobs(model, row, temperature).numpy()]) + rng.normal(0, 0.1, length)
        old = np.where(mask, own, 0.0).astype(np.float32)
        rows.append(make_row(ids.tolist(), mask.tolist(), float(rng.normal()), old.tolist(), f"g{number % 3}"))
    return rows
