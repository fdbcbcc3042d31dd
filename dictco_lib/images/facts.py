"""What the bytes of an image's file say beside its pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

from dictco_lib.images.meaning import Meaning


def not_square(aspect: float) -> str:
    """The note on pixels that are so many times as wide as high."""
    return f"its pixels are {aspect:.3g} times as wide as high, which is left out"


@dataclass
class Facts:
    """What a container says, for :mod:`dictco_lib.images.reading` to judge.

    Attributes:
        depth: bits of the deepest sample.
        kind: "unsigned", "signed" or "float" samples.
        white: the largest value of 16-bit grey as Pillow gives it.
        is_inverted: 16-bit grey counts from white, and Pillow does not turn it.
        meaning: what the colours stand for, outside of an ICC profile.
        profile: an ICC profile that Pillow does not hand out.
        transparent_scale: what Pillow forgets to multiply a transparent grey value by.
        refusal: why this image cannot be kept, and what to do; None if it can.
        notes: what is left out of every .dco file, one line each.
        unkept: names of metadata that even ``metadata=True`` leaves out.
    """

    depth: int = 8
    kind: str = "unsigned"
    white: int = 65535
    is_inverted: bool = False
    meaning: Meaning | None = None
    profile: bytes | None = None
    transparent_scale: int = 1
    refusal: str | None = None
    notes: list[str] = field(default_factory=list)
    unkept: list[str] = field(default_factory=list)
