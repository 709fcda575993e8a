"""What a Hugging Face model directory must hold, checked without torch."""

from __future__ import annotations

from pathlib import Path

from himac.errors import ModelError
from himac.files import read_text

_WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "vocab.txt", "tekken.json")


_CHECKPOINTS, _POINTER_BYTES = "checkpoints", 1000


def pointed(path: Path) -> Path:
    """The model directory itself, or the one that `checkpoints/latest` or `checkpoints/best` of a run names.

    Raises:
        ModelError: the file names no directory beside it.
    """
    if path.parent.name != _CHECKPOINTS or path.is_dir():
        return path
    try:
        name = read_text(path, _POINTER_BYTES).strip()
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} names no checkpoint ({error}); give a directory of {path.parent}.") from error
    folder = path.parent / name
    if folder.name != name or name.startswith(".") or not folder.is_dir():
        raise ModelError(f"{path} names {name!r}, which does not exist; give a directory of {path.parent}.")
    return folder


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
