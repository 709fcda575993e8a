"""Run directories: checkpoints that are complete or absent, and a metrics file that follows them.

run_dir/
  metrics.jsonl
  checkpoints/
    latest                   name of the newest checkpoint
    <name>/                  a Hugging Face model directory with its tokenizer, plus
      state.pt               optimiser, value heads, counters, random states
      value_head.safetensors the value heads of a method with a critic
      manifest.json          size and CRC-32 of every file
"""

from __future__ import annotations

import io
import json
import pickle
import random
import shutil
import types
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from himac.engines.local.loading import quiet
from himac.engines.local.weights import not_finite
from himac.errors import CheckpointError, TrainingError
from himac.train.atomic import WriteGuard, clean, publish, write_text
from himac.train.metrics_log import MetricsLog

__all__ = [
    "Checkpoint",
    "MetricsLog",
    "load_latest",
    "rng_state",
    "save_checkpoint",
    "save_model",
    "set_rng_state",
]

_READ_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What `load_latest` found.

    Attributes:
        model_dir: For `from_pretrained`.
        state: What was given to `save_checkpoint`.
        rng: Random states at that time, for `set_rng_state`.
    """

    name: str
    model_dir: Path
    state: dict[str, Any]
    rng: dict[str, Any]


def save_checkpoint(
    run_dir: str | Path,
    step_name: str,
    model: Any,
    tokenizer: Any,
    state: dict[str, Any],
    keep: int = 2,
    tensors: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> Path:
    """Write `checkpoints/<step_name>` and make it the latest.

    Everything is written to a scratch folder, synced and renamed, so that a crash or a full disk leaves the former
    checkpoint as it was.

    Args:
        run_dir: The run's directory.
        step_name: Folder name; an existing checkpoint of this name is replaced.
        model: Saved with `save_pretrained`.
        tokenizer: Saved beside the model; may be `None`.
        state: Tensors, arrays, plain Python values and records of this package. The random states of Python, NumPy
            and torch are added.
        keep: Newest checkpoints that stay; older ones are deleted.
        tensors: Further safetensors files by name, for readers of the folder; they are not read again.

    Raises:
        CheckpointError: The disk is full or the directory cannot be written.
        TrainingError: A weight is not finite.
    """
    if broken := not_finite(model):
        raise TrainingError(
            f"training diverged: {len(broken)} tensors hold numbers that are not finite, for example {broken[0]}; no "
            "checkpoint was written, lower the learning rate and resume from the last one."
        )
    if keep < 1 or not step_name or step_name.startswith(".") or Path(step_name).name != step_name:
        raise CheckpointError(f"cannot save {step_name!r} keeping {keep}; use a plain folder name and keep at least 1.")
    content = {"state": state, "rng": rng_state()}
    _check_loadable(content)
    root = Path(run_dir) / "checkpoints"
    target = root / step_name

    def fill(folder: Path) -> None:
        _save_weights(folder, model, tokenizer)
        for name, parts in (tensors or {}).items():
            save_file({key: part.contiguous() for key, part in parts.items()}, folder / name)
        torch.save(content, folder / "state.pt")
        _write_manifest(folder)

    with WriteGuard(f"checkpoint {target}"):
        root.mkdir(parents=True, exist_ok=True)
        clean(root)
        clean(Path(run_dir))
        publish(target, fill)
        write_text(root / "latest", step_name)
    _prune(root, step_name, keep)
    return target


def load_latest(run_dir: str | Path, map_location: str | torch.device = "cpu") -> Checkpoint | None:
    """The newest checkpoint of a run, verified; `None` when there is none yet.

    Raises:
        CheckpointError: It is damaged or incomplete.
    """
    root = Path(run_dir) / "checkpoints"
    if root.is_dir():
        clean(root)
        clean(Path(run_dir))
    pointer = root / "latest"
    if not pointer.exists():
        return None
    try:
        name = pointer.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{pointer} cannot be read ({error}); write the name of a checkpoint into it.") from error
    if not name or Path(name).name != name or not (root / name).is_dir():
        raise CheckpointError(f"{pointer} names {name!r}, which does not exist; write an existing name into it.")
    content = _load_content(root / name, map_location)
    return Checkpoint(name, root / name, content["state"], content["rng"])


def save_model(
    path: str | Path, model: Any, tokenizer: Any | None = None, files: Mapping[str, str] | None = None
) -> Path:
    """Write a Hugging Face model directory (with tokenizer) that appears complete or not at all.

    An existing directory of this name is replaced.

    Args:
        path: The directory.
        model: Saved with `save_pretrained`.
        tokenizer: Saved beside the model.
        files: Further texts by file name.
    """
    target = Path(path)

    def fill(folder: Path) -> None:
        _save_weights(folder, model, tokenizer)
        for name, text in (files or {}).items():
            (folder / name).write_text(text, encoding="utf-8")

    with WriteGuard(f"model {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        publish(target, fill)
    return target


def rng_state() -> dict[str, Any]:
    """Random states of Python, NumPy, torch and its CUDA devices, as plain values and tensors."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(kind), [int(key) for key in keys], int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore what `rng_state` returned; CUDA states only when the number of devices is the same."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])


