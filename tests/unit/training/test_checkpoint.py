import errno
import json
import os
import pickle
import random
import subprocess
import sys
import textwrap
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from himac.errors import CheckpointError, ModelError, TrainingError
from himac.models.folder import pointed
from himac.store import atomic
from himac.training.checkpoint import (
    MetricsLog,
    check_lines,
    load_latest,
    mark_best,
    rng_state,
    save_checkpoint,
    save_model,
    set_rng_state,
)
from himac.types import Role


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_round_trip(tmp_path: Path, model: Any) -> None:
    from transformers import AutoModelForCausalLM

    tensors = [torch.arange(4.0), torch.tensor(7), torch.zeros(0, 3), torch.ones(2, 3, dtype=torch.bfloat16).T]
    state = {
        "tensors": tensors,
        "counters": {"step": 3, "rate": 0.1, "none": None, "yes": True, "inf": float("inf"), "large": 2**80},
        "state": {0: {"step": torch.tensor(1.0)}, 1: {}},
        "carry": [("a", ("find the mug", "tÿpe \ud800"), -0.0)],
    }
    path = save_checkpoint(tmp_path, "step-1", model, None, state)
    found = load_latest(tmp_path)
    assert found is not None
    assert (found.name, found.model_dir) == ("step-1", path)
    for kept, saved in zip(found.state["tensors"], tensors, strict=True):
        assert torch.equal(kept, saved)
        assert kept.dtype == saved.dtype
    assert found.state["counters"] == state["counters"]
    assert found.state["state"] == {0: {"step": torch.tensor(1.0)}, 1: {}}
    assert repr(found.state["carry"]) == repr(state["carry"])  # tuples stay tuples
    again = AutoModelForCausalLM.from_pretrained(found.model_dir)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_random_states_continue(tmp_path: Path, model: Any) -> None:
    before = rng_state()
    save_checkpoint(tmp_path, "a", model, None, {})
    expected = (random.random(), np.random.random(), torch.rand(3).tolist())
    found = load_latest(tmp_path)
    assert found is not None
    set_rng_state(found.rng)
    assert (random.random(), np.random.random(), torch.rand(3).tolist()) == expected
    set_rng_state(before)


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_latest(tmp_path) is None
    assert load_latest(tmp_path / "missing") is None


def test_diverged_weights_never_become_the_latest(tmp_path: Path, model: Any) -> None:
    save_checkpoint(tmp_path, "good", model, None, {})
    for name, tensor in list(model.named_parameters()):
        former = tensor.data.view(-1)[-1].item()
        for value in (float("nan"), float("inf"), float("-inf")):
            tensor.data.view(-1)[-1] = value
            with pytest.raises(TrainingError, match=f"diverged: 1 tensors .* not finite, for example {name};"):
                save_checkpoint(tmp_path, "bad", model, None, {})
        tensor.data.view(-1)[-1] = former
    found = load_latest(tmp_path)
    assert found is not None
    assert found.name == "good"
    assert names(tmp_path / "checkpoints") == {"good", "latest"}


def test_newest_ones_stay(tmp_path: Path, model: Any) -> None:
    for number in range(4):
        save_checkpoint(tmp_path, f"step-{number}", model, None, {"n": number}, keep=2)
    assert names(tmp_path / "checkpoints") == {"latest", "step-2", "step-3"}


def test_the_best_one_stays_besides(tmp_path: Path, model: Any) -> None:
    root = tmp_path / "checkpoints"
    for number in range(5):
        save_checkpoint(tmp_path, f"step-{number}", model, None, {"n": number}, keep=2, best=f"step-{min(number, 1)}")
    assert names(root) == {"latest", "best", "step-1", "step-3", "step-4"}
    assert (root / "best").read_text() == "step-1\n"
    assert pointed(root / "best") == root / "step-1"
    found = load_latest(tmp_path)
    assert found is not None
    assert found.name == "step-4"
    save_checkpoint(tmp_path, "step-5", model, None, {"n": 5}, keep=1, best="step-5")
    assert names(root) == {"latest", "best", "step-5"}
    mark_best(tmp_path, "step-9")  # a run that goes on from an older checkpoint
    assert names(root) == {"latest", "step-5"}


