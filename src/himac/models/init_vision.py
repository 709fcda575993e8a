"""What seeing adds to a small model from scratch: the Qwen2.5-VL architecture and an image processor."""

from __future__ import annotations

from typing import Any

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Config
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from himac.errors import ConfigError

_START, _PAD, _END, _VIDEO = VISION_TOKENS = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
IMAGE = f"{_START}{_PAD}{_END}"
"""A picture in the chat template."""


def vision_language_model(
    text: Qwen2Config,
    tokenizer: Any,
    *,
    patch_size: int,
    merge_size: int,
    hidden_size: int,
    layers: int,
    heads: int,
    intermediate: int,
    **_: int,
) -> Any:
    """An untrained Qwen2.5-VL model whose decoder has the shape of `text`; see `VisionInitConfig`."""
    if hidden_size % heads or (hidden_size // heads) % 4:
        raise ConfigError(
            f"init.vision.hidden_size {hidden_size} must be a multiple of 4 times init.vision.heads {heads}; change it."
        )
    half = text.hidden_size // text.num_attention_heads // 2
    if half < 3:
        raise ConfigError("pictures need heads of at least 6 numbers; raise init.hidden_size or lower init.heads.")
    # Rotary frequencies of time, height and width in about the proportions of the published models (16, 24, 24).
    time = max(1, half // 4)
    sections = [time, (half - time + 1) // 2, (half - time) // 2]
    shared = text.to_dict()
    kept = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
    )
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": sections}
    start, pad, end, video = tokenizer.convert_tokens_to_ids(list(VISION_TOKENS))
    config = Qwen2_5_VLConfig(
        text_config={name: shared[name] for name in kept} | {"rope_parameters": rope, "tie_word_embeddings": True},
        vision_config={
            "depth": layers,
            "hidden_size": hidden_size,
            "intermediate_size": intermediate,
            "num_heads": heads,
            "out_hidden_size": text.hidden_size,
            "patch_size": patch_size,
            "spatial_merge_size": merge_size,
            "temporal_patch_size": 2,
            "window_size": 8 * patch_size * merge_size,
            "fullatt_block_indexes": list(range(layers)),
        },
        image_token_id=pad,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=True,
        dtype="float32",
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def image_processor(*, patch_size: int, merge_size: int, max_pixels: int, **_: int) -> Any:
    """Cuts a picture into patches; sides that are multiples of a token's are left as they are."""
    return Qwen2VLImageProcessorPil(
        min_pixels=(patch_size * merge_size) ** 2,
        max_pixels=max_pixels,
        patch_size=patch_size,
        merge_size=merge_size,
        temporal_patch_size=2,
    )
