"""SAAF: DCAE with window attention that asks global tokens, and linear side branches.

See :data:`PAPER`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from dictco_lib.config import NANO, ModelConfig
from dictco_lib.layers.attention import GlobalTokenAttention, ScaledTokenAttention
from dictco_lib.layers.branches import Branched, FrequencyGate, LateBranched, branch_penalty
from dictco_lib.layers.linear import MapConv
from dictco_lib.layers.residual import Bottleneck
from dictco_lib.models import dictionary as base
from dictco_lib.models.layout import Layout
from dictco_lib.models.papers import Paper

PAPER = Paper(
    "",
    "Learned Image Compression via Sparse Attention and Adaptive Frequency",
    "CVPR", 2026, "github.com/huidong-ma/SAAF",
)  # fmt: skip
CURVES = {"saaf": "saaf"}
#: The branches' maps are added wherever the size has changed.
_TAPS = (0, 2, 4, 6)
_CONDITION = 256  # inner width of what the denoiser knows of z
_DENOISING = 0.01  # weight of its loss
dictionary, head = base.dictionary, base.head


@dataclass(frozen=True)
class Config(ModelConfig):
    """DCAE's numbers; ``denoiser`` adds the part that exists only in training.

    ``ported``: the tokens' logits are scaled, and the side branches' maps keep their size until
    they are added, as CompressAI's port has it.
    """

    family: ClassVar[str] = "saaf"
    training_fields: ClassVar[tuple[str, ...]] = ("denoiser",)

    name: str = "saaf"
    denoiser: bool = True
    ported: bool = False


PRESETS = {"saaf": Config()}
PRESETS["nano_saaf"] = Config(
    **NANO.to_dict() | {"name": "nano_saaf", "experts": 0, "blocks": (1, 1, 1)}
)


def analysis(c: Config) -> Branched:
    """``g_a``: x (B, 3, 16H, 16W) -> y (B, M, H, W)."""
    return _branched(c, base.analysis(c, _attention(c)), (3, *c.widths, c.M), is_up=False)


def synthesis(c: Config) -> Branched:
    """``g_s``: y_hat (B, M, H, W) -> x_hat (B, 3, 16H, 16W), not clamped."""
    return _branched(c, base.synthesis(c, _attention(c)), (c.M, *reversed(c.widths), 3), is_up=True)


def hyper(c: Config) -> tuple[nn.Module, nn.Module, nn.Module]:
    """``h_a``: y -> z (B, N, H/4, W/4); ``h_scale`` and ``h_mean``: z_hat -> (B, S, H, W)."""
    return base.hyper(c, _attention(c))


def _attention(c: Config) -> type[GlobalTokenAttention]:
    return ScaledTokenAttention if c.ported else GlobalTokenAttention


def _branched(c: Config, main: nn.Sequential, sizes: tuple[int, ...], *, is_up: bool) -> Branched:
    branch = [FrequencyGate(a, b, is_up=is_up, resizes=not c.ported) for a, b in pairwise(sizes)]
    return (LateBranched if c.ported else Branched)(main, branch, _TAPS)


def training_only(c: Config) -> Denoiser | None:
    """The denoiser, if it is wanted."""
    return Denoiser(c) if c.denoiser else None


def training_loss(model: nn.Module, out: dict, pixels: int) -> Tensor:
    """How well the denoiser tells noise in y, given z; and how far branches are from orthonormal.

    Note:
        The weight of the denoiser's part is ours.
    """
    penalty = out["y_hat"].new_zeros(()) + branch_penalty(model.g_a, model.g_s)
    if model.training_only is None:
        return penalty
    medians = model.latent_codec.medians()
    z_hat = (out["z"] - medians).round() + medians  # not the noisy one that the rate is taken of
    return penalty + _DENOISING * model.training_only(out["para"]["y"], z_hat)


class Denoiser(nn.Module):
    """Predicts the noise that was mixed into y, from z: a training-only prior of y.

    Note:
        The published weights fix its shapes. What lies between them (groups of channels,
        activations, dropout, how noise is mixed in) is as in CompressAI's port of the paper's code.
    """

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.time_embed = nn.Sequential(nn.Linear(1, c.M), nn.SiLU(), nn.Linear(c.M, c.M))
        self.condition_encoder = nn.Sequential(
            MapConv(c.N, _CONDITION), nn.GroupNorm(8, _CONDITION), nn.GELU(),
            nn.Conv2d(_CONDITION, c.M, 3, padding=1), nn.Dropout(0.1), nn.GELU(),
        )  # fmt: skip
        self.noise_predictor = nn.Sequential(
            nn.Conv2d(c.M, c.M, 3, padding=1), nn.GroupNorm(8, c.M), nn.SiLU(),
            Bottleneck(c.M, 2), Bottleneck(c.M, 2),
            nn.Conv2d(c.M, c.M, 3, padding=1), nn.GroupNorm(8, c.M), nn.SiLU(),
            MapConv(c.M, c.M),
        )  # fmt: skip

    def forward(self, y: Tensor, z_hat: Tensor) -> Tensor:
        """Mean squared error of the predicted noise, at a random time for each image.

        Args:
            y: latent, shape (B, M, H, W).
            z_hat: rounded hyper-latent, shape (B, N, H/4, W/4).
        """
        time = torch.rand(len(y), 1, device=y.device, dtype=y.dtype)
        noise = torch.randn_like(y)
        mixed = y + time[:, :, None, None] * noise
        known = nn.functional.interpolate(
            self.condition_encoder(z_hat), y.shape[2:], mode="bilinear"
        )
        guess = self.noise_predictor(mixed + known + self.time_embed(time)[:, :, None, None])
        return (guess - noise).square().mean()


def _constants(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Numbers of the attention and of a penalty, which their files hold."""
    found = {}
    for key, value in theirs.items():
        if key.endswith(".global_tokens"):
            found[key.replace("global_tokens", "global_alpha")] = torch.tensor(0.25)
        elif key.endswith(".olp.linear.weight"):
            name = key.replace("linear.weight", "identity_matrix")
            found[name] = torch.eye(min(value.shape))
    return found


LAYOUTS = (
    Layout(
        name="saaf",
        marks=("dt", "aux_enc.0.olp.linear.weight"),
        rules=(
            (r"^(g_[as])\.main\.", r"\1."),
            (r"^g_a\.branch\.", "aux_enc."),
            (r"^g_s\.branch\.", "aux_dec."),
            (r"^training_only\.", "diffusion_prior."),
            (r"^(aux_...\.\d)\.linear\.", r"\1.olp.linear."),
            (r"^(aux_...\.\d)\.attention\.", r"\1.freq_attn."),
            (r"^(aux_...\.\d)\.weights$", r"\1.freq_weights"),
            *base.DCAE_RULES,
            (r"\.relative_position_params$", ".relative_position_bias_table"),
            (r"(\.layers\.\d+)\.attention\.global_", r"\1.msa.global_"),
        ),
        config=lambda s: Config(
            **base.shared_sizes(s), denoiser=s.has("training_only.time_embed.0.weight")
        ),
        fits=lambda c: not c.experts and not c.batch_norm,
        constants=_constants,
    ),
)
