"""Small tokenizers in the layouts of well-known model families: where their control tokens stand, and how marked.

The vocabularies are characters or bytes; what matters is which tokens are added, which of them are special, and what
the chat template writes. Names and forms follow the families' published tokenizers.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SUB_DONE = "<sub_done>"


@dataclass(frozen=True)
class Layout:
    """A tokenizer with the strings that must never be tokens when they come from outside."""

    tokenizer: Any
    controls: tuple[str, ...]

    @property
    def ids(self) -> frozenset[int]:
        return frozenset(self.tokenizer.convert_tokens_to_ids(list(self.controls)))


def _turns(user: str, reply: str, generation: str, before: str = "") -> str:
    """A chat template; `%s` is the message."""
    halves = [text.replace("\n", "\\n").split("%s") for text in (user, reply)]
    said = [f"{{{{ '{one}' + message['content'] | trim + '{two}' }}}}" for one, two in halves]
    return (
        f"{{{{ '{before}' }}}}{{% for message in messages %}}{{% if message['role'] == 'user' %}}{said[0]}"
        f"{{% else %}}{said[1]}{{% endif %}}{{% endfor %}}"
        "{% if add_generation_prompt %}{{ '" + generation.replace("\n", "\\n") + "' }}{% endif %}"
    )


def _bytes() -> Tokenizer:
    """Byte-level BPE, as of GPT-2 and what follows it, with a few merges."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("s", "u"), ("su", "b"), ("i", "m"), ("t", "h"), ("th", "e"), ("Ġ", "the")]
    vocab = {symbol: n for n, symbol in enumerate([*symbols, *("".join(pair) for pair in merges)])}
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def _pieces() -> Tokenizer:
    """SentencePiece-like BPE: spaces are a letter, unknown characters fall back to bytes."""
    letters = ["▁", *map(chr, range(33, 127))]
    vocab = {token: n for n, token in enumerate(["<unk>", *(f"<0x{n:02X}>" for n in range(256)), *letters])}
    made = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(Regex("[^\n]+|\n"), "isolated")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return made


def _made(
    base: Tokenizer, special: Sequence[str], other: Sequence[str], template: str, end: str, normalized: bool = False
) -> Layout:
    base.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    base.add_tokens([AddedToken(token, normalized=normalized, special=False) for token in (*other, SUB_DONE)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=base, eos_token=end)
    tokenizer.chat_template = template
    return Layout(tokenizer, (*special, *other, SUB_DONE))


def _llama() -> Layout:
    """Special in the file of the tokenizer only: no list of special tokens names the role tokens."""
    reserved = [f"<|reserved_special_token_{n}|>" for n in range(8)]
    special = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", *reserved]
    head = "<|start_header_id|>{}<|end_header_id|>\n\n"
    user, reply = head.format("user"), head.format("assistant")
    template = _turns(user + "%s<|eot_id|>", reply + "%s<|eot_id|>", reply, "<|begin_of_text|>")
    return _made(_bytes(), special, [], template, "<|eot_id|>")


def _qwen() -> Layout:
    """Tags of thoughts and tools are added tokens that are not special; text is normalised (NFC)."""
    base = _bytes()
    base.normalizer = normalizers.NFC()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
    other = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
    head = "<|im_start|>{}\n"
    template = _turns(
        head.format("user") + "%s<|im_end|>\n",
        head.format("assistant") + "%s<|im_end|>\n",
        head.format("assistant"),
        "<|im_start|>system\\nBe brief.<|im_end|>\\n",
    )
    return _made(base, special, other, template, "<|im_end|>")


def _gemma() -> Layout:
    special = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]
    head = "<start_of_turn>{}\n"
    user, model = head.format("user"), head.format("model")
    template = _turns(user + "%s<end_of_turn>\n", model + "%s<end_of_turn>\n", model, "<bos>")
    return _made(_pieces(), special, ["<unused0>", "<table>", "[multimodal]"], template, "<end_of_turn>")


def _mistral() -> Layout:
    special = ["<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"]
    return _made(_pieces(), special, [], _turns("[INST] %s[/INST]", " %s</s>", "", "<s>"), "</s>")


def _chatml() -> Layout:
    """As many fine-tuned models have it: role tokens added like any other, and found in normalised (NFKC) text."""
    base = _bytes()
    base.normalizer = normalizers.NFKC()
    head = "<|im_start|>{}\n"
    user, reply = head.format("user"), head.format("assistant")
    template = _turns(user + "%s<|im_end|>\n", reply + "%s<|im_end|>\n", reply)
    return _made(base, ["<|endoftext|>"], ["<|im_start|>", "<|im_end|>"], template, "<|endoftext|>", normalized=True)


def _deepseek() -> Layout:
    """The roles are added tokens that are not special."""
    special = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
    other = ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "<｜tool▁calls▁begin｜>"]
    template = _turns("<｜User｜>%s", "<｜Assistant｜>%s<｜end▁of▁sentence｜>", "<｜Assistant｜>", special[0])
    return _made(_bytes(), special, other, template, special[1], normalized=True)


def _own() -> Layout:
    from himac.models.init_model import _train_tokenizer

    tokenizer = _train_tokenizer(["heat apple 1 with microwave 1\nYou see a fridge 1."] * 3, 420, 128, (SUB_DONE,))
    return Layout(tokenizer, ("<|user|>", "<|assistant|>", "<|im_end|>", "<|pad|>", SUB_DONE))


_MAKERS = {
    "own": _own,
    "llama3": _llama,
    "qwen": _qwen,
    "gemma": _gemma,
    "mistral": _mistral,
    "chatml": _chatml,
    "deepseek": _deepseek,
}
LAYOUTS = tuple(_MAKERS)


@functools.cache
def layout(name: str) -> Layout:
    """The layout of this name, one of `LAYOUTS`."""
    return _MAKERS[name]()
