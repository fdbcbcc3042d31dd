"""TCM: mixed convolution and Swin blocks, gated Swin supports; with or without AuxT branches.

See :data:`PAPER`, and :data:`AUXT_PAPER` for the branches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from compressai.layers import ResidualBlockUpsample, ResidualBlockWithStride, subpel_conv3x3
from torch import Tensor, nn

from dictco_lib.config import LMBDAS, CodecConfig
from dictco_lib.entropy.heads import SplitHead
from dictco_lib.layers.branches import (
    Branched,
    HaarAnalysis,
    HaarSynthesis,
    branch_penalty,
)
from dictco_lib.layers.gates import GatedAttention
from dictco_lib.layers.linear import MapConv
from dictco_lib.layers.swin import MixedBlock, SwinBlocks
from dictco_lib.models.layout import SLICE, Layout, Sizes, skeleton
from dictco_lib.models.papers import Paper

PAPER = Paper(
    "Liu et al.",
    "Learned Image Compression with Mixed Transformer-CNN Architectures",
    "CVPR", 2023, "arXiv:2303.14978",
)  # fmt: skip
AUXT_PAPER = Paper(
    "Li et al.",
    "On Disentangled Training for Nonlinear Transform in Learned Image Compression",
    "ICLR", 2025, "arXiv:2501.13751",
)  # fmt: skip
CURVES = {"tcm": "tcm-large", "tcm_64": "tcm-small"}
#: After which layers a branch's maps are added: after each halving; after each pair of blocks.
_ENCODER_TAPS, _DECODER_TAPS = (0, 3, 6, 9), (2, 5, 8, 9)


@dataclass(frozen=True)
class Config(CodecConfig):
    """``branch`` is the N of the paper: half the width of the transforms.

    ``ported``: the latent residual prediction takes the support before its transform, and Swin
    blocks pad behind their norm, as CompressAI's port has it.
    """

    family: ClassVar[str] = "tcm"
    limits: ClassVar[dict[str, int]] = {"window": 16, "hyper_window": 16}

    name: str = "tcm"
    branch: int = 128
    head_dims: tuple[int, int, int] = (8, 16, 32)
    window: int = 8
    hyper_head_dim: int = 32
    hyper_window: int = 4
    support_width: int = 128
    support_head_dim: int = 16
    parameter_widths: tuple[int, ...] = (224, 128)
    auxt: bool = False
    ported: bool = False


class Support(nn.Module):
    """Swin blocks behind a gate, in a narrower room: (B, C, H, W) to the same shape."""

    def __init__(self, c: Config, channels: int) -> None:
        super().__init__()
        width = c.support_width
        blocks = SwinBlocks(width, c.support_head_dim, c.window, 2, pads=c.ported)
        self.conv_in = MapConv(channels, width)
        self.gate = GatedAttention(width, blocks, nn.ReLU)
        self.conv_out = MapConv(width, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a support."""
        return self.conv_out(self.gate(self.conv_in(x)))


PRESETS = {"tcm": Config(), "tcm_64": Config(name="tcm_64", branch=64)}
PRESETS["tcm_auxt"] = replace(PRESETS["tcm_64"], name="tcm_auxt", auxt=True)
PRESETS["nano_tcm"] = Config(
    name="nano_tcm", N=32, M=48, groups=(8, 16, 24), branch=16, head_dims=(8, 8, 8),
    hyper_head_dim=8, support_width=32, support_head_dim=8, parameter_widths=(32, 32), auxt=True,
    lmbdas=LMBDAS,
)  # fmt: skip


def paper(c: Config) -> Paper:
    """The paper of the branches where there are some."""
    return AUXT_PAPER if c.auxt else PAPER


