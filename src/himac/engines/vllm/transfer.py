"""Weights in place, in the way vLLM documents: init, start, update, finish (vllm.distributed.weight_transfer, 0.32).

This is the one file that knows that interface. Its own transports are for GPUs; this one is a file in memory, for any
device of the same machine. vLLM's workers import this module, because `ENGINE_ARGS` names a class of it.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from vllm.config import WeightTransferConfig
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferInitRequest,
    WeightTransferUpdateInfo,
    WeightTransferUpdateRequest,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload
from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info

from himac.engines.vllm.mirror import Mirror, read

_NAME = "himac-file"
ENGINE_ARGS: dict[str, Any] = {
    "weight_transfer_config": WeightTransferConfig(backend=_NAME),
    "worker_extension_cls": f"{__name__}.Extension",
}
"""Arguments of vLLM with which its workers take weights from here."""


async def begin(client: Any) -> None:
    """Once, before the first `send`. From now on vLLM ends with this process, however that ends."""
    await client.init_weight_transfer_engine(WeightTransferInitRequest(init_info={"learner": os.getpid()}))


async def send(client: Any, mirror: Mirror, version: int) -> None:
    """Replace the weights of vLLM by those of a mirror, and drop what was computed with the old ones.

    What is under way waits, and goes on with the new weights.

    Raises:
        Exception: vLLM's own, if it does not take them; it is of no use any more.
    """
    await client.pause_generation(mode="keep", clear_cache=False)
    await client.start_weight_update()
    info = {"path": mirror.path, "places": mirror.places()}
    await client.update_weights(WeightTransferUpdateRequest(update_info=info))
    await client.finish_weight_update(weight_version=str(version))
    await forget(client)
    await client.resume_generation()


async def forget(client: Any) -> None:
    """Drop the cached prefixes; what is under way is encoded anew.

    Raises:
        RuntimeError: vLLM keeps them.
    """
    if not await client.reset_prefix_cache(reset_running_requests=True):
        raise RuntimeError("the prefix cache cannot be reset")


@dataclass
class _InitInfo(WeightTransferInitInfo):  # type: ignore[misc]
    """The learner's process."""

    learner: int


@dataclass
class _UpdateInfo(WeightTransferUpdateInfo):  # type: ignore[misc]
    """Of `Mirror`."""

    path: str
    places: list[list[Any]] = field(default_factory=list)


class FileTransfer(WeightTransferEngine[_InitInfo, _UpdateInfo]):  # type: ignore[misc]
    """The worker's end: reads every tensor from the file, and checks that nothing of the model is left out."""

    init_info_cls = _InitInfo
    update_info_cls = _UpdateInfo

    def init_transfer_engine(self, init_info: _InitInfo) -> None:
        """Watch the learner: vLLM would stay, with all of its memory, when that is killed."""
        threading.Thread(target=_end_after, args=(init_info.learner,), name="himac-learner-watch", daemon=True).start()

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: _UpdateInfo) -> None:
        wanted = {name for name, _ in self.model.named_parameters()}
        loaded = self.model.load_weights(self._read(update_info))
        missing = sorted(wanted - set(loaded)) + [
            f"a part of {name}" for name, layer in self.model.named_modules() if _is_partly_loaded(layer)
        ]
        if missing:
            raise ValueError(f"{len(missing)} tensors of vLLM's model are missing, for example {missing[0]}")

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Nothing is held."""

    @staticmethod
    def _read(update_info: _UpdateInfo) -> Iterator[tuple[str, Tensor]]:
        yield from read(update_info.path, update_info.places)


def _end_after(process: int) -> None:
    """Wait for the end of a process and end this one, upon which the others of vLLM end by themselves."""
    with suppress(ProcessLookupError):  # it is gone
        select.select([os.pidfd_open(process)], [], [])
    os._exit(1)


def _is_partly_loaded(layer: Any) -> bool:
    """Whether parts of a layer are missing that vLLM would leave to chance. Embeddings are padded, which is no part."""
    info = get_layerwise_info(layer)
    unfinished = info.can_load() and 0 < info.load_numel < info.load_numel_total
    return unfinished and not isinstance(layer, VocabParallelEmbedding)


class Extension:
    """Mixed into vLLM's workers, which thereby import this module."""


WeightTransferEngineFactory.register_engine(_NAME, FileTransfer)
