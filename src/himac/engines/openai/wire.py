"""The two ends of one request: what is sent for a `GenerateRequest`, and what is made of the answer's body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from himac.engines.base import Completion, GenerateRequest
from himac.engines.openai.settings import OpenAIConfig
from himac.engines.openai.tokenizer import END, ChatTokenizer, encode_bytes
from himac.files import parse_json

_CUT = ("length", "content_filter")
_LONGEST_TOKEN = 8
"""Bytes. No prose has tokens that are longer on average; those of common tokenizers have about four."""
_TELLING = 32


class BrokenAnswerError(ValueError):
    """The body is not what the protocol promises."""


class _Token(BaseModel):
    token: str
    logprob: float
    numbers: list[int] | None = Field(default=None, alias="bytes")

    @property
    def data(self) -> bytes:
        return self.token.encode("utf-8", "surrogatepass") if self.numbers is None else bytes(self.numbers)


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that can be used.

    Attributes:
        pieces: Token ids with their log-probabilities, the end marker last when the reply ended by itself.
        billed: Tokens of prompt and reply, where the endpoint says.
    """

    text: str
    pieces: tuple[tuple[int, float], ...]
    finished: bool
    billed: tuple[int, int] | None


def body(request: GenerateRequest, config: OpenAIConfig, tokenizer: ChatTokenizer) -> dict[str, Any]:
    """Arguments of the client's `create`; fields named in `config.omit` are left out, `config.extra` is added."""
    params = request.params
    fields: dict[str, Any] = {
        "temperature": params.temperature,
        config.length_field: params.max_new_tokens,
    }
    if params.top_p != 1.0:
        fields["top_p"] = params.top_p
    if params.temperature > 0:
        fields["seed"] = params.seed % 2**31
    if params.stop:
        fields["stop"] = list(params.stop)
    if config.logprobs:
        fields["logprobs"] = True
    sent = {key: value for key, value in fields.items() if key not in config.omit} | config.extra
    return {"model": config.model, "messages": tokenizer.messages(request.prompt_ids), "extra_body": sent}


def read(content: bytes, hidden: Callable[[str], str] = lambda text: text) -> Reply:
    """Check and read the body of an answer.

    Args:
        hidden: Takes out of the text what must not be kept.

    Raises:
        BrokenAnswerError: no JSON, or JSON of another form.
    """
    try:
        answer = _Answer.model_validate(parse_json(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BrokenAnswerError(f"the answer is not a chat completion: {place or 'body'}: {first['msg']}") from error
    except ValueError as error:
        raise BrokenAnswerError("the answer is not valid JSON") from error
    choice = answer.choices[0]
    # A lone surrogate cannot be written to a UTF-8 file.
    text = hidden((choice.message.content or "").encode("utf-8", "replace").decode("utf-8"))
    finished = choice.finish_reason not in _CUT
    pieces = _pieces(text, (choice.logprobs and choice.logprobs.content) or [])
    if finished or not pieces:  # an empty reply must still be a token
        pieces.append((END, 0.0))
    usage = answer.usage
    billed = None if usage is None else (usage.prompt_tokens, usage.completion_tokens)
    return Reply(text, tuple(pieces), finished, billed)


def completion(request: GenerateRequest, reply: Reply) -> Completion:
    """The reply as the rest of the system knows it. An end marker that the model did not write is not `sampled`."""
    return Completion(
        id=request.id,
        token_ids=tuple(number for number, _ in reply.pieces),
        logprobs=tuple(logprob for _, logprob in reply.pieces),
        sampled=tuple(reply.finished or number != END for number, _ in reply.pieces),
        text=reply.text,
        finished=reply.finished,
        billed=reply.billed,
    )


def repeats_prompt(fields: dict[str, Any], reply: Reply) -> bool:
    """Whether the endpoint put the prompt, or the end of it, in front of the model's words.

    That is so when the text holds the last message and is longer than the billed tokens can have spelled. A short
    message may stand in a reply by chance.
    """
    asked = fields["messages"][-1]["content"].strip()
    tokens = reply.billed[1] if reply.billed is not None else 0
    return len(asked) >= _TELLING and 0 < tokens * _LONGEST_TOKEN < len(reply.text.encode()) and asked in reply.text


def complaint(body: object) -> str | None:
    """What the body of a refusal says: `message` of the protocol, `detail` of FastAPI or plain text, no web page."""
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail")
    text = "" if body is None else str(body)
    return None if text.lstrip().startswith("<") else text.strip() or None


def _pieces(text: str, tokens: list[_Token]) -> list[tuple[int, float]]:
    """Ids with log-probabilities. A token of the endpoint may need several ids: the first carries its value.

    Without values, or with values of another text, all are 0.
    """
    whole = text.encode("utf-8")
    try:
        if b"".join(token.data for token in tokens) == whole:
            return [
                (number, token.logprob if place == 0 else 0.0)
                for token in tokens
                for place, number in enumerate(encode_bytes(token.data))
            ]
    except ValueError:  # numbers that are no bytes
        pass
    return [(number, 0.0) for number in encode_bytes(whole)]
