"""3x3 convolutions of many channels by Winograd's minimal filtering, in a quarter of the products.

In float64 on a CPU, torch unfolds the input into nine times its size, which no cache holds. Here it
is transformed tile by tile; nets that read the same maps share that (:class:`TileStore`), which is
a third of the work of a convolution that makes few channels of many. In float32 torch's own are so
good that only wide ones gain, and ten times as exact: only :func:`coarse_sums` asks for tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dictco_lib.layers.linear import takes_short_cuts

#: Input times output channels from which a float32 convolution is faster this way (one thread of a
#: Zen 4: 1,216 to 224 channels at 32x48 in 36 ms instead of 67, 128 to 64 in 2.3 instead of 2.2).
_WIDE = 2**14
_is_coarse: ContextVar[bool] = ContextVar("coarse sums", default=False)


def is_coding(x: Tensor) -> bool:
    """Whether x is on the path where torch's own float64 convolutions are slow."""
    return x.dtype == torch.float64 and x.device.type == "cpu" and not torch.is_grad_enabled()


@contextmanager
def coarse_sums(is_on: bool = True) -> Iterator[None]:
    """Let wide float32 convolutions be fast rather than exact to the last digits, while inside.

    For the entropy model of files that are made fast, whose reader computes the same, whatever that
    is; and for the transforms of all files, whose pixels are rounded to 8 or 16 bits.
    """
    token = _is_coarse.set(is_on)
    try:
        yield
    finally:
        _is_coarse.reset(token)


def _wants_tiles(x: Tensor, weight: Tensor) -> bool:
    """Whether a convolution of x with such kernels, (C_out, C_in, 3, 3), is faster by tiles."""
    if is_coding(x):
        return True
    if x.dtype != torch.float32 or not _is_coarse.get():
        return False
    if weight.shape[0] * weight.shape[1] < _WIDE:
        return False
    if not takes_short_cuts(x) or torch.is_autocast_enabled("cpu"):
        return False
    height, width = x.shape[-2:]
    return 16 * -(-height // 4) * -(-width // 4) <= 1.5 * height * width


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

    ``parts`` hold its channels in order, each (36, tiles, C_i); ``shape`` is (B, H, W). Channels
    come last, so that tiles are cut out and put together in runs of memory.
    """

    parts: tuple[Tensor, ...]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, x: Tensor) -> Tiles:
        """Transform a map (B, C, H, W)."""
        b, c, height, width = x.shape
        rows, cols = -(-height // 4), -(-width // 4)
        x = x.permute(0, 2, 3, 1).contiguous()
        x = F.pad(x, (0, 0, 1, 1 + 4 * cols - width, 1, 1 + 4 * rows - height))
        tiles = x.unfold(1, 6, 4).unfold(2, 6, 4)  # (B, rows, cols, C, 6, 6)
        tiles = tiles.permute(4, 5, 0, 1, 2, 3).reshape(36, -1)
        of_input = _winograd()[0].to(x)
        return cls(((of_input @ tiles).view(36, -1, c),), (b, height, width))

    def joined(self, x: Tensor) -> Tiles:
        """With the channels of another map, (B, C, H, W), behind."""
        return Tiles(self.parts + Tiles.of(x).parts, self.shape)


def winograd_conv(x: Tensor | Tiles, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 convolution with a border of zeros, by Winograd's minimal filtering.

    A quarter of the multiplications. Sums come out another way than by the definition: the results
    differ by about 1e-13 of their size in float64, by 1e-5 in float32 (torch's own by 1e-6).

    Args:
        x: shape (B, C_in, H, W), or its tiles.
        weight: shape (C_out, C_in, 3, 3).
        bias: shape (C_out,).

    Returns:
        Shape (B, C_out, H, W), channels last in memory.

    Reference:
        Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016,
        arXiv:1509.09308.
    """
    x = x if isinstance(x, Tiles) else Tiles.of(x)
    _, of_kernel, of_output = (m.to(weight) for m in _winograd())
    c_out, c_in = weight.shape[:2]
    kernels = of_kernel @ weight.flatten(2).permute(2, 0, 1).flatten(1)
    kernels = kernels.view(36, c_out, c_in).mT.split([p.shape[2] for p in x.parts], dim=1)
    sums = x.parts[0] @ kernels[0]  # (36, tiles, C_out)
    for kernel, part in zip(kernels[1:], x.parts[1:], strict=True):
        sums.baddbmm_(part, kernel)
    b, height, width = x.shape
    rows, cols = -(-height // 4), -(-width // 4)
    out = (of_output @ sums.flatten(1)).view(4, 4, b, rows, cols, -1)
    out = out.permute(2, 3, 0, 4, 1, 5).reshape(b, 4 * rows, 4 * cols, -1)
    return (out[:, :height, :width] + bias).permute(0, 3, 1, 2)


class WideConv(nn.Conv2d):
    """3x3 convolution of many channels.

    By :func:`winograd_conv` where that is faster: on a CPU, without gradients; in float64 always,
    up to three times (``dictco bench`` measures it), in float32 if it has many channels and within
    :func:`coarse_sums`. It takes :class:`Tiles` too.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 3, padding=1)

    def forward(self, x: Tensor | Tiles) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W)."""
        return self._conv_forward(x, self.weight, self.bias)

    def _conv_forward(self, x: Tensor | Tiles, weight: Tensor, bias: Tensor) -> Tensor:
        if not isinstance(x, Tiles) and not _wants_tiles(x, weight):
            return super()._conv_forward(x, weight, bias)
        return winograd_conv(x, weight, bias)


class TileStore:
    """Tiles of the maps that nets begin with, one net after the other: each is transformed once.

    What the nets of a later slice see begins with what those of an earlier one saw.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[list[Tensor], Tensor]] = {}  # by the first map

    def of(self, maps: Sequence[Tensor]) -> Tiles:
        """Tiles of maps, each (B, C_i, H, W), one behind the other."""
        seen, tiles = self._seen.get(id(maps[0]), ([], None))
        if any(a is not b for a, b in zip(seen, maps, strict=False)):
            seen, tiles = [], None
        if new := maps[len(seen) :]:
            made = Tiles.of(torch.cat(new, dim=1)).parts[0]
            tiles = made if tiles is None else torch.cat([tiles, made], dim=2)
            self._seen[id(maps[0])] = (list(maps), tiles)
        b, _, height, width = maps[0].shape
        return Tiles((tiles[..., : sum(m.shape[1] for m in maps)],), (b, height, width))


def begin_wide(nets: Iterable[nn.Module], x: Tensor) -> bool:
    """Whether nets that all begin with maps like x, (B, C, H, W), would all make tiles of them."""
    return all(_begins_wide(net) and _wants_tiles(x, net[0].weight) for net in nets)


def _begins_wide(net: nn.Module) -> bool:
    return type(net) is nn.Sequential and len(net) > 0 and type(net[0]) is WideConv
