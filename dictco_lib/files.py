"""Where files lie, how JSON is read, and how files are written: all or nothing."""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import os
import re
import secrets
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dictco_lib.errors import DictcoError, DiskFull, OutputError, foreign, quoted

try:
    import fcntl
except ImportError:  # Windows: no locks there
    fcntl = None

#: No report, log line or configuration is larger; what is read has its size checked first.
MAX_JSON = 2**26
_PACKAGE = Path(__file__).parent
#: Where the data that ships lies: inside an installed package, or beside it in a clone.
DATA_FOLDERS = (_PACKAGE / "data", _PACKAGE.parent / "data")
_STREAMS = ("/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: Temporaries carry the process that writes them; it holds a lock on them while it lives.
_TEMPORARY = re.compile(r"\.dictco-(\d+)-[0-9a-f]{16}\.tmp")
_MADE: set[Path] = set()  # temporaries of this process


def data_file(name: str) -> Path:
    """Path of a file of data/ that ships with the library."""
    paths = [folder / name for folder in DATA_FOLDERS]
    return next((path for path in paths if path.is_file()), paths[0])


def special_kind(path: str | Path) -> str | None:
    """What a path is if it is there and no regular file: a folder, a pipe, a device, a socket.

    Raises:
        OSError: if the system does not tell.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    kinds = {stat.S_IFREG: None, stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe"}
    kinds |= {stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}
    return kinds.get(stat.S_IFMT(mode), "no regular file")


def check_writable(path: str | Path, what: str = "file") -> None:
    """Find out before the work whether a file, or a folder of results, can be written.

    Also removes what killed runs left in the folder it would lie in.

    Args:
        path: of the output; folders on the way to it need not exist.
        what: ``"file"`` or ``"folder"``.

    Raises:
        OutputError: if it cannot.
    """
    path = check_name(path, what)
    folder = path if what == "folder" else path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with writing(path):
        if not folder.is_dir():
            raise OutputError(f"{path} cannot be written: {folder} is a file; give another name")
        remove_leftovers(folder)
        with _temporary(folder, 0o600):
            pass


def check_name(path: str | Path, what: str = "file") -> Path:
    """The quick part of :func:`check_writable`: could this be the name of a file or folder?

    Returns:
        The path that is meant: the target of a link.

    Raises:
        OutputError: if something else is there, or the name is too long.
    """
    _check_length(Path(path))
    if os.path.abspath(path).startswith(_STREAMS):  # links to what this process has open
        raise OutputError(
            f"{path} stands for a file that is open already; give another name, or - for standard "
            "output"
        )
    path = _target(path)
    _check_length(path)
    with writing(path):
        kind = special_kind(path) or ("a file" if path.exists() else None)
    if what == "folder" and kind not in (None, "a folder"):
        raise OutputError(f"{path} is {kind}, expected a folder; give another name")
    if what == "file":
        _refuse_special(path, kind)
    return path


def _refuse_special(path: Path, kind: str | None) -> None:
    if kind == "a folder":
        raise OutputError(f"{path} is a folder, no regular file; give the name of a file in it")
    if kind not in (None, "a file"):
        raise OutputError(
            f"{path} is {kind}, no regular file, so it cannot be replaced; give another name, or "
            "- for standard output"
        )


def _check_length(path: Path) -> None:
    most = 255
    with contextlib.suppress(OSError, ValueError, AttributeError):
        most = os.pathconf(path.anchor or ".", "PC_NAME_MAX")
    size = len(os.fsencode(path.name))
    if size > most:
        raise OutputError(
            f"the name {path.name} has {size} bytes, this system allows {most}; give a shorter one"
        )


def _target(path: str | Path) -> Path:
    """The file that is meant: a link stays, its target changes."""
    path = Path(path)
    try:
        return path.resolve() if path.is_symlink() else path
    except (OSError, RuntimeError) as error:  # a link to itself
        raise OutputError(f"{path} cannot be written: {error}; give another name") from None


@contextmanager
def writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Make errors of writing ours: OutputError, DiskFull; they name ``path``, not the temporary."""
    try:
        yield
    except DictcoError:
        raise
    except Exception as error:
        if is_full(error) or (temporary is not None and _is_full_at(temporary)):
            raise DiskFull(
                f"the disk is full: {path} cannot be written ({_reason(error)}); make room, or "
                "give a place on another disk"
            ) from error
        if isinstance(error, OSError):
            raise OutputError(f"{path} cannot be written: {_reason(error)}") from error
        raise


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error).split("\n")[0][:200]


