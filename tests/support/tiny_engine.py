"""A tiny model with its own tokenizer, built once and offline."""

from pathlib import Path
from typing import Any

import pytest

from conformance.reference import spread
from himac.models.init_model import init_model
from himac.models.loading import load_model

TEXTS = ["go to drawer 10 and take apple 1 from drawer 10", "open cabinet 3", "look around", "put mug 2 in sink 1"] * 4


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2 model directory with its own tokenizer."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    init_model(path, TEXTS, vocab_size=400, hidden_size=32, layers=2, heads=4, kv_heads=2, max_position=512)
    return path


@pytest.fixture(scope="session")
def tiny(tiny_path: Path) -> tuple[Any, Any]:
    """`(model, tokenizer)` of `tiny_path`, with logits far from uniform."""
    model, tokenizer = load_model(tiny_path)
    return spread(model), tokenizer
