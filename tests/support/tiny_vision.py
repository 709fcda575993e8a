"""Tiny random models of the real vision-language architectures, and rows and prompts with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from conformance.reference import spread
from himac.config import VisionInitConfig
from himac.models.init_model import init_model
from himac.models.loading import load_model
from himac.models.vision import processor
from himac.scene import Image, Placed, Prompt
from himac.types import Role, Row

ARCHITECTURES = ("qwen2.5-vl", "qwen3-vl")
TEXTS = ["push box 32 left to 31", "go up down left right"] * 3
TEXT_SHAPE = {"hidden_size": 32, "layers": 2, "heads": 4, "kv_heads": 2, "max_position": 1024, "vocab_size": 400}
VISION = VisionInitConfig(patch_size=4, hidden_size=16, heads=2, layers=3, intermediate=32)


def write_model(folder: Path, architecture: str) -> Path:
    """A model directory of an architecture, with tokenizer and image processor."""
    path = folder / architecture
    init_model(path, TEXTS, **TEXT_SHAPE, lookup_heads=False, vision=VISION.model_dump())
    if architecture == "qwen3-vl":
        _qwen3(path)
    return path


def _qwen3(path: Path) -> None:
    """Replace the weights by a Qwen3-VL model with two deep-stack layers."""
    old = load_model(path)[0].config
    text = old.text_config
    torch.manual_seed(2)
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": text.vocab_size,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 1024,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]},
        },
        vision_config={
            "depth": 3,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": 32,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        **{name: getattr(old, name) for name in ("image_token_id", "video_token_id", "vision_start_token_id")},
        vision_end_token_id=old.vision_end_token_id,
        tie_word_embeddings=True,
    )
    Qwen3VLForConditionalGeneration(config).save_pretrained(path)


def load_spread(path: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a directory, with logits far from uniform."""
    model, tokenizer = load_model(path)
    return spread(model), tokenizer


def picture(seed: int, height: int = 24, width: int = 32) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def prompt(tokenizer: Any, parts: Sequence[int | Image], seed: int = 0) -> Prompt:
    """So many random tokens for each number, and each picture as the tokenizer spells it."""
    rng = np.random.default_rng(seed)
    ids, placed = list[int](), list[Placed]()
    for part in parts:
        if isinstance(part, Image):
            spelled = tokenizer.picture_ids(part)
            placed += [one.moved(len(ids)) for one in spelled.pictures]
            ids += spelled
        else:
            ids += rng.integers(0, 300, part).tolist()
    return Prompt(ids, placed)


def plain_logits(model: Any, tokens: Sequence[int], pictures: Sequence[Placed]) -> torch.Tensor:
    """Logits [T, vocabulary] of the model's own forward with pixel values, unpadded and without our attention."""
    text = model.config.get_text_config()
    ours = text._attn_implementation
    model.set_attn_implementation({"text_config": "sdpa"})
    ids = torch.tensor([list(tokens)])
    seen = [processor(model).pixels(one.picture) for one in pictures]
    more: dict[str, Any] = {}
    if seen:
        kinds = torch.zeros_like(ids)
        for one in pictures:
            kinds[0, one.start : one.end] = 1
        more = {
            "pixel_values": torch.from_numpy(np.concatenate([pixels for pixels, _ in seen])),
            "image_grid_thw": torch.tensor([grid for _, grid in seen]),
            "mm_token_type_ids": kinds,
        }
    logits: torch.Tensor = model(input_ids=ids, use_cache=False, **more).logits[0]
    model.set_attn_implementation({"text_config": ours})
    return logits


def plain_logprobs(model: Any, tokens: Sequence[int], pictures: Sequence[Placed]) -> torch.Tensor:
    """Log-probability [T - 1] of each token but the first by `plain_logits`."""
    scores = plain_logits(model, tokens, pictures)[:-1].log_softmax(-1)
    return scores.gather(1, torch.tensor(list(tokens[1:]))[:, None])[:, 0]


def picture_row(tokenizer: Any, parts: Sequence[int | Image], seed: int = 0, advantage: float = 1.0) -> Row:
    """A row whose trained tokens are about half of the text tokens."""
    made = prompt(tokenizer, parts, seed)
    ids = np.array(made, np.int32)
    mask = np.random.default_rng(seed + 100).random(len(ids)) < 0.5
    mask[0], mask[-1] = False, True
    for placed in made.pictures:
        mask[placed.start - 1 : placed.end + 1] = False
    zeros = np.zeros(len(ids), np.float32)
    advantages = np.where(mask, np.float32(advantage), np.float32(0))
    return Row(ids, mask, zeros, advantages, Role.EXECUTOR, f"g{seed}", pictures=made.pictures)
