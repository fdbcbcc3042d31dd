"""Blocks without activations: gates of products, and channel attention over the whole map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dictco_lib.layers.linear import MapConv

_EPS = 1e-6


class ChannelNorm(nn.Module):
    """Normalise the channels at each place of (B, C, H, W); biased variance."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        centred = x - x.mean(1, keepdim=True)
        scale = centred.square().mean(1, keepdim=True).add(_EPS).rsqrt()
        return centred * scale * self.weight[:, None, None] + self.bias[:, None, None]


def _halves(x: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=1)
    return a * b


class NAFBlock(nn.Module):
    """Depthwise gate with channel attention, then a pointwise gate, each on a learned residual.

    The channel attention averages over the whole map: on a part of an image the block is
    another function, and no margin around the part mends that.

    Reference:
        Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, arXiv:2204.04676.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.dwconv = nn.Sequential(
            MapConv(channels, 2 * channels),
            nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels),
        )
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), MapConv(channels, channels))
        self.conv1 = MapConv(channels, channels)
        self.norm2 = ChannelNorm(channels)
        self.ffn_in = MapConv(channels, 2 * channels)
        self.ffn_out = MapConv(channels, channels)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        gate = _halves(self.dwconv(self.norm1(x)))
        x = x + self.beta * self.conv1(gate * self.sca(gate))
        return x + self.gamma * self.ffn_out(_halves(self.ffn_in(self.norm2(x))))
