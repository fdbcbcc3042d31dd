"""Public sets of photographs: where they are, how they are checked, and fetching them."""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dictco_lib.errors import DatasetError
from dictco_lib.files import atomic_path, data_file

_BLOCK = 1 << 20
_TIMEOUT = 60  # seconds without a byte


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch."""

    name: str
    url: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class PublicSet:
    """A public set: what it is, under which terms, the page that offers it, and its files.

    ``checksums`` says where the SHA-256 values come from.
    """

    name: str
    what: str
    terms: str
    page: str
    checksums: str
    files: tuple[RemoteFile, ...]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)


def public_sets() -> dict[str, PublicSet]:
    """Name -> set, from data/public_sets.json."""
    found = {}
    for name, entry in json.loads(data_file("public_sets.json").read_text()).items():
        base, files = entry.pop("base"), entry.pop("files")
        listed = (RemoteFile(n, base + n, **values) for n, values in files.items())
        found[name] = PublicSet(name, **entry, files=tuple(listed))
    return found


def find_set(name: str) -> PublicSet:
    """A set by its name.

    Raises:
        DatasetError: for a name that is not there.
    """
    sets = public_sets()
    if name not in sets:
        raise DatasetError(f"no public set {name!r}; known are {', '.join(sets)}")
    return sets[name]


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check(public: PublicSet, folder: Path) -> dict[str, str]:
    """File name -> ``right``, ``wrong`` or ``missing``, for each file and unpacked image."""
    states = {}
    for file in public.files:
        path = folder / file.name
        states[file.name] = "missing"
        if path.is_file():
            states[file.name] = "right" if _digest(path) == file.sha256 else "wrong"
        if states[file.name] == "right" and zipfile.is_zipfile(path):
            for image, member, _ in _members(path):
                name = str(image.relative_to(folder))
                states[name] = "missing"
                if image.is_file():
                    states[name] = "right" if _crc32(image) == member.CRC else "wrong"
    return states


def fetch(
    public: PublicSet, folder: Path, progress: Callable[[int], object] = lambda count: None
) -> None:
    """Fetch what is missing or wrong, and unpack archives beside themselves.

    Args:
        public: the set.
        folder: where its files go; files that are there and right are left alone.
        progress: called with the bytes of each block that is done.

    Raises:
        DatasetError: if a file cannot be fetched, or is not the one that is expected.
    """
    for file in public.files:
        path = folder / file.name
        if path.is_file() and _digest(path) == file.sha256:
            progress(file.bytes)
        else:
            _download(public, file, path, progress)
        if zipfile.is_zipfile(path):
            _unpack(path)


def _download(public: PublicSet, file: RemoteFile, path: Path, progress: Callable) -> None:
    digest, count = hashlib.sha256(), 0
    with atomic_path(path) as temporary:
        try:
            with (
                urllib.request.urlopen(file.url, timeout=_TIMEOUT) as reply,
                temporary.open("wb") as stream,
            ):
                while block := reply.read(_BLOCK):
                    stream.write(block)
                    digest.update(block)
                    count += len(block)
                    progress(len(block))
        except (OSError, http.client.HTTPException) as error:
            raise DatasetError(
                f"{file.url} cannot be fetched ({error}). {by_hand(public, path.parent)}"
            ) from None
        if digest.hexdigest() != file.sha256:
            raise DatasetError(
                f"{file.url} gave {count} bytes with SHA-256 {digest.hexdigest()}, expected "
                f"{file.bytes} with {file.sha256}; nothing was kept. Was the transfer cut, or does "
                f"the server hold another file? Try again, or look at {public.page}"
            )


def by_hand(public: PublicSet, folder: Path) -> str:
    """What to do where there is no network."""
    first, last = public.files[0], public.files[-1]
    listed = first.url if first is last else f"{first.url} ... {last.name}"
    return (
        f"By hand, on a machine with a network: get {listed} ({public.bytes / 1e6:.0f} MB; "
        f"described at {public.page}) and put it into {folder}; then `dictco data {public.name} "
        f"--to {folder}` checks what lies there, and unpacks it"
    )


def _members(archive: Path) -> Iterator[tuple[Path, zipfile.ZipInfo, zipfile.ZipFile]]:
    """Target path, entry and archive of each image of a zip file."""
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            name = Path(member.filename).name
            # Folders, and the ghosts that some systems add, are no images.
            if name.lower().endswith((".png", ".jpg")) and not name.startswith("."):
                yield archive.with_suffix("") / name, member, opened


def _crc32(path: Path) -> int:
    value = 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            value = zlib.crc32(block, value)
    return value


def _unpack(archive: Path) -> None:
    for image, member, opened in _members(archive):
        if not (image.is_file() and _crc32(image) == member.CRC):
            with atomic_path(image) as temporary:
                temporary.write_bytes(opened.read(member))