def _save_weights(folder: Path, model: Any, tokenizer: Any | None = None) -> None:
    with quiet():
        model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def _prune(root: Path, newest: str, keep: int) -> None:
    others = [
        path for path in root.iterdir() if path.is_dir() and path.name != newest and not path.name.startswith(".")
    ]
    others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in others[keep - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


def _write_manifest(folder: Path) -> None:
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "crc32": _crc32(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / "manifest.json").write_text(json.dumps(files, indent=1), encoding="utf-8")


def _load_content(folder: Path, map_location: str | torch.device) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        for name, expected in manifest.items():
            path = folder / name
            if path.stat().st_size != expected["bytes"] or _crc32(path) != expected["crc32"]:
                raise ValueError(f"{name} has changed since it was written")
        content: dict[str, Any] = torch.load(
            folder / "state.pt", map_location=map_location, weights_only=False, pickle_module=_safe_pickle()
        )
        if content.keys() != {"state", "rng"}:
            raise ValueError("state.pt holds something else")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, pickle.UnpicklingError) as error:
        others = sorted(p.name for p in folder.parent.iterdir() if p.is_dir() and p != folder)
        remedy = f"write {others[-1]!r} into {folder.parent / 'latest'}" if others else "start the run anew"
        raise CheckpointError(
            f"checkpoint {folder} is damaged ({str(error).splitlines()[0]}); delete it and {remedy}."
        ) from error
    return content


class _SafeUnpickler(pickle.Unpickler):
    """Builds tensors, arrays, plain values and this package's records; a foreign file can run no code."""

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name) if (module, name) in _SAFE_GLOBALS else None
        if found is None and module.split(".")[0] == "himac":
            found = super().find_class(module, name)
            # A class that merely passes through a module of ours, or a function, is not a record of ours.
            if not (isinstance(found, type) and found.__module__.split(".")[0] == "himac"):
                found = None
        if found is None:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong into a checkpoint")
        return found


_SAFE_GLOBALS = {
    ("_codecs", "encode"),
    ("builtins", "bytearray"),
    ("builtins", "frozenset"),
    ("builtins", "set"),
    ("collections", "OrderedDict"),
    ("copyreg", "_reconstructor"),
    ("builtins", "object"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_tensor_v2"),
}


def _safe_pickle() -> types.ModuleType:
    """What `torch.load` takes as its pickle module."""
    module = types.ModuleType("safe_pickle")
    module.__dict__.update(Unpickler=_SafeUnpickler, load=lambda file, **_: _SafeUnpickler(file).load())
    return module


class _TensorlessPickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> str | None:
        return "tensor" if isinstance(obj, Tensor) else None


class _TensorlessUnpickler(_SafeUnpickler):
    def persistent_load(self, pid: Any) -> Any:
        return pid


def _check_loadable(content: dict[str, Any]) -> None:
    """Refuse now what `load_latest` would refuse later."""
    buffer = io.BytesIO()
    try:
        _TensorlessPickler(buffer, protocol=2).dump(content)
        buffer.seek(0)
        _TensorlessUnpickler(buffer).load()
    except (pickle.PicklingError, pickle.UnpicklingError, TypeError, AttributeError) as error:
        raise TypeError(f"checkpoints hold tensors, arrays, plain values and himac records: {error}") from error


def _crc32(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            value = zlib.crc32(block, value)
    return value
