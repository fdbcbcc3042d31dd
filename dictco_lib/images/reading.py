"""Files, images and arrays to images: what a user hands in, and what it means.

==================================  =============================================================
what a file holds                   what becomes of it
==================================  =============================================================
8-bit colours, grey, alpha          kept: the mode comes back (RGB, L, RGBA, LA); three equal
                                    channels come back exactly equal, opaque alpha not at all
16-bit grey, 12-bit grey            kept as 16 bits; white is zero is turned round
palette, bilevel                    kept as colours or 8-bit grey, transparent colours as alpha
more than 8 bits in colours         refused (PNG, TIFF, PPM, AVIF, HEIF, JPEG 2000, SGI alike)
signed, float, 32 bits, CMYK, Lab   refused, each with its own way out
extra channels, several frames,     refused
icon sizes, raw photos, HDR (PQ,
HLG), formats nobody looked into
ICC profile                         kept where it fits the pixels; else left out, and named
gAMA, cHRM, cICP, nclx, TIFF and    kept as an ICC profile that says the same, unless they say
BMP colour fields, EXIF Adobe RGB   sRGB, as untagged images are anyway
turned by EXIF, XMP or container    turned once; what remains says upright
gain maps, previews, depth, films,  left out, and named
layers, sub-images
EXIF, resolution, XMP               kept if asked for (``metadata``), in the EXIF chunk
comments, texts, IPTC               left out, and named if metadata were asked for
thumbnails, sBIT, bKGD, time        left out: they tell nothing that the rest does not
==================================  =============================================================
"""

from __future__ import annotations

import importlib.resources
import io
import os
import stat
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose
from torch import Tensor

from dictco_lib.errors import DictcoError, ImageError, LossWarning
from dictco_lib.images.arrays import from_array, from_tensor, is_grey
from dictco_lib.images.facts import Facts
from dictco_lib.images.formats import readable_formats, why_unread
from dictco_lib.images.icc import colour_space
from dictco_lib.images.image_data import ImageData
from dictco_lib.images.meaning import Meaning, from_exif, from_png
from dictco_lib.images.metadata import (
    ORIENTATION,
    SIDEWAYS,
    Metadata,
    orientation_of,
    read_metadata,
)
from dictco_lib.images.planes import image_samples
from dictco_lib.images.quiet import quiet_pillow
from dictco_lib.images.survey import survey
from dictco_lib.limits import size_problem

_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_DEMO_PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
_EXPECTED = (
    "expected a path, bytes, a file opened for reading bytes, a PIL image, an array or a tensor"
)
_WAYS_OUT = {
    "CMYK": "convert it to sRGB with its own profile (ImageCms.profileToProfile), or with Pillow's "
    "image.convert('RGB') where the look of print does not matter",
    "YCbCr": "convert it to RGB, as with Pillow's image.convert('RGB')",
    "HSV": "convert it to RGB, as with Pillow's image.convert('RGB')",
    "LAB": "convert it to sRGB with ImageCms (createProfile('LAB') to createProfile('sRGB'))",
}
_FLOAT_WAY_OUT = (
    "scale the values to 0-65535 and save them as 16-bit grey, or to 0-255 for 8 bits "
    "(image.convert would clip them, not scale)"
)


def demo_images() -> dict[str, Path]:
    """Name -> file of the colour photographs that are packaged in scikit-image."""
    folder = Path(str(importlib.resources.files("skimage") / "data"))
    return {Path(name).stem: folder / name for name in _DEMO_PHOTOS}


def image_size(path: str | Path) -> tuple[int, int] | None:
    """Width and height of an upright image, from its header alone; None if it has none."""
    try:
        formats = readable_formats(path)
        with (
            _open_file(Path(path)) as file,
            quiet_pillow(),
            Image.open(file, "r", formats) as pil,
        ):
            size = pil.size
            # Pillow gives the size of a TIFF as it is upright.
            turned = pil.format != "TIFF" and orientation_of(pil) in SIDEWAYS
    except Exception:  # damaged files make Pillow raise nearly anything
        return None
    return size[::-1] if turned else size


