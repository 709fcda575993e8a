"""What a Hugging Face model directory must hold, checked without torch."""

from __future__ import annotations

from pathlib import Path

from himac.errors import ModelError

_WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "vocab.txt", "tekken.json")


def check_model_folder(folder: Path) -> None:
    """Refuse a directory that cannot be loaded.

    Raises:
        ModelError: it is missing, or lacks its configuration, weights or tokenizer.
    """
    if not folder.is_dir():
        raise ModelError(f"There is no model directory {folder}; give the path of a Hugging Face model directory.")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json; give a directory written by save_pretrained.")
    if not any(any(folder.glob(pattern)) for pattern in _WEIGHT_PATTERNS):
        raise ModelError(f"{folder} has no weights; add model.safetensors (or its shards) to the directory.")
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(f"{folder} has no tokenizer; add tokenizer.json and tokenizer_config.json to the directory.")