def is_full(error: BaseException) -> bool:
    """Is this the system's word for no space, no quota, or a file that may not grow?"""
    return isinstance(error, OSError) and error.errno in _FULL


def _is_full_at(temporary: Path) -> bool:
    """Does the disk refuse more bytes? Some libraries do not hand on why they failed."""
    try:
        with temporary.open("ab") as file:
            file.write(bytes(1 << 16))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return is_full(error)
    return False


@contextmanager
def _temporary(folder: Path, mode: int) -> Iterator[Path]:
    """A new file that is locked while it is written, and gone afterwards."""
    path = folder / f".dictco-{os.getpid()}-{secrets.token_hex(8)}.tmp"
    _MADE.add(path.absolute())  # before it is there: a signal may come as soon as it is
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), mode)
    try:
        with contextlib.suppress(OSError):  # some network disks have no locks
            if fcntl:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)
        _MADE.discard(path.absolute())


@atexit.register
def _remove_made() -> None:
    """Remove what a signal left that came between two lines: a temporary made, or not yet gone."""
    for path in list(_MADE):
        if f"-{os.getpid()}-" in path.name:  # not those of the process that forked this one
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds.

    A file that is replaced hands on its mode, and its owner where that is allowed.

    Raises:
        OutputError: if ``path`` is a folder, a device or the like, or cannot be written;
            DiskFull, if the disk is full. A link stays: its target changes.
    """
    path = check_name(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        old = path.stat() if path.exists() else None
        # The system takes the user's mask off; the name of a private file gets no public half.
        made = _temporary(path.parent, 0o666 if old is None else 0o600)
        temporary = made.__enter__()
        mode = stat.S_IMODE(temporary.stat().st_mode)
    try:
        with writing(path, temporary):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())  # the bytes first, then the name: power may fail between
        with writing(path):
            if old is None:
                temporary.chmod(mode)  # some libraries put a file of their own in its place
            else:
                _hand_on(old, temporary)
            os.replace(temporary, path)
    finally:
        made.__exit__(None, None, None)


def _hand_on(old: os.stat_result, temporary: Path) -> None:
    with contextlib.suppress(OSError, AttributeError):  # only root gives files away
        os.chown(temporary, old.st_uid, old.st_gid)
    temporary.chmod(stat.S_IMODE(old.st_mode))


def ignores_case(folder: Path) -> bool:
    """Are names in upper and lower case the same file in a folder, which may not be there yet?"""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with writing(folder), _temporary(folder, 0o600) as path:
        return path.with_name(path.name.upper()).exists()


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


def append_text(path: str | Path, text: str) -> None:
    """Add to the end of a file, in one piece.

    Raises:
        OutputError: if that is not possible; DiskFull, if the disk is full.
    """
    with writing(Path(path)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            data = text.encode()
            while data:
                data = data[os.write(handle, data) :]
        finally:
            os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporaries in a folder whose process was killed; never one that is in use.

    A temporary is dead if it has our name for one, nobody holds its lock, and there is no process
    of its number.
    """
    if fcntl is None:
        return
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            found = _TEMPORARY.fullmatch(entry.name)
            if found and entry.is_file(follow_symlinks=False) and not _is_alive(int(found[1])):
                _remove_unlocked(entry.path)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _remove_unlocked(path: str) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(handle)
            if status.st_uid == os.geteuid():
                os.unlink(path)
        finally:
            os.close(handle)
