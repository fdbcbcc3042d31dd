"""Exercises of notebook 00, Quickstart."""

from __future__ import annotations

import numpy as np

from dictco_lib.bitstream import ChunkType, unpack
from dictco_lib.book.checks.checker import checker
from dictco_lib.coding import decode, encode
from dictco_lib.evaluation.metrics import psnr


@checker
def ex_00_1(answer: float, encoded) -> str | None:
    """How many times smaller than the raw pixels is the file?"""
    want = 3 * encoded.width * encoded.height / len(encoded.data)
    if abs(answer - want) > 0.01 * want:
        return f"not quite: raw pixels take 3 bytes each; {answer:.1f} is not bytes over bytes"
    return None


@checker
def ex_00_2(answer: bytes, pixels: np.ndarray, model, limit: int) -> str | None:
    """Is this a .dco file below the limit, and as good as fits?"""
    if len(answer) > limit:
        return f"{len(answer)} bytes, but at most {limit} are allowed"
    got = psnr(pixels, np.asarray(decode(model, answer)))
    better = encode(model, pixels, min(100.0, unpack(answer).quality + 2))
    if len(better.data) <= limit:
        return f"it fits with {got:.2f} dB, but a quality 2 higher would fit as well"
    return None


@checker
def ex_00_3(answer: bytes) -> str | None:
    """Was the file cut so that z and all but the last slice remain?"""
    kinds = [chunk.type for chunk in unpack(answer, partial=True).chunks]
    slices = [kind for kind in kinds if kind >= ChunkType.SLICE]
    whole = unpack(answer, partial=True)
    if ChunkType.Z not in kinds or not slices:
        return "too short: z and at least one slice must remain"
    try:
        unpack(answer)
    except Exception:  # the file is cut, as it should be
        return None
    return f"nothing is missing: all {len(whole.chunks)} chunks are there"
