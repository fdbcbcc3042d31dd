"""Images to files, and a look whether the file holds them."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin

from dictco_lib.errors import ImageError
from dictco_lib.files import atomic_path
from dictco_lib.images.formats import readable_formats
from dictco_lib.images.icc import colour_space, looks_like_srgb
from dictco_lib.images.metadata import XMP, without_xmp
from dictco_lib.images.quiet import quiet_pillow

# Formats of Pillow that hold alpha, and 16-bit grey; others may drop them in silence.
_ALPHA_FORMATS = {"PNG", "TIFF", "WEBP", "TGA", "JPEG2000", "DDS", "QOI", "SGI"}
_WRITING = {  # without loss where the format can, and with little where it cannot
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    "QOI": {"colorspace": "sRGB"},
}
_SIXTEEN_BIT_FORMATS = {"PNG", "TIFF", "JPEG2000", "PPM"}
#: Formats whose pixels need no second look: exact, or lossy as everybody knows.
_KNOWN_FORMATS = {"PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "PPM", "TGA", "JPEG2000"}
_XMP_FORMATS = {"JPEG", "WEBP", "AVIF"}
#: Pillow, and whoever reads by it, opens no PNG with a larger profile.
_MAX_PNG_PROFILE = 2**20
_RESOLUTION = (282, 283, 296)


def output_format(path: str | Path) -> str:
    """Pillow's name of the format that a path's suffix stands for.

    Raises:
        ImageError: if Pillow cannot write it.
    """
    suffix = Path(path).suffix.lower()
    readable_formats()  # also finds the plugins, which write what they read
    name = Image.registered_extensions().get(suffix)
    if name not in Image.SAVE:
        raise ImageError(f"images cannot be written with the suffix {suffix!r}; use .png")
    return name


def write_image(image: Image.Image, path: str | Path) -> tuple[str, ...]:
    """Save an image in the format of its suffix, all or nothing, and open it again.

    Returns:
        What of its metadata the format could not keep, one line each.

    Raises:
        ImageError: if the format cannot be written, or would lose alpha, 16 bits, the size, the
            colours (of formats with a palette) or a colour profile that matters.
    """
    with atomic_path(path) as temporary, temporary.open("w+b") as file:
        return save_image(image, file, path)


def save_image(image: Image.Image, file: BinaryIO, path: str | Path) -> tuple[str, ...]:
    """:func:`write_image` into an open file, which can be read too; ``path`` is its name."""
    path = Path(path)
    name = output_format(path)
    if problem := _missing_place(image, name):
        raise ImageError(f"{path.suffix} files cannot keep the image's {problem}")
    try:
        image.save(file, format=name, **_options(image, name))
    except Exception as error:  # Pillow trusts EXIF data: damaged ones raise anything
        if getattr(error, "errno", None):  # the disk's fault, not the image's
            raise
        raise ImageError(
            f"{image.mode} cannot be saved as {path.suffix}: {error}; use .png"
        ) from error
    problem, lost = _compare(image, file, name)
    if problem:
        raise ImageError(f"{path.suffix} files cannot keep the image's {problem}")
    return tuple(f"{path.suffix} files cannot keep the image's {what}" for what in lost)


def _missing_place(image: Image.Image, name: str) -> str | None:
    """What a format is known to have no place for, and the way out."""
    if "A" in image.getbands() and name not in _ALPHA_FORMATS:
        return "alpha; use .png"
    if image.mode.startswith("I") and name not in _SIXTEEN_BIT_FORMATS:
        return "16 bits; use .png"
    profile = image.info.get("icc_profile")
    if name == "PNG" and profile and len(profile) > _MAX_PNG_PROFILE:
        return f"colour profile of {len(profile)} bytes (few readers open such PNG files); use .tif"
    return None


def _options(image: Image.Image, name: str) -> dict:
    info = image.info
    options = dict(_WRITING.get(name, {}))
    options |= {key: info[key] for key in ("icc_profile", "exif", "dpi") if info.get(key)}
    xmp = info.get("xmp")
    if not isinstance(xmp, bytes):
        return options
    if name in _XMP_FORMATS:
        options["xmp"] = xmp
    elif name == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    if "exif" in options and (name in _XMP_FORMATS or name == "PNG"):
        options["exif"] = without_xmp(options["exif"])  # once is enough, and JPEG has 64 kB
    return {key: value for key, value in options.items() if value != b""}


def _compare(image: Image.Image, file: BinaryIO, name: str) -> tuple[str | None, list[str]]:
    """What a written file lost: of the image, with the way out; and of its metadata."""
    file.seek(0)
    try:
        with quiet_pillow(), Image.open(file, formats=[name]) as back:
            if back.size != image.size:
                return f"size, {image.width}x{image.height}; use .png", []
            if name not in _KNOWN_FORMATS and not _same_pixels(image, back):
                return "colours; use .png", []
            if _is_profile_lost(image, back):
                return "colour profile; use .png", []
            return None, _lost_metadata(image, back)
    except Exception as error:  # what Pillow wrote, it may refuse with any error
        return f"pixels so that they can be read again ({str(error)[:100]}); use .png", []


def _same_pixels(image: Image.Image, back: Image.Image) -> bool:
    if "transparency" in back.info:
        back = back.convert("RGBA")
    return bool(np.array_equal(np.asarray(image), np.asarray(back.convert(image.mode))))


def _is_profile_lost(image: Image.Image, back: Image.Image) -> bool:
    profile = image.info.get("icc_profile")
    if not profile:
        return False
    # A profile for grey in a file of colours (WebP holds no other) is none that readers take.
    is_there = back.info.get("icc_profile") == profile
    if is_there and not (colour_space(profile) == "GRAY" and back.mode[0] == "R"):
        return False
    return is_there or not looks_like_srgb(profile)


def _lost_metadata(image: Image.Image, back: Image.Image) -> list[str]:
    info, lost = image.info, []
    there = back.getexif()
    if info.get("exif"):
        wanted = Image.Exif()
        wanted.load(info["exif"])
        if not set(wanted) - {*_RESOLUTION, XMP} <= set(there):
            lost.append("EXIF data")
    if info.get("dpi") and _RESOLUTION[0] not in there:
        kept = back.info.get("dpi") or (0, 0)  # JPEG rounds it
        if any(abs(a - b) > 1 for a, b in zip(info["dpi"], kept, strict=True)):
            lost.append("resolution")
    if info.get("xmp") and not (back.info.get("xmp") or XMP in there):
        lost.append("XMP")
    return lost
