"""Files and folders that appear whole or not at all, and one error for a disk that refuses them."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from himac.errors import CheckpointError

_SCRATCH = ".tmp-"


class WriteGuard:
    """Turns what a full disk or a refused write raises into one `CheckpointError`."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, OSError | RuntimeError | SafetensorError):
            return
        full = (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or any(
            text in str(error) for text in ("No space left", "os error 28")
        )
        cause, remedy = (
            ("the disk is full", "free some space") if full else (str(error).split("\n")[0], "fix the cause")
        )
        raise CheckpointError(
            f"cannot write {self.what}: {cause}; {remedy} and resume, what was saved before is intact."
        ) from error


def publish(target: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a scratch folder, sync it, and put it in the place of `target`."""
    scratch = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{target.name}-", dir=target.parent))
    try:
        fill(scratch)
        umask = os.umask(0)
        os.umask(umask)
        scratch.chmod(0o777 & ~umask)
        for path in [*scratch.rglob("*"), scratch]:
            sync(path)
        if target.exists():
            # A folder cannot be renamed onto a full one; the former is moved aside until the new one stands.
            aside = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}old-", dir=target.parent))
            target.replace(aside / target.name)
            try:
                scratch.replace(target)
            except OSError:
                (aside / target.name).replace(target)
                raise
            shutil.rmtree(aside, ignore_errors=True)
        else:
            scratch.replace(target)
        sync(target.parent)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace a small file; readers see the old text or the new one."""
    scratch = path.with_name(f"{_SCRATCH}{path.name}")
    try:
        with scratch.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        sync(path.parent)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def clean(folder: Path) -> None:
    """Remove what a crash left half-written."""
    for path in folder.glob(f"{_SCRATCH}*"):
        if path.is_dir():
            # A crash between the two renames of a replacement leaves the former checkpoint here, and only here.
            for former in path.iterdir() if path.name.startswith(f"{_SCRATCH}old-") else ():
                if not (folder / former.name).exists():
                    former.replace(folder / former.name)
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """See to it that a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync folders
            raise
    finally:
        os.close(descriptor)
