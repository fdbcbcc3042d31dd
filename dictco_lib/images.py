"""Pictures <-> tensors: what a user's file means, and how it comes back. Knows no model."""

from __future__ import annotations

import importlib.resources
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dictco_lib.errors import ImageError
from dictco_lib.files import atomic_path

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif", ".avif"}
_ORIENTATION = 0x0112
_DEMO_PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


@dataclass
class Picture:
    """A picture ready for coding.

    ``pixels`` is a float32 tensor (3, H, W) in [0, 1]; ``alpha`` is (H, W) uint8 or None.
    """

    pixels: Tensor
    is_grey: bool = False
    is_sixteen_bit: bool = False
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    exif: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[2], self.pixels.shape[1]


def demo_photos() -> dict[str, Path]:
    """Name -> file of the colour photographs that are packaged in scikit-image."""
    folder = Path(str(importlib.resources.files("skimage") / "data"))
    return {Path(name).stem: folder / name for name in _DEMO_PHOTOS}


def read_picture(source: str | Path | Image.Image | np.ndarray | Tensor) -> Picture:
    """Understand a picture.

    Args:
        source: a path; a PIL image; an array (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16 (grey
            only); or a float tensor (3, H, W) in [0, 1].

    Returns:
        The picture, upright (EXIF orientation applied), palette resolved, alpha apart.

    Raises:
        ImageError: if it cannot be read, or holds something that would be lost.
    """
    if isinstance(source, Tensor):
        return _from_tensor(source)
    if isinstance(source, np.ndarray):
        return _from_pil(_array_to_pil(source), "array")
    if isinstance(source, Image.Image):
        return _from_pil(source, "image")
    path = Path(source)
    try:
        with Image.open(path) as image:
            image.load()
            return _from_pil(image, str(path))
    except FileNotFoundError:
        raise ImageError(f"picture {path} does not exist") from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder, expected a picture") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is no picture that Pillow can read; convert it to PNG") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
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
    if (frames := getattr(image, "n_frames", 1)) > 1:
        raise ImageError(
            f"{name} holds {frames} pictures, a .dco file holds one; save the one you want as PNG"
        )
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "F"):
        raise ImageError(
            f"{name} has colour mode {image.mode}, which would not come back unchanged; convert "
            "it to RGB first, as with Pillow's image.convert('RGB')"
        )
    exif = image.getexif()
    profile = image.info.get("icc_profile")
    upright = ImageOps.exif_transpose(image)
    if _ORIENTATION in exif:
        del exif[_ORIENTATION]
    kept = {"profile": profile, "exif": exif.tobytes() if len(exif) else None}
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
    pixels = np.array(upright.convert("RGB"), dtype=np.float32) / 255
    return Picture(torch.from_numpy(pixels).permute(2, 0, 1), is_grey, alpha=alpha, **kept)


def _from_sixteen_bit(image: Image.Image, name: str, kept: dict) -> Picture:
    values = np.array(image).astype(np.float64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(
            f"{name} has integer values {values.min():.0f} to {values.max():.0f}, expected 16 bits"
        )
    grey = torch.from_numpy((values / 65535).astype(np.float32))
    return Picture(grey.expand(3, -1, -1), is_grey=True, is_sixteen_bit=True, **kept)


def to_pil(picture: Picture) -> Image.Image:
    """The picture as users know it: RGB(A), L(A) or 16-bit grey, with its profile and EXIF."""
    x = picture.pixels.clamp(0, 1)
    if picture.is_sixteen_bit:
        grey = (x.double().mean(0) * 65535).round().numpy().astype(np.uint16)
        image = Image.fromarray(grey)
    elif picture.is_grey:
        image = Image.fromarray((x.mean(0) * 255).round().byte().numpy())
    else:
        image = Image.fromarray(to_uint8(x))
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    if picture.profile:
        image.info["icc_profile"] = picture.profile
    if picture.exif:
        image.info["exif"] = picture.exif
    return image


def eight_bit(picture: Picture) -> np.ndarray:
    """The colours of a picture as they are shown, (H, W, 3) uint8; grey has three equal ones."""
    x = picture.pixels.clamp(0, 1)
    return to_uint8(x.mean(0).expand_as(x) if picture.is_grey else x)


def to_uint8(x: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8."""
    return (x.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def write_image(image: Image.Image, path: str | Path) -> None:
    """Save a picture in the format of its suffix, all or nothing."""
    path = Path(path)
    formats = Image.registered_extensions()
    if path.suffix.lower() not in formats:
        raise ImageError(f"no picture format has the suffix {path.suffix!r}; use .png")
    info = {k: v for k, v in image.info.items() if k in ("icc_profile", "exif")}
    buffer = io.BytesIO()
    try:
        image.save(buffer, format=formats[path.suffix.lower()], **info)
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{image.mode} cannot be saved as {path.suffix}: {error}; use .png"
        ) from None
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def pack_plane(plane: np.ndarray) -> bytes:
    """A (H, W) uint8 plane without loss, as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(plane).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def unpack_plane(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """The way back; ``size`` is the (width, height) that must come out."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size != size or image.mode != "L":
                raise ImageError(
                    f"alpha plane is {image.size} {image.mode}, expected {size} L; file damaged"
                )
            return np.array(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"alpha plane cannot be read ({error}); the file is damaged") from None
