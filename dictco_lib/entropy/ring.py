"""The ring around the slice loop: y to z and back, gains, slices; with any coder."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dictco_lib.config import Y_STRIDE, Z_STRIDE
from dictco_lib.cores import free_cores
from dictco_lib.entropy.gaussian import EstimatingCoder
from dictco_lib.entropy.heads import Side, SliceHead
from dictco_lib.entropy.noise import ConditionalGaussian, FactorisedPrior
from dictco_lib.entropy.seal import Seal
from dictco_lib.entropy.slices import Coder, SliceTrace, code_slices
from dictco_lib.entropy.streams import (
    DecodingCoder,
    EncodingCoder,
    FrequencyTables,
    LatentStreams,
    Tables,
    gaussian_probabilities,
)
from dictco_lib.errors import NotUpdatedError
from dictco_lib.layers.gain import Gain
from dictco_lib.layers.walk import tensors_of, walk
from dictco_lib.layers.winograd import coarse_sums
from dictco_lib.memory import kept_memory


class Shape(Protocol):
    """The numbers of a configuration that the ring itself needs."""

    N: int
    M: int
    groups: tuple[int, ...]
    lmbdas: tuple[float, ...]


class Parts(Protocol):
    """What a page of ``models/`` hands in; each function takes the configuration."""

    def hyper(self, config: Shape) -> tuple[nn.Module, nn.Module, nn.Module]:
        """``h_a``, ``h_scale`` and ``h_mean``."""

    def dictionary(self, config: Shape) -> nn.Parameter | None:
        """The dictionary that all slices share, (N, D), or None."""

    def head(self, config: Shape, k: int) -> SliceHead:
        """The head of slice k."""


@dataclass
class Trace(SliceTrace):
    """What one run computed: the slices, and what lies around them.

    ``y`` (with its gain) and ``z`` are None where they were read; ``latent`` is y_hat without its
    gain, (B, M, H, W): what the synthesis gets.
    """

    y: Tensor | None = None
    z: Tensor | None = None
    side: Side | None = None
    latent: Tensor | None = None


class LatentCodec(nn.Module):
    """Entropy model of y: everything of a codec except its two transforms.

    ::

        y --gain--> h_a --> z --gain--> Q --> z_hat --> h_scale, h_mean --> side
        |                               |                                   |
        +--> slices: head(side, earlier slices) -> mean, scale -> Q -> LRP --> y_hat

    Estimating, encoding and decoding are one :meth:`run` with different coders.

    Args:
        config: the shape of the model.
        parts: the page that says what the networks are.

    Reference:
        Minnen & Singh, ICIP 2020, arXiv:2007.08739; Lu et al., CVPR 2025, arXiv:2504.00496.
    """

    def __init__(self, config: Shape, parts: Parts) -> None:
        super().__init__()
        self.config = config
        self.h_a, self.h_scale, self.h_mean = parts.hyper(config)
        self.entropy_bottleneck = FactorisedPrior(config.N)
        self.gaussian = ConditionalGaussian(None)
        self.y_tables = FrequencyTables()
        self.z_tables = FrequencyTables()
        self._seal: Seal | None = None
        self._only_codes = False  # whether :meth:`for_coding` made it
        self._copies: dict[torch.dtype, tuple[object, LatentCodec]] = {}
        self.dictionary = parts.dictionary(config)
        self.slices = nn.ModuleList(parts.head(config, k) for k in range(len(config.groups)))
        if config.lmbdas:
            # Rate falls by 3 log2(step) bits per pixel while 255**2 * lmbda * step**2 / 12 grows:
            # for an orthonormal transform the optimum is step**2 = 18 / (ln 2 * 255**2 * lmbda).
            start = [0.5 * math.log(math.log(2) * 255**2 * v / 18) for v in config.lmbdas]
            self.gain_y = Gain(start, config.M)
            self.gain_z = Gain([0.0] * len(start), config.N)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_copies": {}}  # copies and pickles make their own

    def scale_y(self, y: Tensor, level: Tensor | None) -> Tensor:
        """Apply the gain of y."""
        return y if level is None else y * self.gain_y.gain(level)

    def unscale_y(self, y_hat: Tensor, level: Tensor | None) -> Tensor:
        """Apply the inverse gain of y."""
        return y_hat if level is None else y_hat * self.gain_y.inverse(level)

    def scale_z(self, z: Tensor, level: Tensor | None) -> Tensor:
        """Apply the gain of z."""
        return z if level is None else z * self.gain_z.gain(_level_of_z(level))

    def side(self, z_hat: Tensor, level: Tensor | None) -> Side:
        """What z_hat, gain applied, tells about y."""
        if level is not None:
            z_hat = z_hat * self.gain_z.inverse(_level_of_z(level))
        return Side(self.h_scale(z_hat), self.h_mean(z_hat))

    def run_slices(
        self, side: Side, coder: Coder, y: Tensor | None = None, *, refines_all: bool = True
    ) -> SliceTrace:
        """The slice loop alone; ``y`` has its gain applied, or is None where it is read."""
        parts = None if y is None else y.split(self.config.groups, dim=1)
        return code_slices(
            self.slices, self.dictionary, side, coder, parts, refines_all=refines_all
        )

    def run(
        self,
        coder: Coder,
        level: Tensor | None,
        y: Tensor | None = None,
        *,
        refines_all: bool = True,
    ) -> Trace:
        """The whole ring, with any coder.

        Args:
            coder: decides what z_hat and the quantised slices are.
            level: position between the lambdas, one for each image (B,) or for each place
                of y (B, H, W); None for a fixed rate.
            y: latent, shape (B, M, H, W), H and W multiples of 4; None where it is read.
            refines_all: False if only what the coder is told matters; y_hat is not complete then.
        """
        z = None
        if y is not None:
            y = self.scale_y(y, level)
            z = self.scale_z(self.h_a(y), level)
        side = self.side(coder.code_z(z, self.medians()), level)
        trace = self.run_slices(side, coder, y, refines_all=refines_all)
        latent = self.unscale_y(torch.cat(trace.y_hat, dim=1), level)
        return Trace(**vars(trace), y=y, z=z, side=side, latent=latent)

    def medians(self) -> Tensor:
        """Middle quantile of each channel of z, shape (1, N, 1, 1)."""
        return self.entropy_bottleneck.quantiles[:, :, 1:2].detach().permute(1, 0, 2).unsqueeze(-1)

    def forward(self, y: Tensor, level: Tensor | None) -> dict:
        """Estimate rates.

        Args:
            y: latent, shape (B, M, H, W), H and W multiples of 4.
            level: position between the lambdas, shape (B,); None for a fixed rate.

        Returns:
            ``y_hat`` (inverse gain applied), ``likelihoods`` (``y``, ``z``), ``para`` (``y``,
            ``means``, ``scales``; in the gained domain) and ``routing``, a list per slice of
            (B, K, H, W), empty without a dictionary; ``z``, gain applied, and ``side``, a
            :class:`Side`.
        """
        coder = EstimatingCoder(self.entropy_bottleneck, self.gaussian)
        trace = self.run(coder, level, y)
        return {
            "y_hat": trace.latent,
            "likelihoods": coder.likelihoods(),
            "para": {
                "y": trace.y,
                "means": torch.cat(trace.means, dim=1),
                "scales": torch.cat(trace.scales, dim=1),
            },
            "routing": trace.routing,
            "z": trace.z,
            "side": trace.side,
        }

    @torch.no_grad()
    def update(self) -> None:
        """Prepare coding with the current weights: integer frequency tables, and :meth:`seal`.

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
        self.seal()

    def seal(self) -> None:
        """Accept the weights and tables as they are: those of a checkpoint that brought both.

        After any other change of weights, :meth:`update` builds the tables anew.
        """
        self._copies.clear()
        self._seal = Seal(tensors_of(self))

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
        """A copy of this codec that codes, in evaluation mode, kept until :meth:`update`.

        float64 makes scales agree between machines to about 1e-12; float32 is a fast mode for
        streams that the same software reads back on the same machine. What weights alone
        determine is computed once: layers with a method ``fold`` are asked to.

        Raises:
            NotUpdatedError: if the weights are not those of the last update.
        """
        if not self._only_codes:
            self._check_sealed()
        elif self.entropy_bottleneck.quantiles.dtype == dtype:
            return self
        place = (self.entropy_bottleneck.quantiles.device, self._overruled())
        if dtype not in self._copies or self._copies[dtype][0] != place:
            self._copies[dtype] = (place, self._coding_copy(dtype))
        return self._copies[dtype][1]

    @torch.no_grad()
    def _coding_copy(self, dtype: torch.dtype) -> LatentCodec:
        # In the same precision it shares the memory of the weights that it does not replace.
        shared = {
            id(t): nn.Parameter(t.detach(), requires_grad=False)
            if isinstance(t, nn.Parameter)
            else t.detach()
            for t in tensors_of(self)
        }
        coding = copy.deepcopy(self, shared).to(dtype).eval()
        coding._only_codes = True
        for part in list(walk(coding)):
            if hasattr(part, "fold"):
                part.fold(coding.dictionary)
        return coding

    def _overruled(self) -> list:
        """What was hung into the routers from outside: a copy has what hung there when made."""
        return [getattr(m, "reroute", None) for m in walk(self) if hasattr(m, "reroute")]

    def _check_sealed(self) -> None:
        self.y_tables.check_filled()
        if self._seal is None or not self._seal.holds(tensors_of(self)):
            raise NotUpdatedError(
                "the weights have changed since the tables for coding were made; call "
                "model.update() after the last change"
            )

    @property
    def tables(self) -> Tables:
        """The integer frequency tables."""
        return Tables(self.y_tables, self.z_tables)

    @torch.no_grad()
    def compress(
        self, y: Tensor, level: Tensor | None, dtype: torch.dtype = torch.float64
    ) -> list[LatentStreams]:
        """Code a batch of latents.

        Args:
            y: latent, shape (B, M, H, W), H and W multiples of 4.
            level: as for :meth:`run`.
            dtype: precision of everything that the decoder must repeat.

        Returns:
            One :class:`LatentStreams` per image.

        Raises:
            NotUpdatedError: if the tables are empty, or of other weights.
        """
        return self.compress_with_latent(y, level, dtype, keep=False)[0]

    @torch.no_grad()
    def compress_with_latent(
        self,
        y: Tensor,
        level: Tensor | None,
        dtype: torch.dtype = torch.float64,
        *,
        keep: bool = True,
    ) -> tuple[list[LatentStreams], Tensor | None]:
        """Like :meth:`compress`, but also returns the y_hat that :meth:`decompress` will give.

        With ``keep=False`` None instead: the slices that only y_hat needs refined are left out.
        """
        codec = self.for_coding(dtype)
        streams = [LatentStreams() for _ in y]
        level = None if level is None else level.to(dtype)
        with _while_coding(dtype):
            coder = EncodingCoder(self.tables, streams)
            trace = codec.run(coder, level, y.to(dtype), refines_all=keep)
        return streams, trace.latent.to(self.entropy_bottleneck.quantiles) if keep else None

    @torch.no_grad()
    def decompress(
        self,
        streams: list[LatentStreams],
        shape: tuple[int, int],
        level: Tensor | None,
        dtype: torch.dtype = torch.float64,
        make_coder: Callable[
            [Tables, list[LatentStreams], tuple[int, int, int]], Coder
        ] = DecodingCoder,
    ) -> Tensor:
        """Decode a batch of latents.

        Args:
            streams: one per image; leaving out the last slices gives a coarser latent.
            shape: height and width of y.
            level: as given to :meth:`compress`.
            dtype: as given to :meth:`compress`.
            make_coder: makes the coder that reads streams of such a shape of z.

        Returns:
            ``y_hat``, shape (B, M, H, W), in the precision of this codec.

        Raises:
            BadChecksum: if the symbols are not those that were encoded.
        """
        codec = self.for_coding(dtype)
        level = None if level is None else level.to(dtype)
        coder = make_coder(self.tables, streams, (self.config.N, shape[0] // 4, shape[1] // 4))
        with _while_coding(dtype):
            y_hat = codec.run(coder, level).latent
        return y_hat.to(self.entropy_bottleneck.quantiles)


@contextmanager
def _while_coding(dtype: torch.dtype) -> Iterator[None]:
    # In float64 the guard makes up for sums in another order, of any number of threads.
    with free_cores(dtype == torch.float64), kept_memory(), coarse_sums(dtype == torch.float32):
        yield


def _level_of_z(level: Tensor) -> Tensor:
    """Levels at the places of z: means over its 4x4 places of y."""
    return level if level.dim() == 1 else F.avg_pool2d(level, Z_STRIDE // Y_STRIDE)
