"""DCAE (one dictionary, shared by all slices) and DictCO (expert dictionaries in each slice).

See :data:`PAPER`, of DCAE.

Reference of DictCO:
    KhoiTrant68, https://github.com/KhoiTrant68/DictCO at 87bb668. (It moved on since, to a spectral
    and then to a top-2 form, which are not here.)
"""

from __future__ import annotations

import torch
from torch import nn

from dictco_lib.config import PRESETS, ModelConfig
from dictco_lib.entropy.heads import JointHead
from dictco_lib.layers.attention import AttentionStage, WindowAttention
from dictco_lib.layers.dictionary import DictionaryAttention
from dictco_lib.layers.residual import Downsample, Upsample, downsampling_conv, upsampling_conv
from dictco_lib.models.layout import SLICE, Layout, Sizes, skeleton
from dictco_lib.models.papers import Paper

__all__ = [
    "CURVES", "LAYOUTS", "PAPER", "PRESETS", "Config", "analysis", "dictionary", "head", "hyper",
    "synthesis",
]  # fmt: skip
Config = ModelConfig
PAPER = Paper(
    "Lu et al.",
    "Learned Image Compression with Dictionary-based Entropy Model",
    "CVPR", 2025, "arXiv:2504.00496",
)  # fmt: skip
CURVES = {"dcae": "dcae"}


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


