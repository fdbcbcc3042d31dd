"""STF: Swin transformers as transforms; twelve even slices. WACNN's paper: :data:`PAPER`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from dictco_lib.config import LMBDAS, CodecConfig
from dictco_lib.layers.swin import PatchMerging, PatchSplitting, SwinBlocks
from dictco_lib.models.layout import Layout, Sizes, skeleton
from dictco_lib.models.wacnn import (
    PAPER,
    dictionary,
    head,
    hyper_analysis,
    hyper_synthesis,
    hyper_widths,
)

__all__ = [
    "CURVES", "LAYOUTS", "PAPER", "PRESETS", "Config", "analysis", "dictionary", "head", "hyper",
    "synthesis",
]  # fmt: skip
CURVES = {"stf": "stf"}


@dataclass(frozen=True)
class Config(CodecConfig):
    """``M`` is eight times the first of the transforms' widths."""

    family: ClassVar[str] = "stf"
    limits: ClassVar[dict[str, int]] = {"window": 16, "depths": 64, "seen_slices": 240}

    name: str = "stf"
    M: int = 384
    groups: tuple[int, ...] = (32,) * 12
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    head_dim: int = 16
    window: int = 4
    hyper_widths: tuple[int, int, int] = (240, 288, 336)  # from z to y
    parameter_widths: tuple[int, ...] = (224, 176, 128, 64)
    seen_slices: int = 6


class _Embedding(nn.Module):
    """Patches of 2x2 pixels, normalised: (B, 3, 2H, 2W) -> (B, C, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 2, stride=2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


PRESETS = {"stf": Config()}
PRESETS["nano_stf"] = Config(
    name="nano_stf", N=32, M=64, groups=(8, 24, 32), depths=(1, 1, 2, 2), head_dim=8,
    hyper_widths=(32, 32, 48), parameter_widths=(32, 32), seen_slices=1, lmbdas=LMBDAS,
)  # fmt: skip


def analysis(c: Config) -> nn.Sequential:
    """``g_a``: x (B, 3, 16H, 16W) -> y (B, M, H, W)."""
    dim = c.M // 8
    layers: list[nn.Module] = [_Embedding(dim)]
    for i, depth in enumerate(c.depths):
        layers.append(SwinBlocks(dim * 2**i, c.head_dim, c.window, depth))
        layers += [PatchMerging(dim * 2**i)] if i < 3 else []
    return nn.Sequential(*layers)


def synthesis(c: Config) -> nn.Sequential:
    """``g_s``: y_hat (B, M, H, W) -> x_hat (B, 3, 16H, 16W), not clamped."""
    layers: list[nn.Module] = []
    for i, depth in enumerate(reversed(c.depths)):
        layers.append(SwinBlocks(c.M // 2**i, c.head_dim, c.window, depth))
        layers += [PatchSplitting(c.M // 2**i)] if i < 3 else []
    dim = c.M // 8
    end = (
        nn.Conv2d(dim, 4 * dim, 5, padding=2),
        nn.PixelShuffle(2),
        nn.Conv2d(dim, 3, 3, padding=1),
    )
    return nn.Sequential(*layers, *end)


def hyper(c: Config) -> tuple[nn.Module, nn.Module, nn.Module]:
    """``h_a``: y -> z (B, N, H/4, W/4); ``h_scale`` and ``h_mean``: z_hat -> (B, M, H, W)."""
    a, b, d = c.hyper_widths
    return hyper_analysis((c.M, c.M, d, b, a, c.N)), _hyper_synthesis(c), _hyper_synthesis(c)


def _hyper_synthesis(c: Config) -> nn.Sequential:
    a, b, d = c.hyper_widths
    return hyper_synthesis(c.N, (a, b, d, c.M), c.M)


def _config(s: Sizes) -> Config:
    numbers = s.common()
    window, heads = s.window_and_heads("g_a.1.0.attention.bias")
    return Config(
        **numbers,
        depths=tuple(s.count(f"g_a.{i}.{{}}.norm1.weight") for i in (1, 3, 5, 7)),
        head_dim=numbers["M"] // 8 // heads,
        window=window,
        hyper_widths=hyper_widths(s)[:3],
        seen_slices=s.seen(numbers["M"], numbers["groups"]),
    )


def _layer(m: re.Match) -> str:
    return f"layers.{int(m[1]) // 2}.blocks.{m[2]}."


LAYOUTS = (
    Layout(
        name="stf",
        marks=("patch_embed.proj.weight",),
        rules=(
            *skeleton(),
            (r"^g_a\.0\.", "patch_embed."),
            (r"^g_a\.([1357])\.(\d+)\.", _layer),
            (r"^g_a\.([246])\.", lambda m: f"layers.{int(m[1]) // 2 - 1}.downsample."),
            (r"^g_s\.([0246])\.(\d+)\.", lambda m: "syn_" + _layer(m)),
            (r"^g_s\.([135])\.", lambda m: f"syn_layers.{int(m[1]) // 2}.downsample."),
            (r"^g_s\.(7|9)\.", lambda m: f"end_conv.{int(m[1]) - 7}."),
            (r"\.mlp\.0\.", ".mlp.fc1."),
            (r"\.mlp\.2\.", ".mlp.fc2."),
            (r"\.attention\.bias$", ".attn.relative_position_bias_table"),
            (r"\.attention\.", ".attn."),
        ),
        config=_config,
    ),
)
