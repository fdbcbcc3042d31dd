"""3x3 convolutions of many channels by Winograd's minimal filtering, as float64 needs them.

In float64 on a CPU, torch unfolds the input into nine times its size, which no cache holds. Here it
is transformed tile by tile; nets that read the same map share that (:func:`shared_tiles`), which is
a third of the work of a convolution that makes few channels of many.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def is_coding(x: Tensor) -> bool:
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


@dataclass(frozen=True)
class Tiles:
    """A map (B, C, H, W) as Winograd's convolution multiplies it, of any number of kernels.

    ``parts`` hold its channels in order, each (36, C_i, tiles); ``shape`` is (B, H, W).
    """

    parts: tuple[Tensor, ...]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, x: Tensor) -> Tiles:
        """Transform a map (B, C, H, W)."""
        b, c, height, width = x.shape
        rows, cols = -(-height // 4), -(-width // 4)
        x = F.pad(x, (1, 1 + 4 * cols - width, 1, 1 + 4 * rows - height))
        tiles = x.unfold(2, 6, 4).unfold(3, 6, 4)  # (B, C, rows, cols, 6, 6)
        tiles = tiles.permute(4, 5, 1, 0, 2, 3).reshape(36, -1)
        of_input = _winograd()[0].to(x)
        return cls(((of_input @ tiles).view(36, c, -1),), (b, height, width))

    def joined(self, x: Tensor) -> Tiles:
        """With the channels of another map, (B, C, H, W), behind."""
        return Tiles(self.parts + Tiles.of(x).parts, self.shape)


def winograd_conv(x: Tensor | Tiles, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 convolution with a border of zeros, by Winograd's minimal filtering.

    A quarter of the multiplications. Sums come out another way than by the definition: in float64
    the results differ by about 1e-13 of their size, in float32 by more than ours may.

    Args:
        x: shape (B, C_in, H, W), or its tiles.
        weight: shape (C_out, C_in, 3, 3).
        bias: shape (C_out,).

    Returns:
        Shape (B, C_out, H, W).

    Reference:
        Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016,
        arXiv:1509.09308.
    """
    x = x if isinstance(x, Tiles) else Tiles.of(x)
    _, of_kernel, of_output = (m.to(weight) for m in _winograd())
    c_out, c_in = weight.shape[:2]
    kernels = of_kernel @ weight.flatten(2).permute(2, 0, 1).flatten(1)
    kernels = kernels.view(36, c_out, c_in).split([p.shape[1] for p in x.parts], dim=2)
    sums = kernels[0] @ x.parts[0]  # (36, C_out, tiles)
    for kernel, part in zip(kernels[1:], x.parts[1:], strict=True):
        sums.baddbmm_(kernel, part)
    b, height, width = x.shape
    rows, cols = -(-height // 4), -(-width // 4)
    out = (of_output @ sums.flatten(1)).view(4, 4, -1, b, rows, cols)
    out = out.permute(3, 2, 4, 0, 5, 1).reshape(b, -1, 4 * rows, 4 * cols)
    return out[..., :height, :width] + bias[:, None, None]


class WideConv(nn.Conv2d):
    """3x3 convolution of many channels.

    In float64 on a CPU by :func:`winograd_conv`, up to three times faster than torch's (``dictco
    bench`` measures it). There it also takes :class:`Tiles`.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 3, padding=1)

    def forward(self, x: Tensor | Tiles) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W)."""
        if not isinstance(x, Tiles) and not is_coding(x):
            return super().forward(x)
        return winograd_conv(x, self.weight, self.bias)


def shared_tiles(x: Tensor, nets: Iterable[nn.Module]) -> Tensor | Tiles:
    """What to hand to nets that all begin with the same map, (B, C, H, W).

    Its tiles, made once, where each net begins with a :class:`WideConv` that would make them; else
    the map itself.
    """
    if not is_coding(x) or not all(_begins_wide(net) for net in nets):
        return x
    return Tiles.of(x)


def _begins_wide(net: nn.Module) -> bool:
    return type(net) is nn.Sequential and len(net) > 0 and type(net[0]) is WideConv
