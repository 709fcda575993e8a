"""A tokenizer that also spells pictures: what agents use for a vision-language model in place of its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from himac.errors import ModelError
from himac.models.vision import ImageProcessor
from himac.scene import Image, Placed, Prompt

_BEFORE, _AFTER = "himac0before0marker", "himac0after0marker"


class ImageTokenizer:
    """The tokenizer of a vision-language model with its image processor; everything else is the tokenizer's own.

    Args:
        tokenizer: With a chat template that takes messages of text and images.
        processor: Of the same model.
        image_token_id: The placeholder; the model's configuration names it.
    """

    def __init__(self, tokenizer: Any, processor: ImageProcessor, image_token_id: int) -> None:
        self.tokenizer = tokenizer
        self.processor = processor
        before, after = self._spelling(tokenizer, image_token_id)
        self._around: tuple[list[int], list[int]] = before, after
        self._image_token_id = image_token_id

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "tokenizer":  # while it is unpickled there is none yet
            raise AttributeError(name)
        return getattr(self.tokenizer, name)

    def __len__(self) -> int:
        return len(self.tokenizer)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Tokenise text."""
        return self.tokenizer(*args, **kwargs)

    def picture_ids(self, picture: Image) -> Prompt:
        """A picture as the chat template spells it, with one placeholder for each of its tokens."""
        before, after = self._around
        start, count = len(before), self.processor.count(picture)
        placed = Placed(start, start + count, picture)
        return Prompt([*before, *[self._image_token_id] * count, *after], [placed])

    def save_pretrained(self, folder: str | Path) -> None:
        """Write both into a model directory."""
        self.tokenizer.save_pretrained(folder)
        self.processor.image_processor.save_pretrained(folder)

    @staticmethod
    def _spelling(tokenizer: Any, image_token_id: int) -> tuple[list[int], list[int]]:
        """What the chat template puts around the placeholder, as ids."""
        token = tokenizer.convert_ids_to_tokens(image_token_id)
        content = [{"type": "text", "text": _BEFORE}, {"type": "image"}, {"type": "text", "text": _AFTER}]
        try:
            text = tokenizer.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
            before, after = text.split(_BEFORE)[1].split(_AFTER)[0].split(token)
        except Exception as error:
            raise ModelError(
                f"The chat template writes no single {token} for an image ({type(error).__name__}); use the template "
                "that belongs to the vision-language model."
            ) from error
        return (
            tokenizer.encode(before, add_special_tokens=False),
            tokenizer.encode(after, add_special_tokens=False),
        )
