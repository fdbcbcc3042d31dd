"""Convolutional residual bottlenecks, and the down- and upsampling steps made of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dictco_lib.layers.linear import MapConv
from dictco_lib.layers.winograd import WideConv, is_coding

#: Bytes of a band of rows that :class:`DepthwiseConv` goes over nine times.
_BAND = 2**21


class DepthwiseConv(nn.Conv2d):
    """3x3 convolution of each channel with its own kernel.

    In float64 on a CPU, torch falls back to one small matrix product per channel; nine shifted
    multiply-adds give the same numbers many times faster (``dictco bench`` measures it), in bands
    of rows that a cache holds. Their result has its channels last in memory, as its users have.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        if not is_coding(x):
            return super().forward(x)
        x = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
        b, height, width, c = x.shape
        padded = F.pad(x, (0, 0, 1, 1, 1, 1))
        kernel = self.weight[:, 0].permute(1, 2, 0).contiguous()  # (3, 3, C)
        out = self.bias.expand(x.shape).clone(memory_format=torch.contiguous_format)
        rows = max(1, _BAND // (8 * b * width * c))
        for top in range(0, height, rows):
            band = out[:, top : top + rows]
            bottom = top + band.shape[1]
            for dy in range(3):
                for dx in range(3):
                    seen = padded[:, top + dy : bottom + dy, dx : dx + width]
                    band.addcmul_(seen, kernel[dy, dx])
        return out.permute(0, 3, 1, 2)


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

        self.conv1 = MapConv(channels, inner)
        self.bn1 = norm(inner)
        self.conv2 = WideConv(inner, inner)
        self.bn2 = norm(inner)
        self.conv3 = MapConv(inner, channels)
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
