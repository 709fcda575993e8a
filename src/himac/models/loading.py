"""Load a language model, with or without eyes, and its tokenizer from a Hugging Face directory."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
)
from transformers.utils import logging as transformers_logging

from himac.errors import ConfigError, ModelError
from himac.files import read_json
from himac.models.adapter import has_adapter, merged_weights, save_adapter
from himac.models.attention import enable_attention
from himac.models.folder import check_model_folder
from himac.models.image_tokenizer import ImageTokenizer
from himac.models.memory import ran_out
from himac.models.vision import PROCESSOR, ImageProcessor
from himac.models.weights import not_finite

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_NOTHING_FOREIGN: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def load_model(path: str | Path, dtype: str = "float32", device: str = "cpu") -> tuple[Any, Any]:
    """Load `(model, tokenizer)` from a directory in Hugging Face format.

    A vision-language model comes with an `ImageTokenizer`, whose image processor it keeps too.

    Args:
        path: Directory with `config.json`, weights, tokenizer files and, for a vision-language model, those of the
            image processor; nothing is downloaded.
        dtype: `float32`, `bfloat16` or `float16`.
        device: `cpu`, `cuda` (or `cuda:N`) or `auto`, which takes the accelerator when there is one.

    Raises:
        ModelError: The directory, its configuration, weights or tokenizer are missing or unusable.
        ConfigError: `dtype` or `device` is unknown or not available.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r} is unknown; choose one of {', '.join(DTYPES)}.")
    target = resolve_device(device)
    folder = Path(path)
    check_model_folder(folder)
    config = load_config(folder)
    tokenizer = _load_tokenizer(folder)
    sees = reads_pictures(config)
    processor = _load_processor(folder) if sees else None
    auto: Any = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    if target.type == "cpu":
        tune_malloc()
    try:
        with quiet():
            loaded: Any = auto.from_pretrained(
                folder,
                config=config,
                dtype=DTYPES[dtype],
                output_loading_info=True,
                weights_only=True,
                **_NOTHING_FOREIGN,
            )
    except Exception as error:
        if ran_out(error):
            raise
        reason = _first_line(error)
        raise ModelError(f"The weights in {folder} cannot be loaded ({reason}); save the model again.") from error
    model, info = loaded
    missing = sorted(info.get("missing_keys", ()))
    if missing:
        raise ModelError(
            f"The weights in {folder} lack {len(missing)} tensors of the architecture, for example {missing[0]}; "
            "save the complete model."
        )
    model.to(target)
    model.eval()
    if broken := not_finite(model):
        raise ModelError(
            f"The weights in {folder} hold {len(broken)} tensors with numbers that are not finite, for example "
            f"{broken[0]}: their training diverged; choose an earlier checkpoint."
        )
    enable_attention(model)
    if processor is not None:
        setattr(model, PROCESSOR, processor)
        tokenizer = ImageTokenizer(tokenizer, processor, int(config.image_token_id))
    return model, tokenizer


def resolve_device(device: str) -> torch.device:
    """Turn `cpu`, `cuda`, `cuda:N` or `auto` into a device that exists."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r} is unknown; choose cpu, cuda or auto.") from error
    if target.type == "cuda" and (target.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {device!r} is not available here; choose cpu or auto.")
    return target


@functools.cache
def tune_malloc() -> bool:
    """Keep large activations on the heap (glibc): by default each one is mapped and faulted in anew.

    Returns:
        Whether the setting was accepted.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no mallopt
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars for loading and saving off the terminal."""
    bars: Any = transformers_logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def save_weights(folder: Path, model: Any, tokenizer: Any | None = None, *, merge: bool = False) -> None:
    """Write what `load_model` reads into a folder, or the adapter of a model that has one.

    Args:
        merge: Write a whole model, the adapter added to its weights.
    """
    with quiet():
        if not has_adapter(model):
            model.save_pretrained(folder)
        elif merge:
            model.save_pretrained(folder, state_dict=dict(merged_weights(model)))
        else:
            save_adapter(folder, model)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def load_config(folder: Path) -> Any:
    """The architecture that a model directory describes; raises `ModelError` for an unknown or broken one."""
    try:
        config = AutoConfig.from_pretrained(folder, **_NOTHING_FOREIGN)
        config._attn_implementation = None  # a file could name a kernel that is loaded from elsewhere
    except Exception as error:
        raise ModelError(
            f"The architecture described by {folder / 'config.json'} is unknown or broken ({_first_line(error)}); "
            "use a causal language model that the installed transformers supports."
        ) from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and not reads_pictures(config):
        raise ModelError(
            f"{folder} holds a {config.model_type!r} model, which is no causal language model; choose one that is."
        )
    return config


def reads_pictures(config: Any) -> bool:
    """Whether it describes a model of images and text with placeholders of one kind."""
    return (
        type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        and hasattr(config, "vision_config")
        and getattr(config, "image_token_id", None) is not None
    )


def _load_processor(folder: Path) -> ImageProcessor:
    try:
        # Pillow's resampling, so that pixels are the same whether torchvision is installed or not.
        auto: Any = AutoImageProcessor
        return ImageProcessor(auto.from_pretrained(folder, backend="pil", **_NOTHING_FOREIGN))
    except Exception as error:
        raise ModelError(
            f"The image processor in {folder} cannot be loaded ({_first_line(error)}); add preprocessor_config.json of "
            "the model to the directory."
        ) from error


def _load_tokenizer(folder: Path) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **_NOTHING_FOREIGN)
        if not tokenizer.chat_template and (older := folder / "chat_template.json").is_file():
            tokenizer.chat_template = read_json(older)["chat_template"]
        return tokenizer
    except Exception as error:
        raise ModelError(
            f"The tokenizer in {folder} cannot be loaded ({_first_line(error)}); save it again with save_pretrained."
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")
