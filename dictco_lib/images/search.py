"""Images in folders: all that a single call would take, and why the others are not taken."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from dictco_lib.images.formats import is_image, why_unread

#: Folders of archive tools: a Mac's copies of every file, without the image.
_GHOSTS = {"__MACOSX"}


@dataclass
class Found:
    """What a search came to.

    ``taken`` is sorted. ``skipped`` holds what looks like an image, or could not be looked at,
    with the reason; ``others`` what is no image at all.
    """

    taken: list[Path] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)


#: Decides on a regular file: None to take it, a reason to skip it, "" for what is something else.
Verdict = Callable[[Path], "str | None"]


def image_verdict(path: Path) -> str | None:
    """None for what a single call would read; else why not, ``""`` for no image at all."""
    with path.open("rb") as file:
        if reason := why_unread(path, file.read(64)):
            return reason
        file.seek(0)
        return None if is_image(file, path) else ""


def find_images(folder: str | Path, without: Path | None = None) -> Found:
    """The images of a folder and its sub-folders; see :func:`find_files`."""
    return find_files(folder, image_verdict, without)


def find_files(folder: str | Path, verdict: Verdict, without: Path | None = None) -> Found:
    """The files of a folder and its sub-folders that a verdict takes.

    Hidden files and folders are left alone, links are followed once, and pipes, devices and
    sockets are never opened.

    Args:
        folder: where.
        verdict: decides on each regular file.
        without: a folder that is left alone, as the one for the results.
    """
    found = Found()
    for path, problem in _walk(Path(folder), without):
        reason = problem
        if problem is None:
            try:
                reason = verdict(path)
            except OSError as error:
                reason = f"cannot be read: {error.strerror or error}"
        if reason is None:
            found.taken.append(path)
        elif reason:
            found.skipped[path] = reason
        else:
            found.others.append(path)
    found.taken.sort()
    return found


def is_hidden(name: str | PurePath) -> bool:
    """Does any part of a relative name begin with a dot, or belong to an archive tool?"""
    return any(part.startswith(".") or part in _GHOSTS for part in PurePath(name).parts)


def _walk(root: Path, without: Path | None) -> Iterator[tuple[Path, str | None]]:
    """Regular files, and what else is there with the reason why it is none."""
    seen = {_identity(without)} if without is not None and without.is_dir() else set()
    # Links come last: what is reached without them keeps its own place.
    folders, links = [root], []
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        identity = _identity(folder)
        if identity is not None and identity in seen:
            continue
        seen.add(identity)
        try:
            with os.scandir(folder) as listing:
                found_here = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield folder, f"cannot be read: {error.strerror}"
            continue
        for entry in found_here:
            if is_hidden(entry.name):
                continue
            path = folder / entry.name
            kind = _kind(path)
            if kind == "a folder":
                (links if entry.is_symlink() else folders).append(path)
            else:
                yield path, kind


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _kind(path: Path) -> str | None:
    """None for a regular file; what it is instead, for anything else."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return "is a link to nothing" if path.is_symlink() else f"cannot be read: {error.strerror}"
    if stat.S_ISREG(mode):
        return None
    return "a folder" if stat.S_ISDIR(mode) else "is a pipe, device or socket"
