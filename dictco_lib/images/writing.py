"""Pictures to files."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from dictco_lib.errors import ImageError
from dictco_lib.files import atomic_path

# Formats of Pillow that hold alpha, and 16-bit grey; others may drop them in silence.
_ALPHA_FORMATS = {"PNG", "TIFF", "WEBP", "TGA", "JPEG2000", "DDS", "QOI", "SGI"}
_WRITING = {  # without loss where the format can, and with little where it cannot
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 100},
}
_SIXTEEN_BIT_FORMATS = {"PNG", "TIFF", "JPEG2000", "PPM"}


def output_format(path: str | Path) -> str:
    """Pillow's name of the format that a path's suffix stands for.

    Raises:
        ImageError: if Pillow cannot write it.
    """
    suffix = Path(path).suffix.lower()
    name = Image.registered_extensions().get(suffix)
    if name not in Image.SAVE:
        raise ImageError(f"pictures cannot be written with the suffix {suffix!r}; use .png")
    return name


def write_image(image: Image.Image, path: str | Path) -> None:
    """Save a picture in the format of its suffix, all or nothing.

    Raises:
        ImageError: if the format cannot be written, or would lose alpha or 16 bits.
    """
    path = Path(path)
    name = output_format(path)
    if "A" in image.getbands() and name not in _ALPHA_FORMATS:
        raise ImageError(f"{path.suffix} files cannot keep the picture's alpha; use .png")
    if image.mode.startswith("I") and name not in _SIXTEEN_BIT_FORMATS:
        raise ImageError(f"{path.suffix} files cannot keep the picture's 16 bits; use .png")
    info = {k: v for k, v in image.info.items() if k in ("icc_profile", "exif")}
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=name, **info, **_WRITING.get(name, {}))
    except Exception as error:  # Pillow trusts EXIF data: damaged ones raise anything
        raise ImageError(
            f"{image.mode} cannot be saved as {path.suffix}: {error}; use .png"
        ) from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
