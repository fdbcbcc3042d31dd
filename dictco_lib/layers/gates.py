"""Attention modules that gate: a branch of residual units, weighed by a mask of another branch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dictco_lib.layers.attention import WindowAttention
from dictco_lib.layers.linear import MapConv


class ResidualUnit(nn.Module):
    """1x1 to half the channels, 3x3, 1x1 back, around an identity, with a closing activation."""

    def __init__(self, channels: int, act: Callable[[], nn.Module]) -> None:
        super().__init__()
        half = channels // 2
        self.conv = nn.Sequential(
            MapConv(channels, half),
            act(),
            nn.Conv2d(half, half, 3, padding=1),
            act(),
            MapConv(half, channels),
        )
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return self.act(x + self.conv(x))


class GatedAttention(nn.Module):
    """``x + a(x) * sigmoid(b(x))``: residual units, and a mask that looks further.

    Args:
        channels: of the map.
        inner: what the mask's branch begins with; maps (B, C, H, W) to the same shape.
        act: activation of the residual units.

    Reference:
        Cheng et al., "Learned Image Compression with Discretized Gaussian Mixture Likelihoods and
        Attention Modules", CVPR 2020, arXiv:2001.01568.
    """

    def __init__(self, channels: int, inner: nn.Module, act: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.conv_a = nn.Sequential(*(ResidualUnit(channels, act) for _ in range(3)))
        self.inner = inner
        units = (ResidualUnit(channels, act) for _ in range(3))
        self.conv_b = nn.Sequential(*units, MapConv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return x + self.conv_a(x) * torch.sigmoid(self.conv_b(self.inner(x)))


class ShiftedWindows(nn.Module):
    """``x + attention(x)`` in shifted windows, without norm or MLP, on (B, C, H, W).

    Height and width are multiples of the window.

    Reference:
        Zou et al., "The Devil Is in the Details: Window-based Attention for Image Compression",
        CVPR 2022, arXiv:2203.08450.
    """

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        # The paper's figure says "no shift"; the published models shift in every instance.
        self.attention = WindowAttention(channels, channels // heads, window, shifted=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return x + self.attention(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
