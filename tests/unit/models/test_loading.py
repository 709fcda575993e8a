"""Loading a model directory, and what is said when it cannot be loaded."""

from __future__ import annotations

import builtins
import contextlib
import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from himac.errors import ConfigError, ModelError
from himac.models.attention import NAME
from himac.models.loading import load_model, resolve_device, tune_malloc
from himac.models.vision import processor
from support.tiny_vision import picture, write_model


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


def poison(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][1] = float("nan")
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
    r"hold 1 tensors .* not finite, for example model\.norm\.weight: their training diverged": poison,
}


@pytest.mark.parametrize("message", BROKEN)
def test_one_clear_sentence(folder: Path, message: str) -> None:
    BROKEN[message](folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert ";" in str(caught.value)  # cause; remedy


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_that_a_model_brings_is_not_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Nor is anybody asked whether it may."""
    ran = tmp_path / "ran"
    monkeypatch.setattr(builtins, "input", lambda _: "y")
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nEvil = None\n")
    auto = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
    path = folder / name
    kind = {"model_type": "evil"} if name == "config.json" else {"tokenizer_class": "Evil"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **kind, "auto_map": auto}))
    with contextlib.suppress(ModelError):
        load_model(folder)
    assert not ran.exists()


def test_attention_is_not_taken_from_elsewhere(folder: Path) -> None:
    edit_config(folder, attn_implementation="somebody/kernel")
    assert load_model(folder)[0].config._attn_implementation == NAME


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


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models"), "qwen3-vl")


def test_a_model_that_sees_comes_with_its_processor(seeing: Path) -> None:
    model, tokenizer = load_model(seeing)
    assert type(model).__name__ == "Qwen3VLForConditionalGeneration"
    assert model.config.text_config._attn_implementation == NAME
    assert model.config.vision_config._attn_implementation != NAME
    assert tokenizer.picture_ids(picture(1)).pictures[0].end == 13
    other, again = pickle.loads(pickle.dumps((model, tokenizer)))
    assert again.picture_ids(picture(1)) == tokenizer.picture_ids(picture(1))
    assert processor(other).count(picture(1)) == 12


BLIND: dict[str, Callable[[Path], Any]] = {
    "image processor in .* cannot be loaded": lambda folder: (folder / "preprocessor_config.json").unlink(),
    "chat template writes no single": lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),
}


@pytest.mark.parametrize("message", BLIND)
def test_what_a_model_that_sees_lacks(seeing: Path, tmp_path: Path, message: str) -> None:
    folder = Path(shutil.copytree(seeing, tmp_path / "model"))
    BLIND[message](folder)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def test_a_chat_template_may_be_a_file_of_its_own(seeing: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(seeing, tmp_path / "model"))
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    assert load_model(folder)[1].chat_template == template
