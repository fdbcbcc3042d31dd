"""Where the seconds go: medians over repeats, measured in one run so that ratios are fair."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from statistics import median
from typing import TypeVar

import torch
import torch.nn.functional as F

from dictco_lib.entropy.ring import LatentCodec
from dictco_lib.errors import OptionError
from dictco_lib.layers.residual import DepthwiseConv
from dictco_lib.models import DictionaryCodec
from dictco_lib.models.codec import pad_to_stride

Key = TypeVar("Key", bound=Hashable)


def synchronize(device: torch.device) -> None:
    """Wait for a GPU, which works on after a call has returned; a CPU is done at once."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(
    works: Mapping[Key, Callable[[], object]], repeats: int, device: torch.device
) -> dict[Key, float]:
    """Median seconds of several pieces of work, after one warm-up each.

    They take turns, so that a machine that slows down slows them all.
    """
    seconds: dict[Key, list[float]] = {name: [] for name in works}
    for _ in range(repeats + 1):
        for name, work in works.items():
            synchronize(device)
            start = time.perf_counter()
            work()
            synchronize(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: median(values[1:]) for name, values in seconds.items()}


def check_bench(size: tuple[int, int], repeats: int) -> None:
    """Raise OptionError if there would be nothing to measure."""
    if repeats < 1 or min(size) < 1:
        raise OptionError(
            f"got {repeats} repeats of an image of {size[0]}x{size[1]} pixels; each must be at "
            "least 1"
        )


@torch.no_grad()
def bench(model: DictionaryCodec, size: tuple[int, int], repeats: int = 5) -> dict[str, float]:
    """Median seconds of each part for one image.

    Args:
        model: a codec with its tables built.
        size: width and height of the image in pixels; its content is smooth noise.
        repeats: runs per part, after one warm-up.

    Raises:
        OptionError: if there would be nothing to measure.
    """
    check_bench(size, repeats)
    weight = next(model.parameters())
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, -(-size[1] // 16), -(-size[0] // 16), generator=generator)
    x = F.interpolate(coarse, size=(size[1], size[0]), mode="bicubic").clamp(0, 1)
    x = pad_to_stride(x).to(weight, memory_format=torch.channels_last)
    level = None
    if model.config.is_variable_rate:
        level = model.level(50.0, x.double())
    codec = model.latent_codec
    y = model.g_a(x)
    coded = {dtype: codec.compress(y, level, dtype) for dtype in (torch.float64, torch.float32)}
    y_hat = codec.decompress(coded[torch.float64], y.shape[2:], level)
    y_hat = y_hat.to(memory_format=torch.channels_last)
    parts: dict[str, Callable[[], object]] = {
        "g_a": lambda: model.g_a(x),
        "g_s": lambda: model.g_s(y_hat),
    }
    for dtype, streams in coded.items():
        name = str(dtype).removeprefix("torch.")
        parts[f"entropy encoding, {name}"] = lambda d=dtype: codec.compress(y, level, d)
        parts[f"entropy decoding, {name}"] = lambda d=dtype, s=streams: codec.decompress(
            s, y.shape[2:], level, d
        )
    parts |= _layers(codec.for_coding(), y.shape[2:])
    return median_seconds(parts, repeats, weight.device)


def _layers(codec: LatentCodec, size: torch.Size) -> dict[str, Callable[[], object]]:
    """Single layers of the coding copy, each beside torch's own way of computing it."""
    layers = list(codec.slices.modules())
    kinds = {
        "depthwise": next((m for m in layers if isinstance(m, DepthwiseConv)), None),
        "wide 3x3": codec.slices[-1].mean[0],
    }
    parts: dict[str, Callable[[], object]] = {}
    for name, conv in kinds.items():
        if conv is not None:  # not all members have one
            x = torch.rand(1, conv.in_channels, *size).to(conv.weight)
            parts[f"one float64 {name}, ours"] = lambda c=conv, x=x: c(x)
            parts[f"one float64 {name}, torch"] = lambda c=conv, x=x: F.conv2d(
                x, c.weight, c.bias, padding=1, groups=c.groups
            )
    return parts
