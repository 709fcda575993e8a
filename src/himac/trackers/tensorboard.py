"""The numbers of `metrics.jsonl` as files for TensorBoard, beside the run's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from himac.report.results import Record


class TensorBoard:
    """The files appear with the first record.

    Args:
        resumed_at: Environment steps of the checkpoint a run continues from; the former attempt's later events are
            dropped.
    """

    def __init__(self, run_dir: Path, resumed_at: int | None) -> None:
        self._folder = run_dir / "tensorboard"
        self._resumed_at = resumed_at
        self._writer: Any = None

    def add(self, entry: Record) -> str | None:
        """Write a record; returns why there will be no more, if so."""
        try:
            if self._writer is None:
                from torch.utils.tensorboard import SummaryWriter

                # Events at the checkpoint's own step are part of what is kept.
                purge = None if self._resumed_at is None else self._resumed_at + 1
                self._writer = SummaryWriter(str(self._folder), purge_step=purge)
            for key, value in entry.items():
                if isinstance(value, float):
                    self._writer.add_scalar(f"{entry['phase']}/{key}", value, entry["env_steps"])
        except OSError as error:
            return f"nothing more is written for TensorBoard ({error}); metrics.jsonl has everything"
        return None

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
