"""Image <-> plain .bin file, as the published research code writes it (fixed-rate models)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image

from dictco_lib.bitstream import PlainFile, pack_plain, unpack_plain
from dictco_lib.entropy.rans import compress_plain, decompress_plain
from dictco_lib.errors import BadHeader, ImageError, QualityError
from dictco_lib.images import read_picture, to_uint8
from dictco_lib.models import DictionaryCodec

#: Both sides are zero-padded to multiples of this, evenly on the two ends.
PAD = 128


def _padding(height: int, width: int) -> tuple[int, int, int, int]:
    """Left, right, top and bottom."""
    x, y = -width % PAD, -height % PAD
    return x // 2, x - x // 2, y // 2, y - y // 2


def _check(model: DictionaryCodec) -> None:
    model.check_eval()
    if model.config.is_variable_rate:
        raise QualityError(
            f"model {model.config.name!r} is variable-rate, and a .bin file has no place for the "
            "quality; write a .dco file"
        )


@torch.no_grad()
def encode_plain(model: DictionaryCodec, image: object) -> bytes:
    """Compress a picture to the plain format.

    Raises:
        ImageError: for a picture with alpha, which the format cannot hold.
        QualityError: for a variable-rate model.
    """
    _check(model)
    picture = read_picture(image)
    if picture.alpha is not None:
        raise ImageError("a .bin file cannot keep alpha; write a .dco file, or remove it")
    width, height = picture.size
    x = F.pad(picture.pixels[None], _padding(height, width))
    weight = next(model.g_a.parameters())
    y_string, z_string = compress_plain(model.latent_codec, model.g_a(x.to(weight)))
    return pack_plain(PlainFile(height, width, y_string, z_string))


@torch.no_grad()
def decode_plain(model: DictionaryCodec, data: bytes) -> Image.Image:
    """Decompress a plain file; nothing in it proves that model and machine are right."""
    _check(model)
    file = unpack_plain(data)
    left, right, top, bottom = _padding(file.height, file.width)
    padded = (file.height + top + bottom, file.width + left + right)
    if padded[0] * padded[1] > 2**28:
        raise BadHeader(
            f"the .bin file says {file.width}x{file.height} pixels, too many to be true"
        )
    shape = (padded[0] // 64, padded[1] // 64)
    x_hat = model.g_s(decompress_plain(model.latent_codec, file.y, file.z, shape))[0]
    return Image.fromarray(to_uint8(x_hat[:, top : top + file.height, left : left + file.width]))
