"""Turn boundaries as token ids, taken once from the tokenizer's chat template.

The template is rendered a single time with markers in place of the messages and cut at the markers. From then on a
context only grows: nothing that was sampled is ever rendered or tokenised again.

Only the template, the project's own rules and the policy's replies hold control tokens. What comes from outside is
text, whatever it spells: see `PlainText`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from himac.agents.parsing import MARKS
from himac.agents.plain_text import PlainText
from himac.errors import ConfigError, ModelError
from himac.scene import Content, Placed, Prompt, Scene

_USER, _REPLY, _NEXT = "himac0user0marker", "himac0reply0marker", "himac0next0marker"
_KEPT_MESSAGES = 4096  # observations repeat; each is tokenised once
_KEPT_FRAMES = 64
_KEPT_CHARACTERS = 8192  # longer ones are rare, and so many of them would fill the memory


class ChatFormat:
    """How a conversation with one model is spelled in token ids.

    Args:
        tokenizer: A Hugging Face tokenizer. Without a chat template a plain-text format is used in which a reply is
            one paragraph, ended by the end-of-text token (or by an empty line where there is none).
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._plain = PlainText(tokenizer)
        self._messages = lru_cache(_KEPT_MESSAGES)(self._message_ids)
        self._frames = lru_cache(_KEPT_FRAMES)(self._frame)
        eos = tokenizer.eos_token or "\n\n"
        if getattr(tokenizer, "chat_template", None):
            _, between, self._next_generation = _render(tokenizer, (_USER, _REPLY, _NEXT))[-3:]
            if not between:
                raise ModelError(
                    "the tokenizer's chat template puts nothing between a reply and the next message; correct "
                    "chat_template in the model directory"
                )
            self._before, self._generation = _render(tokenizer, (_USER,))
            self._end, self._between = _split_end(between, tokenizer, self._plain.controls)
        else:
            self._before, self._generation, self._next_generation = "", "\n\n> ", "\n\n> "
            self._end, self._between = eos, "\n\n"
        self.end_ids: tuple[int, ...] = tuple(self._encode(self._end))
        known = {self.end_ids[0]} if len(self.end_ids) == 1 else set()
        if tokenizer.eos_token_id is not None:
            known.add(int(tokenizer.eos_token_id))
        self.stop_token_ids: tuple[int, ...] = tuple(sorted(known))
        self.stop: tuple[str, ...] = () if len(self.end_ids) == 1 else (self._end,)

    def open(self, content: Content, rules: str = "") -> list[int]:
        """Prompt of a new segment: one user message, ready for the reply; a `Prompt` when it holds pictures.

        Args:
            rules: A line before the content that comes from the project and not from outside: where it speaks of
                `<sub_done>`, it means the token.
        """
        return self._message(self._before, rules and f"{rules}\n", content, self._generation)

    def follow(self, content: Content) -> list[int]:
        """What comes between the end of a reply and the next one: a user message, ready for the reply."""
        return self._message(self._between, "", content, self._next_generation)

    def stop_also_at(self, token_ids: Iterable[int]) -> None:
        """Further tokens that end a reply, such as those a model's generation configuration names."""
        self.stop_token_ids = tuple(sorted({*self.stop_token_ids, *token_ids}))

    def encode_reply(self, text: str) -> list[int]:
        """A reply with its end token, as a demonstration spells it; `MARKS` stay tokens."""
        return [*self._plain.encode(text, MARKS), *self.end_ids]

    def decode_reply(self, token_ids: tuple[int, ...] | list[int]) -> str:
        """Text of a sampled reply without its end token; special tokens inside stay visible."""
        ids = list(token_ids)
        if ids and ids[-1] in self.stop_token_ids:
            ids = ids[:-1]
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text.removesuffix(self._end)

    def _message(self, before: str, rules: str, content: Content, after: str) -> list[int]:
        if isinstance(content, Scene):
            return self._scene(before, rules, content, after)
        spell = self._messages if len(content) <= _KEPT_CHARACTERS else self._message_ids
        return list(spell(before, rules, content, after))

    def _scene(self, before: str, rules: str, scene: Scene, after: str) -> Prompt:
        """A message with pictures; the tokenizer of a vision-language model spells those."""
        spell = getattr(self._tokenizer, "picture_ids", None)
        if spell is None:
            raise ConfigError(
                "the environment shows pictures, but the model reads text only; give a vision-language model, or set "
                "env.kwargs.observation=text"
            )
        ids, placed, text = list[int](), list[Placed](), ""
        for part in scene.parts:
            if isinstance(part, str):
                text += part
                continue
            ids += self._message(before, rules, text, "")
            before = rules = text = ""
            spelled: Prompt = spell(part)
            placed += [one.moved(len(ids)) for one in spelled.pictures]
            ids += spelled
        return Prompt([*ids, *self._message(before, rules, text, after)], placed)

    def _message_ids(self, before: str, rules: str, text: str, after: str) -> list[int]:
        """A message between the pieces of the template around it.

        All at once, as the template's own rendering would be tokenised, unless the message would bring control tokens
        of its own.
        """
        ids = self._encode(before + rules + text + after)
        opening, closing, controls = self._frames(before, rules, after)
        if self._plain.controls_in(ids) == controls:
            return ids
        return [*opening, *self._plain.encode(text), *closing]

    def _frame(self, before: str, rules: str, after: str) -> tuple[list[int], list[int], list[int]]:
        """Ids before and after a message, and the control tokens among them."""
        opening, closing = [*self._encode(before), *self._plain.encode(rules, MARKS)], self._encode(after)
        return opening, closing, self._plain.controls_in([*opening, *closing])

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids


def _render(tokenizer: Any, contents: Sequence[str]) -> list[str]:
    """What the chat template puts around a conversation that starts with the user, ready for a reply.

    Raises:
        ModelError: it refuses the conversation, or does not show each message once and in order.
    """
    messages = [{"role": ("user", "assistant")[n % 2], "content": content} for n, content in enumerate(contents)]
    try:
        rest = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:
        raise ModelError(
            f"the tokenizer's chat template refuses {' and '.join(m['role'] for m in messages)} messages "
            f"({' '.join(str(error).split())}); correct chat_template in the model directory"
        ) from error
    pieces = list[str]()
    for content in contents:
        piece, found, rest = rest.partition(content)
        if not found or content in rest:
            raise ModelError(
                f"the tokenizer's chat template shows a message of role "
                f"{messages[len(pieces)]['role']} {'more than once' if found else 'not at all'}; correct chat_template "
                "in the model directory"
            )
        pieces.append(piece)
    return [*pieces, rest]


def _split_end(between: str, tokenizer: Any, controls: Iterable[str]) -> tuple[str, str]:
    """Split `<end>...next user prefix` into the end-of-reply token and what follows it."""
    for token in sorted(controls, key=len, reverse=True):
        if between.startswith(token):
            return token, between[len(token) :]
    ids = tokenizer.encode(between, add_special_tokens=False)
    end = tokenizer.decode(ids[:1])
    return end, between[len(end) :]