def _sizes(s: Sizes) -> dict:
    """The numbers of DCAE and its kin, read off tensors."""
    main = "g_a.main." if s.has("g_a.main.0.conv.weight") else "g_a."
    widths = tuple(s.shape(f"{main}{i}.conv.weight")[0] for i in (0, 2, 4))
    stages = [s.window_and_heads(f"{main}{i}.blocks.0.attention.bias") for i in (1, 3, 5)]
    numbers = s.common()
    hyper_window, hyper_heads = s.window_and_heads("latent_codec.h_a.1.blocks.0.attention.bias")
    first = "latent_codec.slices.0.attention."
    return numbers | {
        "widths": widths,
        "head_dims": tuple(w // heads for w, (_, heads) in zip(widths, stages, strict=True)),
        "blocks": tuple(s.count(f"{main}{i}.blocks.{{}}.norm1.weight") for i in (1, 3, 5)),
        "residual_blocks": s.count(f"{main}0.blocks.{{}}.conv1.weight"),
        "reduction": widths[0] // s.shape(f"{main}0.blocks.0.conv1.weight")[0],
        "window": stages[0][0],
        "hyper_head_dim": numbers["N"] // hyper_heads,
        "hyper_window": hyper_window,
        "hyper_channels": s.shape("latent_codec.h_scale.2.conv.weight")[1],
        "heads": s.shape(first + "temperature")[0],
        "context_channels": s.shape(first + "fc_out.weight")[0],
    }


def shared_sizes(s: Sizes) -> dict:
    """The same, with the dictionary that all slices share."""
    entries, dim = s.shape("latent_codec.dictionary")
    return _sizes(s) | {"entries": entries, "dictionary_dim": dim}


def _mixture_sizes(s: Sizes) -> dict:
    experts, entries, dim = s.shape("latent_codec.slices.0.attention.experts")
    return _sizes(s) | {"experts": experts, "entries": entries, "dictionary_dim": dim}


def _is_whole(c: ModelConfig) -> bool:
    return not c.top_k and all(c.blocks) and c.residual_blocks > 0


_ATTENTION = r"^(dt_cross_attention\.\d+)\."
_COMMON = (
    *skeleton("h_z_s2", "h_z_s1"),
    (SLICE + r"attention\.", r"dt_cross_attention.\1."),
    (r"^latent_codec\.dictionary$", "dt"),
    (_ATTENTION + r"temperature$", r"\1.scale"),
    (_ATTENTION + r"fc_in\.", r"\1.x_trans."),
    (_ATTENTION + r"norm_in\.", r"\1.ln_scale."),
    (_ATTENTION + r"aggregate\.conv_in\.", r"\1.msa.s."),
    (_ATTENTION + r"aggregate\.spatial_gate\.", r"\1.msa.spatial_atte.conv1."),
    (_ATTENTION + r"aggregate\.proj\.", r"\1.msa.dense.proj."),
    (_ATTENTION + r"aggregate\.units\.(\d+)\.", r"\1.msa.dense.conv_layers.\2.1."),
    (r"(conv_layers\.\d+\.1)\.conv_in\.", r"\1.in_trans."),
    (r"(conv_layers\.\d+\.1)\.dwconv\.", r"\1.dw_conv."),
    (r"(conv_layers\.\d+\.1)\.conv_out\.", r"\1.out_trans."),
    (_ATTENTION + r"norm_query\.", r"\1.lnx."),
    (_ATTENTION + r"to_query\.", r"\1.q_trans."),
    (_ATTENTION + r"norm_dictionary\.", r"\1.dict_ln."),
    (_ATTENTION + r"proj\.", r"\1.linear."),
    (_ATTENTION + r"norm_mlp\.", r"\1.ln_mlp."),
    (r"\.skip(\d)\.", r".res_scale_\1."),
    (r"\.mlp\.dwconv\.", ".mlp.dwconv.dwconv."),
    (r"\.blocks\.(\d+)\.(norm|attention|mlp|res_scale)", r".layers.\1.\2"),
    (r"(\.layers\.\d+)\.norm(\d)\.", r"\1.ln\2."),
    (r"(\.layers\.\d+)\.attention\.bias$", r"\1.msa.relative_position_params"),
    (r"(\.layers\.\d+)\.attention\.qkv\.", r"\1.msa.embedding_layer."),
    (r"(\.layers\.\d+)\.attention\.proj\.", r"\1.msa.linear."),
)
DCAE_RULES = (
    *_COMMON,
    (r"\.blocks\.(\d+)\.", lambda m: f".res{int(m[1]) + 1}."),
    (_ATTENTION + r"to_key\.", r"\1.k."),
    (_ATTENTION + r"fc_out\.", r"\1.output_trans.0."),
)
LAYOUTS = (
    Layout(
        name="dcae",
        marks=("dt", "dt_cross_attention.0.x_trans.weight"),
        rules=DCAE_RULES,
        config=lambda s: ModelConfig(name="dcae", **shared_sizes(s)),
        fits=lambda c: not c.experts and not c.batch_norm and _is_whole(c),
        has_rows=False,
    ),
    Layout(
        name="dictco",
        marks=("dt_cross_attention.0.experts",),
        rules=(
            *_COMMON,
            # A stage and the step after it are nested: index i > 0 is (i + 1) // 2, ...
            (
                r"^(g_[as])\.([1-9])\.",
                lambda m: f"{m[1]}.{(int(m[2]) + 1) // 2}.{(int(m[2]) - 1) % 2}.",
            ),
            (r"\.blocks\.(\d+)\.", r".res_blocks.\1."),
            (r"^(g_a\.0|g_a\.[12]\.1|h_a\.0)\.conv\.", r"\1.conv_down."),
            (r"^(g_s\.[123]\.1|h_z_s[12]\.2)\.conv\.", r"\1.conv_up."),
            (_ATTENTION + r"to_key\.", r"\1.k_trans."),
            (_ATTENTION + r"fc_out\.", r"\1.output_trans."),
        ),
        config=lambda s: ModelConfig(name="dictco", batch_norm=True, **_mixture_sizes(s)),
        fits=lambda c: bool(c.experts) and c.batch_norm and _is_whole(c),
        # Each bracket of the transforms is registered twice; either name holds the tensors.
        aliases=((r"^g_a\.([123])\.", r"m_down\1."), (r"^g_s\.([123])\.", r"m_up\1.")),
    ),
)
