"""ICC profiles: what one is for, and one made of the numbers that a file gives instead.

A curve is a gamma; or five numbers (g, a, b, c, d) of ``(a x + b)**g`` from d on and ``c x``
below; or an array of at least two uint16: the light of equally spaced values.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageCms

#: x and y of white, red, green and blue.
Chromaticities = tuple[float, ...]
Curve = float | tuple[float, float, float, float, float] | np.ndarray

SRGB: Chromaticities = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE_RGB: Chromaticities = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
SRGB_CURVE: Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
ADOBE_CURVE: Curve = 563 / 256
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def colour_space(profile: bytes | None) -> str | None:
    """What kind of pixels a profile is for: "RGB", "GRAY", "CMYK", ...; None for no profile."""
    if not profile or len(profile) < 128 or profile[36:40] != b"acsp":
        return None
    return profile[16:20].decode("latin-1").strip()


def looks_like_srgb(profile: bytes) -> bool:
    """Whether colours look the same without the profile, to one step of 8 bits."""
    is_grey = colour_space(profile) == "GRAY"
    steps = np.linspace(0, 255, 256 if is_grey else 9).round().astype(np.uint8)
    if is_grey:
        sample = steps[None]
    else:
        sample = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(27, 27, 3)
    want = sample[..., None] if is_grey else sample
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        image = Image.fromarray(sample)
        shown = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), 1, outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    return bool(np.abs(np.asarray(shown).astype(int) - want).max() <= 1)


def make_profile(
    chromaticities: Chromaticities, curves: Sequence[Curve], is_grey: bool
) -> bytes | None:
    """An ICC profile (version 4, matrix and curves; or one curve for grey).

    Args:
        chromaticities: x, y of white, red, green, blue.
        curves: light as a function of value: one for each channel, or the first for all.
        is_grey: make a profile for grey pixels.

    Returns:
        The profile, or None if no colours have these chromaticities.
    """
    curves = [*curves] if len(curves) == 3 else [curves[0]] * 3
    white = _xyz(*chromaticities[:2])
    if white is None:
        return None
    tags = {b"desc": _text("made by dictco_lib from the numbers in the image's file")}
    tags |= {b"cprt": _text("no copyright, use freely"), b"wtpt": _xyz_tag(_D50)}
    adapt = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / (_BRADFORD @ white)) @ _BRADFORD
    tags[b"chad"] = b"sf32\0\0\0\0" + _fixed(adapt.ravel())
    if is_grey:
        tags[b"kTRC"] = _curve_tag(curves[0])
        return _assemble(b"GRAY", tags)
    primaries = [_xyz(*chromaticities[i : i + 2]) for i in (2, 4, 6)]
    if any(p is None for p in primaries):
        return None
    matrix = np.stack(primaries, 1)
    if abs(np.linalg.det(matrix)) < 1e-6:
        return None
    matrix = adapt @ matrix @ np.diag(np.linalg.solve(matrix, white))
    for i, name in enumerate(b"rgb"):
        tags[bytes([name]) + b"XYZ"] = _xyz_tag(matrix[:, i])
        tags[bytes([name]) + b"TRC"] = _curve_tag(curves[i])
    return _assemble(b"RGB ", tags)


def _xyz(x: float, y: float) -> np.ndarray | None:
    if not (np.isfinite([x, y]).all() and abs(x) < 4 and 1e-6 < abs(y) < 4):
        return None
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _fixed(values: Sequence[float]) -> bytes:
    return b"".join(
        struct.pack(">i", round(min(max(float(v), -32000), 32000) * 65536)) for v in values
    )


def _xyz_tag(xyz: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(xyz)


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data


def _curve_tag(curve: Curve) -> bytes:
    if isinstance(curve, np.ndarray):
        return b"curv\0\0\0\0" + struct.pack(">I", len(curve)) + curve.astype(">u2").tobytes()
    numbers = curve if isinstance(curve, tuple) else (curve,)
    kind = 3 if len(numbers) == 5 else 0
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + _fixed(numbers)


def _assemble(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    at = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(
        ">I4sI4s4s4s6H4sI4s4sQI12s4s",
        at + len(body), b"\0\0\0\0", 0x04300000, b"mntr", space, b"XYZ ",
        2026, 1, 1, 0, 0, 0, b"acsp", 0, b"\0\0\0\0", b"\0\0\0\0", 0, 1, _fixed(_D50), b"\0\0\0\0",
    )  # fmt: skip
    return header.ljust(128, b"\0") + table + body
