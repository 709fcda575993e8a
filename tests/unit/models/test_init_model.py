"""The small model made from scratch, and above all its tokenizer."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoTokenizer, Qwen2Config

from himac.config import VisionInitConfig
from himac.errors import ConfigError, ModelError
from himac.models.forward import support
from himac.models.init_model import _train_tokenizer, init_model
from himac.models.loading import load_model

SMALL: dict[str, Any] = {"vocab_size": 400, "hidden_size": 16, "layers": 1, "heads": 2, "kv_heads": 1}


def encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text)["input_ids"])


def test_numbers_are_single_tokens_and_the_longest_wins(tiny: tuple[Any, Any]) -> None:
    tokenizer = tiny[1]
    assert len(encode(tokenizer, "go to drawer 10")) == 4
    assert tokenizer.tokenize("drawer 10 1 60")[-3:] == [" 10", " 1", " 60"]
    for number in range(61):
        assert len(encode(tokenizer, f" {number}")) == 1
    assert tokenizer.tokenize(" 61") == [" 6", "1"]


@pytest.mark.parametrize("name", ["<|user|>", "<|assistant|>", "<|im_end|>", "<|pad|>", "<sub_done>"])
def test_special_tokens_are_single(tiny: tuple[Any, Any], name: str) -> None:
    tokenizer = tiny[1]
    assert len(encode(tokenizer, f"go{name}go")) == 3
    shown = tokenizer.decode(encode(tokenizer, f"go{name}"), skip_special_tokens=True)
    assert shown == ("go<sub_done>" if name == "<sub_done>" else "go")


def test_chat_template(tiny: tuple[Any, Any]) -> None:
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "U"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "V"},
    ]
    text = tiny[1].apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|user|>S<|user|>U<|assistant|>A<|im_end|><|user|>V<|assistant|>"
    assert tiny[1].apply_chat_template(messages[2:3], tokenize=False) == "<|assistant|>A<|im_end|>"
    assert (tiny[1].eos_token, tiny[1].pad_token) == ("<|im_end|>", "<|pad|>")


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_survives(tiny_tokenizers: tuple[Any, Any], text: str) -> None:
    made, loaded = tiny_tokenizers
    assert encode(made, text) == encode(loaded, text)
    # Qwen2's pipeline composes characters (NFC) first; apart from that nothing changes. Control tokens spelled out
    # in the text are shown too.
    assert loaded.decode(encode(loaded, text)) == unicodedata.normalize("NFC", text)


@pytest.fixture(scope="module")
def tiny_tokenizers(tiny: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The tokenizer as it was trained, and as AutoTokenizer restores it."""
    texts = ["go to drawer 10, then don't look: ça va? 日本", "take apple 1 from cabinet 3\n\n> open it  now"] * 3
    made = _train_tokenizer(texts, 420, 128, ("<sub_done>",))
    path = tmp_path_factory.mktemp("tokenizer")
    made.save_pretrained(path)
    Qwen2Config().save_pretrained(path)
    return made, AutoTokenizer.from_pretrained(path)


def test_directory_is_complete_and_deterministic(tmp_path: Path) -> None:
    texts = ["go to drawer 10", "look around"] * 3
    count = init_model(tmp_path / "a", texts, **SMALL)
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= names
    assert {path.name for path in tmp_path.iterdir()} == {"a"}  # no scratch directory is left
    init_model(tmp_path / "b", texts, **SMALL)
    init_model(tmp_path / "c", texts, **SMALL, seed=1)
    (a, tokenizer), (b, _), (c, _) = (load_model(tmp_path / name) for name in "abc")
    assert count == sum(parameter.numel() for parameter in a.parameters())
    assert torch.equal(a.lm_head.weight, b.lm_head.weight)
    assert not torch.equal(a.lm_head.weight, c.lm_head.weight)
    config = AutoConfig.from_pretrained(tmp_path / "a")
    assert config.architectures == ["Qwen2ForCausalLM"]
    assert config.tie_word_embeddings
    assert config.vocab_size == len(tokenizer) <= 400
    assert config.eos_token_id == tokenizer.eos_token_id == a.generation_config.eos_token_id


def test_the_global_random_state_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    init_model(tmp_path / "m", ["x"], **SMALL)
    assert torch.equal(torch.rand(1), expected)


def test_extra_special_tokens(tmp_path: Path) -> None:
    init_model(tmp_path / "m", ["x"], **SMALL, special_tokens=("<sub_done>", "<plan>"))
    assert len(encode(load_model(tmp_path / "m")[1], "<plan><sub_done>")) == 2


def test_a_model_that_sees(tmp_path: Path) -> None:
    vision = VisionInitConfig(patch_size=4, hidden_size=16, heads=2, layers=1, intermediate=16).model_dump()
    count = init_model(tmp_path / "m", ["go up"], **{**SMALL, "kv_heads": 2, "layers": 2}, vision=vision)
    assert (tmp_path / "m" / "preprocessor_config.json").is_file()
    model, tokenizer = load_model(tmp_path / "m")
    assert model.config.model_type == "qwen2_5_vl"
    assert count == sum(parameter.numel() for parameter in model.parameters())
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer) <= 400
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert encode(tokenizer, "go<sub_done>")[-1] == tokenizer.convert_tokens_to_ids("<sub_done>")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "U"}], tokenize=False)
    assert text == "<|user|>U"
    assert support(model).slots  # measured against the model's own forward, with a picture too


@pytest.mark.parametrize(
    ("change", "message"), [({"hidden_size": 18}, "multiple of 4 times"), ({"heads": 3}, "multiple of 4 times")]
)
def test_impossible_towers(tmp_path: Path, change: dict[str, int], message: str) -> None:
    vision = VisionInitConfig(hidden_size=16, heads=2).model_dump() | change
    with pytest.raises(ConfigError, match=message):
        init_model(tmp_path / "m", ["x"], **{**SMALL, "hidden_size": 32}, vision=vision)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "precious").touch()
    with pytest.raises(ModelError, match="already exists"):
        init_model(tmp_path / "m", ["x"], **SMALL)
    (tmp_path / "m" / "precious").unlink()
    assert init_model(tmp_path / "m", ["x"], **SMALL) > 0  # an empty directory is fine


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 300}, "vocab_size 300 is too small"),
        ({"hidden_size": 18, "heads": 4}, "even multiple of heads"),
        ({"heads": 2, "hidden_size": 6}, "even multiple of heads"),
        ({"heads": 4, "kv_heads": 3}, "multiple of kv_heads"),
        ({"layers": 0}, "must be positive"),
    ],
)
def test_impossible_shapes(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        init_model(tmp_path / "m", ["x"], **{**SMALL, **change})
    assert not (tmp_path / "m").exists()
