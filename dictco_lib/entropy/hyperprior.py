"""The latent codec: hyperprior, slice heads and gains; y in, likelihoods or streams out."""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from dictco_lib.config import ModelConfig
from dictco_lib.entropy.gaussian import EstimatingCoder, quantize_ste
from dictco_lib.entropy.noise import ConditionalGaussian, FactorisedPrior
from dictco_lib.entropy.slices import SliceCoder, SliceHead, SliceTrace, code_slices
from dictco_lib.entropy.streams import (
    DecodingCoder,
    EncodingCoder,
    FrequencyTables,
    LatentStreams,
    checksum,
    gaussian_probabilities,
    in_one_layout,
    to_symbols,
    verified,
)
from dictco_lib.errors import NotUpdatedError
from dictco_lib.layers.attention import AttentionStage
from dictco_lib.layers.gain import Gain
from dictco_lib.layers.residual import Downsample, Upsample, downsampling_conv, upsampling_conv


class HyperAnalysis(nn.Sequential):
    """y (B, M, H, W) -> z (B, N, H/4, W/4)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            Downsample(config.M, config.N, **residual_options(config)),
            _hyper_stage(config),
            downsampling_conv(config.N, config.N, 3),
        )


class HyperSynthesis(nn.Sequential):
    """z_hat (B, N, H/4, W/4) -> side information about scales or means, (B, S, H, W)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            upsampling_conv(config.N, config.N, 3),
            _hyper_stage(config),
            Upsample(config.N, config.hyper_channels, **residual_options(config)),
        )


def residual_options(config: ModelConfig) -> dict:
    """The options that all down- and upsampling steps of a model share."""
    return {
        "blocks": config.residual_blocks,
        "reduction": config.reduction,
        "batch_norm": config.batch_norm,
    }


def _hyper_stage(config: ModelConfig) -> AttentionStage:
    return AttentionStage(config.N, config.hyper_head_dim, config.hyper_window, 1)


def content_key(tensors: Iterable[Tensor]) -> int:
    """Checksum of all values: tells whether a copy or a digest of them is still true.

    Neither addresses nor torch's version counters can: writing to ``weight.data`` changes
    neither, and tensors made in inference mode have no counter.
    """
    key = 0
    for tensor in tensors:
        data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        key = zlib.crc32(data, zlib.crc32(f"{tensor.dtype}{tensor.shape}".encode(), key))
    return key


