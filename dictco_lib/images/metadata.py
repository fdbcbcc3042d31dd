"""Metadata of an image: read into one EXIF block, and given back to whoever writes files.

A .dco file has one chunk for metadata, EXIF. Its first directory has places for resolution
(tags 282, 283, 296) and XMP (tag 700) too, so both travel in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from PIL import Image
from PIL.TiffImagePlugin import IFDRational

ORIENTATION = 0x0112
XMP = 700
_X, _Y, _UNIT = 282, 283, 296
_DIRECTORIES = (0x8769, 0x8825)  # Exif and GPS
_WIDTH, _HEIGHT = 0xA002, 0xA003
SIDEWAYS = (5, 6, 7, 8)
#: How a file laid its pixels out, and what a .dco file says elsewhere: no metadata.
_STRUCTURE = {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279}
_STRUCTURE |= {280, 281, 284, 288, 289, 290, 291, 292, 293, 297, 301, 317, 318, 319, 320, 321}
_STRUCTURE |= {322, 323, 324, 325, 330, 332, 333, 334, 336, 337, 338, 339, 340, 341, 342, 343}
_STRUCTURE |= {344, 345, 346, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531}
_STRUCTURE |= {532, 559, 33723, 34377, 34675, 37724, 40965, 50838, 50839}


@dataclass
class Metadata:
    """Orientation, all that is kept as EXIF, and the names of what is not."""

    orientation: int = 1
    exif: bytes | None = None
    is_damaged: bool = False
    unkept: list[str] = field(default_factory=list)
    aspect: float = 1.0


def read_metadata(image: Image.Image, was_sideways: bool) -> Metadata:
    """Metadata of a loaded image; the caller's image stays as it is.

    Args:
        image: the image.
        was_sideways: whether Pillow has turned it already, and its resolution not.
    """
    found = Metadata(unkept=_left_out(image))
    try:
        exif = image.getexif()
        found.orientation = orientation_of(image)
        _keep(image, exif, found, was_sideways)
    except Exception:  # Pillow trusts EXIF data: damaged ones raise anything
        found.exif, found.is_damaged = None, True
    return found


def orientation_of(image: Image.Image) -> int:
    """How an image is to be turned, as EXIF counts it."""
    if image.format not in ("AVIF", "HEIF"):
        return image.getexif().get(ORIENTATION, 1)
    # Their boxes turn them, which Pillow tells as EXIF; what XMP says beside it does not count.
    exif = Image.Exif()
    exif.load(image.info.get("exif") or b"")
    return exif.get(ORIENTATION, 1)


def _keep(image: Image.Image, exif: Image.Exif, found: Metadata, was_sideways: bool) -> None:
    kept = Image.Exif()
    kept.endian = exif.endian
    for tag, value in exif.items():
        if tag not in _STRUCTURE and tag not in _DIRECTORIES:
            kept[tag] = value
    for tag in _DIRECTORIES:
        if tag in exif:
            kept[tag] = _directory(exif, tag)
    is_turned = was_sideways or found.orientation in SIDEWAYS
    _keep_resolution(image, kept, found, is_turned)
    if is_turned and (camera := kept.get(0x8769)) and {_WIDTH, _HEIGHT} <= camera.keys():
        camera[_WIDTH], camera[_HEIGHT] = camera[_HEIGHT], camera[_WIDTH]
    if xmp := _xmp(image):
        kept[XMP] = xmp
    found.exif = kept.tobytes() if len(kept) else None


def _directory(exif: Image.Exif, tag: int) -> dict:
    values = dict(exif.get_ifd(tag))
    if 0xA005 in values:
        values[0xA005] = dict(exif.get_ifd(0xA005))
    return values


def _keep_resolution(
    image: Image.Image, kept: Image.Exif, found: Metadata, is_turned: bool
) -> None:
    """Resolution as the container says, else as EXIF does; sides change places with a turn."""
    density, unit = _container_density(image)
    if density:
        kept[_X], kept[_Y] = (IFDRational(round(v * 10_000), 10_000) for v in density)
        kept[_UNIT] = unit
    x, y = kept.get(_X), kept.get(_Y)
    if not (x and y):
        return
    if is_turned:
        kept[_X], kept[_Y] = y, x
    found.aspect = float(kept[_Y]) / float(kept[_X])


def _container_density(image: Image.Image) -> tuple[tuple[float, float] | None, int]:
    """Pixels along x and y, per inch (unit 2) or only as a ratio (unit 1)."""
    info = image.info
    if "aspect" in info:
        return _pair(info["aspect"]), 1
    if "jfif_density" in info:
        if info.get("jfif_unit") in (1, 2):
            return _pair(info.get("dpi")), 2
        x, y = info["jfif_density"]
        return (_pair((x, y)) if x != y else None), 1
    if image.format in ("JPEG", "MPO", "TIFF"):  # EXIF's own, or a default of Pillow's
        return None, 1
    return _pair(info.get("dpi")), 2


def _pair(value: object) -> tuple[float, float] | None:
    try:
        x, y = (float(v) for v in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 0 < x < 1e5 and 0 < y < 1e5 else None


def _xmp(image: Image.Image) -> bytes | None:
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if not xmp:
        return None
    data = xmp.encode() if isinstance(xmp, str) else bytes(xmp)
    # The image is upright from now on: a reader that goes by XMP must not turn it again.
    return re.sub(rb'(tiff:Orientation\s*(?:=\s*["\']|>))[0-9]', rb"\g<1>1", data)


def _left_out(image: Image.Image) -> list[str]:
    names = []
    if image.info.get("comment") and image.format != "JPEG2000":  # there, the encoder's name
        names.append("a comment")
    if image.info.get("photoshop"):
        names.append("IPTC or Photoshop data")
    known = ("XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type xmp")
    if texts := [key for key in getattr(image, "text", {}) or {} if key not in known]:
        names.append(f"{len(texts)} texts")
    return names


def attach(image: Image.Image, exif: bytes | None) -> None:
    """Put metadata where Pillow's users look: ``info`` has exif, and dpi and xmp out of it."""
    if not exif:
        return
    image.info["exif"] = exif
    try:
        tags = Image.Exif()
        tags.load(exif)
        scale = {2: 1.0, 3: 2.54}.get(tags.get(_UNIT, 2))
        if scale and (density := _pair((tags.get(_X), tags.get(_Y)))):
            image.info["dpi"] = tuple(scale * v for v in density)
        if xmp := tags.get(XMP):
            image.info["xmp"] = bytes(xmp)
    except Exception:  # Pillow trusts EXIF data: damaged ones raise anything
        return


def without_xmp(exif: bytes) -> bytes:
    """EXIF for formats that hold XMP elsewhere."""
    tags = Image.Exif()
    tags.load(exif)
    if XMP not in tags:
        return exif
    rest = Image.Exif()
    rest.endian = tags.endian
    for tag, value in tags.items():
        if tag != XMP:
            rest[tag] = _directory(tags, tag) if tag in _DIRECTORIES else value
    return rest.tobytes() if len(rest) else b""
