"""The coder of the published research code: CompressAI's rANS, one y string and one z string.

Used for plain .bin files only. Scales are recomputed in float32, so such a file decodes
reliably only with the software and machine that wrote it; .dco files have no such limit.
"""

from __future__ import annotations

import copy
import math
import struct
from bisect import bisect_right

import torch
from compressai.ans import BufferedRansEncoder
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from torch import Tensor

from dictco_lib.entropy.gaussian import LOG_SCALES
from dictco_lib.entropy.ring import LatentCodec
from dictco_lib.entropy.streams import in_one_layout
from dictco_lib.errors import BadChecksum, ShapeError

_LOW = 2**31  # the state stays in [2**31, 2**63); encoders begin with 2**31
_MAX_SYMBOL = 2**26  # from 2**27 on, CompressAI's encoder never comes back
_ESCAPE_DIGITS = 8  # hexadecimal digits of the 32-bit number behind an escape


class RansEncodingCoder:
    """Coder that gathers symbols and writes them all at the end."""

    def __init__(self, prior: EntropyBottleneck, gaussian: GaussianConditional) -> None:
        self.prior = prior
        self.gaussian = gaussian
        self.z_string = b""
        self.symbols: list[int] = []  # CompressAI's interface takes lists
        self.indexes: list[int] = []

    def code_z(self, z: Tensor, medians: Tensor) -> Tensor:
        """Quantised z."""
        self.z_string = self.prior.compress(_checked(z))[0]
        return in_one_layout((z - medians).round() + medians)

    def code(self, k: int, y: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Quantised slice k."""
        symbols = _checked(y - mean).round()
        self.symbols += symbols.int().flatten().tolist()
        self.indexes += self.gaussian.build_indexes(scale).flatten().tolist()
        return in_one_layout(symbols + mean)

    def finish(self) -> tuple[bytes, bytes]:
        """The strings of y and z."""
        encoder = BufferedRansEncoder()
        tables = self.gaussian.quantized_cdf, self.gaussian.cdf_length, self.gaussian.offset
        encoder.encode_with_indexes(self.symbols, self.indexes, *(t.tolist() for t in tables))
        return encoder.flush(), self.z_string


class RansReader:
    """Reads the symbols of one string that CompressAI wrote.

    CompressAI's own decoder is faster but never looks for the end of a string: a hostile one
    can end the process. Here it is an error, and so is a string that does not end where its
    symbols do, which damage, other weights and scales that fell in other bins nearly always cause.

    Args:
        name: of the string, for errors.
        data: the string.
        model: the entropy model whose tables it was written with.

    Reference:
        Duda, "Asymmetric numeral systems", arXiv:1311.2540.
    """

    def __init__(
        self, name: str, data: bytes, model: EntropyBottleneck | GaussianConditional
    ) -> None:
        self.name = name
        tables = zip(model.quantized_cdf.tolist(), model.cdf_length.tolist(), strict=True)
        self.cdfs = [cdf[:length] for cdf, length in tables]
        self.offsets = model.offset.tolist()
        if len(data) < 8 or len(data) % 4:
            raise self._damage()
        low, high, *self.words = struct.unpack(f"<{len(data) // 4}I", data)
        self.state = high << 32 | low
        self.words.reverse()  # so that the next word is popped

    def read(self, indexes: list[int]) -> list[int]:
        """The next symbols; ``indexes`` says the table of each."""
        state, words, cdfs, symbols = self.state, self.words, self.cdfs, []
        try:
            for index in indexes:
                cdf = cdfs[index]
                place = state & 0xFFFF  # frequencies have 16 bits
                symbol = bisect_right(cdf, place) - 1
                state = (cdf[symbol + 1] - cdf[symbol]) * (state >> 16) + place - cdf[symbol]
                if state < _LOW:
                    state = state << 32 | words.pop()
                if symbol == len(cdf) - 2:  # the last one is the escape
                    state, value = self._escaped(state)
                    symbol = -1 - (value >> 1) if value & 1 else symbol + (value >> 1)
                symbols.append(symbol + self.offsets[index])
        except IndexError:  # no words are left
            raise self._damage() from None
        self.state = state
        return symbols

    def finish(self) -> None:
        """Raise BadChecksum unless the string ends here."""
        if self.words or self.state != _LOW:
            raise self._damage()

    def _escaped(self, state: int) -> tuple[int, int]:
        """State after, and the number behind an escape: count of its digits, then the digits."""
        count, value = state & 15, 0
        state = self._shifted(state)
        if count > _ESCAPE_DIGITS:
            raise self._damage()
        for digit in range(count):
            value |= (state & 15) << 4 * digit
            state = self._shifted(state)
        return state, value

    def _shifted(self, state: int) -> int:
        state >>= 4
        return state if state >= _LOW else state << 32 | self.words.pop()

    def _damage(self) -> BadChecksum:
        return BadChecksum(
            f"the {self.name} string does not end where its symbols do: the file is damaged, or "
            "made with other weights or on another machine; get it again, or decode it there"
        )


class RansDecodingCoder:
    """Coder that reads the two strings.

    Args:
        y: reads the y string.
        z: reads the z string.
        gaussian: whose tables the y string was written with.
        z_shape: channels, height and width of z.
    """

    def __init__(
        self,
        y: RansReader,
        z: RansReader,
        gaussian: GaussianConditional,
        z_shape: tuple[int, int, int],
    ) -> None:
        self.y, self.z = y, z
        self.gaussian = gaussian
        self.z_shape = z_shape

    def code_z(self, z: None, medians: Tensor) -> Tensor:
        """Quantised z."""
        channels, *size = self.z_shape
        indexes = [channel for channel in range(channels) for _ in range(math.prod(size))]
        symbols = medians.new_tensor(self.z.read(indexes)).reshape(1, *self.z_shape)
        self.z.finish()
        return in_one_layout(symbols + medians)

    def code(self, k: int, y: None, mean: Tensor, scale: Tensor) -> Tensor:
        """Quantised slice k."""
        symbols = self.y.read(self.gaussian.build_indexes(scale).flatten().tolist())
        return in_one_layout(mean.new_tensor(symbols).reshape(mean.shape) + mean)


def _checked(values: Tensor) -> Tensor:
    if not bool((values.abs() < _MAX_SYMBOL).all()):
        raise ShapeError(
            f"a latent is not finite or beyond {_MAX_SYMBOL}; the image or the weights hold wrong "
            "numbers"
        )
    return values


def _prepared(codec: LatentCodec) -> tuple[LatentCodec, EntropyBottleneck, GaussianConditional]:
    """The codec in evaluation mode, and CompressAI's parts with tables.

    Tables that a checkpoint did not bring are made of the current weights and not kept: weights
    may change, and a checkpoint of ours does not hold them.
    """
    codec = copy.deepcopy(codec).eval() if codec.training else codec
    gaussian, prior = codec.gaussian, codec.entropy_bottleneck
    if not gaussian.quantized_cdf.numel():
        gaussian = copy.deepcopy(gaussian)
        gaussian.update_scale_table(LOG_SCALES.exp().float().tolist())
    if not prior.quantized_cdf.numel():
        prior = copy.deepcopy(prior)
        prior.update()
    return codec, prior, gaussian


@torch.no_grad()
def compress_plain(codec: LatentCodec, y: Tensor) -> tuple[bytes, bytes]:
    """Strings of y and z for one latent (1, M, H, W) of a fixed-rate model."""
    codec, prior, gaussian = _prepared(codec)
    coder = RansEncodingCoder(prior, gaussian)
    codec.run(coder, None, y)
    return coder.finish()


@torch.no_grad()
def decompress_plain(
    codec: LatentCodec, y_string: bytes, z_string: bytes, shape: tuple[int, int]
) -> Tensor:
    """Decode ``y_hat`` (1, M, H, W); ``shape`` is that of z.

    Raises:
        BadChecksum: if the strings do not hold as many symbols as the shape asks for.
    """
    codec, prior, gaussian = _prepared(codec)
    y, z = RansReader("y", y_string, gaussian), RansReader("z", z_string, prior)
    trace = codec.run(RansDecodingCoder(y, z, gaussian, (codec.config.N, *shape)), None)
    y.finish()
    return trace.latent
