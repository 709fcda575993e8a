"""Checkpoints of strangers: damaged, forged, and written to run code."""

from __future__ import annotations

import builtins
import functools
import importlib
import inspect
import json
import os
import pickle
import pkgutil
import random
import shutil
import tempfile
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

import himac
from attack.hostile import NASTY, bent, held, scrambled
from himac.errors import HimacError
from himac.models.policy import Policy
from himac.training.checkpoint import load_latest, save_checkpoint
from himac.training.learner import Learner
from himac.training.trainer import Trainer
from support.training_rows import learner_config, make_row, tiny_model


@functools.cache
def _learner() -> Learner:
    learner = Learner(Policy(tiny_model()), learner_config())
    learner.update([make_row([1, 2, 3], [0, 1, 1])])
    return learner


@functools.cache
def _base() -> Path:
    """A run with three checkpoints."""
    run = Path(tempfile.mkdtemp(prefix="himac-attack-run-"))
    progress = {"iteration": 1, "phase": 1, "carry": [("a", ("take it",), 1.0)], "env_steps": 5, "tokens": 7}
    for number in range(3):
        state = {"progress": progress | {"records": 0, "timings": 0}, "learner": _learner().state_dict()}
        save_checkpoint(run, f"step-00000{number}-1", _learner().model, None, state, keep=3)
    return run


def _open(run: Path) -> None:
    found = load_latest(run)
    if found is not None:
        Trainer.restore(SimpleNamespace(learner=_learner(), progress=None), found.state)  # type: ignore[arg-type]


def _sealed(folder: Path) -> None:
    """The manifest that a forger would write."""
    there = {
        path.name: {"bytes": path.stat().st_size, "crc32": zlib.crc32(path.read_bytes())}
        for path in folder.iterdir()
        if path.is_file() and path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps(there))


def mutated(number: int, folder: Path) -> str | None:
    rng = random.Random(number)
    run = shutil.copytree(_base(), folder / "run")
    newest = run / "checkpoints" / "step-000002-1"
    state = next(path for path in newest.iterdir() if path.name.startswith("state."))
    match rng.randrange(5):
        case 0:  # bytes, as a disk or a stranger changes them
            victim = rng.choice([*newest.iterdir(), run / "checkpoints" / "latest"])
            victim.write_bytes(scrambled(victim.read_bytes(), rng))
        case 1 | 2:  # the same, and the manifest agrees
            state.write_bytes(scrambled(state.read_bytes(), rng))
            _sealed(newest)
        case 3:
            manifest = bent(json.loads((newest / "manifest.json").read_text()), rng)
            (newest / "manifest.json").write_text(json.dumps(manifest))
        case _:  # a well-formed state of another kind
            _forge(newest, rng)
    return held(lambda: _open(run))


def _forge(folder: Path, rng: random.Random) -> None:
    state: Any = {
        "progress": {
            "iteration": 0,
            "phase": 0,
            "carry": None,
            "env_steps": 0,
            "tokens": 0,
            "records": 0,
            "timings": 0,
        },
        "learner": {"steps": 1, "updates": 1},
        "scrap": torch.zeros(3),
    }
    state["progress"] = bent(state["progress"], rng) if rng.random() < 0.6 else rng.choice(NASTY)
    state["learner"] = rng.choice([state["learner"], _learner().state_dict(), *NASTY])
    save_checkpoint(folder.parent.parent, folder.name, _learner().model, None, state, keep=3)


class _Call:
    """Pickles as a call of what it names."""

    def __init__(self, what: Any, *args: Any) -> None:
        self.call = (what, args)

    def __reduce__(self) -> Any:
        return self.call


@functools.cache
def _classes() -> list[type]:
    found = set[type]()
    for module in pkgutil.walk_packages(himac.__path__, "himac."):
        if module.name not in ("himac.__main__", "himac.engines.vllm.transfer"):  # the second runs inside vLLM
            loaded = importlib.import_module(module.name)
            found |= {one for one in vars(loaded).values() if inspect.isclass(one) and one.__module__ == module.name}
    return sorted(found, key=lambda one: (one.__module__, one.__qualname__))


