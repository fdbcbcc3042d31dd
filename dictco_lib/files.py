"""Where files lie, how JSON is read, and how files are written: all or nothing."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dictco_lib.errors import DictcoError, foreign, quoted

#: No report, log line or configuration is larger; what is read has its size checked first.
MAX_JSON = 2**26
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


def parse_json(text: str | bytes, what: str, kind: type[DictcoError], advice: str) -> object:
    """The value of a JSON text, with no key twice and no number that floats cannot hold.

    Args:
        text: what to parse; bytes are UTF-8.
        what: where it came from, for messages.
        kind: the error to raise.
        advice: what to do about a text that is refused.

    Raises:
        DictcoError: of that kind, if it is no JSON.
    """

    def table(pairs: list[tuple[str, object]]) -> dict:
        values = dict(pairs)
        if len(values) < len(pairs):
            (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
            raise ValueError(f"the key {quoted(twice)} is there twice")
        return values

    def integer(digits: str) -> int:
        if len(digits) > 300:
            raise ValueError(f"a number has {len(digits)} digits")
        return int(digits)

    with foreign(f"{what} is no JSON", kind, advice):
        if len(text) > MAX_JSON:
            raise ValueError(f"it has over {MAX_JSON} bytes")
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        return json.loads(text, object_pairs_hook=table, parse_int=integer)


def read_json(
    path: str | Path, kind: type[DictcoError], advice: str, what: str | None = None
) -> object:
    """The value of a JSON file, which messages call ``what``: see :func:`parse_json`."""
    with foreign(f"{path} cannot be read", kind, advice), open(path, "rb") as file:
        data = file.read(MAX_JSON + 1)  # never all of a device or a log of years
    return parse_json(data, what or str(path), kind, advice)
