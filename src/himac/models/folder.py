"""What a Hugging Face model directory must hold, checked without torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from himac.errors import ModelError
from himac.files import read_json, read_text

_WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 14
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "vocab.txt", "tekken.json")

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_ADAPTER_BASE = "base.json"
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
    if is_adapter(folder):
        if not (folder / ADAPTER_WEIGHTS).is_file():
            raise ModelError(f"{folder} has no {ADAPTER_WEIGHTS}; save the adapter again.")
        return
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json; give a directory written by save_pretrained.")
    if not any(any(folder.glob(pattern)) for pattern in _WEIGHT_PATTERNS):
        raise ModelError(f"{folder} has no weights; add model.safetensors (or its shards) to the directory.")
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(f"{folder} has no tokenizer; add tokenizer.json and tokenizer_config.json to the directory.")


def is_adapter(folder: Path) -> bool:
    """Whether the directory holds an adapter, which needs the model that it was trained on."""
    return (folder / ADAPTER_CONFIG).is_file()


def base_of(folder: Path, wanted: str = "") -> Path:
    """The model directory that an adapter belongs to.

    Args:
        folder: Of the adapter.
        wanted: Replaces the one that the adapter names; empty: that one.

    Raises:
        ModelError: the adapter names none, or it is not there.
    """
    if not wanted:
        try:
            wanted = str(read_json(folder / ADAPTER_CONFIG)["base_model_name_or_path"] or "")
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ModelError(f"{folder / ADAPTER_CONFIG} cannot be read ({error}); save the adapter again.") from error
    base = Path(wanted)
    if not wanted or is_adapter(base) or not base.is_dir():
        raise ModelError(
            f"The model '{wanted}' that the adapter in {folder} was trained on is not there; set model.path to its "
            "directory."
        )
    return base


def fingerprint(folder: Path) -> str | None:
    """Tells the weights of a model directory from others by a sample of their bytes; `None` where there are none."""
    files = sorted(path for pattern in _WEIGHT_PATTERNS for path in folder.glob(pattern))
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for part in range(_SAMPLES):
                file.seek(part * size // _SAMPLES)
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest() if files else None


def record_base(folder: Path, base: Path) -> None:
    """Note beside an adapter which weights it was trained on."""
    if (found := fingerprint(base)) is not None:
        (folder / _ADAPTER_BASE).write_text(json.dumps({"fingerprint": found}) + "\n", encoding="utf-8")


def recorded_base(folder: Path) -> str | None:
    """Fingerprint of the weights that an adapter was trained on; `None` where nobody noted it."""
    try:
        return str(read_json(folder / _ADAPTER_BASE)["fingerprint"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f"{folder / _ADAPTER_BASE} cannot be read ({error}); save the adapter again.") from error
