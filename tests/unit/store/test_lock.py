from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from himac.errors import CheckpointError
from himac.store.lock import holder, locked


def test_a_second_writer_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    words = rf"process {os.getpid()} on .*wait for it"
    with locked(tmp_path / "run"), pytest.raises(CheckpointError, match=words), locked(tmp_path / "run"):
        raise AssertionError("two writers")
    with locked(tmp_path / "run"):  # free again
        pass
    assert (tmp_path / "run" / ".lock").read_bytes() == b""


def test_a_lock_beside(tmp_path: Path) -> None:
    with locked(tmp_path / "model", tmp_path / ".model.lock"):
        assert not (tmp_path / "model").exists()
        with pytest.raises(CheckpointError), locked(tmp_path / "model", tmp_path / ".model.lock"):
            pass


def test_what_a_killed_writer_left_is_not_in_the_way(tmp_path: Path) -> None:
    """Whatever process or machine the file names: a dead one, another host's, one whose number is in use again."""
    code = f"import pathlib, time; from himac.store.lock import locked\nwith locked(pathlib.Path({str(tmp_path)!r})):\n"
    code += " print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CheckpointError, match=f"process {holder.pid} on"), locked(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
    assert (tmp_path / ".lock").read_text().startswith(f"process {holder.pid} on")
    for left in (None, "process 1 on elsewhere\n", f"process {os.getppid()} on here\n"):
        if left is not None:
            (tmp_path / ".lock").write_text(left)
        with locked(tmp_path):
            assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on")


def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path):
        pass
    assert "has no locks" in caplog.text


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot write"), locked(tmp_path / "file"):
        pass


def test_who_holds_it(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    with locked(tmp_path):
        assert holder(tmp_path) == f"process {os.getpid()} on {socket.gethostname()}"
    assert holder(tmp_path) is None
    # A process that was killed leaves its line behind; no process has this number.
    (tmp_path / ".lock").write_text(f"process {2**22 + 1} on {socket.gethostname()}\n")
    assert holder(tmp_path) is None
    (tmp_path / ".lock").write_text("process 1 on another-machine\n")
    assert holder(tmp_path) == "process 1 on another-machine"
