"""Low-rank adapters (LoRA, arXiv 2106.09685) by PEFT, inside the very modules of a model.

The base stays frozen: with the adapter switched off the model is the one it was loaded as, so no second copy of the
weights is needed for a reference. Engine and learner run the same modules and agree on every log-probability.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from himac.config import LoraConfig
from himac.errors import ConfigError, MissingDependencyError, ModelError
from himac.models.folder import ADAPTER_WEIGHTS, fingerprint, record_base, recorded_base
from himac.models.vision import sees_pictures, vision_tower

_NAME = "default"
_PREFIX = "base_model.model."  # before every name in a file of PEFT


def has_adapter(model: Any) -> bool:
    """Whether it was given one by `add_adapter` or `load_adapter`."""
    return _NAME in (getattr(model, "peft_config", None) or {})


def add_adapter(model: Any, settings: LoraConfig, seed: int) -> None:
    """Freeze the model and give it a new adapter in float32, which changes nothing yet; its vision tower has none.

    Args:
        settings: Shape and places.
        seed: Of the random half of the adapter.

    Raises:
        MissingDependencyError: PEFT is not installed.
        ConfigError: The model has no such modules, or they share weights with others.
    """
    peft = _peft()
    targets = settings.targets if isinstance(settings.targets, str) else list(settings.targets)
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        modules_to_save=list(settings.modules_to_save) or None,
        exclude_modules=_tower(model),
        base_model_name_or_path=str(_folder(model) or ""),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _inject(model, config)


def load_adapter(model: Any, folder: Path) -> None:
    """Give the model the adapter of a directory, for use or to train on.

    Raises:
        MissingDependencyError: PEFT is not installed.
        ModelError: It is broken, no LoRA adapter, or was trained on another base.
    """
    peft = _peft()
    base = _folder(model)
    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
        tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in load_file(folder / ADAPTER_WEIGHTS).items()}
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise ModelError(f"The adapter in {folder} cannot be read ({error}); save it again.") from error
    trained_on = recorded_base(folder)
    if trained_on is not None and (base is None or trained_on != fingerprint(base)):
        raise ModelError(
            f"The adapter in {folder} was trained on another model than {base}; set model.path to the one it was "
            "trained on."
        )
    if not isinstance(config, peft.LoraConfig):
        raise ModelError(f"{folder} holds a {config.peft_type} adapter; use one of LoRA.")
    config.inference_mode = False
    config.base_model_name_or_path = str(base or "")
    try:
        _inject(model, config)
        peft.set_peft_model_state_dict(model, tensors, adapter_name=_NAME)
    except (ConfigError, RuntimeError, KeyError, ValueError) as error:
        raise ModelError(
            f"The adapter in {folder} does not fit the model {base} ({str(error).splitlines()[0]}); set model.path to "
            "the one it was trained on."
        ) from error
    own = peft.get_peft_model_state_dict(model, adapter_name=_NAME, save_embedding_layers=False)
    if own.keys() != tensors.keys():
        odd = min(own.keys() ^ tensors.keys())
        raise ModelError(
            f"The adapter in {folder} does not fit the model {base} (tensor {odd}); set model.path to the one it was "
            "trained on."
        )


def save_adapter(folder: Path, model: Any) -> None:
    """Write the adapter alone, as PEFT reads it."""
    config = model.peft_config[_NAME]
    tensors = _peft().get_peft_model_state_dict(model, adapter_name=_NAME, save_embedding_layers=False)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {f"{_PREFIX}{name}": tensor.detach().contiguous() for name, tensor in tensors.items()},
        folder / ADAPTER_WEIGHTS,
        metadata={"format": "pt"},
    )
    config.save_pretrained(str(folder))
    record_base(folder, Path(config.base_model_name_or_path))


@contextmanager
def adapter_off(model: Any) -> Iterator[Any]:
    """The model as it was before it had an adapter."""
    parts = list(_parts(model))
    for part in parts:
        part.enable_adapters(False)
    try:
        yield model
    finally:
        for part in parts:
            part.enable_adapters(True)


@contextmanager
def dropping(model: Any, seed: int) -> Iterator[None]:
    """Let the adapter's dropout work inside, with draws of its own; nothing happens without any."""
    layers = [
        dropout
        for part in _parts(model)
        for dropout in getattr(part, "lora_dropout", {}).values()
        if isinstance(dropout, nn.Dropout)
    ]
    if not layers:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for layer in layers:
            layer.train()
        try:
            yield
        finally:
            for layer in layers:
                layer.eval()


@torch.no_grad()
def merged_weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """The weights of a model without an adapter that computes the same, by Hugging Face names, one at a time."""
    parts = {name: part for name, part in model.named_modules() if _is_part(part)}
    inside = tuple(f"{name}." for name in parts)
    for name, tensor in model.state_dict().items():
        if not name.startswith(inside):
            yield name, tensor
    for name, part in parts.items():
        if hasattr(part, "modules_to_save"):
            for inner, tensor in part.modules_to_save[_NAME].state_dict().items():
                yield f"{name}.{inner}", tensor
            continue
        for inner, tensor in part.get_base_layer().state_dict().items():
            if inner == "weight":
                tensor = (tensor.float() + part.get_delta_weight(_NAME).float()).to(tensor.dtype)
            yield f"{name}.{inner}", tensor


def _folder(model: Any) -> Path | None:
    """Where the model was loaded from."""
    name = str(getattr(model, "name_or_path", ""))
    return Path(name).resolve() if name else None


def _inject(model: Any, config: Any) -> None:
    peft = _peft()
    try:
        peft.inject_adapter_in_model(config, model, _NAME)
    except ValueError as error:
        raise ConfigError(f"model.lora does not fit {type(model).__name__}: {str(error).splitlines()[0]}") from error
    peft.tuners.tuners_utils.cast_adapter_dtype(model, _NAME, autocast_adapter_dtype=True)
    model.eval()
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    if getattr(model.config.get_text_config(), "tie_word_embeddings", False) and any(map(_is_part, ends)):
        raise ConfigError(
            "the model's embedding and output layer share their weights, of which an adapter would train one only; "
            "leave both out of model.lora.targets and model.lora.modules_to_save"
        )


def _tower(model: Any) -> str | None:
    """Matches the modules that encode pictures."""
    if not sees_pictures(model):
        return None
    tower = vision_tower(model)
    (name,) = (name for name, module in model.named_modules() if module is tower)
    return rf"{re.escape(name)}(\..*)?"


def _parts(model: Any) -> Iterator[Any]:
    return (part for part in model.modules() if _is_part(part))


def _is_part(module: nn.Module) -> bool:
    """Whether it stands in place of one of the model's own modules."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    return isinstance(module, BaseTunerLayer | ModulesToSaveWrapper)


def _peft() -> Any:
    try:
        import peft
        import peft.tuners.tuners_utils
    except ImportError as error:
        raise MissingDependencyError(
            f"model.lora needs the package peft ({error}); install it with: pip install 'himac[lora]'"
        ) from error
    return peft
