"""Image <-> plain .bin file, as the published research code writes it (fixed-rate models)."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image

from dictco_lib.arguments import check_codec, file_bytes
from dictco_lib.bitstream import Reader
from dictco_lib.config import Z_STRIDE
from dictco_lib.entropy.rans import compress_plain, decompress_plain
from dictco_lib.errors import BadHeader, DictcoError, ImageError, LossWarning, QualityError
from dictco_lib.images import ImageData, read_aloud, to_uint8
from dictco_lib.models import DictionaryCodec

#: Both sides are zero-padded to multiples of this, evenly on the two ends.
PAD = 128
#: Plain files know no tiles: this bounds the memory that one can ask for.
MAX_PADDED_PIXELS = 2**24


@dataclass(frozen=True)
class PlainFile:
    """The plain format of research code: sizes and two strings; no model, no checks."""

    height: int
    width: int
    y: bytes
    z: bytes


def pack_plain(file: PlainFile) -> bytes:
    """Bytes of a .bin file: u16 height, u16 width, u32 + y string, u32 + z string, big-endian."""
    if max(file.height, file.width) >= 2**16:
        raise BadHeader(
            f"a .bin file holds at most 65535 pixels a side, got {file.width}x{file.height}; "
            "write a .dco file"
        )
    head = struct.pack(">HHI", file.height, file.width, len(file.y))
    return head + file.y + struct.pack(">I", len(file.z)) + file.z


def unpack_plain(data: bytes) -> PlainFile:
    """Read a .bin file.

    Raises:
        Truncated: if a length points past the end.
        BadHeader: if a side is 0 or bytes are left over.
    """
    reader = Reader(data)
    height, width, length = struct.unpack(">HHI", reader.take(8))
    y = reader.take(length)
    z = reader.take(struct.unpack(">I", reader.take(4))[0])
    if not height or not width:
        raise BadHeader(f"the .bin file says {width}x{height} pixels; get the file again")
    if reader.at != len(data):
        raise BadHeader(f"{len(data) - reader.at} bytes follow the z string; is this a .bin file?")
    return PlainFile(height, width, y, z)


def _padding(height: int, width: int, error: type[DictcoError]) -> tuple[int, int, int, int]:
    """Left, right, top and bottom."""
    x, y = -width % PAD, -height % PAD
    if (height + y) * (width + x) > MAX_PADDED_PIXELS:
        raise error(
            f"got {width}x{height} pixels, a .bin file holds at most {MAX_PADDED_PIXELS} with "
            f"sides rounded up to multiples of {PAD}; use a .dco file"
        )
    return x // 2, x - x // 2, y // 2, y - y // 2


def _check(model: DictionaryCodec) -> None:
    check_codec(model)
    model.check_eval()
    if model.config.is_variable_rate:
        raise QualityError(
            f"model {model.config.name!r} is variable-rate, and a .bin file has no place for the "
            "quality; write a .dco file"
        )


def _refuse_losses(image: ImageData) -> None:
    there = {
        "alpha": image.alpha is not None,
        "16 bits": image.is_sixteen_bit,
        "the colour profile": bool(image.profile),
    }
    if lost := [name for name, is_there in there.items() if is_there]:
        raise ImageError(
            f"a .bin file cannot keep {' and '.join(lost)}; write a .dco file, or convert the "
            "image to plain 8-bit RGB first"
        )


def plain_losses(image: ImageData) -> tuple[str, ...]:
    """What a .bin file cannot say of an image that it takes, one line each."""
    if not image.is_grey:
        return ()
    return ("that it is grey; its three channels may come back slightly different",)


@torch.no_grad()
def encode_plain(model: DictionaryCodec, image: object) -> bytes:
    """Compress an image to the plain format.

    Raises:
        ImageError: for an image that is too large, or with alpha, 16 bits or a colour profile,
            which the format cannot hold.
        QualityError: for a variable-rate model.
    """
    _check(model)
    image = read_aloud(image)
    if image is not image:
        for loss in plain_losses(image):
            warnings.warn(f"left out of the file: {loss}", LossWarning, stacklevel=3)
    _refuse_losses(image)
    width, height = image.size
    x = F.pad(image.pixels[None], _padding(height, width, ImageError))
    weight = next(model.g_a.parameters())
    y = model.transform(model.g_a, x.to(weight))
    y_string, z_string = compress_plain(model.latent_codec, y)
    return pack_plain(PlainFile(height, width, y_string, z_string))


@torch.no_grad()
def decode_plain(model: DictionaryCodec, source: object) -> Image.Image:
    """Decompress a plain file: bytes, a path or an open binary file.

    Raises:
        BadChecksum: if the strings do not end as they should: the only sign that the file is
            damaged, or was made with other weights or on another machine.
        BadHeader, Truncated: if the sizes in the file cannot be true.
        QualityError: for a variable-rate model.
    """
    _check(model)
    with file_bytes(source) as data:
        file = unpack_plain(data)
    left, right, top, bottom = _padding(file.height, file.width, BadHeader)
    height, width = file.height + top + bottom, file.width + left + right
    shape = (height // Z_STRIDE, width // Z_STRIDE)
    y_hat = decompress_plain(model.latent_codec, file.y, file.z, shape)
    x_hat = model.transform(model.g_s, y_hat)[0]
    return Image.fromarray(to_uint8(x_hat[:, top : top + file.height, left : left + file.width]))
