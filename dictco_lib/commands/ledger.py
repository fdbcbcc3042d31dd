"""What these commands made: how they know their own files from everybody else's.

One line for each output, in the user's state folder: what its bytes were, what they were made of
(source, settings, model), and where the source lay. All are hashes: the list tells nobody about the
images, and a file is known wherever it was moved, but not after it was changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from dictco_lib.errors import OutputError
from dictco_lib.files import append_text, write_atomic

_SIZE = 16  # bytes of a hash
_MOST = 2**24  # bytes of the list, some 160,000 outputs; the older half goes
_WAY_OUT = "give another name, or replace it with --force"


def digest(data: bytes) -> str:
    """The name of some bytes in the ledger."""
    return hashlib.blake2b(data, digest_size=_SIZE).hexdigest()


def digest_of(path: Path) -> str:
    """The same of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_SIZE)).hexdigest()


def recipe_digest(source: str, **settings: object) -> str:
    """What an output is made of: the digest of its source, settings and model."""
    return digest(json.dumps([source, settings], sort_keys=True, default=str).encode())


class Ledger:
    """The list, read once and added to."""

    def __init__(self) -> None:
        self.problem: str | None = None  # why nothing can be noted
        self._made: dict[str, set[tuple[str, str]]] | None = None

    @staticmethod
    def path() -> Path:
        """Where the list lies."""
        state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        return Path(state) / "dictco" / "made"

    def find(self, output: str) -> set[tuple[str, str]]:
        """What outputs with this digest were made of, and the places of their sources.

        Equal images make equal files.
        """
        if self._made is None:
            self._made = self._read()
        return self._made.get(output, set())

    def _read(self) -> dict[str, set[tuple[str, str]]]:
        lines: list[bytes] = []
        with contextlib.suppress(OSError):
            lines = self.path().read_bytes().splitlines()
        made: dict[str, set[tuple[str, str]]] = {}
        for fields in (line.decode(errors="replace").split(" ") for line in lines):
            # A line that was cut off by a kill is no line.
            if [len(field) for field in fields] == [2 * _SIZE] * 3:
                made.setdefault(fields[0], set()).add((fields[1], fields[2]))
        return made

    def note(self, output: str, made_of: str, source: Path | None) -> None:
        """Note an output, before it is written: a note about nothing harms nobody.

        A list that cannot be written stops no work: ``problem`` then says why.
        """
        place = place_of(source)
        if (made_of, place) in self.find(output):
            return
        assert self._made is not None
        self._made.setdefault(output, set()).add((made_of, place))
        try:
            path = self.path()
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size > _MOST:
                data = path.read_bytes()
                write_atomic(path, data[data.index(b"\n", len(data) // 2) + 1 :])
            append_text(path, f"\n{output} {made_of} {place}\n")
        except OSError as error:
            self.problem = str(error)


def place_of(source: Path | None) -> str:
    """The digest of where a source lies."""
    return digest(b"-" if source is None else os.fsencode(os.path.abspath(source)))


def settle(
    ledger: Ledger, source: Path | None, target: Path, made_of: str, *, is_chosen: bool, force: bool
) -> bool:
    """Is an output still to be made? Never over a file that is not this command's to replace.

    Args:
        ledger: what was made.
        source: of the job.
        target: of the job.
        made_of: what the output would be made of.
        is_chosen: the user chose the output's name; then what was made of another source may be
            replaced too, and what is there already is made again.
        force: replace what is there.

    Raises:
        OutputError: if something else is there.
    """
    if force or not target.exists():
        return True
    made = ledger.find(digest_of(target))
    if not made:
        raise OutputError(f"{target} exists, and this command did not make it as it is; {_WAY_OUT}")
    if is_chosen:
        return True
    if made_of in {what for what, _ in made}:
        return False
    if place_of(source) not in {place for _, place in made}:
        raise OutputError(f"{target} exists, and was made of another file; {_WAY_OUT}")
    return True
