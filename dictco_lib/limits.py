"""How large an image may be: one limit for what is read and what is decoded."""

from __future__ import annotations

import os

from dictco_lib.errors import OptionError

MAX_SIDE = 2**16
#: What is accepted unless the user says otherwise: 268 megapixels.
MAX_PIXELS = 2**28
#: The environment variable that says otherwise.
MAX_PIXELS_VARIABLE = "DICTCO_MAX_PIXELS"


def max_pixels() -> int:
    """The most pixels of an image: ``DICTCO_MAX_PIXELS``, or 2**28.

    Raises:
        OptionError: if the variable is no whole number from 1 to 2**32.
    """
    text = os.environ.get(MAX_PIXELS_VARIABLE, "").strip()
    if not text:
        return MAX_PIXELS
    if not (text.isascii() and text.isdigit() and 0 < int(text[:12]) <= MAX_SIDE**2):
        raise OptionError(
            f"{MAX_PIXELS_VARIABLE}={text[:20]!r} is no whole number from 1 to {MAX_SIDE**2}; "
            "correct it"
        )
    return int(text)


def size_problem(width: int, height: int) -> str | None:
    """Why an image of this size is refused, with the way out; None if it is not."""
    if max(width, height) > MAX_SIDE:
        return f"{width}x{height} pixels, a .dco file holds sides up to {MAX_SIDE}; cut it"
    if width * height > max_pixels():
        return (
            f"{width}x{height} = {width * height / 1e6:.0f} megapixels, the limit is "
            f"{max_pixels() / 1e6:.0f}; cut it, or raise the limit where the memory suffices: "
            f"{MAX_PIXELS_VARIABLE}={width * height}"
        )
    return None
