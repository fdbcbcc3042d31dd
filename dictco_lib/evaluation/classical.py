"""Classical codecs to stand beside: a table of what Pillow writes, and how each is set.

The settings aim at PSNR where a codec lets them, as learned codecs trained for squared error do.
"""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import PIL
from PIL import Image, features

from dictco_lib.errors import DictcoError


@dataclass(frozen=True)
class Dial:
    """The option of Pillow's ``save`` that a ladder turns: name, formula and value.

    ``value`` is told the step of the ladder and the number of colour planes, 3 or 1.
    """

    option: str
    formula: str
    value: Callable[[float, int], object]


QUALITY = Dial("quality", "q", lambda q, planes: q)
#: JPEG 2000 is told how many times smaller than 8 bits a plane to be; its ladder is in bpp.
BPP = Dial("quality_layers", "[8 * planes / q]", lambda q, planes: [8 * planes / q])


@dataclass(frozen=True)
class Codec:
    """One codec with fixed settings and the ladder of its curve.

    ``family`` is what ``dictco anchors --codecs`` selects by, ``name`` the name of the curve;
    ``plugin`` is the package that Pillow needs for the format, and the module to import.
    """

    family: str
    name: str
    format: str
    ladder: tuple[float, ...]
    settings: dict[str, object]
    dial: Dial = QUALITY
    plugin: tuple[str, str] | None = None

    def options(self, quality: float, planes: int = 3) -> dict[str, object]:
        """What is handed to Pillow's ``save``: a copy, for plugins write into it."""
        value = self.dial.value(quality, planes)
        return {self.dial.option: value, **copy.deepcopy(self.settings)}

    def encode(self, pixels: np.ndarray, quality: float) -> bytes:
        """The file of an image, (H, W, 3) or grey (H, W) uint8, without metadata.

        Raises:
            DictcoError: if Pillow cannot write it.
        """
        if self.plugin:
            _register(*self.plugin)
        buffer = io.BytesIO()
        options = self.options(quality, pixels.shape[2] if pixels.ndim == 3 else 1)
        try:
            Image.fromarray(pixels).save(buffer, self.format, **options)
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DictcoError(
                f"{self.name}: Pillow {PIL.__version__} cannot write {pixels.shape[1]}x"
                f"{pixels.shape[0]} pixels as {self.format} with {options} "
                f"({type(error).__name__}: {error}); leave this codec out, or install the "
                "versions of constraints.txt"
            ) from None
        return buffer.getvalue()

    def problem(self) -> str | None:
        """Why this codec does not run here, and what to do; None if it does."""
        try:
            self.encode(np.zeros((16, 16, 3), np.uint8), self.ladder[0])
        except DictcoError as error:
            return str(error)
        return None


