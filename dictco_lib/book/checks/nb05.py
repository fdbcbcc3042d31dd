"""Exercises of notebook 05, Inside the bitstream."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dictco_lib.bitstream import ChunkType, unpack
from dictco_lib.book.checks.checker import checker
from dictco_lib.coding import decode
from dictco_lib.errors import BadChecksum, BitstreamError
from dictco_lib.evaluation.metrics import psnr


@checker
def ex_05_1(answer: Callable[[bytes], int]) -> str | None:
    """Does the function read LEB128 integers?"""
    cases = {b"\x05": 5, b"\x7f": 127, b"\x80\x01": 128, b"\x80\x03": 384, b"\xff\xff\x03": 65535}
    for data, want in cases.items():
        if (got := answer(data)) != want:
            return f"for the bytes {data.hex(' ')} it gives {got}, they stand for {want}"
    return None


@checker
def ex_05_2(answer: float, per_place: np.ndarray) -> str | None:
    """Which share of the bits does the most expensive tenth of the places take?"""
    values = np.sort(per_place.ravel())[::-1]
    want = values[: round(0.1 * values.size)].sum() / values.sum()
    if abs(answer - want) > 0.01:
        return f"{answer:.3f} is not it; sort all places, the dearest first, and add up a tenth"
    return None


@checker
def ex_05_3(answer: bytes, model, pixels: np.ndarray, data: bytes, target: float) -> str | None:
    """Is this the shortest beginning of the file that reaches the PSNR?"""
    if not data.startswith(answer):
        return "this is not a beginning of the file; cut it, change nothing"
    got = psnr(pixels, np.asarray(decode(model, answer, partial=True)))
    if got < target:
        return f"it shows {got:.2f} dB, {target:.2f} dB were asked for; keep more"
    try:
        less = decode(model, answer[:-1], partial=True)
    except BitstreamError:  # nothing can be shown from less
        return None
    if psnr(pixels, np.asarray(less)) >= target:
        return "long enough, but a shorter one would do: cut at the end of a chunk"
    return None


@checker
def ex_05_4(answer: bytes, model, data: bytes) -> str | None:
    """Is this a forgery that all CRCs accept and only the sums over the symbols catch?"""
    container = unpack(answer)  # raises where a CRC does not fit
    if [c for c in container.chunks if c.type >= ChunkType.SLICE] == [
        c for c in unpack(data).chunks if c.type >= ChunkType.SLICE
    ]:
        return "all slices are as they were; turn a bit over in one of them"
    try:
        decode(model, answer)
    except BadChecksum:
        return None
    return "it decodes: the flipped bit changed no symbol; take another one"