def read_image(
    source: str | os.PathLike | bytes | BinaryIO | Image.Image | np.ndarray | Tensor | ImageData,
) -> ImageData:
    """Understand an image.

    Args:
        source: a path; the bytes of a file; a file opened for reading bytes; a PIL image; an
            array (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16 (grey only); a float tensor
            (3, H, W) in [0, 1]; or what this function returned before.

    Returns:
        The image, upright (EXIF orientation applied), palette resolved, alpha apart. Its
        ``notes`` name what was left out.

    Raises:
        ImageError: if it cannot be read, or holds something that would be lost.
    """
    if isinstance(source, ImageData):
        return source
    if isinstance(source, Tensor):
        return from_tensor(source)
    if isinstance(source, np.ndarray):
        return from_array(source)
    if isinstance(source, Image.Image):
        return _guarded(lambda: _from_pil(source, "image"), "image")
    if isinstance(source, (str, os.PathLike)) and not isinstance(source, bytes):
        return _from_path(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_stream(io.BytesIO(source), "image (bytes)")
    if hasattr(source, "read"):
        return _from_stream(io.BytesIO(_read_all(source)), "image (open file)")
    raise ImageError(f"got a {type(source).__name__}, {_EXPECTED}")


def read_aloud(source: object, metadata: bool = False) -> ImageData:
    """:func:`read_image`, with a LossWarning for each thing that its file will not hold.

    Who hands in a :class:`ImageData` has read it before, and had its notes then.

    Args:
        source: what :func:`read_image` takes.
        metadata: whether the file is to hold metadata.
    """
    image = read_image(source)
    if image is not source:  # five levels up: past encode, and past torch.no_grad
        for loss in image.losses(metadata):
            warnings.warn(f"left out of the file: {loss}", LossWarning, stacklevel=5)
    return image


def _from_path(source: str | os.PathLike) -> ImageData:
    try:
        path = Path(os.fsdecode(source))
        file = _open_file(path)
    except FileNotFoundError:
        raise ImageError(f"image {source} does not exist") from None
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"image {str(source)[:300]!r} cannot be read: {reason}") from None
    with file:
        return _from_stream(file, str(path))


def _open_file(path: Path) -> BinaryIO:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise ImageError(f"{path} is a folder, expected an image")
    if not stat.S_ISREG(mode):  # a pipe would wait for ever
        raise ImageError(f"{path} is a pipe or a device, expected the file of an image")
    file = path.open("rb")
    if reason := why_unread(path, file.read(64)):
        file.close()
        raise ImageError(f"{path} {reason}")
    file.seek(0)
    return file


def _read_all(file: object) -> bytes:
    try:
        data = file.read()
    except (OSError, ValueError) as error:  # closed, or opened for writing
        raise ImageError(f"the open file cannot be read ({error}); {_EXPECTED}") from None
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ImageError(f"the open file gives {type(data).__name__}; open it with mode 'rb'")
    if not data:
        raise ImageError("the open file has no bytes left; rewind it with seek(0)")
    return data


def _from_stream(file: BinaryIO, name: str) -> ImageData:
    def read() -> ImageData:
        with quiet_pillow(), Image.open(file, formats=readable_formats(name)) as pil:
            return _from_pil(pil, name)

    return _guarded(read, name)


def _guarded(read, name: str) -> ImageData:
    try:
        return read()
    except DictcoError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{name} is no image that Pillow can read; convert it to PNG") from None
    except MemoryError:
        raise ImageError(f"{name} needs more memory than there is; cut it") from None
    except Exception as error:  # damaged files make Pillow raise nearly anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(
            f"{name} is damaged, or of a kind that Pillow does not read: {reason}; get it again, "
            "or convert it to PNG"
        ) from None


def _from_pil(pil: Image.Image, name: str) -> ImageData:
    if 0 in pil.size:
        raise ImageError(f"{name} is {pil.width}x{pil.height}, expected at least one pixel")
    if problem := size_problem(*pil.size):
        raise ImageError(f"{name} has {problem}")
    with quiet_pillow():
        facts = survey(pil)
        _refuse_losses(pil, facts, name)
        is_sideways = pil.format == "TIFF" and pil.tag_v2.get(ORIENTATION) in SIDEWAYS
        pil.load()
        metadata = read_metadata(pil, is_sideways)
        upright = pil
        if metadata.orientation in _TURNS:
            upright = pil.transpose(_TURNS[metadata.orientation])
        if upright.mode.startswith("I"):
            image = _from_sixteen_bit(upright, facts, name)
        else:
            image = _from_eight_bit(upright, facts)
        _give_meaning(image, pil, facts, name)
    image.exif, image.is_exif_damaged = metadata.exif, metadata.is_damaged
    image.notes = _notes(image, facts, metadata)
    image.unkept = tuple(dict.fromkeys(facts.unkept + metadata.unkept))
    return image


def _refuse_losses(pil: Image.Image, facts: Facts, name: str) -> None:
    """Raise ImageError for what would not come back."""
    # Further images of an MPO are previews and the like beside a phone's JPEG, and named.
    frames = getattr(pil, "n_frames", 1)
    if frames > 1 and pil.format != "MPO":
        raise ImageError(
            f"{name} holds {frames} images, a .dco file holds one; save the one you want as PNG"
        )
    if facts.refusal:
        raise ImageError(f"{name} has {facts.refusal}")
    if pil.mode in _WAYS_OUT:
        raise ImageError(
            f"{name} has colour mode {pil.mode}, which would not come back unchanged; "
            f"{_WAYS_OUT[pil.mode]}"
        )
    if pil.mode == "F" or facts.kind in ("float", "complex"):
        raise ImageError(f"{name} has floating-point values, expected 8 bits; {_FLOAT_WAY_OUT}")
    if facts.kind == "signed":
        raise ImageError(
            f"{name} has signed values, of which none is black or white; shift and scale them to "
            "unsigned 8 or 16 bits"
        )
    is_deep_grey = pil.mode.startswith("I")
    if facts.depth > 16:
        raise ImageError(
            f"{name} has values of {facts.depth} bits, of which only 16 would come back; scale "
            "them to 0-65535 and save 16-bit grey"
        )
    if facts.depth > 8 and not is_deep_grey:
        raise ImageError(
            f"{name} has colours of {facts.depth} bits, of which only 8 would come back; convert "
            "it to 8 bits first, or keep one channel as 16-bit grey"
        )
    if is_deep_grey and "transparency" in pil.info:
        raise ImageError(f"{name} has 16 bits and transparency; remove one of them first")


