"""Exercises of the page Quickstart."""

from __future__ import annotations

import numpy as np

from dictco_lib.bitstream import ChunkType, unpack
from dictco_lib.book.checks.checker import checker, data_of, number, slip
from dictco_lib.coding import decode, encode
from dictco_lib.errors import BitstreamError
from dictco_lib.evaluation.metrics import psnr


@checker
def ex_quickstart_1(answer: float, encoded) -> str | None:
    """How many times smaller than the raw pixels is the file?"""
    answer, pixels = number(answer), encoded.width * encoded.height
    want = 3 * pixels / len(encoded.data)
    slips = {
        "a raw pixel takes 3 bytes, one for each colour": want / 3,
        "a file in bytes against pixels in bits: a raw pixel takes 3 bytes": 8 * want,
        "pixels in bytes against a file in bits: take bytes for both": want / 8,
        "upside down: raw bytes over bytes of the file": 1 / want,
        "that is the rate in bits per pixel; raw pixels have 24 of them": 24 / want,
        "that is what is saved, as a share; divide one size by the other": 1 - 1 / want,
        "that is what is saved, in percent; divide one size by the other": 100 - 100 / want,
    }
    if abs(answer - want) <= 0.01 * want:
        return None
    return slip(answer, slips, 0.01) or (
        f"{answer:.1f} is not it: 3 bytes for each raw pixel, over the bytes of the file"
    )


@checker
def ex_quickstart_2(answer: bytes, pixels: np.ndarray, model, limit: int) -> str | None:
    """Is this the photo as a .dco file below the limit, and as good as fits?"""
    answer = data_of(answer, "a .dco file: encode(...).data")
    if len(answer) > limit:
        return f"{len(answer)} bytes, but at most {limit} are allowed"
    quality = unpack(answer).quality
    shown, honest = np.asarray(decode(model, answer)), encode(model, pixels, quality)
    if shown.shape != pixels.shape:
        return f"an image of shape {shown.shape}; the photo has {pixels.shape}: encode the photo"
    got, expected = psnr(pixels, shown), psnr(pixels, np.asarray(decode(model, honest)))
    if got < expected - 0.1:
        return f"it fits, but it is not the photo: {got:.2f} dB; encode the photo itself"
    if quality + 2 <= 100 and len(encode(model, pixels, quality + 2).data) <= limit:
        return f"it fits with {got:.2f} dB, but a quality 2 higher would fit as well"
    return None


@checker
def ex_quickstart_3(answer: bytes, data: bytes) -> str | None:
    """Is this the beginning of the file, cut behind z and at least one slice?"""
    answer = data_of(answer, "a part of files[50].data")
    if not data.startswith(answer):
        return "this is no beginning of the file; cut the end off, change nothing: data[:length]"
    if len(answer) == len(data):
        return f"nothing is missing: all {len(data)} bytes are there"
    try:
        kinds = [chunk.type for chunk in unpack(answer, partial=True).chunks]
    except BitstreamError:
        return "too short: not even the table of the chunks is left, nothing can be shown"
    if not any(kind >= ChunkType.SLICE for kind in kinds):
        return "too short: `z` and at least one slice must remain whole, or there is only a blur"
    return None
