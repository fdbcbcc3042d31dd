"""Convolutional residual bottlenecks, and the down- and upsampling steps made of them."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _is_coding(x: Tensor) -> bool:
    """Whether x is on the path where torch's own float64 convolutions are slow."""
    return x.dtype == torch.float64 and x.device.type == "cpu" and not torch.is_grad_enabled()


#: Winograd's F(4x4, 3x3): a tile of 6x6 inputs to 4x4 outputs, in 36 products instead of 144.
_INPUT = [
    [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
]  # fmt: skip
_KERNEL = [
    [1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
]  # fmt: skip
_OUTPUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


@cache
def _winograd() -> tuple[Tensor, Tensor, Tensor]:
    """The three transforms on both axes at once: (36, 36), (36, 9) and (16, 36), float64."""
    matrices = (torch.tensor(m, dtype=torch.float64) for m in (_INPUT, _KERNEL, _OUTPUT))
    return tuple(torch.kron(m, m) for m in matrices)


def winograd_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 convolution with a border of zeros, by Winograd's minimal filtering.

    A quarter of the multiplications. Sums come out another way than by the definition: in float64
    the results differ by about 1e-13 of their size, in float32 by more than ours may.

    Args:
        x: shape (B, C_in, H, W).
        weight: shape (C_out, C_in, 3, 3).
        bias: shape (C_out,).

    Returns:
        Shape (B, C_out, H, W).

    Reference:
        Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016,
        arXiv:1509.09308.
    """
    of_input, of_kernel, of_output = (m.to(x) for m in _winograd())
    b, c, height, width = x.shape
    rows, cols = -(-height // 4), -(-width // 4)
    x = F.pad(x, (1, 1 + 4 * cols - width, 1, 1 + 4 * rows - height))
    tiles = x.unfold(2, 6, 4).unfold(3, 6, 4)  # (B, C, rows, cols, 6, 6)
    tiles = tiles.permute(4, 5, 1, 0, 2, 3).reshape(36, -1)
    tiles = (of_input @ tiles).view(36, c, -1)
    kernels = of_kernel @ weight.flatten(2).permute(2, 0, 1).flatten(1)
    sums = kernels.view(36, -1, c) @ tiles  # (36, C_out, B * rows * cols)
    out = (of_output @ sums.flatten(1)).view(4, 4, -1, b, rows, cols)
    out = out.permute(3, 2, 4, 0, 5, 1).reshape(b, -1, 4 * rows, 4 * cols)
    return out[..., :height, :width] + bias[:, None, None]


class WideConv(nn.Conv2d):
    """3x3 convolution of many channels.

    In float64 on a CPU, torch unfolds the input into nine times its size, which no cache holds;
    :func:`winograd_conv` is up to three times faster (``dictco bench`` measures it).
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W)."""
        if not _is_coding(x):
            return super().forward(x)
        return winograd_conv(x, self.weight, self.bias)


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


def _normed(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
    """``norm(conv(x))``; a BatchNorm that only scales and shifts goes into the kernels.

    They are made at every call, which costs next to nothing beside a pass over the map, and can
    never be those of other weights.
    """
    is_fixed = isinstance(norm, nn.BatchNorm2d) and not norm.training
    if not is_fixed or torch.is_grad_enabled():
        return norm(conv(x))
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    bias = (conv.bias - norm.running_mean) * scale + norm.bias
    return conv._conv_forward(x, conv.weight * scale[:, None, None, None], bias)


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
        out = self.act(_normed(self.conv1, self.bn1, x))
        out = self.act(_normed(self.conv2, self.bn2, out))
        return self.out_act(_normed(self.conv3, self.bn3, out) + x)


def _is_lowered(x: Tensor) -> bool:
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


class _HalvingConv(nn.Conv2d):
    """In the precision of its weights, under autocast too.

    These layers take the pixels and the latent and give them: rounded to bf16, which has 8 bits,
    pixels would be off by half a level and large latents by a tenth of a step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, 2H, 2W) to (B, C_out, H, W)."""
        if not _is_lowered(x):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


class _DoublingConv(nn.ConvTranspose2d):
    """In the precision of its weights, like :class:`_HalvingConv`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, 2H, 2W)."""
        if not _is_lowered(x):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


def downsampling_conv(c_in: int, c_out: int, kernel: int = 5) -> nn.Conv2d:
    """Convolution that halves height and width."""
    return _HalvingConv(c_in, c_out, kernel, stride=2, padding=kernel // 2)


def upsampling_conv(c_in: int, c_out: int, kernel: int = 5) -> nn.ConvTranspose2d:
    """Transposed convolution that doubles height and width."""
    return _DoublingConv(c_in, c_out, kernel, stride=2, padding=kernel // 2, output_padding=1)


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
