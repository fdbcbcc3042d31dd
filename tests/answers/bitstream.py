"""Answers to the exercises of the page The bitstream."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from answers import Exercise
from dictco_lib.bitstream import ChunkType, pack, unpack
from dictco_lib.book.inspect.fields import damage_chunk, flip_bit, prefix
from dictco_lib.coding import decode, encode
from dictco_lib.evaluation.metrics import psnr

PLACES = np.random.default_rng(0).exponential(30, (16, 24))


def leb128(data: bytes) -> int:
    return sum((byte & 0x7F) << (7 * i) for i, byte in enumerate(data))


def share(places) -> float:
    dearest = np.sort(places.ravel())[::-1]
    return dearest[: round(0.1 * dearest.size)].sum() / dearest.sum()


def middling(world):
    """Model, photo, file, and a PSNR that three slices reach and two do not."""
    data = world.file.data
    two, three = (shown(world.model, world.photo, prefix(data, k)) for k in (2, 3))
    return world.model, world.photo, data, (two + three) / 2


def shown(model, photo, data) -> float:
    return psnr(photo, np.asarray(decode(model, data, partial=True)))


def forged(data, kind=ChunkType.SLICE, bit=1000) -> bytes:
    return pack(damage_chunk(unpack(data), kind, bit))


def twice(data) -> bytes:
    return pack(damage_chunk(damage_chunk(unpack(data), ChunkType.SLICE, 1000), 17, 400))


def without_last(data) -> bytes:
    container = unpack(data)
    return pack(replace(container, chunks=container.chunks[:-1]))


EXERCISES = {
    "ex_bitstream_1": Exercise(
        right=[lambda: leb128],
        wrong={
            "no mask": (
                lambda: lambda d: sum(b << (7 * i) for i, b in enumerate(d)),
                "byte & 0x7F",
            ),
            "shift by 8": (
                lambda: lambda d: sum((b & 0x7F) << (8 * i) for i, b in enumerate(d)),
                "seven bits of the number",
            ),
            "little": (lambda: lambda d: int.from_bytes(d, "little"), "plain little-endian"),
            "big": (lambda: lambda d: int.from_bytes(d, "big"), "plain big-endian"),
            "other way round": (lambda: lambda d: leb128(d[::-1]), "lowest seven bits come first"),
            "first byte": (lambda: lambda d: d[0] & 0x7F, "first byte alone"),
            "two bytes": (lambda: lambda d: leb128(d[:2]), "of any length"),
            "text": (lambda: lambda d: d.hex(), "they stand for"),
            "no return": (lambda: lambda d: None, "returns nothing"),
            "an integer": (lambda: 384, "expected a function"),
            "fails": (lambda: lambda d: d[1], "your function fails"),
        },
    ),
    "ex_bitstream_2": Exercise(
        context=lambda w: (PLACES,),
        right=[share],
        wrong={
            "percent": (lambda p: 100 * share(p), "in percent"),
            "the cheapest": (
                lambda p: np.sort(p.ravel())[: round(0.1 * p.size)].sum() / p.sum(),
                "the cheapest tenth",
            ),
            "bits": (lambda p: share(p) * p.sum(), "divide by those of all places"),
            "the others": (lambda p: 1 - share(p), "the others"),
            "not sorted": (
                lambda p: p.ravel()[: round(0.1 * p.size)].sum() / p.sum(),
                "sort the places first",
            ),
            "a tenth": (lambda p: 0.1, "is not a tenth of the bits"),
            "not a number": (lambda p: np.float64("nan"), "no number"),
        },
    ),
    "ex_bitstream_3": Exercise(
        context=middling,
        right=[lambda m, p, data, target: prefix(data, 3)],
        wrong={
            "the whole file": (lambda m, p, data, target: data, "a shorter one would do"),
            "a slice too many": (lambda m, p, d, target: prefix(d, 4), "a shorter one would do"),
            "a byte too many": (
                lambda m, p, d, target: d[: len(prefix(d, 3)) + 1],
                "a shorter one would do",
            ),
            "a slice too few": (lambda m, p, data, target: prefix(data, 2), "keep more"),
            "a byte too few": (lambda m, p, data, target: prefix(data, 3)[:-1], "keep more"),
            "the header": (lambda m, p, data, target: data[:30], "nothing can be shown"),
            "nothing": (lambda m, p, data, target: b"", "nothing can be shown"),
            "a coarser file": (lambda m, p, data, target: encode(m, p, 30).data, "change nothing"),
            "number of slices": (lambda m, p, data, target: 3, "as bytes"),
        },
    ),
    "ex_bitstream_4": Exercise(
        context=lambda w: (w.model, w.file.data),
        right=[lambda m, data: forged(data), lambda m, data: forged(data, 17, 200)],
        wrong={
            "the file": (lambda m, data: data, "all slices are as they were"),
            "old CRCs": (
                lambda m, data: flip_bit(data, 8 * (len(data) - 50)),
                "make the CRCs right again",
            ),
            "z": (lambda m, data: forged(data, ChunkType.Z, 40), "no slice changed"),
            "the sums": (lambda m, data: forged(data, ChunkType.SUMS, 3), "no slice changed"),
            "two bits": (lambda m, data: twice(data), "one is enough"),
            "a slice left out": (lambda m, data: without_last(data), "`unpack` refuses it"),
            "a header": (lambda m, data: pack(replace(unpack(data), quality=50)), "another file"),
            "the container": (lambda m, data: unpack(data), "as bytes"),
        },
    ),
}