def analysis(c: Config) -> nn.Module:
    """``g_a``: x (B, 3, 16H, 16W) -> y (B, M, H, W)."""
    width = 2 * c.branch
    layers: list[nn.Module] = [ResidualBlockWithStride(3, width, 2)]
    for head_dim in c.head_dims:
        layers += _pair(c, head_dim, c.window)
        layers.append(ResidualBlockWithStride(width, width, 2))
    layers[-1] = nn.Conv2d(width, c.M, 3, stride=2, padding=1)
    if not c.auxt:
        return nn.Sequential(*layers)
    sizes = (3, width, width, width, c.M)
    branch = [HaarAnalysis(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
    return Branched(layers, branch, _ENCODER_TAPS)


def synthesis(c: Config) -> nn.Module:
    """``g_s``: y_hat (B, M, H, W) -> x_hat (B, 3, 16H, 16W), not clamped."""
    width = 2 * c.branch
    layers: list[nn.Module] = [ResidualBlockUpsample(c.M, width, 2)]
    for head_dim in reversed(c.head_dims):
        layers += _pair(c, head_dim, c.window)
        layers.append(ResidualBlockUpsample(width, width, 2))
    layers[-1] = subpel_conv3x3(width, 3, 2)
    if not c.auxt:
        return nn.Sequential(*layers)
    sizes = (c.M, width, width, width, 3)
    branch = [HaarSynthesis(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
    return Branched(layers, branch, _DECODER_TAPS)


def hyper(c: Config) -> tuple[nn.Module, nn.Module, nn.Module]:
    """``h_a``: y -> z (B, N, H/4, W/4); ``h_scale`` and ``h_mean``: z_hat -> (B, M, H, W)."""
    width = 2 * c.branch
    h_a = nn.Sequential(
        ResidualBlockWithStride(c.M, width, 2),
        *_pair(c, c.hyper_head_dim, c.hyper_window),
        nn.Conv2d(width, c.N, 3, stride=2, padding=1),
    )
    return h_a, _hyper_synthesis(c), _hyper_synthesis(c)


def dictionary(c: Config) -> None:
    """There is none."""


def head(c: Config, k: int) -> SplitHead:
    """Side information and all earlier slices, each through a gated Swin transform."""
    support = c.M + sum(c.groups[:k])
    mean, scale = (Support(c, support) for _ in range(2))
    return SplitHead(
        (mean, scale), support, c.groups[k], c.parameter_widths, refines_from_input=c.ported
    )


def training_loss(model: nn.Module, out: dict, pixels: int) -> Tensor:
    """What the AuxT branches add to the loss: their linear maps should stay orthonormal."""
    return out["y_hat"].new_zeros(()) + branch_penalty(model.g_a, model.g_s)


def _pair(c: Config, head_dim: int, window: int) -> list[MixedBlock]:
    return [
        MixedBlock(c.branch, head_dim, window, shifted=shifted, pads=c.ported)
        for shifted in (False, True)
    ]


def _hyper_synthesis(c: Config) -> nn.Sequential:
    width = 2 * c.branch
    return nn.Sequential(
        ResidualBlockUpsample(c.N, width, 2),
        *_pair(c, c.hyper_head_dim, c.hyper_window),
        subpel_conv3x3(width, c.M, 2),
    )


def _config(s: Sizes) -> Config:
    auxt = s.has("g_a.branch.0.linear.weight")
    main = "g_a.main." if auxt else "g_a."
    branch = s.shape(f"{main}1.conv_block.conv1.weight")[0]
    stages = [s.window_and_heads(f"{main}{i}.swin.attention.bias") for i in (1, 4, 7)]
    hyper_window, hyper_heads = s.window_and_heads("latent_codec.h_a.1.swin.attention.bias")
    support = "latent_codec.slices.0.mean_support."
    width = s.shape(support + "conv_in.weight")[0]
    return Config(
        **s.common(),
        name="tcm_auxt" if auxt else "tcm",
        branch=branch,
        head_dims=tuple(branch // heads for _, heads in stages),
        window=stages[0][0],
        hyper_head_dim=branch // hyper_heads,
        hyper_window=hyper_window,
        support_width=width,
        support_head_dim=width // s.window_and_heads(support + "gate.inner.0.attention.bias")[1],
        auxt=auxt,
    )


def _haar_constants(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The kernels of the wavelets, which our branches compute without."""
    a = 0.49999997  # the square of float32's square root of 1/2
    signs = {"ll": (1, 1, 1, 1), "lh": (1, 1, -1, -1), "hl": (1, -1, 1, -1), "hh": (1, -1, -1, 1)}
    kernels = {name: a * torch.tensor(s).reshape(1, 1, 2, 2) for name, s in signs.items()}
    found = {}
    for key in theirs:
        if key.endswith(".scaling_factors"):
            step = key.removesuffix("scaling_factors")
            if key.startswith("AuxT_enc"):
                found |= {f"{step}dwt.w_{name}": kernel for name, kernel in kernels.items()}
            else:
                found[f"{step}idwt.filters"] = torch.cat(list(kernels.values()))
    return found


LAYOUTS = (
    Layout(
        name="tcm",
        marks=("atten_mean.0.0.in_conv.weight",),
        rules=(
            *skeleton(),
            (SLICE + r"(mean|scale)_support\.", r"atten_\2.\1.0."),
            (r"^(g_[as])\.main\.", r"\1."),
            (r"^g_a\.branch\.", "AuxT_enc."),
            (r"^g_s\.branch\.", "AuxT_dec."),
            (r"^(AuxT_...\.\d)\.linear\.", r"\1.OLP.linear."),
            (r"\.gate\.inner\.(\d)\.", lambda m: f".non_local_block.block_{int(m[1]) + 1}."),
            (r"\.gate\.conv", ".conv"),
            (r"^(atten_.*)\.conv_(in|out)\.", r"\1.\2_conv."),
            (r"\.conv_in\.", ".conv1_1."),
            (r"\.conv_out\.", ".conv1_2."),
            (r"\.swin\.", ".trans_block."),
            (r"\.norm(\d)\.", r".ln\1."),
            (r"\.attention\.bias$", ".msa.relative_position_params"),
            (r"\.attention\.qkv\.", ".msa.embedding_layer."),
            (r"\.attention\.proj\.", ".msa.linear."),
        ),
        config=_config,
        has_rows=False,
        constants=_haar_constants,
    ),
)
