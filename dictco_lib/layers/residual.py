"""Convolutional residual bottlenecks, and the down- and upsampling steps made of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _is_coding(x: Tensor) -> bool:
    """Whether x is on the path where torch's own float64 convolutions are slow."""
    return x.dtype == torch.float64 and x.device.type == "cpu" and not torch.is_grad_enabled()


class WideConv(nn.Conv2d):
    """3x3 convolution of many channels into few.

    In float64 on a CPU, torch unfolds the input into nine times its size, which no cache holds.
    One product with all nine kernels' taps, whose results are shifted and added, gives the same
    numbers up to three times faster (``dictco bench`` measures it).
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W)."""
        if not _is_coding(x) or self.in_channels < 2 * self.out_channels:
            return super().forward(x)
        b, _, height, width = x.shape
        taps = self.weight.permute(2, 3, 0, 1).reshape(-1, self.in_channels)  # (9 C_out, C_in)
        parts = (taps @ x.flatten(2)).view(b, 3, 3, self.out_channels, height, width)
        out = x.new_zeros(b, self.out_channels, height + 2, width + 2)
        for dy in range(3):
            for dx in range(3):
                rows, cols = slice(2 - dy, 2 - dy + height), slice(2 - dx, 2 - dx + width)
                out[:, :, rows, cols] += parts[:, dy, dx]
        return out[:, :, 1:-1, 1:-1] + self.bias[:, None, None]


class DepthwiseConv(nn.Conv2d):
    """3x3 convolution of each channel with its own kernel.

    In float64 on a CPU, torch falls back to one small matrix product per channel; nine shifted
    multiply-adds give the same numbers many times faster (``dictco bench`` measures it).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        if not _is_coding(x):
            return super().forward(x)
        height, width = x.shape[-2:]
        padded = F.pad(x, (1, 1, 1, 1))
        out = self.bias[:, None, None].expand(x.shape).clone(memory_format=torch.contiguous_format)
        for dy in range(3):
            for dx in range(3):
                kernel = self.weight[:, 0, dy, dx, None, None]
                out.addcmul_(padded[..., dy : dy + height, dx : dx + width], kernel)
        return out


class Bottleneck(nn.Module):
    """Residual bottleneck: 1x1 -> 3x3 -> 1x1 convolutions around an identity.

    ``batch_norm`` gives the form of DictCO's first publication: a BatchNorm after each
    convolution and one more ReLU after the sum. DCAE has neither.

    Args:
        channels: width of input and output.
        reduction: the inner width is ``channels // reduction``.
        batch_norm: see above.
    """

    def __init__(self, channels: int, reduction: int, *, batch_norm: bool = False) -> None:
        super().__init__()
        inner = channels // reduction

        def norm(width: int) -> nn.Module:
            return nn.BatchNorm2d(width) if batch_norm else nn.Identity()

        self.conv1 = nn.Conv2d(channels, inner, 1)
        self.bn1 = norm(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1)
        self.bn2 = norm(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1)
        self.bn3 = norm(channels)
        self.act = nn.ReLU()
        self.out_act = nn.ReLU() if batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        out = self.act(self.bn1(self.conv1(x)))
        out = self.act(self.bn2(self.conv2(out)))
        return self.out_act(self.bn3(self.conv3(out)) + x)


def downsampling_conv(c_in: int, c_out: int, kernel: int = 5) -> nn.Conv2d:
    """Convolution that halves height and width."""
    return nn.Conv2d(c_in, c_out, kernel, stride=2, padding=kernel // 2)


def upsampling_conv(c_in: int, c_out: int, kernel: int = 5) -> nn.ConvTranspose2d:
    """Transposed convolution that doubles height and width."""
    return nn.ConvTranspose2d(c_in, c_out, kernel, stride=2, padding=kernel // 2, output_padding=1)


class Downsample(nn.Module):
    """Halving 5x5 convolution, then ``blocks`` bottlenecks."""

    def __init__(
        self, c_in: int, c_out: int, *, blocks: int, reduction: int, batch_norm: bool
    ) -> None:
        super().__init__()
        self.conv = downsampling_conv(c_in, c_out)
        self.blocks = nn.Sequential(
            *(Bottleneck(c_out, reduction, batch_norm=batch_norm) for _ in range(blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, 2H, 2W) to (B, C_out, H, W)."""
        return self.blocks(self.conv(x))


class Upsample(nn.Module):
    """Mirror of :class:`Downsample`: bottlenecks, then a doubling transposed convolution."""

    def __init__(
        self, c_in: int, c_out: int, *, blocks: int, reduction: int, batch_norm: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(Bottleneck(c_in, reduction, batch_norm=batch_norm) for _ in range(blocks))
        )
        self.conv = upsampling_conv(c_in, c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, 2H, 2W)."""
        return self.conv(self.blocks(x))
