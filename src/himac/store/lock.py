"""One writer a folder."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from himac.errors import CheckpointError
from himac.store.atomic import WriteGuard

logger = logging.getLogger(__name__)

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def locked(folder: Path, file: Path | None = None) -> Iterator[int]:
    """Hold the lock of a folder; gives the descriptor.

    The kernel frees the lock when its process ends, however that happens: what is left in the file is never stale.
    Processes that inherit the descriptor hold it too.

    Args:
        file: What is locked; by default `.lock` in the folder, which is made where it is missing.

    Raises:
        CheckpointError: another process holds it, or the folder cannot be written.
    """
    path = file or folder / ".lock"
    with WriteGuard(str(folder)):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            raise CheckpointError(
                f"{folder} is in use by another himac ({holder}) or a process one left behind; wait for it or end it"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            logger.warning("the file system of %s has no locks; see to it that nothing else writes there", folder)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        try:
            yield descriptor
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holder(folder: Path) -> str | None:
    """Who writes in the folder, as `process N on HOST`; `None` when nobody does, also after a crash."""
    try:
        told = (folder / ".lock").read_text(errors="replace")[:200].strip()
    except OSError:
        return None
    found = re.fullmatch(r"process (\d+) on (.*)", told)
    if found is None:
        return None
    return told if found[2] != socket.gethostname() or _lives(int(found[1])) else None


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
