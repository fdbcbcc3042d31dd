"""One owner for a folder of results: a lock that the system frees when its process dies."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dictco_lib.errors import OutputError
from dictco_lib.files import fcntl, writing

_HELD: set[tuple[int, int]] = set()  # locks of this process, which the system would give twice


@contextmanager
def owned_folder(folder: str | Path, what: str) -> Iterator[None]:
    """Own a folder of results while the block runs, so that no second run writes into it.

    The system frees the lock of a process that is killed.

    Args:
        folder: made if it is not there.
        what: for the message: "training".

    Raises:
        OutputError: if another run owns it, or it cannot be written.
    """
    path = Path(folder) / ".lock"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = None if fcntl is None else _lock(path, what)
    try:
        yield
    finally:
        if handle is not None:
            status = os.fstat(handle)
            _HELD.discard((status.st_dev, status.st_ino))
            path.unlink(missing_ok=True)  # while the lock is held: nobody else removes it
            os.close(handle)


def _lock(path: Path, what: str) -> int:
    me = f"process {os.getpid()} on {socket.gethostname()}"
    while True:
        if _identity(path) in _HELD:  # opening and closing it would give up our own lock
            raise _owned(path, what, me)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            # Not flock: worker processes would go on holding it after their parent was killed.
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            note = os.read(handle, 200).decode(errors="replace").strip()
            os.close(handle)
            raise _owned(path, what, note) from None
        status = os.fstat(handle)
        if _identity(path) == (status.st_dev, status.st_ino):
            break
        os.close(handle)  # its owner has just removed it
    os.ftruncate(handle, 0)
    os.pwrite(handle, me.encode(), 0)
    _HELD.add((status.st_dev, status.st_ino))
    return handle


def _identity(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(FileNotFoundError):
        status = os.stat(path)
        return status.st_dev, status.st_ino
    return None


def _owned(path: Path, what: str, owner: str) -> OutputError:
    return OutputError(
        f"{path.parent} belongs to another {what} that is running ({owner or 'just started'}); "
        "wait for its end, stop it, or give another folder"
    )
