"""Where files lie, and how they are written: all or nothing, so that a crash leaves no half."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PACKAGE = Path(__file__).parent
#: Where the data that ships lies: inside an installed package, or beside it in a clone.
DATA_FOLDERS = (_PACKAGE / "data", _PACKAGE.parent / "data")


def data_file(name: str) -> Path:
    """Path of a file of data/ that ships with the library."""
    paths = [folder / name for folder in DATA_FOLDERS]
    return next((path for path in paths if path.is_file()), paths[0])


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds.

    Raises:
        OSError: if ``path`` is a folder, a device or the like. A link stays: its target changes.
    """
    path = Path(path)
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no regular file, so it cannot be replaced; give another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; give the result the permissions any new file would get.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # the bytes first, then the name: power may fail in between
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write bytes to a path, all or nothing."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