def runs_code(number: int, folder: Path) -> str | None:
    """Pickles that call a function or build any class of the package, with a program or a file to destroy."""
    marker, victim = folder / "ran", folder / "victim.jsonl"
    victim.write_text('{"a": 1}\nkept')
    program = pickle.dumps(_Call(os.system, f"touch {marker}"))
    evil = _Call(os.system, f"touch {marker}")
    run = shutil.copytree(_base(), folder / "run")
    newest = run / "checkpoints" / "step-000002-1"
    classes = _classes()
    given = [(program, 5.0, None), (str(victim),), (str(victim), True), (victim.parent, 1), (evil,), ()]
    if number == 0:
        worker = next(one for one in classes if one.__qualname__ == "Worker")
        payload = _Call(worker, program, 5.0, None)
    elif number == 1:
        payload = _Call(next(one for one in classes if one.__qualname__ == "MetricsLog"), str(victim))
    elif number % 3 == 0:
        payload = evil
    else:
        payload = _Call(classes[number % len(classes)], *given[number // len(classes) % len(given)])
    content = {"state": {"progress": {}, "learner": {}, "scrap": payload}, "rng": {}}
    try:
        torch.save(content, newest / "state.pt")
    except Exception:
        return None  # this class cannot even be named
    if number % 2:
        for state in newest.glob("state.tensors"):
            state.write_bytes((newest / "state.pt").read_bytes())
    _sealed(newest)
    before = _children() | {str(one.ident) for one in threading.enumerate()}
    said = None
    try:
        _open(run)
    except HimacError:
        pass
    except Exception as error:
        said = f"{type(error).__name__}: {str(error)[:200]}"
    if (_children() | {str(one.ident) for one in threading.enumerate()}) - before:
        _wait_for(marker)
        said = f"a process or thread was started by {payload.call}"
    if marker.exists():
        said = f"code ran: {payload.call}"
    if victim.read_text() != '{"a": 1}\nkept':
        said = f"a file was destroyed by {payload.call}"
    return said


def _children() -> set[str]:
    pid = os.getpid()
    return {child for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()}


def _wait_for(marker: Path) -> None:
    deadline = time.monotonic() + 8
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def model_runs_code(number: int, folder: Path) -> str | None:
    """Model directories that bring code: weights as a pickle, classes of their own, attention from elsewhere."""
    from himac.models.loading import load_model

    rng, marker = random.Random(number), folder / "ran"
    model = shutil.copytree(_model(), folder / "model")
    (model / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nEvil = None\n")
    kind = number % 5
    if kind == 0:
        (model / "model.safetensors").unlink()
        torch.save({"a": _Call(os.system, f"touch {marker}")}, model / "pytorch_model.bin")
    elif kind == 1:
        _edit(model / "config.json", {"auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}})
        _edit(model / "config.json", {"model_type": "evil"} if rng.random() < 0.5 else {})
    elif kind == 2:
        _edit(model / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}})
        _edit(model / "tokenizer_config.json", {"tokenizer_class": "Evil"} if rng.random() < 0.5 else {})
    elif kind == 3:
        _edit(model / "config.json", {rng.choice(["attn_implementation", "_attn_implementation"]): "evil/kernel"})
    else:
        victim = rng.choice([path for path in model.iterdir() if path.suffix == ".json"])
        victim.write_bytes(scrambled(victim.read_bytes(), rng))
    asked, builtins.input = builtins.input, lambda *_: "y"  # somebody who is asked says yes
    try:
        said = held(lambda: load_model(model))
    finally:
        builtins.input = asked
    return f"code ran: {kind}" if marker.exists() else said


def _edit(path: Path, more: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


@functools.cache
def _model() -> Path:
    from himac.models.init_model import init_model

    folder = Path(tempfile.mkdtemp(prefix="himac-attack-model-")) / "model"
    shape = {"vocab_size": 400, "hidden_size": 16, "layers": 1, "heads": 2, "kv_heads": 1, "max_position": 64}
    init_model(folder, ["take the mug", "put the mug"] * 20, seed=0, **shape)
    return folder
