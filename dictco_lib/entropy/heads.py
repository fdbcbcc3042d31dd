"""Slice heads: what is known before a slice -> its distribution; its values -> their refinement.

A head sees the side information, a prefix of the earlier slices and perhaps a dictionary. Which
networks look at them is the business of the pages in ``models/``, which hand them in.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dictco_lib.layers.winograd import Tiles, WideConv, shared_tiles


@dataclass(frozen=True)
class Side:
    """What z_hat tells about y: two maps of shape (B, S, H, W), for scales and for means."""

    scales: Tensor
    means: Tensor


@dataclass(frozen=True)
class Prediction:
    """What a head says of slice k, before the slice is known.

    ``mean`` and ``scale`` (raw, before its lower bound) have shape (B, C_k, H, W); ``support``,
    (B, C, H, W), is what the latent residual prediction will look at; ``routing``, (B, K, H, W),
    are the gates of a mixture, None where there is no dictionary. ``tiles`` are the support as
    convolutions want it, if they have it already.
    """

    mean: Tensor
    scale: Tensor
    support: Tensor
    routing: Tensor | None = None
    tiles: Tiles | None = None


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
            seen = torch.cat([prediction.support, y_bar], dim=1)
        return y_bar + 0.5 * torch.tanh(self.lrp(seen))


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
        query = torch.cat([side.scales, side.means, *earlier], dim=1)
        context, routing = self.attention(query, dictionary)
        support = torch.cat([query, context], dim=1)
        seen = shared_tiles(support, (self.mean, self.scale, self.lrp))
        tiles = seen if isinstance(seen, Tiles) else None
        return Prediction(self.mean(seen), self.scale(seen), support, routing, tiles)


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
        seen = torch.cat([side.means, *earlier], dim=1)
        means = self.mean_support(seen)
        scales = self.scale_support(torch.cat([side.scales, *earlier], dim=1))
        support = seen if self.refines_from_input else means
        return Prediction(self.mean(means), self.scale(scales), support)
