"""Exercises of the page The bitstream."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dictco_lib.bitstream import ChunkType, Container, unpack
from dictco_lib.book.checks.checker import PERCENT, called, checker, data_of, number, slip
from dictco_lib.coding import decode
from dictco_lib.errors import BadChecksum, BitstreamError
from dictco_lib.evaluation.metrics import psnr

#: What mistakes read: hint -> the integer that they make of the bytes.
_MISREAD = {
    "take the lowest seven bits of each byte: byte & 0x7F": (
        lambda data: sum(byte << (7 * i) for i, byte in enumerate(data))
    ),
    "a byte holds seven bits of the number, not eight: shift by 7 * i": (
        lambda data: sum((byte & 0x7F) << (8 * i) for i, byte in enumerate(data))
    ),
    "that is a plain little-endian integer; the eighth bit of a byte is no part of it": (
        lambda data: int.from_bytes(data, "little")
    ),
    "that is a plain big-endian integer; the lowest seven bits come first": (
        lambda data: int.from_bytes(data, "big")
    ),
    "the lowest seven bits come first, not the highest": (
        lambda data: sum((byte & 0x7F) << (7 * i) for i, byte in enumerate(reversed(data)))
    ),
    "that is the first byte alone; its eighth bit says that more follow": lambda d: d[0] & 0x7F,
    "that is the first two bytes; the number may be of any length": (
        lambda data: sum((byte & 0x7F) << (7 * i) for i, byte in enumerate(data[:2]))
    ),
}


@checker
def ex_bitstream_1(answer: Callable[[bytes], int]) -> str | None:
    """Does the function read LEB128 integers?"""
    cases = {b"\x05": 5, b"\x7f": 127, b"\x80\x01": 128, b"\x80\x03": 384, b"\xff\xff\x03": 65535}
    cases |= {b"\x80\x80\x01": 16384, b"\x81\x82\x83\x84\x05": 1350615297}
    for data, want in cases.items():
        got = called(answer, "a function of bytes", data)
        if got == want:
            continue
        causes = [hint for hint, misread in _MISREAD.items() if _reads(answer, misread, cases)]
        why = f": {causes[0]}" if causes else ""
        return f"for the bytes {data.hex(' ')} it gives {got}, they stand for {want}{why}"
    return None


def _reads(answer: Callable, misread: Callable, cases: dict[bytes, int]) -> bool:
    try:
        return all(answer(data) == misread(data) for data in cases)
    except Exception:  # it fails on another case: that is no known mistake
        return False


@checker
def ex_bitstream_2(answer: float, per_place: np.ndarray) -> str | None:
    """Which share of the bits does the most expensive tenth of the places take?"""
    answer = number(answer)
    values = np.sort(per_place.ravel())[::-1]
    tenth = round(0.1 * values.size)
    want = values[:tenth].sum() / values.sum()
    slips = {
        PERCENT: 100 * want,
        "that is the cheapest tenth; np.sort begins with the smallest": (
            values[-tenth:].sum() / values.sum()
        ),
        "that is their bits; divide by those of all places": values[:tenth].sum(),
        "that is what the others take": 1 - want,
        "that is the first tenth as the photo lies; sort the places first": (
            per_place.ravel()[:tenth].sum() / values.sum()
        ),
        "a tenth of the places is not a tenth of the bits": 0.1,
    }
    if abs(answer - want) <= 0.01:
        return None
    return slip(answer, slips, 0.01) or (
        f"{answer:.3f} is not it; sort all places, the dearest first, and add up a tenth"
    )


@checker
def ex_bitstream_3(
    answer: bytes, model, pixels: np.ndarray, data: bytes, target: float
) -> str | None:
    """Is this the shortest beginning of the file that reaches the PSNR?"""
    answer = data_of(answer, "a beginning of the file")
    if not data.startswith(answer):
        return "this is not a beginning of the file; cut it, change nothing"

    got = _shown(answer, model, pixels)
    if got is None:
        return "too short: nothing can be shown of it; the header, the table and `z` must be whole"
    if got < target:
        return f"it shows {got:.2f} dB, {target:.2f} dB were asked for; keep more"
    ends = [span.stop for span in unpack(data).spans]
    shorter = (_shown(data[:end], model, pixels) for end in ends if end < len(answer))
    if len(answer) not in ends or any(found and found >= target for found in shorter):
        return "long enough, but a shorter one would do: cut at the end of a chunk"
    return None


def _shown(part: bytes, model, pixels: np.ndarray) -> float | None:
    """PSNR of what a beginning of a file shows; None if it shows nothing."""
    try:
        return psnr(pixels, np.asarray(decode(model, part, partial=True)))
    except BitstreamError:
        return None


@checker
def ex_bitstream_4(answer: bytes, model, data: bytes) -> str | None:
    """Is this a forgery that all CRCs accept and only the sums over the symbols catch?"""
    answer = data_of(answer, "a forged file: pack(...)")
    try:
        container = unpack(answer)
    except BadChecksum as error:
        return f"`unpack` already refuses it ({error}); make the CRCs right again with `pack`"
    except BitstreamError as error:
        return f"`unpack` refuses it ({error}); start from `data`, and change a bit of a slice"
    if complaint := _forged_elsewhere(container, unpack(data)):
        return complaint
    try:
        decode(model, answer)
    except BadChecksum:
        return None
    return "it decodes: the flipped bit changed no symbol; take another one"


def _forged_elsewhere(forged: Container, real: Container) -> str | None:
    """What differs from a file with one bit of a slice turned over; None if nothing does."""
    sizes, was = ([(c.type, len(c.data)) for c in file.chunks] for file in (forged, real))
    header = ("width", "height", "quality", "flags", "tile", "fingerprint")
    if sizes != was or any(getattr(forged, name) != getattr(real, name) for name in header):
        return "this is another file: start from `data`, and change a bit of a slice, nothing else"
    changed = [
        (b.type, bin(int.from_bytes(a.data) ^ int.from_bytes(b.data)).count("1"))
        for a, b in zip(forged.chunks, real.chunks, strict=True)
        if a.data != b.data
    ]
    if not changed:
        return "all slices are as they were; turn a bit over in one of them"
    if any(kind < ChunkType.SLICE for kind, _ in changed):
        return "a chunk that is no slice changed; the sums and z are to stay as they are"
    bits = sum(count for _, count in changed)
    return f"{bits} bits changed; one is enough" if bits > 1 else None
