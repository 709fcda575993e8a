"""Run directories: checkpoints that are complete or absent, and a metrics file that follows them.

run_dir/
  metrics.jsonl
  checkpoints/
    latest                   name of the newest checkpoint
    best                     name of the one with the best evaluation
    <name>/                  a Hugging Face model directory with its tokenizer, or the adapter of `model.lora`, plus
      state.tensors          optimiser, value heads, counters, random states: a safetensors file whose metadata is JSON
      value_head.safetensors the value heads of a method with a critic
      manifest.json          size and CRC-32 of every file
"""

from __future__ import annotations

import json
import random
import shutil
import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from himac.errors import CheckpointError, TrainingError
from himac.files import parse_json, read_json, read_text
from himac.models.loading import save_weights
from himac.models.weights import not_finite
from himac.store.atomic import WriteGuard, clean, publish, sync, write_text
from himac.store.metrics_log import MetricsLog

__all__ = [
    "Checkpoint",
    "MetricsLog",
    "check_lines",
    "crc32",
    "load_latest",
    "mark_best",
    "rng_state",
    "save_checkpoint",
    "save_model",
    "set_rng_state",
]

_STATE, _FORMER_STATE = "state.tensors", "state.pt"
_BEST = "best"
_READ_BYTES = 1 << 22
_POINTER_BYTES = 1000


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
    best: str | None = None,
) -> Path:
    """Write `checkpoints/<step_name>` and make it the latest.

    Everything is written to a scratch folder, synced and renamed, so that a crash or a full disk leaves the former
    checkpoint as it was.

    Args:
        run_dir: The run's directory.
        step_name: Folder name; an existing checkpoint of this name is replaced.
        model: Saved with `save_pretrained`.
        tokenizer: Saved beside the model; may be `None`.
        state: Tensors, and `None`, truth values, numbers and texts in lists, tuples and dicts. The random states of
            Python, NumPy and torch are added. Lines of the run's `.jsonl` files are on the disk before it.
        keep: Newest checkpoints that stay; older ones are deleted.
        tensors: Further safetensors files by name, for readers of the folder; they are not read again.
        best: Name of the checkpoint that is marked as the best and stays besides; it may be this one.

    Raises:
        CheckpointError: The disk is full, the directory cannot be written, or the state holds something else.
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
    root = Path(run_dir) / "checkpoints"
    target = root / step_name

    def fill(folder: Path) -> None:
        save_weights(folder, model, tokenizer)
        for name, parts in (tensors or {}).items():
            save_file({key: part.contiguous() for key, part in parts.items()}, folder / name)
        _save_state(folder / _STATE, content)
        _write_manifest(folder)

    with WriteGuard(f"checkpoint {target}"):
        root.mkdir(parents=True, exist_ok=True)
        clean(root)
        clean(Path(run_dir))
        for lines in Path(run_dir).glob("*.jsonl"):
            sync(lines)
        publish(target, fill)
        write_text(root / "latest", step_name)
    mark_best(run_dir, best)
    _prune(root, (step_name, best), keep)
    return target


def mark_best(run_dir: str | Path, name: str | None) -> None:
    """Let `checkpoints/best` name this checkpoint; there is no such file without one, or where it does not exist."""
    root = Path(run_dir) / "checkpoints"
    with WriteGuard(f"{root / _BEST}"):
        if name is not None and (root / name).is_dir():
            write_text(root / _BEST, name)
        else:
            (root / _BEST).unlink(missing_ok=True)


def load_latest(run_dir: str | Path, map_location: str | torch.device = "cpu") -> Checkpoint | None:
    """The newest checkpoint of a run, verified; `None` when there is none yet.

    Raises:
        CheckpointError: It is damaged or incomplete, or there are several and none is named as the newest.
    """
    root = Path(run_dir) / "checkpoints"
    if root.is_dir():
        clean(root)
        clean(Path(run_dir))
    pointer = root / "latest"
    if not pointer.exists():
        there = _names(root)
        if len(there) > 1:
            raise CheckpointError(f"{pointer} is missing, though there are checkpoints; {_remedy(root)}.")
        if not there:
            return None
        name = there[0]  # a crash after the very first one was written
    else:
        try:
            name = read_text(pointer, _POINTER_BYTES).strip()
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{pointer} cannot be read ({error}); {_remedy(root)}.") from error
    if name not in _names(root):
        raise CheckpointError(f"{pointer} names {name!r}, which does not exist; {_remedy(root)}.")
    try:
        return _load(root / name, map_location)
    except _DAMAGES as error:
        raise CheckpointError(
            f"checkpoint {root / name} is damaged ({_line(error)}); delete it and {_remedy(root)}."
        ) from error


def check_lines(run_dir: str | Path, latest: Checkpoint) -> None:
    """See to it that `metrics.jsonl` has the lines that a training run's checkpoint counts.

    Raises:
        CheckpointError: It has fewer; an older checkpoint that fits is named where there is one.
    """
    metrics = MetricsLog(Path(run_dir) / "metrics.jsonl")
    if _lines(latest) > len(metrics):
        raise CheckpointError(
            f"{metrics.path} has {len(metrics)} lines but checkpoint {latest.name} was saved after {_lines(latest)}; "
            f"restore the file, or {_remedy(latest.model_dir.parent, lambda one: _lines(one) <= len(metrics))}."
        )


def _lines(checkpoint: Checkpoint) -> int:
    try:
        return int(checkpoint.state["progress"]["records"])
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{checkpoint.model_dir} is no checkpoint of a training run; start the run anew."
        ) from error


def _newest(root: Path, fits: Callable[[Checkpoint], bool]) -> str | None:
    """Name of the last undamaged checkpoint, in the order of their names, that fits."""
    for name in reversed(_names(root)):
        try:
            if fits(_load(root / name)):
                return name
        except _DAMAGES:
            continue
    return None


def _remedy(root: Path, fits: Callable[[Checkpoint], bool] = lambda _: True) -> str:
    found = _newest(root, fits)
    return "start the run anew" if found is None else f"write {found!r} into {root / 'latest'} to go on from there"


def _names(root: Path) -> list[str]:
    """Folders of checkpoints, sorted; hidden ones are half-written."""
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def save_model(
    path: str | Path,
    model: Any,
    tokenizer: Any | None = None,
    files: Mapping[str, str] | None = None,
    *,
    merge: bool = False,
) -> Path:
    """Write a Hugging Face model directory (with tokenizer) that appears complete or not at all.

    An existing directory of this name is replaced.

    Args:
        path: The directory.
        model: Saved with `save_pretrained`.
        tokenizer: Saved beside the model.
        files: Further texts by file name.
        merge: Write a whole model where there is an adapter.
    """
    target = Path(path)

    def fill(folder: Path) -> None:
        save_weights(folder, model, tokenizer, merge=merge)
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


def _prune(root: Path, marked: Collection[str | None], keep: int) -> None:
    """Delete all checkpoints but the marked ones and the newest others."""
    others = [
        path for path in root.iterdir() if path.is_dir() and path.name not in marked and not path.name.startswith(".")
    ]
    others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in others[keep - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


def _write_manifest(folder: Path) -> None:
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "crc32": crc32(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / "manifest.json").write_text(json.dumps(files, indent=1), encoding="utf-8")


_DAMAGES = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError),
    *(MemoryError, CheckpointError),
)


def _load(folder: Path, map_location: str | torch.device = "cpu") -> Checkpoint:
    """Verify and read one checkpoint; raises one of `_DAMAGES`."""
    manifest = read_json(folder / "manifest.json")
    if _FORMER_STATE in manifest:
        raise ValueError(f"an older himac wrote it, whose {_FORMER_STATE} could run code and is not read any more")
    if _STATE not in manifest:
        raise ValueError(f"its manifest has no {_STATE}")
    for name, expected in manifest.items():
        path = folder / name
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not path.is_file():
            raise ValueError(f"{name} is not there")
        if path.stat().st_size != expected["bytes"] or crc32(path) != expected["crc32"]:
            raise ValueError(f"{name} has changed since it was written")
    content = _load_state(folder / _STATE, map_location)
    return Checkpoint(folder.name, folder, dict(content["state"]), dict(content["rng"]))


def _save_state(path: Path, content: dict[str, Any]) -> None:
    tensors = dict[str, Tensor]()
    plain = _packed(content, tensors)
    save_file(tensors, path, metadata={"state": json.dumps(plain)})


def _load_state(path: Path, map_location: str | torch.device) -> dict[str, Any]:
    with safe_open(path, "pt", device=str(map_location)) as file:
        # A copy: the file is mapped, and arithmetic must not depend on where a tensor happens to lie in it.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
        content: dict[str, Any] = _unpacked(parse_json((file.metadata() or {})["state"]), tensors)
    return content


def _packed(value: Any, tensors: dict[str, Tensor], place: str = "") -> Any:
    """The value as JSON, in which objects of one key stand for what JSON lacks; its tensors by their names there."""
    if isinstance(value, Tensor):
        name = f"{len(tensors):06d}"
        tensors[name] = value.detach().contiguous()
        return {"tensor": name}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        parts = [_packed(part, tensors, f"{place}[{number}]") for number, part in enumerate(value)]
        return parts if type(value) is list else {"tuple": parts}
    if type(value) in (dict, OrderedDict):
        return {"dict": [[_packed(k, tensors, place), _packed(v, tensors, f"{place}.{k}")] for k, v in value.items()]}
    raise CheckpointError(
        f"a checkpoint cannot hold {place.lstrip('.')}, a {type(value).__name__}; give it tensors, None, truth values, "
        "numbers and texts in lists, tuples and dicts"
    )


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(part, tensors) for part in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return tensors[inner]
    if kind == "tuple":
        return tuple(_unpacked(part, tensors) for part in inner)
    if kind == "dict":
        return {_unpacked(key, tensors): _unpacked(part, tensors) for key, part in inner}
    raise ValueError(f"its state has a part of the kind {kind!r}")


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def crc32(path: Path) -> int:
    """Of a file's content."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            value = zlib.crc32(block, value)
    return value
