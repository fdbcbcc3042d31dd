"""Pillow without its voices: no warning of its own, no limits but ours, nothing left behind."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from PIL import Image, PngImagePlugin

#: The largest colour profile or text that is read, as a .dco file keeps it.
MAX_TEXT = 2**24

_lock = threading.Lock()
_inside = 0
_undo = ExitStack()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Lift Pillow's limits on pixels and profiles, and keep warnings from the terminal.

    These are settings of the process: the first thread that comes in makes them, the last that
    goes out puts them back, so several may read at once. The caller holds images against
    :mod:`dictco_lib.limits` before they are loaded.
    """
    global _inside
    with _lock:
        if not _inside:
            _enter()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _undo.close()


def _enter() -> None:
    _undo.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")
    for module, name, value in (
        (Image, "MAX_IMAGE_PIXELS", None),
        (PngImagePlugin, "MAX_TEXT_CHUNK", MAX_TEXT),
        (PngImagePlugin, "MAX_TEXT_MEMORY", 2 * MAX_TEXT),
    ):
        _undo.callback(setattr, module, name, getattr(module, name))
        setattr(module, name, value)
    _undo.callback(_silence_stderr())


def _silence_stderr():
    """Send file descriptor 2 nowhere: libtiff writes there past Python. Returns the way back.

    Errors lose nothing by it: what libtiff says Pillow raises too, and the caller names it.
    """
    try:
        if sys.stderr:
            sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError):  # no stderr at all
        return lambda: None
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)

    def back() -> None:
        os.dup2(kept, 2)
        os.close(kept)

    return back
