"""The settings of vLLM."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from himac.config import Capabilities, EngineConfig
from himac.settings import Seconds

_OURS = frozenset(
    {"model", "tokenizer", "dtype", "load_format", "generation_config", "max_model_len", "max_num_seqs", "seed"}
    | {"enforce_eager", "logprobs_mode", "enable_prefix_caching", "gpu_memory_utilization", "kv_cache_memory_bytes"}
    | {"weight_transfer_config", "worker_extension_cls", "trust_remote_code"}
)
"""What the engine itself sets: else it would sample from another model, tell other values, or run a stranger's code."""


class VllmConfig(EngineConfig):
    """vLLM in processes of its own, beside the learner: the model of `model.path` with the weights as they are trained.

    It promises no bit equality: what it computes depends on what else is in the batch. `options` go to vLLM's
    `AsyncEngineArgs` as they are.
    """

    can = Capabilities(logprobs=True, weights=True, abort=True)
    factory = "himac.engines.vllm.engine:VllmEngine"
    name: Literal["vllm"] = "vllm"
    gpu_share: Annotated[float, Field(gt=0, le=1)] = 0.4
    cache_gib: Annotated[float, Field(gt=0, le=1e4)] | None = None
    compile: bool | None = None
    start_timeout_s: Seconds = 600.0
    silence_s: Seconds = 600.0
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _not_ours(cls, options: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(_OURS & options.keys()):
            raise ValueError(f"himac sets {', '.join(taken)} of vLLM itself; leave it out of engine.options")
        return options
