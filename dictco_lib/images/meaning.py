"""What colours a file's numbers stand for, where no ICC profile says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dictco_lib.images.icc import (
    ADOBE_CURVE,
    ADOBE_RGB,
    SRGB,
    SRGB_CURVE,
    Chromaticities,
    Curve,
    make_profile,
)

_D65 = SRGB[:2]
_P3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
# ITU-T H.273, tables 2 and 3. 2 means that nothing is said.
_CICP_PRIMARIES: dict[int, Chromaticities | None] = {
    1: SRGB,
    2: None,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, *_P3),
    12: (*_D65, *_P3),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_NOWHERE: Chromaticities = (0.0,) * 8
_BT709: Curve = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_SMPTE240: Curve = (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912)
_CICP_CURVES: dict[int, Curve | None] = {1: _BT709, 2: None, 4: 2.2, 5: 2.8, 6: _BT709}
_CICP_CURVES |= {7: _SMPTE240, 8: 1.0, 13: SRGB_CURVE, 14: _BT709, 15: _BT709}
_HDR = {16: "PQ", 18: "HLG"}


@dataclass(frozen=True)
class Meaning:
    """Chromaticities of white, red, green and blue, and one curve for each channel or for all.

    What is None is that of sRGB. ``is_first`` says that it counts more than an ICC profile, and
    ``problem`` why the colours cannot be kept.
    """

    chromaticities: Chromaticities | None = None
    curves: tuple[Curve, ...] | None = None
    is_first: bool = False
    problem: str | None = None

    @property
    def is_srgb(self) -> bool:
        """Whether nothing needs to be said: untagged images are sRGB."""
        same = self.chromaticities is None or np.allclose(self.chromaticities, SRGB, atol=0.0015)
        return same and (self.curves is None or all(_is_srgb_curve(c) for c in self.curves))

    def profile(self, is_grey: bool) -> bytes | None:
        """The ICC profile that says the same; None if no colours can be meant by it."""
        return make_profile(self.chromaticities or SRGB, self.curves or (SRGB_CURVE,), is_grey)


def _is_srgb_curve(curve: Curve) -> bool:
    # The gamma that PNG files of sRGB images name beside, or instead of, the exact curve.
    return curve is SRGB_CURVE or (isinstance(curve, float) and abs(1 / curve - 0.45455) < 5e-4)


def from_cicp(primaries: int, transfer: int, is_first: bool = False) -> Meaning | None:
    """The meaning of H.273's code points, as PNG, AVIF and HEIF files give them; None of none."""
    if primaries == transfer == 2:  # unspecified: what else the file says counts
        return None
    if transfer in _HDR:
        return Meaning(
            is_first=True,
            problem=f"HDR colours ({_HDR[transfer]}), whose brightness 8 bits cannot hold; "
            "tone-map it to SDR first (an HDR editor's export as PNG or JPEG)",
        )
    if primaries not in _CICP_PRIMARIES or transfer not in _CICP_CURVES:
        return Meaning(
            is_first=is_first,
            problem=f"colours of primaries {primaries} and transfer {transfer} (H.273), which no "
            "colour profile made here describes; convert it to sRGB first",
        )
    curve = _CICP_CURVES[transfer]
    return Meaning(_CICP_PRIMARIES[primaries], None if curve is None else (curve,), is_first)


def from_png(info: Mapping) -> Meaning | None:
    """The meaning of gAMA and cHRM, unless an sRGB chunk overrides them."""
    if "srgb" in info or not ("gamma" in info or "chromaticity" in info):
        return None
    gamma = info.get("gamma")
    if isinstance(gamma, (int, float)) and not 0.01 <= gamma <= 100:
        return Meaning(_NOWHERE)
    return Meaning(info.get("chromaticity"), None if gamma is None else (1 / float(gamma),))


def from_exif(exif: Mapping, camera: Mapping, interop: Mapping) -> Meaning | None:
    """The meaning of EXIF's colour fields: DCF's second colour space is Adobe RGB.

    Args:
        exif: the first directory's values by tag.
        camera: those of the Exif directory.
        interop: those of the interoperability directory.
    """
    index = interop.get(1)
    index = index.decode("latin-1") if isinstance(index, bytes) else str(index)
    if camera.get(0xA001) == 2 or (index.startswith("R03") and camera.get(0xA001) != 1):
        return Meaning(ADOBE_RGB, (ADOBE_CURVE,))
    return None


def from_tiff(tags: Mapping) -> Meaning | None:
    """The meaning of a TIFF's white point, primaries and transfer function."""
    white, primaries, transfer = (tags.get(tag) for tag in (318, 319, 301))
    if not (white or primaries or transfer):
        return None
    chromaticities = tuple(map(float, (*(white or _D65), *(primaries or SRGB[2:]))))
    if len(chromaticities) != 8:
        return Meaning(_NOWHERE)
    if not transfer:
        return Meaning(chromaticities)
    length = 2 ** max(tags.get(258, (1,)))
    if len(transfer) not in (length, 3 * length) or not all(0 <= v < 65536 for v in transfer):
        return Meaning(_NOWHERE)
    table = np.array(transfer, np.uint16).reshape(-1, length)
    return Meaning(chromaticities, tuple(table))
