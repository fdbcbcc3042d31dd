"""CCA: uneven slices, NAF transforms, and an auxiliary context that exists only in training.

See :data:`PAPER`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dictco_lib.config import LMBDAS, CodecConfig
from dictco_lib.entropy.gaussian import quantize_ste
from dictco_lib.entropy.heads import Side, SplitHead
from dictco_lib.entropy.noise import FactorisedPrior
from dictco_lib.layers.linear import MapConv
from dictco_lib.layers.naf import NAFBlock
from dictco_lib.layers.residual import Bottleneck, downsampling_conv, upsampling_conv
from dictco_lib.models.layout import SLICE, Layout, Sizes, skeleton
from dictco_lib.models.papers import Paper

PAPER = Paper(
    "Han et al.",
    "Causal Context Adjustment Loss for Learned Image Compression",
    "NeurIPS", 2024, "arXiv:2410.04847",
)  # fmt: skip
CURVES = {"cca": "cca"}
#: How much a bit that the last earlier slice saves counts beside a bit.
_ADJUSTMENT = 0.1


@dataclass(frozen=True)
class Config(CodecConfig):
    """``groups`` follow the published shares 1, 2**1.7, 3**1.7, ... of M."""

    family: ClassVar[str] = "cca"
    limits: ClassVar[dict[str, int]] = {"naf_blocks": 32, "auxiliary_lrp": 240}
    training_fields: ClassVar[tuple[str, ...]] = ("auxiliary", "auxiliary_lrp")

    name: str = "cca"
    groups: tuple[int, ...] = (8, 28, 56, 92, 136)
    widths: tuple[int, int, int] = (192, 224, 256)
    residual_blocks: int = 3
    naf_blocks: int = 4
    hyper_width: int = 256
    support_width: int = 224
    parameter_widths: tuple[int, ...] = (224, 128)
    auxiliary: bool = True
    auxiliary_lrp: int = 3  # slices of the auxiliary context that are refined


class Support(nn.Module):
    """NAF blocks around an identity, in a narrower room: (B, C, H, W) to the same shape."""

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.conv_in = MapConv(channels, width)
        self.blocks = nn.Sequential(*(NAFBlock(width) for _ in range(blocks)))
        self.conv_out = MapConv(width, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a support."""
        x = self.conv_in(x)
        return self.conv_out(x + self.blocks(x))


PRESETS = {"cca": Config()}
PRESETS["nano_cca"] = Config(
    name="nano_cca", N=32, M=48, groups=(8, 16, 24), widths=(16, 24, 32), residual_blocks=1,
    naf_blocks=1, hyper_width=32, support_width=32, parameter_widths=(32, 32), auxiliary_lrp=1,
    lmbdas=LMBDAS,
)  # fmt: skip


def analysis(c: Config) -> nn.Sequential:
    """``g_a``: x (B, 3, 16H, 16W) -> y (B, M, H, W)."""
    layers: list[nn.Module] = []
    for a, b in pairwise((3, *c.widths)):
        layers += [downsampling_conv(a, b), nn.Sequential(*_bottlenecks(c, b), *_nafs(c, b))]
    return nn.Sequential(*layers, downsampling_conv(c.widths[-1], c.M))


def synthesis(c: Config) -> nn.Sequential:
    """``g_s``: y_hat (B, M, H, W) -> x_hat (B, 3, 16H, 16W), not clamped."""
    layers: list[nn.Module] = []
    for a, b in pairwise((c.M, *reversed(c.widths))):
        layers += [upsampling_conv(a, b), nn.Sequential(*_nafs(c, b), *_bottlenecks(c, b))]
    return nn.Sequential(*layers, upsampling_conv(c.widths[0], 3))


def hyper(c: Config) -> tuple[nn.Module, nn.Module, nn.Module]:
    """``h_a``: y -> z (B, N, H/4, W/4); ``h_scale`` and ``h_mean``: z_hat -> (B, M, H, W)."""
    width = c.hyper_width
    h_a = nn.Sequential(
        nn.Conv2d(c.M, width, 3, padding=1),
        nn.GELU(),
        downsampling_conv(width, width),
        nn.GELU(),
        downsampling_conv(width, c.N),
    )
    return h_a, _hyper_synthesis(c), _hyper_synthesis(c)


def dictionary(c: Config) -> None:
    """There is none."""


def head(c: Config, k: int) -> SplitHead:
    """Side information and all earlier slices, each through NAF blocks."""
    return _head(c, k, k)


def _head(c: Config, k: int, seen: int) -> SplitHead:
    support = c.M + sum(c.groups[:seen])
    mean, scale = (Support(support, c.support_width, c.naf_blocks) for _ in range(2))
    return SplitHead((mean, scale), support, c.groups[k], c.parameter_widths, seen)


def training_only(c: Config) -> AuxiliaryContext | None:
    """The auxiliary context, if it is wanted."""
    return AuxiliaryContext(c) if c.auxiliary else None


