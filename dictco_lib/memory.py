"""Memory of the C library: kept while a transform runs, given back afterwards if it is much.

The maps between two layers are tens of megabytes. By default glibc asks the system for each of
them and gives it back at once, and the system hands out zeros: for a full-size model and 512x768
pixels a fifth of the CPU time of a transform was spent so. Within :func:`kept_memory` what was
freed is used again.

What a small image leaves is kept for the next one too: giving it back and asking for it again was a
tenth of the CPU time of 512x768 pixels. Much is more than 256 MB and than twice what the weights
take: the maps of a full-size model are as large as its weights.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

# Names and numbers of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_MEGABYTE = 2**20
_KEPT = 256 * _MEGABYTE  # free memory that is not worth giving back
#: Free memory at the top of the heap beyond which glibc gives it back unasked: what it arrives at
#: by itself once blocks of 32 MB were freed, and what we let it keep until :func:`release_memory`.
_USUAL, _TOP = 64 * _MEGABYTE, 1024 * _MEGABYTE
_lock = threading.Lock()
_inside = 0  # how many callers, of all threads, are within kept_memory
_is_off = False


@contextmanager
def kept_memory_off() -> Iterator[None]:
    """Let :func:`kept_memory` do nothing: how else would one measure what it brings?

    What was kept goes first, or a program that does without would be measured with it.
    """
    global _is_off
    before, _is_off = _is_off, True
    _set(_MMAP_THRESHOLD, _USUAL // 2)
    _set(_TRIM_THRESHOLD, _USUAL)
    if trim := _function("malloc_trim"):
        trim(0)
    try:
        yield
    finally:
        _is_off = before
        _set(_TRIM_THRESHOLD, _TOP)


@contextmanager
def kept_memory() -> Iterator[None]:
    """Use freed memory again instead of returning it; :func:`release_memory` does afterwards.

    Changes nothing where the C library is not glibc.
    """
    global _inside
    if _is_off:
        yield
        return
    with _lock:
        _inside += 1
        if _inside == 1:
            _set(_MMAP_MAX, 0)
            _set(_TRIM_THRESHOLD, -1)  # the largest size
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _set(_MMAP_MAX, 65536)
                _set(_MMAP_THRESHOLD, _USUAL // 2)
                _set(_TRIM_THRESHOLD, _TOP)


def release_memory(held: Callable[[], int]) -> None:
    """Give what is free back to the system, if it is much: one tile leaves holes for the next.

    Without it, glibc keeps some hundred megabytes that fit no later tensor.

    Args:
        held: tells the bytes of the model at work; asked only where much is free. Whoever holds
            these can hold something for the next image, too.
    """
    if not (trim := _function("malloc_trim")) or (free := _free()) <= _KEPT:
        return
    if free > 2 * held():
        trim(0)


class _Info(ctypes.Structure):
    """``struct mallinfo2`` of <malloc.h>."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


def _free() -> float:
    """Bytes that are free within the C library; infinity where it does not tell (glibc < 2.33)."""
    if not (info := _function("mallinfo2")):
        return float("inf")
    info.restype = _Info
    return info().fordblks


def _set(what: int, value: int) -> None:
    if mallopt := _function("mallopt"):
        mallopt(what, value)


@cache
def _function(name: str):
    try:
        libc = ctypes.CDLL(None)
        libc.malloc_trim, libc.mallopt  # noqa: B018
        return getattr(libc, name)
    except (AttributeError, OSError, TypeError):  # no glibc: other allocators do without
        return None
