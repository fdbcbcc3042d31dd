"""Answers to the exercises of the page Quickstart."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from answers import Exercise
from dictco_lib.bitstream import unpack
from dictco_lib.book.inspect.fields import flip_bit, prefix
from dictco_lib.coding import encode
from dictco_lib.rate_control import encode_to

LIMIT = 1500


def jpeg(pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=5)
    return buffer.getvalue()


def best(pixels, model, limit) -> bytes:
    low, high = 0.0, 100.0
    while high - low > 1:
        middle = (low + high) / 2
        fits = len(encode(model, pixels, middle).data) <= limit
        low, high = (middle, high) if fits else (low, middle)
    return encode(model, pixels, low).data


EXERCISES = {
    "ex_quickstart_1": Exercise(
        context=lambda w: (w.file,),
        right=[
            lambda f: 3 * f.width * f.height / len(f.data),
            lambda f: np.float32(24 / f.bpp),
        ],
        wrong={
            "one byte a pixel": (lambda f: f.width * f.height / len(f.data), "3 bytes"),
            "bits over bytes": (lambda f: 24 * f.width * f.height / len(f.data), "bits"),
            "bytes over bits": (lambda f: 3 / f.bpp, "bytes for both"),
            "upside down": (lambda f: f.bpp / 24, "upside down"),
            "the rate": (lambda f: f.bpp, "bits per pixel"),
            "what is saved": (lambda f: 1 - f.bpp / 24, "what is saved, as a share"),
            "saved in percent": (lambda f: 100 - f.bpp / 0.24, "what is saved, in percent"),
            "the size": (lambda f: len(f.data), "is not it"),
        },
    ),
    "ex_quickstart_2": Exercise(
        context=lambda w: (w.photo, w.model, LIMIT),
        right=[
            best,
            lambda p, m, limit: encode_to(m, p, max_bytes=limit).data,
        ],
        wrong={
            "too large": (lambda p, m, _: encode(m, p, 90).data, "at most 1500 are allowed"),
            "too small": (lambda p, m, _: encode(m, p, 1).data, "a quality 2 higher"),
            "black": (lambda p, m, _: encode(m, 0 * p, 100).data, "not the photo"),
            "upside down": (lambda p, m, _: encode(m, p[::-1].copy(), 10).data, "not the photo"),
            "a part": (lambda p, m, _: encode(m, p[:64, :64], 60).data, "encode the photo"),
            "a JPEG": (lambda p, m, _: jpeg(p), "a .dco file"),
            "the record": (lambda p, m, _: encode(m, p, 20), "as bytes"),
            "the quality": (lambda p, m, _: 20, "as bytes"),
        },
    ),
    "ex_quickstart_3": Exercise(
        context=lambda w: (w.file.data,),
        right=[
            lambda data: prefix(data, 4),
            lambda data: data[: -len(unpack(data).chunks[-1].data) // 2],
            lambda data: prefix(data, 1),
            lambda data: data[:-1],
        ],
        wrong={
            "nothing cut": (lambda data: data, "nothing is missing"),
            "the end alone": (lambda data: data[100:], "no beginning"),
            "a changed bit": (lambda data: flip_bit(prefix(data, 4), 4000), "no beginning"),
            "only z": (lambda data: prefix(data, 0), "one slice must remain"),
            "only a header": (lambda data: data[:40], "table of the chunks"),
            "nothing": (lambda data: b"", "too short"),
            "of another image": (
                lambda data: b"DCO\x1a" + data[5:2000],
                "no beginning",
            ),
            "a length": (lambda data: len(data) // 2, "as bytes"),
        },
    ),
}
