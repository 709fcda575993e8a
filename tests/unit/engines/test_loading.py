"""Loading a model directory, and what is said when it cannot be loaded."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from himac.engines.local import load_model
from himac.engines.local.attention import NAME
from himac.engines.local.loading import resolve_device, tune_malloc
from himac.errors import ConfigError, ModelError


@pytest.fixture
def folder(tiny_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_path, tmp_path / "model"))


def test_loads_in_evaluation_mode_with_our_attention(tiny_path: Path) -> None:
    model, tokenizer = load_model(tiny_path, dtype="bfloat16")
    assert model.config._attn_implementation == NAME
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def edit_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def drop_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def drop_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


BROKEN = {
    "There is no model directory": shutil.rmtree,
    "has no config.json": lambda folder: (folder / "config.json").unlink(),
    "has no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "has no tokenizer": drop_tokenizer,
    "is unknown or broken": lambda folder: edit_config(folder, model_type="unheard_of"),
    "unknown or broken": lambda folder: (folder / "config.json").write_text("{"),
    "is no causal language model": lambda folder: edit_config(folder, model_type="vit"),
    "tokenizer in .* cannot be loaded": lambda folder: (folder / "tokenizer.json").write_text("{"),
    "weights in .* cannot be loaded": lambda folder: (folder / "model.safetensors").write_bytes(b"broken"),
    r"lack 1 tensors .* model\.norm\.weight": drop_tensor,
}


@pytest.mark.parametrize("message", BROKEN)
def test_one_clear_sentence(folder: Path, message: str) -> None:
    BROKEN[message](folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert ";" in str(caught.value)  # cause; remedy


def test_unknown_dtype_and_device(tiny_path: Path) -> None:
    with pytest.raises(ConfigError, match="dtype 'int3' is unknown"):
        load_model(tiny_path, dtype="int3")
    with pytest.raises(ConfigError, match="device 'quantum' is unknown"):
        load_model(tiny_path, device="quantum")
    with pytest.raises(ConfigError, match="device 'cuda:99' is not available"):
        resolve_device("cuda:99")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting exists in glibc only")
def test_malloc_setting_is_accepted() -> None:
    assert tune_malloc()
