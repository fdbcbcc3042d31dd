"""The coder of the published research code: CompressAI's rANS, one y string and one z string.

Used for plain .bin files only. Scales are recomputed in float32, so such a file decodes
reliably only with the software and machine that wrote it; .dco files have no such limit.
"""

from __future__ import annotations

import copy

import torch
from compressai.ans import BufferedRansEncoder, RansDecoder
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from torch import Tensor

from dictco_lib.entropy.gaussian import LOG_SCALES
from dictco_lib.entropy.hyperprior import LatentCodec


class _RansCoder:
    def __init__(self, gaussian: GaussianConditional) -> None:
        self.gaussian = gaussian
        self.tables = (
            gaussian.quantized_cdf.tolist(),
            gaussian.cdf_length.tolist(),
            gaussian.offset.tolist(),
        )


class RansEncodingCoder(_RansCoder):
    """Slice coder that gathers symbols and writes them all at the end."""

    def __init__(self, y: tuple[Tensor, ...], gaussian: GaussianConditional) -> None:
        super().__init__(gaussian)
        self.y = y
        self.symbols: list[int] = []  # CompressAI's interface takes lists
        self.indexes: list[int] = []

    def code(self, k: int, mean: Tensor, scale: Tensor) -> Tensor:
        """Quantised slice k."""
        symbols = self.gaussian.quantize(self.y[k], "symbols", mean)
        self.symbols += symbols.flatten().tolist()
        self.indexes += self.gaussian.build_indexes(scale).flatten().tolist()
        return symbols + mean

    def finish(self) -> bytes:
        """The y string."""
        encoder = BufferedRansEncoder()
        encoder.encode_with_indexes(self.symbols, self.indexes, *self.tables)
        return encoder.flush()


class RansDecodingCoder(_RansCoder):
    """Slice coder that reads a y string."""

    def __init__(self, y_string: bytes, gaussian: GaussianConditional) -> None:
        super().__init__(gaussian)
        self.decoder = RansDecoder()
        self.decoder.set_stream(y_string)

    def code(self, k: int, mean: Tensor, scale: Tensor) -> Tensor:
        """Quantised slice k."""
        indexes = self.gaussian.build_indexes(scale).flatten().tolist()
        symbols = self.decoder.decode_stream(indexes, *self.tables)
        return torch.tensor(symbols, dtype=mean.dtype).reshape(mean.shape).to(mean.device) + mean


def _prepared(codec: LatentCodec) -> tuple[LatentCodec, EntropyBottleneck, GaussianConditional]:
    """The codec in evaluation mode, and CompressAI's parts with tables.

    Tables that a checkpoint did not bring are made of the current weights and not kept: weights
    may change, and a checkpoint of ours does not hold them.
    """
    codec = codec.for_coding(codec.entropy_bottleneck.quantiles.dtype)
    gaussian, bottleneck = codec.gaussian, codec.entropy_bottleneck
    if not gaussian.quantized_cdf.numel():
        gaussian = copy.deepcopy(gaussian)
        gaussian.update_scale_table(LOG_SCALES.exp().float().tolist())
    if not bottleneck.quantized_cdf.numel():
        bottleneck = copy.deepcopy(bottleneck)
        bottleneck.update()
    return codec, bottleneck, gaussian


@torch.no_grad()
def compress_plain(codec: LatentCodec, y: Tensor) -> tuple[bytes, bytes]:
    """Strings of y and z for one latent (1, M, H, W) of a fixed-rate model."""
    codec, bottleneck, gaussian = _prepared(codec)
    z = codec.h_a(y)
    z_string = bottleneck.compress(z)[0]
    z_hat = bottleneck.decompress([z_string], z.shape[-2:])
    coder = RansEncodingCoder(y.split(codec.config.groups, dim=1), gaussian)
    codec.run_slices(codec.side(z_hat, None), coder)
    return coder.finish(), z_string


@torch.no_grad()
def decompress_plain(
    codec: LatentCodec, y_string: bytes, z_string: bytes, shape: tuple[int, int]
) -> Tensor:
    """Decode ``y_hat`` (1, M, H, W); ``shape`` is that of z."""
    codec, bottleneck, gaussian = _prepared(codec)
    # CompressAI's decoder does not look for the end of a string: a damaged one gets zeros there
    # (a word for each symbol is more than it can ask for), never foreign memory.
    positions = shape[0] * shape[1]
    z_string += bytes(4 * (codec.config.N * positions + 16))
    y_string += bytes(4 * (16 * codec.config.M * positions + 16))
    z_hat = bottleneck.decompress([z_string], shape)
    coder = RansDecodingCoder(y_string, gaussian)
    return torch.cat(codec.run_slices(codec.side(z_hat, None), coder).y_hat, dim=1)