class LatentCodec(nn.Module):
    """Entropy model of y: everything of a codec except its two transforms.

    ::

        y --gain--> h_a --> z --gain--> Q --> z_hat --> h_scale, h_mean --> side
        |                               |                                   |
        +--> slices: context(side, earlier slices) -> mean, scale -> Q -> LRP --> y_hat

    Reference:
        Lu et al., CVPR 2025, arXiv:2504.00496; Minnen & Singh, ICIP 2020, arXiv:2007.08739.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.h_a = HyperAnalysis(config)
        self.h_scale = HyperSynthesis(config)
        self.h_mean = HyperSynthesis(config)
        self.entropy_bottleneck = FactorisedPrior(config.N)
        self.gaussian = ConditionalGaussian(None)
        self.y_tables = FrequencyTables()
        self.z_tables = FrequencyTables()
        self._coding_twin: tuple[object, LatentCodec] | None = None
        self.dictionary = None
        if not config.experts:
            self.dictionary = nn.Parameter(torch.randn(config.entries, config.dictionary_dim))
        self.slices = nn.ModuleList(SliceHead(config, k) for k in range(len(config.groups)))
        if config.is_variable_rate:
            # Rate falls by 3 log2(step) bits per pixel while 255**2 * lmbda * step**2 / 12 grows:
            # for an orthonormal transform the optimum is step**2 = 18 / (ln 2 * 255**2 * lmbda).
            start = [0.5 * math.log(math.log(2) * 255**2 * v / 18) for v in config.lmbdas]
            self.gain_y = Gain(start, config.M)
            self.gain_z = Gain([0.0] * len(start), config.N)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_coding_twin": None}  # copies and pickles make their own

    def scale_y(self, y: Tensor, level: Tensor | None) -> Tensor:
        """Apply the gain of y."""
        return y if level is None else y * self.gain_y.gain(level)

    def unscale_y(self, y_hat: Tensor, level: Tensor | None) -> Tensor:
        """Apply the inverse gain of y."""
        return y_hat if level is None else y_hat * self.gain_y.inverse(level)

    def scale_z(self, z: Tensor, level: Tensor | None) -> Tensor:
        """Apply the gain of z."""
        return z if level is None else z * self.gain_z.gain(level)

    def side(self, z_hat: Tensor, level: Tensor | None) -> Tensor:
        """Side information for the slices, scales first, shape (B, 2S, H, W)."""
        if level is not None:
            z_hat = z_hat * self.gain_z.inverse(level)
        return torch.cat([self.h_scale(z_hat), self.h_mean(z_hat)], dim=1)

    def run_slices(self, side: Tensor, coder) -> SliceTrace:
        """The slice loop with any slice coder."""
        return code_slices(self.slices, self.dictionary, side, coder)

    def medians(self) -> Tensor:
        """Middle quantile of each channel of z, shape (1, N, 1, 1)."""
        return self.entropy_bottleneck.quantiles[:, :, 1:2].detach().permute(1, 0, 2).unsqueeze(-1)

    def forward(self, y: Tensor, level: Tensor | None) -> dict:
        """Estimate rates.

        Args:
            y: latent, shape (B, M, H, W), H and W multiples of 4.
            level: position between the lambda anchors, shape (B,); None for a fixed rate.

        Returns:
            ``y_hat`` (inverse gain applied), ``likelihoods`` (``y``, ``z``), ``para`` (``y``,
            ``means``, ``scales``; in the gained domain) and ``routing``, a list per slice of
            (B, K, H, W).
        """
        y = self.scale_y(y, level)
        z = self.scale_z(self.h_a(y), level)
        _, z_likelihoods = self.entropy_bottleneck(z)
        medians = self.medians()
        z_hat = quantize_ste(z - medians) + medians
        coder = EstimatingCoder(y.split(self.config.groups, dim=1), self.gaussian)
        trace = self.run_slices(self.side(z_hat, level), coder)
        return {
            "y_hat": self.unscale_y(torch.cat(trace.y_hat, dim=1), level),
            "likelihoods": {"y": torch.cat(coder.likelihoods, dim=1), "z": z_likelihoods},
            "para": {
                "y": y,
                "means": torch.cat(trace.means, dim=1),
                "scales": torch.cat(trace.scales, dim=1),
            },
            "routing": trace.routing,
            "z": z,
        }

    @torch.no_grad()
    def update(self) -> None:
        """Build the integer frequency tables from the current weights.

        CompressAI's table of z, where a checkpoint brought one, is dropped: plain files get one
        of the current weights.
        """
        if not all(bool(p.isfinite().all()) for p in self.entropy_bottleneck.parameters()):
            raise NotUpdatedError(
                "the prior of z holds NaN or infinity, no tables can be built from it; go back to "
                "a checkpoint from before training went wrong"
            )
        for leaf in ("_quantized_cdf", "_cdf_length", "_offset"):
            old = getattr(self.entropy_bottleneck, leaf)
            setattr(self.entropy_bottleneck, leaf, old.new_zeros(0))
        self.y_tables.fill(gaussian_probabilities())
        self.z_tables.fill(self._z_probabilities())

    def _z_probabilities(self) -> list[np.ndarray]:
        bottleneck = copy.deepcopy(self.entropy_bottleneck).cpu().double().eval()
        low, median, high = bottleneck.quantiles.detach().squeeze(1).T  # (N,) each
        half = torch.maximum(median - low, high - median).ceil().clamp(1, 127).int()
        steps = torch.arange(-int(half.max()), int(half.max()) + 1)
        values = (median[:, None] + steps)[None, :, None, :]  # (1, N, 1, 2L + 1)
        p = bottleneck.forward(values, training=False)[1][0, :, 0].numpy()  # past any hooks
        middle = p.shape[1] // 2
        return [row[middle - h : middle + h + 1] for row, h in zip(p, half.tolist(), strict=True)]

    def for_coding(self, dtype: torch.dtype = torch.float64) -> LatentCodec:
        """This codec in the precision that streams are made in, kept until weights change.

        float64 makes scales agree between machines to about 1e-12; float32 is a fast mode for
        streams that the same software reads back on the same machine.
        """
        weight = self.entropy_bottleneck.quantiles
        if weight.dtype == dtype and not self.training:
            return self
        overruled = [head.attention.reroute for head in self.slices]
        values = content_key((*self.parameters(), *self.buffers()))
        key = (dtype, weight.device, overruled, values)
        if self._coding_twin is None or self._coding_twin[0] != key:
            twin = copy.deepcopy(self).to(dtype).eval().requires_grad_(False)
            self._coding_twin = (key, twin)
        return self._coding_twin[1]

    def forget_coding_twin(self) -> None:
        """Make :meth:`for_coding` copy this codec anew, as hooks need that have come or gone."""
        self._coding_twin = None

    @torch.no_grad()
    def compress(
        self, y: Tensor, level: Tensor | None, dtype: torch.dtype = torch.float64
    ) -> list[LatentStreams]:
        """Code a batch of latents.

        Args:
            y: latent, shape (B, M, H, W), H and W multiples of 4.
            level: position between the lambda anchors, shape (B,); None for a fixed rate.
            dtype: precision of everything that the decoder must repeat.

        Returns:
            One :class:`LatentStreams` per image.

        Raises:
            NotUpdatedError: if the tables are empty.
        """
        return self.compress_with_latent(y, level, dtype)[0]

    @torch.no_grad()
    def compress_with_latent(
        self, y: Tensor, level: Tensor | None, dtype: torch.dtype = torch.float64
    ) -> tuple[list[LatentStreams], Tensor]:
        """Like :meth:`compress`, but also returns the y_hat that :meth:`decompress` will give."""
        codec = self.for_coding(dtype)
        y = y.to(dtype)
        level = None if level is None else level.to(dtype)
        y = codec.scale_y(y, level)
        medians = codec.medians()
        symbols = (codec.scale_z(codec.h_a(y), level) - medians).round()
        streams = [LatentStreams() for _ in y]
        rows = _channel_rows(symbols)
        for out, values in zip(streams, symbols, strict=True):
            flat = to_symbols(values)
            out.z = self.z_tables.encode(flat, rows)
            out.sums.append(checksum(flat))
        coder = EncodingCoder(y.split(self.config.groups, dim=1), self.y_tables, streams)
        trace = codec.run_slices(codec.side(in_one_layout(symbols + medians), level), coder)
        return streams, self._y_hat(codec, trace, level)

    @torch.no_grad()
    def decompress(
        self,
        streams: list[LatentStreams],
        shape: tuple[int, int],
        level: Tensor | None,
        dtype: torch.dtype = torch.float64,
        make_coder: Callable[[FrequencyTables, list[LatentStreams]], SliceCoder] = DecodingCoder,
    ) -> Tensor:
        """Decode a batch of latents.

        Args:
            streams: one per image; leaving out the last slices gives a coarser latent.
            shape: height and width of y.
            level: as given to :meth:`compress`.
            dtype: as given to :meth:`compress`.
            make_coder: makes the slice coder that reads the streams.

        Returns:
            ``y_hat``, shape (B, M, H, W), in the precision of this codec.

        Raises:
            BadChecksum: if the symbols are not those that were encoded.
        """
        codec = self.for_coding(dtype)
        medians = codec.medians()
        z_shape = (self.config.N, shape[0] // 4, shape[1] // 4)
        like = torch.empty(len(streams), *z_shape)
        rows = _channel_rows(like)
        flat = [verified(self.z_tables, s.z, rows, s.sums[0], "z") for s in streams]
        symbols = torch.from_numpy(np.stack(flat)).to(medians).reshape(like.shape)
        level = None if level is None else level.to(medians)
        coder = make_coder(self.y_tables, streams)
        trace = codec.run_slices(codec.side(in_one_layout(symbols + medians), level), coder)
        return self._y_hat(codec, trace, level)

    def _y_hat(self, codec: LatentCodec, trace: SliceTrace, level: Tensor | None) -> Tensor:
        """What coding hands to the synthesis, in the precision of this codec."""
        y_hat = codec.unscale_y(torch.cat(trace.y_hat, dim=1), level)
        return y_hat.to(self.entropy_bottleneck.quantiles)


def _channel_rows(z: Tensor) -> np.ndarray:
    """Table row of each flattened symbol of one image of z: its channel."""
    return np.repeat(np.arange(z.shape[1], dtype=np.int32), z.shape[2] * z.shape[3])