def training_loss(model: nn.Module, out: dict, pixels: int) -> Tensor:
    """The rates of the auxiliary context for its own weights, and what it says of y for y's.

    Its weights learn to estimate y as it is. With these weights held, y is moved to where the
    real context gains over the auxiliary one, which sees one slice less: so that the earlier
    slices are worth having.

    Note:
        The published weights fix the networks; the weight of the gain is ours.
    """
    auxiliary = model.training_only
    if auxiliary is None:
        return out["y_hat"].new_zeros(())
    y, side, gaussian = out["para"]["y"], out["side"], model.latent_codec.gaussian
    held = Side(side.scales.detach(), side.means.detach())
    own = auxiliary(y.detach(), held, gaussian)
    frozen = {name: value.detach() for name, value in auxiliary.named_parameters()}
    seen = functional_call(auxiliary, frozen, (y, side, gaussian))["y_cca"]
    gain = _bits(out["likelihoods"]["y"]) - _bits(seen)
    rate = sum(map(_bits, own.values()))
    return (rate + _ADJUSTMENT * gain) / pixels


def _bits(likelihoods: Tensor) -> Tensor:
    return -likelihoods.log2().sum()


class AuxiliaryContext(nn.Module):
    """A second context that sees one slice less, and a prior that sees nothing.

    The loss compares what each of them says of y: the earlier slices should be worth having.
    """

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.groups = c.groups
        self.slices = nn.ModuleList(_head(c, k, max(k - 1, 0)) for k in range(len(c.groups)))
        for unused in self.slices[c.auxiliary_lrp :]:
            del unused.lrp
        self.prior = FactorisedPrior(c.M)

    def forward(self, y: Tensor, side: Side, gaussian: nn.Module) -> dict[str, Tensor]:
        """Likelihoods of y: by the prior (``y_aux``) and by the shorter context (``y_cca``)."""
        earlier, likelihoods = [], []
        for head, part in zip(self.slices, y.split(self.groups, dim=1), strict=True):
            prediction = head(side, earlier[: head.sees], None)
            likelihoods.append(gaussian(part, prediction.scale, prediction.mean)[1])
            y_bar = quantize_ste(part - prediction.mean) + prediction.mean
            earlier.append(head.refine(prediction, y_bar) if hasattr(head, "lrp") else y_bar)
        return {"y_aux": self.prior(y)[1], "y_cca": torch.cat(likelihoods, dim=1)}


def _bottlenecks(c: Config, channels: int) -> list[nn.Module]:
    return [Bottleneck(channels, 2) for _ in range(c.residual_blocks)]


def _nafs(c: Config, channels: int) -> list[nn.Module]:
    return [NAFBlock(channels) for _ in range(c.naf_blocks)]


def _hyper_synthesis(c: Config) -> nn.Sequential:
    width = c.hyper_width
    return nn.Sequential(
        upsampling_conv(c.N, width),
        nn.GELU(),
        upsampling_conv(width, width),
        nn.GELU(),
        nn.ConvTranspose2d(width, c.M, 3, padding=1),
    )


def _config(s: Sizes) -> Config:
    return Config(
        **s.common(),
        widths=tuple(s.shape(f"g_a.{i}.weight")[0] for i in (0, 2, 4)),
        residual_blocks=s.count("g_a.1.{}.conv3.weight"),
        naf_blocks=s.count("latent_codec.slices.0.mean_support.blocks.{}.beta"),
        hyper_width=s.shape("latent_codec.h_a.0.weight")[0],
        support_width=s.shape("latent_codec.slices.0.mean_support.conv_in.weight")[0],
        auxiliary=s.has("training_only.slices.0.mean.0.weight"),
        auxiliary_lrp=s.count("training_only.slices.{}.lrp.0.weight") or Config.auxiliary_lrp,
    )


def _auxiliary_gaussian(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The auxiliary context has a Gaussian of its own there, with the same buffers."""
    if "aux_entropymodel.mean_cc_transforms.0.0.weight" not in theirs:
        return {}
    own = {k: v for k, v in theirs.items() if k.startswith("gaussian_conditional.")}
    return {f"aux_entropymodel.{key}": value for key, value in own.items()}


_AUXILIARY = r"^training_only\.slices\.(\d+)\."
LAYOUTS = (
    Layout(
        name="cca",
        marks=("mean_NAF_transforms.0.in_conv.weight",),
        rules=(
            (SLICE + r"(mean|scale)\.", r"\2_cc_transforms.\1."),
            (SLICE + r"(mean|scale)_support\.", r"\2_NAF_transforms.\1."),
            (_AUXILIARY + r"(mean|scale)\.", r"aux_entropymodel.\2_cc_transforms.\1."),
            (_AUXILIARY + r"(mean|scale)_support\.", r"aux_entropymodel.\2_NAF_transforms.\1."),
            (_AUXILIARY + r"lrp\.", r"aux_entropymodel.lrp_transforms.\1."),
            (r"^training_only\.prior\.", "aux_entropymodel.y_entropy_bottleneck."),
            (r"^latent_codec\.entropy_bottleneck\.", "z_entropy_bottleneck."),
            *skeleton(),
            (r"^g_a\.([0246])\.(weight|bias)$", lambda m: f"g_a.down.{int(m[1]) // 2}.{m[2]}"),
            (r"^g_s\.([0246])\.(weight|bias)$", lambda m: f"g_s.up.{int(m[1]) // 2}.{m[2]}"),
            (r"^(g_[as])\.([135])\.", lambda m: f"{m[1]}.blocks.{int(m[2]) // 2}."),
            (r"\.ffn_in\.", ".FFN.0."),
            (r"\.ffn_out\.", ".FFN.2."),
            (r"\.conv_(in|out)\.", r".\1_conv."),
        ),
        config=_config,
        constants=_auxiliary_gaussian,
    ),
)
