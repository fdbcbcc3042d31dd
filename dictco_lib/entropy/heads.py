"""Slice heads: what is known before a slice -> its distribution; its values -> their refinement.

A head sees the side information, a prefix of the earlier slices and perhaps a dictionary. Which
networks look at them is the business of the pages in ``models/``, which hand them in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dictco_lib.layers.winograd import Tiles, TileStore, WideConv, begin_wide


@dataclass(frozen=True)
class Side:
    """What z_hat tells about y: two maps of shape (B, S, H, W), for scales and for means.

    ``tiles`` are those maps and the slices so far as convolutions want them, for all heads.
    """

    scales: Tensor
    means: Tensor
    tiles: TileStore = field(default_factory=TileStore, repr=False, compare=False)


@dataclass(frozen=True)
class Prediction:
    """What a head says of slice k, before the slice is known.

    ``mean`` and ``scale`` (raw, before its lower bound) have shape (B, C_k, H, W); ``maps``, each
    (B, C, H, W), are what the latent residual prediction will look at; ``routing``, (B, K, H, W),
    are the gates of a mixture, None where there is no dictionary. ``tiles`` are the maps as
    convolutions want them, if they have them already.
    """

    mean: Tensor
    scale: Tensor
    maps: tuple[Tensor, ...]
    routing: Tensor | None = None
    tiles: Tiles | None = None

    @property
    def support(self) -> Tensor:
        """The maps in one, (B, C, H, W)."""
        return torch.cat(self.maps, dim=1)


def parameter_net(c_in: int, widths: tuple[int, ...], c_out: int) -> nn.Sequential:
    """3x3 convolutions with GELU in between: the form of the mean, scale and LRP nets."""
    sizes = (c_in, *widths, c_out)
    layers: list[nn.Module] = []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [WideConv(a, b), nn.GELU()]
    return nn.Sequential(*layers[:-1])


class SliceHead(nn.Module):
    """A head as the slice loop sees it. A page's head has :meth:`forward` and the net ``lrp``."""

    #: So many of the first slices are handed to it; None: all before its own.
    sees: int | None = None

    def forward(self, side: Side, earlier: list[Tensor], dictionary: Tensor | None) -> Prediction:
        """Predict one slice.

        Args:
            side: what z_hat tells.
            earlier: refined slices that were coded before, each (B, C_j, H, W).
            dictionary: the dictionary that all slices share, (N, D), if there is one.
        """
        raise TypeError(f"{type(self).__name__} has no forward(side, earlier, dictionary)")

    def refine(self, prediction: Prediction, y_bar: Tensor) -> Tensor:
        """Add the latent residual prediction (LRP) to the quantised slice.

        Reference:
            Minnen & Singh, ICIP 2020, arXiv:2007.08739.
        """
        if prediction.tiles is not None:
            seen = prediction.tiles.joined(y_bar)
        else:
            seen = torch.cat([*prediction.maps, y_bar], dim=1)
        return 0.5 * torch.tanh(self.lrp(seen)) + y_bar  # in memory like the first


class JointHead(SliceHead):
    """One support for all three nets: side, earlier slices, and what the dictionary knows.

    Args:
        attention: query map, dictionary -> context and gates.
        support: channels of side (both maps), earlier slices and context together.
        size: channels of the slice.
        widths: hidden widths of the three nets.

    Reference:
        Lu et al., CVPR 2025, arXiv:2504.00496.
    """

    def __init__(
        self, attention: nn.Module, support: int, size: int, widths: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.attention = attention
        self.mean = parameter_net(support, widths, size)
        self.scale = parameter_net(support, widths, size)
        self.lrp = parameter_net(support + size, widths, size)

    def forward(self, side: Side, earlier: list[Tensor], dictionary: Tensor | None) -> Prediction:
        """Predict one slice; see :class:`SliceHead`."""
        maps = (side.scales, side.means, *earlier)
        context, routing = self.attention(torch.cat(maps, dim=1), dictionary)
        tiles = None
        if begin_wide((self.mean, self.scale, self.lrp), context):
            tiles = side.tiles.of(maps).joined(context)
        maps = (*maps, context)
        seen = _either(maps, tiles)
        return Prediction(self.mean(seen), self.scale(seen), maps, routing, tiles)


class SplitHead(SliceHead):
    """Two supports: means and earlier slices, scales and earlier slices, each transformed.

    The latent residual prediction takes the mean's support after its transform, or before.

    Args:
        transforms: of the mean's and of the scale's support; identities where there are none.
        support: channels of one side map and the earlier slices together.
        size: channels of the slice.
        widths: hidden widths of the three nets.
        sees: so many of the first slices; None for all before its own.
        refines_from_input: whether the latent residual prediction takes the support before.

    Reference:
        Minnen & Singh, ICIP 2020, arXiv:2007.08739.
    """

    def __init__(
        self,
        transforms: tuple[nn.Module, nn.Module],
        support: int,
        size: int,
        widths: tuple[int, ...],
        sees: int | None = None,
        *,
        refines_from_input: bool = False,
    ) -> None:
        super().__init__()
        self.sees = sees
        self.refines_from_input = refines_from_input
        self.mean_support, self.scale_support = transforms
        self.mean = parameter_net(support, widths, size)
        self.scale = parameter_net(support, widths, size)
        self.lrp = parameter_net(support + size, widths, size)

    def forward(self, side: Side, earlier: list[Tensor], dictionary: Tensor | None) -> Prediction:
        """Predict one slice; see :class:`SliceHead`."""
        maps = (side.means, *earlier)
        means, means_tiles = _transformed(self.mean_support, maps, side.tiles, self.mean)
        scales, scales_tiles = _transformed(
            self.scale_support, (side.scales, *earlier), side.tiles, self.scale
        )
        mean = self.mean(_either(means, means_tiles))
        scale = self.scale(_either(scales, scales_tiles))
        if self.refines_from_input and means is not maps:
            return Prediction(mean, scale, maps)
        has_tiles = means_tiles is not None and begin_wide((self.lrp,), means[0])
        return Prediction(mean, scale, means, tiles=means_tiles if has_tiles else None)


def _transformed(
    transform: nn.Module, maps: tuple[Tensor, ...], store: TileStore, net: nn.Module
) -> tuple[tuple[Tensor, ...], Tiles | None]:
    """Maps behind the transform of a support, and their tiles if the net after it wants them."""
    wants_tiles = begin_wide((net,), maps[0])
    if type(transform) is nn.Identity:
        return maps, store.of(maps) if wants_tiles else None
    out = transform(torch.cat(maps, dim=1))
    return (out,), Tiles.of(out) if wants_tiles else None


def _either(maps: tuple[Tensor, ...], tiles: Tiles | None) -> Tensor | Tiles:
    return torch.cat(maps, dim=1) if tiles is None else tiles
