"""Analysis and synthesis transforms between an image and its latent y (stride 16)."""

from __future__ import annotations

from torch import nn

from dictco_lib.config import ModelConfig
from dictco_lib.entropy.hyperprior import residual_options
from dictco_lib.layers.attention import AttentionStage
from dictco_lib.layers.residual import Downsample, Upsample, downsampling_conv, upsampling_conv


def _stage(config: ModelConfig, i: int) -> nn.Module:
    if not config.blocks[i]:
        return nn.Identity()
    return AttentionStage(config.widths[i], config.head_dims[i], config.window, config.blocks[i])


class Analysis(nn.Sequential):
    """``g_a``: x (B, 3, 16H, 16W) -> y (B, M, H, W)."""

    def __init__(self, config: ModelConfig) -> None:
        sizes = (3, *config.widths)
        layers: list[nn.Module] = []
        for i in range(3):
            layers += [
                Downsample(sizes[i], sizes[i + 1], **residual_options(config)),
                _stage(config, i),
            ]
        super().__init__(*layers, downsampling_conv(config.widths[-1], config.M))


class Synthesis(nn.Sequential):
    """``g_s``: y_hat (B, M, H, W) -> x_hat (B, 3, 16H, 16W), not clamped."""

    def __init__(self, config: ModelConfig) -> None:
        sizes = (3, *config.widths)
        layers: list[nn.Module] = [upsampling_conv(config.M, config.widths[-1])]
        for i in reversed(range(3)):
            layers += [
                _stage(config, i),
                Upsample(sizes[i + 1], sizes[i], **residual_options(config)),
            ]
        super().__init__(*layers)
