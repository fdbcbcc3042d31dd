"""Files, images and arrays to pictures: what a user hands in, and what it means."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose
from torch import Tensor

from dictco_lib.errors import ImageError
from dictco_lib.images.picture import Picture

_ORIENTATION = 0x0112
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_DEMO_PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


def demo_photos() -> dict[str, Path]:
    """Name -> file of the colour photographs that are packaged in scikit-image."""
    folder = Path(str(importlib.resources.files("skimage") / "data"))
    return {Path(name).stem: folder / name for name in _DEMO_PHOTOS}


def picture_size(path: str | Path) -> tuple[int, int] | None:
    """Width and height of an upright picture, from its header alone; None if it has none."""
    try:
        with Image.open(path) as image:
            size = image.size
            # Pillow gives the size of a TIFF as it is upright.
            turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION, 1) in _SIDEWAYS
    except Exception:  # damaged files make Pillow raise nearly anything
        return None
    return size[::-1] if turned else size


def read_picture(source: str | Path | Image.Image | np.ndarray | Tensor | Picture) -> Picture:
    """Understand a picture.

    Args:
        source: a path; a PIL image; an array (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16 (grey
            only); a float tensor (3, H, W) in [0, 1]; or what this function returned before.

    Returns:
        The picture, upright (EXIF orientation applied), palette resolved, alpha apart.

    Raises:
        ImageError: if it cannot be read, or holds something that would be lost.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, Tensor):
        return _from_tensor(source)
    if isinstance(source, np.ndarray):
        return _from_pil(_array_to_pil(source), "array")
    if isinstance(source, Image.Image):
        return _from_pil(source, "image")
    path = Path(source)
    try:
        with Image.open(path) as image:
            return _from_pil(image, str(path))
    except FileNotFoundError:
        raise ImageError(f"picture {path} does not exist") from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder, expected a picture") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is no picture that Pillow can read; convert it to PNG") from None
    except ImageError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise ImageError(f"picture {path} is damaged or too large: {error}") from None


def _from_tensor(x: Tensor) -> Picture:
    if x.dim() == 4 and len(x) == 1:
        x = x[0]
    if x.dim() != 3 or x.shape[0] != 3 or 0 in x.shape or not x.is_floating_point():
        raise ImageError(
            f"got a {x.dtype} tensor of shape {tuple(x.shape)}, expected float (3, H, W) in [0, 1]"
        )
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise ImageError(
            f"tensor values run from {x.min():.3g} to {x.max():.3g}, expected [0, 1]; "
            "divide by 255, or clamp"
        )
    return Picture(x.detach().to("cpu", torch.float32))


def _array_to_pil(a: np.ndarray) -> Image.Image:
    if a.ndim == 2 and a.dtype == np.uint16 and a.size:
        return Image.fromarray(a)
    if (
        a.dtype != np.uint8
        or a.ndim not in (2, 3)
        or not a.size
        or a.shape[2:] not in ((), (3,), (4,))
    ):
        raise ImageError(
            f"got a {a.dtype} array of shape {a.shape}, expected uint8 (H, W), (H, W, 3) or "
            "(H, W, 4), or uint16 (H, W)"
        )
    return Image.fromarray(a)


def _from_pil(image: Image.Image, name: str) -> Picture:
    _refuse_losses(image, name)
    orientation, kept = _read_exif(image)
    kept["profile"] = image.info.get("icc_profile")
    upright = image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
    if upright.mode.startswith("I"):
        return _from_sixteen_bit(upright, name, kept)
    if upright.mode == "P" or "transparency" in upright.info:
        upright = upright.convert("RGBA" if "transparency" in upright.info else "RGB")
    alpha = None
    if upright.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        upright = upright.convert("LA" if upright.mode in ("LA", "La") else "RGBA")
        alpha = np.array(upright.getchannel("A"))
        alpha = None if (alpha == 255).all() else alpha
    is_grey = upright.mode in ("L", "LA", "1")
    return Picture(np.array(upright.convert("RGB")), is_grey, alpha=alpha, **kept)


def _refuse_losses(image: Image.Image, name: str) -> None:
    """Raise ImageError for what would not come back; loads the image."""
    is_deep = _has_deep_colour(image)  # loading makes 8 bits of it, and forgets
    image.load()
    if 0 in image.size:
        raise ImageError(f"{name} is {image.width}x{image.height}, expected at least one pixel")
    if is_deep:
        raise ImageError(
            f"{name} has colours of 16 bits, of which only 8 would come back; convert it to 8 "
            "bits first, or keep one channel as 16-bit grey"
        )
    if image.mode.startswith("I") and "transparency" in image.info:
        raise ImageError(f"{name} has 16 bits and transparency; remove one of them first")
    # The further pictures of an MPO are previews and depth maps beside a phone's JPEG.
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise ImageError(
            f"{name} holds {frames} pictures, a .dco file holds one; save the one you want as PNG"
        )
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "F"):
        raise ImageError(
            f"{name} has colour mode {image.mode}, which would not come back unchanged; convert "
            "it to RGB first, as with Pillow's image.convert('RGB')"
        )


def _has_deep_colour(image: Image.Image) -> bool:
    if image.mode.startswith("I") or not getattr(image, "tile", None):
        return False
    codec, _, _, args = image.tile[0]
    return ";16" in str(args) or (codec.startswith("ppm") and args[1] > 255)


def _read_exif(image: Image.Image) -> tuple[int, dict]:
    """Orientation, and the picture's fields about the rest; the caller's image stays as it is."""
    orientation = 1
    try:
        exif = image.getexif()
        orientation = exif.get(_ORIENTATION, 1)
        rest = Image.Exif()
        rest.load(exif.tobytes())
        rest.pop(_ORIENTATION, None)
        return orientation, {"exif": rest.tobytes() if len(rest) else None}
    except Exception:  # Pillow trusts EXIF data: damaged ones raise anything
        return orientation, {"is_exif_damaged": True}


def _from_sixteen_bit(image: Image.Image, name: str, kept: dict) -> Picture:
    values = np.array(image).astype(np.float64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(
            f"{name} has integer values {values.min():.0f} to {values.max():.0f}, expected 16 bits"
        )
    return Picture(values.astype(np.uint16), is_grey=True, is_sixteen_bit=True, **kept)
