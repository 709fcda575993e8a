"""Out of memory in one sentence, with settings that would fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from himac.config import Config
from himac.continuing import MEMORY
from himac.errors import OutOfMemoryError
from himac.machine import memory_bytes

_SHARE, _BELOW = 0.9, 0.7
_GB = 1e9


@contextmanager
def memory_explained(config: Config, what: str) -> Iterator[None]:
    """Turn a failure for want of memory into a sentence.

    Raises:
        OutOfMemoryError: the work inside ran out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        from himac.models.memory import ran_out

        if not ran_out(error):
            raise
        raise OutOfMemoryError(f"{what} ran out of memory; {_remedy(config)}") from error


def _remedy(config: Config) -> str:
    import torch

    from himac.models.loading import resolve_device
    from himac.training.estimate import fitting, memory

    device = resolve_device(config.model.device)
    cuda = device.type == "cuda"
    total = torch.cuda.get_device_properties(device).total_memory if cuda else memory_bytes()
    expected = memory(config, device.type).peak
    # What is estimated did not fit, whatever there seems to be.
    changes = fitting(config, int(min(_SHARE * total, _BELOW * expected)), device.type)
    if not changes:
        return (
            f"it takes about {expected / _GB:.1f} GB of {total / _GB:.1f} GB, and no setting makes that fit: take a "
            "smaller model, a shorter agent.max_context or fewer episodes at once (train.max_live)"
        )
    keys = {change.partition("=")[0] for change in changes}
    how = "continue with --resume and" if keys <= set(MEMORY) else "begin anew with"
    return f"it takes about {expected / _GB:.1f} GB of {total / _GB:.1f} GB; {how} {' '.join(changes)}"
