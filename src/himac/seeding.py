"""Every random draw comes from a seed derived from the run's seed and the place where it is drawn."""

from __future__ import annotations

import hashlib

_MASK_63 = (1 << 63) - 1


def derive_seed(run_seed: int, *parts: str | int | bool) -> int:
    """A seed in [0, 2**63) that is the same in every process, Python version and machine.

    Each part is hashed with its type and length, so ("1", 2) and (1, "2") or ("ab", "c") and ("a", "bc") differ.

    Args:
        run_seed: The seed of the run.
        parts: Where the seed is used, for example `("rollout", iteration, task_id, sample)`.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in (run_seed, *parts):
        if not isinstance(part, str | int):
            raise TypeError(f"seed parts are strings and integers, not {type(part).__name__}; convert it first")
        text = str(part).encode()
        digest.update(f"{type(part).__name__}:{len(text)}:".encode())
        digest.update(text)
    return int.from_bytes(digest.digest(), "big") & _MASK_63
