"""WACNN: convolutions with GDN and window attention; ten even slices. See :data:`PAPER`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compressai.layers import GDN, subpel_conv3x3
from torch import nn

from dictco_lib.config import LMBDAS, CodecConfig
from dictco_lib.entropy.heads import SplitHead
from dictco_lib.layers.gates import GatedAttention, ShiftedWindows
from dictco_lib.layers.residual import downsampling_conv, upsampling_conv
from dictco_lib.models.layout import Layout, Sizes, skeleton
from dictco_lib.models.papers import Paper

PAPER = Paper(
    "Zou et al.",
    "The Devil Is in the Details: Window-based Attention for Image Compression",
    "CVPR", 2022, "arXiv:2203.08450",
)  # fmt: skip
#: Presets whose points were published -> their curves.
CURVES = {"wacnn": "wacnn"}


@dataclass(frozen=True)
class Config(CodecConfig):
    """``N`` is also the width of the transforms."""

    family: ClassVar[str] = "wacnn"
    limits: ClassVar[dict[str, int]] = {"windows": 16, "seen_slices": 240}

    name: str = "wacnn"
    groups: tuple[int, ...] = (32,) * 10
    heads: int = 8
    windows: tuple[int, int] = (8, 4)  # at strides 4 and 16
    hyper_widths: tuple[int, int, int] = (224, 256, 288)  # from z to y
    parameter_widths: tuple[int, ...] = (224, 176, 128, 64)
    seen_slices: int = 5


PRESETS = {"wacnn": Config()}
PRESETS["nano_wacnn"] = Config(
    name="nano_wacnn", N=32, M=48, groups=(8, 16, 24), heads=4, hyper_widths=(32, 32, 48),
    parameter_widths=(32, 32), seen_slices=1, lmbdas=LMBDAS,
)  # fmt: skip


def analysis(c: Config) -> nn.Sequential:
    """``g_a``: x (B, 3, 16H, 16W) -> y (B, M, H, W)."""
    return nn.Sequential(
        downsampling_conv(3, c.N),
        GDN(c.N),
        downsampling_conv(c.N, c.N),
        GDN(c.N),
        _attention(c, c.N, c.windows[0]),
        downsampling_conv(c.N, c.N),
        GDN(c.N),
        downsampling_conv(c.N, c.M),
        _attention(c, c.M, c.windows[1]),
    )


def synthesis(c: Config) -> nn.Sequential:
    """``g_s``: y_hat (B, M, H, W) -> x_hat (B, 3, 16H, 16W), not clamped."""
    return nn.Sequential(
        _attention(c, c.M, c.windows[1]),
        upsampling_conv(c.M, c.N),
        GDN(c.N, inverse=True),
        upsampling_conv(c.N, c.N),
        GDN(c.N, inverse=True),
        _attention(c, c.N, c.windows[0]),
        upsampling_conv(c.N, c.N),
        GDN(c.N, inverse=True),
        upsampling_conv(c.N, 3),
    )


def hyper(c: Config) -> tuple[nn.Module, nn.Module, nn.Module]:
    """``h_a``: y -> z (B, N, H/4, W/4); ``h_scale`` and ``h_mean``: z_hat -> (B, M, H, W)."""
    a, b, d = c.hyper_widths
    return hyper_analysis((c.M, c.M, d, b, a, c.N)), _hyper_synthesis(c), _hyper_synthesis(c)


def dictionary(c: Config) -> None:
    """There is none."""


def head(c: Config, k: int) -> SplitHead:
    """Side information and the first slices, not the last ones."""
    seen = min(k, c.seen_slices)
    support = c.M + sum(c.groups[:seen])
    nothing = (nn.Identity(), nn.Identity())
    return SplitHead(nothing, support, c.groups[k], c.parameter_widths, seen)


def _attention(c: Config, channels: int, window: int) -> GatedAttention:
    return GatedAttention(channels, ShiftedWindows(channels, c.heads, window), nn.GELU)


def hyper_analysis(widths: tuple[int, ...]) -> nn.Sequential:
    """Five 3x3 convolutions with GELU between; the third and the fifth halve."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        layers += [nn.Conv2d(a, b, 3, stride=2 if i in (2, 4) else 1, padding=1), nn.GELU()]
    return nn.Sequential(*layers[:-1])


def hyper_synthesis(first: int, widths: tuple[int, int, int, int], last: int) -> nn.Sequential:
    """Five 3x3 convolutions with GELU between; the second and the fourth double."""
    a, b, d, e = widths
    return nn.Sequential(
        nn.Conv2d(first, a, 3, padding=1),
        nn.GELU(),
        subpel_conv3x3(a, b, 2),
        nn.GELU(),
        nn.Conv2d(b, d, 3, padding=1),
        nn.GELU(),
        subpel_conv3x3(d, e, 2),
        nn.GELU(),
        nn.Conv2d(e, last, 3, padding=1),
    )


def _hyper_synthesis(c: Config) -> nn.Sequential:
    return hyper_synthesis(c.N, (c.N, *c.hyper_widths), c.M)


def _config(s: Sizes) -> Config:
    numbers = s.common()
    stages = [s.window_and_heads(f"g_a.{i}.inner.attention.bias") for i in (4, 8)]
    return Config(
        **numbers,
        heads=stages[0][1],
        windows=(stages[0][0], stages[1][0]),
        hyper_widths=hyper_widths(s)[1:],
        seen_slices=s.seen(numbers["M"], numbers["groups"]),
    )


def hyper_widths(s: Sizes) -> tuple[int, int, int, int]:
    """Widths of a hyper-synthesis behind each of its convolutions but the last."""
    net = "latent_codec.h_mean.{}.weight"
    a, b, d, e = (s.shape(net.format(i))[0] for i in ("0", "2.0", "4", "6.0"))
    return a, b // 4, d, e // 4  # two of them are shuffled to twice the size


LAYOUTS = (
    Layout(
        name="wacnn",
        marks=("g_a.4.conv_b.0.attn.qkv.weight",),
        rules=(
            *skeleton(),
            (r"\.conv_b\.([0-3])\.", lambda m: f".conv_b.{int(m[1]) + 1}."),
            (r"\.inner\.attention\.bias$", ".conv_b.0.attn.relative_position_bias_table"),
            (r"\.inner\.attention\.", ".conv_b.0.attn."),
        ),
        config=_config,
    ),
)
