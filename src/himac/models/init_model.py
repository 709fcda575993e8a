"""Make a small Qwen2 or Qwen2.5-VL model with its own tokenizer, from scratch and without a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, pre_tokenizers
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from himac.errors import ConfigError, ModelError
from himac.models.image_tokenizer import ImageTokenizer
from himac.models.init_vision import IMAGE, VISION_TOKENS, image_processor, vision_language_model
from himac.models.loading import save_weights
from himac.models.structured_init import structure_attention
from himac.models.vision import ImageProcessor
from himac.store.atomic import publish

USER, ASSISTANT, END, PAD = "<|user|>", "<|assistant|>", "<|im_end|>", "<|pad|>"
NUMBERS = tuple(f" {number}" for number in range(61))

_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "{{- '" + ASSISTANT + "' + message['content'] + '" + END + "' -}}"
    "{%- else -%}"
    "USERS_MESSAGE"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '" + ASSISTANT + "' -}}{%- endif -%}"
)
CHAT_TEMPLATE = _TEMPLATE.replace("USERS_MESSAGE", "{{- '" + USER + "' + message['content'] -}}")
PICTURE_TEMPLATE = _TEMPLATE.replace(
    "USERS_MESSAGE",
    "{{- '" + USER + "' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}"
    "{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{- '" + IMAGE + "' -}}{%- else -%}{{- part['text'] -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}",
)


def init_model(
    path: str | Path,
    texts: Iterable[str],
    *,
    vocab_size: int = 2048,
    hidden_size: int = 192,
    layers: int = 4,
    heads: int = 4,
    kv_heads: int = 4,
    intermediate: int | None = None,
    max_position: int = 4096,
    lookup_heads: bool = True,
    seed: int = 0,
    special_tokens: tuple[str, ...] = ("<sub_done>",),
    vision: Mapping[str, int] | None = None,
) -> int:
    """Write an untrained Qwen2 model (tied embeddings, float32) and a tokenizer trained on `texts` to `path`.

    With `vision` it is a Qwen2.5-VL model with an image processor.

    The directory appears complete or not at all. The tokenizer is a byte-level BPE inside Qwen2's own pipeline (NFC
    normalisation, single digits), so that `AutoTokenizer` restores it unchanged; " 0" to " 60" are one token each.

    Args:
        path: New (or empty) directory.
        texts: What the BPE merges are learned from.
        vocab_size: Upper limit, added tokens included; few texts give fewer merges.
        intermediate: Width of the feed-forward layers; by default 8/3 of `hidden_size`, rounded up to 32.
        max_position: Longest context of the model.
        lookup_heads: Start with heads that look things up in the context; see `structured_init`. Needs
            `kv_heads == heads`.
        special_tokens: Further strings that are one token each and stay visible in decoded text.
        vision: Shape of the vision tower, see `himac.config.VisionInitConfig`; `None` for a model that reads text only.

    Returns:
        Number of parameters, shared ones counted once.
    """
    _check_shape(hidden_size, layers, heads, kv_heads)
    target = Path(path)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ModelError(f"{target} already exists; choose a new directory or remove it first.")
    tokenizer: Any = _train_tokenizer(
        texts, vocab_size, max_position, special_tokens, VISION_TOKENS if vision is not None else ()
    )
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=intermediate or -(-hidden_size * 8 // (3 * 32)) * 32,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=max_position,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = Qwen2ForCausalLM(config) if vision is None else vision_language_model(config, tokenizer, **vision)
    if lookup_heads:
        structure_attention(model, torch.Generator().manual_seed(seed))
    model.generation_config.update(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True
    )
    if vision is not None:
        processor = ImageProcessor(image_processor(**vision))
        tokenizer = ImageTokenizer(tokenizer, processor, model.config.image_token_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    publish(target, lambda folder: save_weights(folder, model, tokenizer))
    return sum(parameter.numel() for parameter in model.parameters())


def _check_shape(hidden_size: int, layers: int, heads: int, kv_heads: int) -> None:
    if min(hidden_size, layers, heads, kv_heads) < 1:
        raise ConfigError("hidden_size, layers, heads and kv_heads must be positive; raise the one that is not.")
    if hidden_size % heads or (hidden_size // heads) % 2:
        raise ConfigError(f"hidden_size {hidden_size} must be an even multiple of heads {heads}; change one of them.")
    if heads % kv_heads:
        raise ConfigError(f"heads {heads} must be a multiple of kv_heads {kv_heads}; change one of them.")


def _train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    max_position: int,
    special: tuple[str, ...],
    vision_tokens: tuple[str, ...] = (),
) -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    controls = (USER, ASSISTANT, END, PAD, *vision_tokens)
    added = len(dict.fromkeys((*NUMBERS, *controls, *special)))
    if vocab_size < len(alphabet) + added:
        raise ConfigError(
            f"vocab_size {vocab_size} is too small; bytes, numbers and special tokens need {len(alphabet) + added}."
        )
    # Without tokens of its own, so that nothing but bytes and merges comes before ours.
    unset: dict[str, Any] = {"unk_token": None, "eos_token": None, "pad_token": None}
    base: Any = Qwen2Tokenizer(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[], **unset)
    tokenizer = base.train_new_from_iterator(texts, vocab_size - added, show_progress=False)
    tokenizer.add_tokens([AddedToken(number, normalized=False) for number in NUMBERS])
    tokenizer.add_special_tokens(
        {
            "eos_token": AddedToken(END, normalized=False, special=True),
            "pad_token": AddedToken(PAD, normalized=False, special=True),
            "extra_special_tokens": [
                AddedToken(name, normalized=False, special=True) for name in (USER, ASSISTANT, *vision_tokens)
            ],
        }
    )
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=False) for name in special])
    tokenizer.chat_template = PICTURE_TEMPLATE if vision_tokens else CHAT_TEMPLATE
    tokenizer.model_max_length = max_position
    tokenizer.clean_up_tokenization_spaces = False
    return tokenizer