_JPEG = (3, 5, 10, 15, 25, 40, 60, 75, 85, 90)
_AVIF = (12, 20, 28, 38, 48, 58, 68, 76)
_AVIF_PSNR = (8, 15, 22, 30, 38, 46, 55, 65)
_AOM = {"speed": 4, "max_threads": 1}  # one thread: files do not depend on the machine
_TUNED = {"advanced": {"tune": "psnr"}}
CODECS: dict[str, Codec] = {
    "jpeg_420": Codec(
        "jpeg", "JPEG 4:2:0", "JPEG", _JPEG, {"optimize": True, "subsampling": "4:2:0"}
    ),
    "jpeg_444": Codec(
        "jpeg", "JPEG 4:4:4", "JPEG", _JPEG, {"optimize": True, "subsampling": "4:4:4"}
    ),
    "webp": Codec("webp", "WebP", "WEBP", (0, 5, 15, 30, 50, 70, 80, 87, 91), {"method": 6}),
    "avif_444_psnr": Codec(
        "avif", "AVIF", "AVIF", _AVIF_PSNR, {"subsampling": "4:4:4", **_AOM, **_TUNED}
    ),
    "avif_420_psnr": Codec(
        "avif", "AVIF 4:2:0", "AVIF", _AVIF_PSNR, {"subsampling": "4:2:0", **_AOM, **_TUNED}
    ),
    "avif_444": Codec(
        "avif", "AVIF, default tune", "AVIF", _AVIF, {"subsampling": "4:4:4", **_AOM}
    ),
    "avif_420": Codec(
        "avif", "AVIF 4:2:0, default tune", "AVIF", _AVIF, {"subsampling": "4:2:0", **_AOM}
    ),
    # mct=1: without the colour transform, Pillow's default, JPEG 2000 loses 2-5 dB.
    "jpeg2000": Codec(
        "jpeg2000", "JPEG 2000", "JPEG2000", (0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.1, 1.5),
        {"quality_mode": "rates", "irreversible": True, "mct": 1}, BPP,
    ),
    # Below quality 19, files get larger and worse.
    "jxl": Codec(
        "jxl", "JPEG XL", "JXL", (19, 22, 25, 30, 50, 65, 75, 85),
        {"effort": 7, "lossless": False}, plugin=("pillow-jxl-plugin", "pillow_jxl"),
    ),
    "heic_444_psnr": Codec(
        "heic", "HEIC", "HEIF", (12, 18, 24, 30, 36, 42, 48, 54),
        {"chroma": 444, "enc_params": {"tune": "psnr"}}, plugin=("pillow-heif", "pillow_heif"),
    ),
}  # fmt: skip


@cache
def _register(package: str, module: str) -> None:
    """Import a plugin, which makes its format known to Pillow."""
    try:
        plugin = importlib.import_module(module)
    except ImportError:
        raise DictcoError(f"the package {package} is missing: pip install {package}") from None
    getattr(plugin, "register_heif_opener", lambda: None)()


def versions(codec: Codec) -> dict[str, str]:
    """Versions of the libraries that decide what a codec's files hold."""
    found = {"Pillow": PIL.__version__}
    if codec.plugin:
        found[codec.plugin[0]] = importlib.metadata.version(codec.plugin[0])
    if codec.format == "JPEG":
        found["libjpeg-turbo"] = features.version_feature("libjpeg_turbo") or "not used"
    elif codec.format == "WEBP":
        found["libwebp"] = features.version_module("webp")
    elif codec.format == "JPEG2000":
        found["OpenJPEG"] = features.version_codec("jpg_2000")
    elif codec.format == "AVIF":
        from PIL import _avif

        found |= {"libavif": features.version_module("avif"), "with": _avif.codec_versions()}
    elif codec.format == "HEIF":
        info = importlib.import_module("pillow_heif").libheif_info()
        found |= {"libheif": info["libheif"], "with": info["HEIF"]}
    return found


def select(names: list[str]) -> list[str]:
    """Keys of CODECS for names that are keys or families, in the order of the table."""
    known = {codec.family for codec in CODECS.values()} | CODECS.keys()
    for name in names:
        if name not in known:
            families = dict.fromkeys(codec.family for codec in CODECS.values())
            raise DictcoError(
                f"no codec {name!r}; choose of {', '.join(families)}, or one variant of "
                f"{', '.join(CODECS)}"
            )
    return [key for key, codec in CODECS.items() if key in names or codec.family in names]


def jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """A baseline JPEG 4:2:0 file with optimised Huffman tables, from (H, W, 3) uint8."""
    return CODECS["jpeg_420"].encode(pixels, quality)


def jpeg_of_size(pixels: np.ndarray, size: int) -> tuple[bytes, int]:
    """The JPEG whose size is nearest to ``size`` bytes, and its quality (1-95)."""
    low, high = 1, 95
    while low < high:  # the first quality that reaches the size
        middle = (low + high) // 2
        if len(jpeg(pixels, middle)) < size:
            low = middle + 1
        else:
            high = middle
    near = [(jpeg(pixels, q), q) for q in {max(1, low - 1), low}]
    return min(near, key=lambda pair: abs(len(pair[0]) - size))


def decode_image(data: bytes) -> np.ndarray:
    """Pixels of any file that Pillow reads, (H, W, 3) uint8."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
