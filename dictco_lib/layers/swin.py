"""Plain Swin blocks, and what TCM and STF make of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from compressai.layers import ResidualBlock
from torch import Tensor, nn

from dictco_lib.layers.attention import WindowAttention
from dictco_lib.layers.linear import MapConv


class SwinBlock(nn.Module):
    """``x = x + Attention(LN(x))``, then ``x = x + MLP(LN(x))``, on (B, H, W, C).

    Args:
        dim: channels.
        head_dim: of them, in each head.
        window: side of a window.
        shifted: whether windows are shifted by half of their side.
        pads: whether it pads a map of any size itself, behind the norm, where zeros are no
            tokens like the others'; else H and W are multiples of the window.

    Reference:
        Liu et al., "Swin Transformer", ICCV 2021, arXiv:2103.14030.
    """

    def __init__(
        self, dim: int, head_dim: int, window: int, *, shifted: bool, pads: bool = False
    ) -> None:
        super().__init__()
        self.pads = pads
        self.norm1 = nn.LayerNorm(dim)
        self.attention = WindowAttention(dim, head_dim, window, shifted=shifted)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        seen, (height, width) = self.norm1(x), x.shape[1:3]
        if self.pads:
            w = self.attention.window
            seen = F.pad(seen, (0, 0, 0, -width % w, 0, -height % w))
        x = x + self.attention(seen)[:, :height, :width]
        return x + self.mlp(self.norm2(x))


def _in_windows(blocks: Callable[[Tensor], Tensor], x: Tensor, window: int | None) -> Tensor:
    """Run blocks on a map (B, C, H, W) of any size.

    If its sides are no multiples of the window, it is zero-padded at the bottom and right for all
    blocks, and cropped afterwards; without a window the blocks pad themselves.
    """
    height, width = x.shape[-2:]
    x = F.pad(x, (0, -width % (window or 1), 0, -height % (window or 1)))
    return blocks(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)[..., :height, :width]


class SwinBlocks(nn.Sequential):
    """Plain and shifted blocks by turns, on (B, C, H, W) of any size.

    They are padded together, or with ``pads`` each for itself: see :class:`SwinBlock`.
    """

    def __init__(
        self, dim: int, head_dim: int, window: int, blocks: int, *, pads: bool = False
    ) -> None:
        super().__init__(
            *(
                SwinBlock(dim, head_dim, window, shifted=i % 2 == 1, pads=pads)
                for i in range(blocks)
            )
        )
        self.window = None if pads else window

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return _in_windows(super().forward, x, self.window)


class MixedBlock(nn.Module):
    """Half of the channels through convolutions, half through a Swin block, around an identity.

    The identity of the convolutional half enters twice: its residual block has one of its own.

    Reference:
        Liu et al., "Learned Image Compression with Mixed Transformer-CNN Architectures",
        CVPR 2023, arXiv:2303.14978.
    """

    def __init__(
        self, branch: int, head_dim: int, window: int, *, shifted: bool, pads: bool = False
    ) -> None:
        super().__init__()
        self.window = None if pads else window
        self.conv_in = MapConv(2 * branch, 2 * branch)
        self.conv_block = ResidualBlock(branch, branch)
        self.swin = SwinBlock(branch, head_dim, window, shifted=shifted, pads=pads)
        self.conv_out = MapConv(2 * branch, 2 * branch)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 2 branch, H, W) to the same shape."""
        a, b = self.conv_in(x).chunk(2, dim=1)
        b = _in_windows(self.swin, b, self.window)
        return x + self.conv_out(torch.cat([self.conv_block(a) + a, b], dim=1))


class PatchMerging(nn.Module):
    """(B, C, H, W) -> (B, 2C, H/2, W/2): four neighbours in one, normalised and mixed."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Halve height and width."""
        x = x.permute(0, 2, 3, 1)
        parts = (x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2])
        return self.reduction(self.norm(torch.cat(parts, dim=-1))).permute(0, 3, 1, 2)


class PatchSplitting(nn.Module):
    """(B, C, H, W) -> (B, C/2, 2H, 2W): the way back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.reduction = nn.Linear(dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Double height and width."""
        x = self.reduction(self.norm(x.permute(0, 2, 3, 1)))
        return F.pixel_shuffle(x.permute(0, 3, 1, 2), 2)