def _from_sixteen_bit(pil: Image.Image, facts: Facts, name: str) -> ImageData:
    values = np.asarray(pil)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(
            f"{name} has integer values {values.min():.0f} to {values.max():.0f}, expected 16 bits"
        )
    values = np.minimum(values, facts.white).astype(np.uint16)
    if facts.white != 65535:
        scaled = (np.arange(facts.white + 1) * (65535 / facts.white)).round().astype(np.uint16)
        values = scaled[values]
    if facts.is_inverted:
        values = 65535 - values
    return ImageData(values, is_grey=True, is_sixteen_bit=True)


def _from_eight_bit(pil: Image.Image, facts: Facts) -> ImageData:
    """8-bit pixels: palette resolved, alpha apart, and whether they are grey."""
    is_palette = pil.mode in ("P", "PA")
    if isinstance(value := pil.info.get("transparency"), int) and pil.mode == "L":
        pil = pil.copy() if facts.transparent_scale > 1 else pil
        pil.info["transparency"] = value * facts.transparent_scale
    if pil.has_transparency_data and pil.mode not in ("LA", "RGBA"):
        pil = pil.convert("LA" if pil.mode in ("1", "L", "La") else "RGBA")
    alpha = None
    if pil.mode in ("LA", "RGBA"):
        alpha = image_samples(pil.getchannel("A"), "L")
        alpha = None if (alpha == 255).all() else alpha
    if pil.mode in ("1", "L", "LA"):
        grey = pil.getchannel(0) if pil.mode == "LA" else pil
        return ImageData(image_samples(grey, "L"), is_grey=True, alpha=alpha)
    pixels = image_samples(pil, "RGB")
    if not is_grey(pixels):
        return ImageData(pixels, alpha=alpha)
    return ImageData(pixels[..., 0].copy(), is_grey=True, is_rgb=not is_palette, alpha=alpha)


def _give_meaning(image: ImageData, pil: Image.Image, facts: Facts, name: str) -> None:
    """The image's profile: its own, or one of what its file says otherwise."""
    meaning = facts.meaning or from_png(pil.info)
    profile = pil.info.get("icc_profile") or facts.profile
    if meaning and meaning.problem and (meaning.is_first or not profile):
        raise ImageError(f"{name} has {meaning.problem}")
    if not profile or (meaning and meaning.is_first):
        meaning = meaning or _exif_meaning(pil)
        profile = None
        if meaning and not meaning.is_srgb:
            profile = meaning.profile(image.is_grey and not image.is_rgb)
            if profile is None:
                facts.notes.append("its gamma or primaries are no possible ones, and left out")
    if "icc_profile" in pil.info and not pil.info["icc_profile"]:
        facts.notes.append("its colour profile is damaged, and left out")
    image.profile = profile


def _exif_meaning(pil: Image.Image) -> Meaning | None:
    if "srgb" in pil.info:
        return None
    try:
        exif = pil.getexif()
        return from_exif(exif, exif.get_ifd(0x8769), exif.get_ifd(0xA005))
    except Exception:  # Pillow trusts EXIF data: damaged ones raise anything
        return None


def _notes(image: ImageData, facts: Facts, metadata: Metadata) -> tuple[str, ...]:
    notes = list(facts.notes)
    if not 0.99 < metadata.aspect < 1.01:
        notes.append(
            f"its pixels are {metadata.aspect:.3g} times as wide as high, and only its metadata "
            "says so"
        )
    note = _fit_profile(image)
    return tuple(notes + ([note] if note else []))


def _fit_profile(image: ImageData) -> str | None:
    """Keep a profile only where it fits the pixels; say what was done otherwise."""
    if not image.profile:
        return None
    space = colour_space(image.profile)
    if space == ("GRAY" if image.is_grey else "RGB") and not image.is_rgb:
        return None
    if space == "RGB" and image.is_rgb:
        return None
    if space == "GRAY" and image.is_rgb:
        image.is_rgb = False
        return "its colour profile is for grey: it comes back as grey"
    if space == "RGB" and not image.is_sixteen_bit:
        image.is_rgb = True
        return "its colour profile is for RGB: its grey comes back as RGB"
    image.profile = None
    kind = "damaged" if space is None else f"for {space} and does not fit its pixels"
    return f"its colour profile is {kind}, and left out"
