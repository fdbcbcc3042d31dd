"""DCAE (one dictionary, shared by all slices) and DictCO (expert dictionaries in each slice).

Reference:
    Lu et al., "Learned Image Compression with Dictionary-based Entropy Model", CVPR 2025,
    arXiv:2504.00496.
"""

from __future__ import annotations

import torch
from torch import nn

from dictco_lib.config import ModelConfig
from dictco_lib.entropy.heads import JointHead
from dictco_lib.layers.attention import AttentionStage, WindowAttention
from dictco_lib.layers.dictionary import DictionaryAttention
from dictco_lib.layers.residual import Downsample, Upsample, downsampling_conv, upsampling_conv


def analysis(c: ModelConfig, attention: type[WindowAttention] = WindowAttention) -> nn.Sequential:
    """``g_a``: x (B, 3, 16H, 16W) -> y (B, M, H, W)."""
    sizes = (3, *c.widths)
    layers: list[nn.Module] = []
    for i in range(3):
        layers += [Downsample(sizes[i], sizes[i + 1], **_residual(c)), _stage(c, i, attention)]
    return nn.Sequential(*layers, downsampling_conv(c.widths[-1], c.M))


def synthesis(c: ModelConfig, attention: type[WindowAttention] = WindowAttention) -> nn.Sequential:
    """``g_s``: y_hat (B, M, H, W) -> x_hat (B, 3, 16H, 16W), not clamped."""
    sizes = (3, *c.widths)
    layers: list[nn.Module] = [upsampling_conv(c.M, c.widths[-1])]
    for i in reversed(range(3)):
        layers += [_stage(c, i, attention), Upsample(sizes[i + 1], sizes[i], **_residual(c))]
    return nn.Sequential(*layers)


def hyper(
    c: ModelConfig, attention: type[WindowAttention] = WindowAttention
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """``h_a``: y -> z (B, N, H/4, W/4); ``h_scale`` and ``h_mean``: z_hat -> (B, S, H, W)."""
    h_a = _hyper_analysis(c, attention)
    return h_a, _hyper_synthesis(c, attention), _hyper_synthesis(c, attention)


def dictionary(c: ModelConfig) -> nn.Parameter | None:
    """The entries that all slices share, (entries, dictionary_dim); experts have their own."""
    return None if c.experts else nn.Parameter(torch.randn(c.entries, c.dictionary_dim))


def head(c: ModelConfig, k: int) -> JointHead:
    """Side information, all earlier slices and what the dictionary knows, in one support."""
    query = 2 * c.hyper_channels + sum(c.groups[:k])
    attention = DictionaryAttention(
        query,
        c.context_channels,
        dim=c.dictionary_dim,
        heads=c.heads,
        entries=c.entries,
        experts=c.experts,
        top_k=c.top_k,
    )
    return JointHead(attention, query + c.context_channels, c.groups[k], c.parameter_widths)


def _residual(c: ModelConfig) -> dict:
    """The options that all down- and upsampling steps share."""
    return {"blocks": c.residual_blocks, "reduction": c.reduction, "batch_norm": c.batch_norm}


def _stage(c: ModelConfig, i: int, attention: type[WindowAttention]) -> nn.Module:
    if not c.blocks[i]:
        return nn.Identity()
    return AttentionStage(c.widths[i], c.head_dims[i], c.window, c.blocks[i], attention)


def _hyper_stage(c: ModelConfig, attention: type[WindowAttention]) -> AttentionStage:
    return AttentionStage(c.N, c.hyper_head_dim, c.hyper_window, 1, attention)


def _hyper_analysis(c: ModelConfig, attention: type[WindowAttention]) -> nn.Sequential:
    return nn.Sequential(
        Downsample(c.M, c.N, **_residual(c)),
        _hyper_stage(c, attention),
        downsampling_conv(c.N, c.N, 3),
    )


def _hyper_synthesis(c: ModelConfig, attention: type[WindowAttention]) -> nn.Sequential:
    return nn.Sequential(
        upsampling_conv(c.N, c.N, 3),
        _hyper_stage(c, attention),
        Upsample(c.N, c.hyper_channels, **_residual(c)),
    )