def test_pointers_stay_among_the_checkpoints(tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    (root / "step-1").mkdir(parents=True)
    (tmp_path / "step-2").mkdir()
    assert pointed(root / "step-1") == root / "step-1"
    assert pointed(tmp_path / "model") == tmp_path / "model"
    for wrong in ("step-3", "../step-2", "..", ".", "", "step-1/x"):
        (root / "best").write_text(wrong + "\n")
        with pytest.raises(ModelError, match=r"best names '.*', which does not exist; give a directory of"):
            pointed(root / "best")
    with pytest.raises(ModelError, match=r"latest names no checkpoint \(.*\); give a directory of"):
        pointed(root / "latest")


def test_a_name_can_be_saved_again(tmp_path: Path, model: Any) -> None:
    for number in range(2):
        save_checkpoint(tmp_path, "same", model, None, {"n": number})
    found = load_latest(tmp_path)
    assert found is not None
    assert found.state == {"n": 1}
    assert names(tmp_path / "checkpoints") == {"latest", "same"}


def test_half_written_folders_are_ignored_and_removed(tmp_path: Path, model: Any) -> None:
    save_checkpoint(tmp_path, "good", model, None, {"n": 1})
    scratch = tmp_path / "checkpoints" / ".tmp-next-x"
    scratch.mkdir()
    (scratch / "state.pt").write_bytes(b"half")
    found = load_latest(tmp_path)
    assert found is not None
    assert found.name == "good"
    assert names(tmp_path / "checkpoints") == {"latest", "good"}


def test_a_crash_while_replacing_loses_nothing(tmp_path: Path, model: Any) -> None:
    save_checkpoint(tmp_path, "good", model, None, {"n": 1})
    aside = tmp_path / "checkpoints" / ".tmp-old-x"
    aside.mkdir()
    (tmp_path / "checkpoints" / "good").replace(aside / "good")  # where the crash left it
    found = load_latest(tmp_path)
    assert found is not None
    assert found.state == {"n": 1}


class FullDisk:
    """A model that fills the disk half-way."""

    def named_parameters(self) -> list[tuple[str, Any]]:
        return []

    def save_pretrained(self, folder: Path) -> None:
        (Path(folder) / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_leaves_the_former_checkpoint(tmp_path: Path, model: Any) -> None:
    save_checkpoint(tmp_path, "good", model, None, {"n": 1})
    before = snapshot(tmp_path)
    for name in ("next", "good"):
        with pytest.raises(CheckpointError, match="the disk is full; free some space and resume"):
            save_checkpoint(tmp_path, name, FullDisk(), None, {"n": 2})
        assert snapshot(tmp_path) == before


def test_failing_rename_leaves_the_former_checkpoint(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, "good", model, None, {"n": 1})
    before, replace = snapshot(tmp_path), Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if self.name.startswith(".tmp-good"):
            raise OSError(errno.EIO, "input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(CheckpointError, match="input/output error"):
        save_checkpoint(tmp_path, "good", model, None, {"n": 2})
    monkeypatch.undo()
    found = load_latest(tmp_path)
    assert found is not None
    assert found.state == {"n": 1}
    assert snapshot(tmp_path) == before


@pytest.mark.slow
def test_a_real_file_size_limit_gives_a_clear_error(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    assert resource
    # A process of its own: the limit cannot be taken back.
    script = """
        import resource, sys, torch
        from support.training_rows import tiny_model
        from himac.errors import CheckpointError, TrainingError
        from himac.training.checkpoint import load_latest, save_checkpoint
        run, model = sys.argv[1], tiny_model()
        save_checkpoint(run, "good", model, None, {"n": 1})
        for name, state, limit in (("big-state", {"t": torch.zeros(1 << 20)}, 1 << 20), ("big-model", {}, 4096)):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                save_checkpoint(run, name, model, None, state)
            except CheckpointError as error:
                print(name, "refused:", error)
        print(load_latest(run).name)
    """
    tests = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused: cannot write checkpoint") == 2
    assert done.stdout.splitlines()[-1] == "good"
    assert names(tmp_path / "checkpoints") == {"latest", "good"}


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "weights", "manifest"])
def test_damaged_checkpoints_are_refused(tmp_path: Path, model: Any, damage: str) -> None:
    path = save_checkpoint(tmp_path, "a", model, None, {"t": torch.arange(1000)})
    file = path / {"weights": "model.safetensors", "manifest": "manifest.json"}.get(damage, "state.tensors")
    content = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    elif damage in ("cut", "manifest"):
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged .* start the run anew"):
        load_latest(tmp_path)


def test_a_pointer_to_nothing_is_refused(tmp_path: Path, model: Any) -> None:
    save_checkpoint(tmp_path, "a", model, None, {})
    for text in ("missing", "", "../a", "..", ".", ".tmp-a"):
        (tmp_path / "checkpoints" / "latest").write_text(text)
        with pytest.raises(CheckpointError, match="does not exist; write 'a' into"):
            load_latest(tmp_path)


class Evil:
    def __reduce__(self) -> Any:
        return (os.system, ("exit 7",))


def test_foreign_code_is_neither_saved_nor_run(tmp_path: Path, model: Any) -> None:
    for bad in (Evil(), Path("x"), lambda: 0, np.float32(1), Role.PLANNER, {1}):
        with pytest.raises(CheckpointError, match=r"cannot hold state\.carry\[1\], a "):
            save_checkpoint(tmp_path, "a", model, None, {"carry": [0, bad]})
    path = save_checkpoint(tmp_path, "a", model, None, {})
    for content in (pickle.dumps(Evil()), b"", b"{}"):
        (path / "state.tensors").write_bytes(content)
        seal(path)
        with pytest.raises(CheckpointError, match="damaged"):
            load_latest(tmp_path)
    for plain in ('{"himac.envs.worker.Worker": []}', '{"dict": 3}', "[" * 5000, '{"tensor": "x"}', "3"):
        save_file({}, path / "state.tensors", metadata={"state": plain})
        seal(path)
        with pytest.raises(CheckpointError, match="damaged"):
            load_latest(tmp_path)


def test_a_checkpoint_of_an_older_version_says_so(tmp_path: Path, model: Any) -> None:
    path = save_checkpoint(tmp_path, "a", model, None, {})
    (path / "state.tensors").unlink()
    torch.save({"state": {"bad": Evil()}, "rng": {}}, path / "state.pt")
    seal(path)
    with pytest.raises(CheckpointError, match=r"an older himac wrote it, whose state\.pt could run code"):
        load_latest(tmp_path)


def seal(path: Path) -> None:
    """A manifest that agrees with the files."""
    there = [file for file in path.iterdir() if file.name != "manifest.json"]
    sizes = {file.name: {"bytes": file.stat().st_size, "crc32": zlib.crc32(file.read_bytes())} for file in there}
    (path / "manifest.json").write_text(json.dumps(sizes))


def test_what_a_manifest_may_name(tmp_path: Path, model: Any) -> None:
    """It names the state, and files of its own folder only: a device would be read for ever."""
    path = save_checkpoint(tmp_path, "a", model, None, {})
    manifest = json.loads((path / "manifest.json").read_text())
    (tmp_path / "outside").touch()
    for bad in ({}, [], *(manifest | {name: {"bytes": 0, "crc32": 0}} for name in ("/dev/zero", "../../outside"))):
        (path / "manifest.json").write_text(json.dumps(bad))
        with pytest.raises(CheckpointError, match="damaged"):
            load_latest(tmp_path)


def test_the_offered_checkpoint_is_a_good_one(tmp_path: Path, model: Any) -> None:
    for number in range(4):
        path = save_checkpoint(tmp_path, f"step-{number}", model, None, {}, keep=9)
        if number > 1:
            (path / "state.tensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"step-3 is damaged .* write 'step-1' into .*latest"):
        load_latest(tmp_path)
    (tmp_path / "checkpoints" / "latest").write_text("step-1")
    found = load_latest(tmp_path)
    assert found is not None
    assert found.name == "step-1"


def test_a_deleted_pointer_does_not_begin_anew(tmp_path: Path, model: Any) -> None:
    pointer = tmp_path / "checkpoints" / "latest"
    save_checkpoint(tmp_path, "step-1", model, None, {"n": 1})
    pointer.unlink()
    found = load_latest(tmp_path)  # what a crash after the very first one leaves
    assert found is not None
    assert found.state == {"n": 1}
    save_checkpoint(tmp_path, "step-2", model, None, {"n": 2})
    pointer.unlink()
    with pytest.raises(CheckpointError, match=r"latest is missing, .* write 'step-2' into"):
        load_latest(tmp_path)


def test_lines_are_on_the_disk_before_the_checkpoint_that_counts_them(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        names.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("names of open files are told by /proc")
    for name in ("metrics", "timings"):
        MetricsLog(tmp_path / f"{name}.jsonl").append({"a": 1})
    monkeypatch.setattr(os, "fsync", note)
    save_checkpoint(tmp_path, "a", model, None, {})
    assert max(names.index("metrics.jsonl"), names.index("timings.jsonl")) < names.index("state.tensors")


def test_missing_lines_and_the_checkpoint_that_fits(tmp_path: Path, model: Any) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for number in range(3):
        log.append({"n": number})
        save_checkpoint(tmp_path, f"step-{number}", model, None, {"progress": {"records": number + 1}}, keep=9)
    latest = load_latest(tmp_path)
    assert latest is not None
    check_lines(tmp_path, latest)
    log.truncate_to(2)
    with pytest.raises(CheckpointError, match=r"2 lines but checkpoint step-2 .* after 3; .* write 'step-1' into"):
        check_lines(tmp_path, latest)
    log.truncate_to(0)
    with pytest.raises(CheckpointError, match=r"restore the file, or start the run anew"):
        check_lines(tmp_path, latest)
    with pytest.raises(CheckpointError, match="no checkpoint of a training run"):
        check_lines(tmp_path, replace(latest, state={}))


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden"])
def test_odd_names_are_refused(tmp_path: Path, model: Any, name: str) -> None:
    with pytest.raises(CheckpointError, match="plain folder name"):
        save_checkpoint(tmp_path, name, model, None, {})


def test_save_model_replaces_and_adds_files(tmp_path: Path, model: Any) -> None:
    for text in ("one", "two"):
        save_model(tmp_path / "out", model, None, {"note.txt": text})
    assert (tmp_path / "out" / "note.txt").read_text() == "two"
    assert names(tmp_path) == {"out"}
    before = snapshot(tmp_path)
    with pytest.raises(CheckpointError, match="disk is full"):
        save_model(tmp_path / "out", FullDisk())
    assert snapshot(tmp_path) == before


# ---- metrics


def test_metrics_round_trip_and_truncation(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "run" / "metrics.jsonl")
    records = [{"step": n, "loss": n / 3, "note": "ü\nx", "nested": {"a": [1, None]}} for n in range(5)]
    for record in records:
        log.append(record)
    assert log.read() == records
    again = MetricsLog(log.path)
    assert len(again) == 5
    again.truncate_to(3)
    again.append({"step": 3, "value": float("nan"), "array": np.float32(0.5)})
    assert again.read() == [*records[:3], {"step": 3, "value": None, "array": 0.5}]
    with pytest.raises(CheckpointError, match="saved after 9"):
        again.truncate_to(9)
    again.truncate_to(0)
    assert again.path.read_bytes() == b""


def test_a_line_cut_short_by_a_crash_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    log = MetricsLog(path)
    assert len(log) == 2
    log.append({"a": 3})
    assert log.read() == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_a_full_disk_leaves_the_metrics_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"a": 1})
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:4]))
    with pytest.raises(CheckpointError, match="disk is full"):
        log.append({"a": 2})
    monkeypatch.undo()
    assert len(log) == 1
    assert log.read() == [{"a": 1}]


def test_other_errors_pass_the_guard_unchanged() -> None:
    with pytest.raises(KeyError), atomic.WriteGuard("x"):
        raise KeyError("mine")
