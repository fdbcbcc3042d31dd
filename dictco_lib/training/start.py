"""A data-driven start: the transforms begin as a hierarchical PCA instead of noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dictco_lib.errors import RecipeError
from dictco_lib.layers.attention import AttentionStage
from dictco_lib.layers.residual import Bottleneck, Downsample, Upsample
from dictco_lib.models import DictionaryCodec

#: Channels whose blocks overlap in a lapped start: the image's colours, then the components of
#: most energy, which are its reduced copies. The others have little in common across a border.
LAPPED = 3


@torch.no_grad()
def pca_start(model: DictionaryCodec, x: Tensor, lap: float = 0.0) -> None:
    """Make ``g_a`` an orthonormal projection of the data, and ``g_s`` its transpose.

    Each halving convolution takes the principal components of the 2x2 blocks below it, and every
    residual branch starts at zero. Training then begins as a linear block transform with a good
    quantiser, not as noise, which a short run on a CPU needs most at its highest rates. The
    latent channels come out in order of energy.

    With a lap, the smooth channels are sharpened across the borders of blocks before and
    smoothed after: kernels of 4x4 that still reconstruct. As ``g_a`` is then no longer
    orthonormal, its channels are scaled so that noise in each costs the image the same.

    Args:
        model: a model without BatchNorm, changed in place.
        x: training crops, shape (B, 3, H, W), sides multiples of 16; a few hundred.
        lap: share of the sample beyond the border; 0 for plain blocks, some 0.07 for overlap.

    Raises:
        RecipeError: if the model's widths leave channels of ``y`` without a component.
    """
    for module in model.modules():
        if isinstance(module, Bottleneck):
            _zero(module.conv3)
    for stage in (m for part in (model.g_a, model.g_s) for m in part.modules()):
        if isinstance(stage, AttentionStage):
            _zero(stage.conv)
    down = [m.conv if isinstance(m, Downsample) else m for m in model.g_a]
    up = [m.conv if isinstance(m, Upsample) else m for m in model.g_s]
    down = [m for m in down if isinstance(m, nn.Conv2d)]
    up = [m for m in up if isinstance(m, nn.ConvTranspose2d)]
    mean = x.mean(dim=(0, 2, 3))
    core = x - mean[:, None, None]
    for conv, conv_t in zip(down, reversed(up), strict=True):
        core = _fit_level(conv, conv_t, core, lap)
    if core.shape[1] < model.config.M:
        raise RecipeError(
            f"pca_start can fill only {core.shape[1]} of the {model.config.M} channels of y, as no "
            "width holds the components of more; widen the model or remove pca_start"
        )
    k = min(4 * x.shape[1], down[0].out_channels)
    down[0].bias[:k] = -torch.einsum("ocij,c->o", down[0].weight[:k], mean)
    up[-1].bias.copy_(mean)
    if lap:
        core = core * _even_noise(model, down[-1], up[0])[:, None, None]
    _match_scales(model, core)


def _zero(conv: nn.Conv2d) -> None:
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)


def _fit_level(conv: nn.Conv2d, conv_t: nn.ConvTranspose2d, core: Tensor, lap: float) -> Tensor:
    c = core.shape[1]
    core = torch.cat([_sharpened(core[:, :LAPPED], lap), core[:, LAPPED:]], dim=1)
    blocks = F.unfold(core, 2, stride=2)  # (B, 4C, L)
    flat = blocks.transpose(1, 2).reshape(-1, 4 * c).double()
    _, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
    k = min(4 * c, conv.out_channels)
    basis = vectors.flip(1)[:, :k].T.float()  # rows: components, largest energy first
    basis = basis * basis.sum(1, keepdim=True).sign()
    kernel = basis.reshape(k, c, 2, 2)
    conv.weight[:k] = 0
    conv.weight[:k, :c, 1:5, 1:5] = _spread(kernel, -lap, 1 + lap)
    conv.bias[:k] = 0
    conv_t.weight[:, :c] = 0
    # The inverse of the 2x2 matrix [[1 + lap, -lap], [-lap, 1 + lap]], whose determinant is below.
    det = 1 + 2 * lap
    conv_t.weight[:k, :c, 1:5, 1:5] = _spread(kernel, lap / det, (1 + lap) / det)
    conv_t.bias[:c] = 0
    height, width = core.shape[-2] // 2, core.shape[-1] // 2
    return (basis @ blocks).reshape(-1, k, height, width)


def _sharpened(x: Tensor, lap: float) -> Tensor:
    """``(1 + lap) * own - lap * partner``, its neighbour in the next block, along both axes."""
    for _ in range(2):
        n = x.shape[-1]
        pairs = F.pad(x, (1, 1)).unflatten(-1, (n // 2 + 1, 2))
        partner = pairs.flip(-1).flatten(-2)[..., 1:-1]
        x = ((1 + lap) * x - lap * partner).transpose(-1, -2)
    return x


def _spread(kernel: Tensor, beyond: float, own: float) -> Tensor:
    """Kernels of 2x2 blocks (k, c, 2, 2) -> 4x4, with a share of the samples beyond the border."""
    rows = torch.tensor([[0.0, 1, 0, 0], [0, 0, 1, 0]]).repeat(kernel.shape[1], 1, 1)
    rows[:LAPPED] = torch.tensor([[beyond, own, 0, 0], [0, 0, own, beyond]])
    return torch.einsum("kcij,ciu,cjv->kcuv", kernel, rows, rows)


def _even_noise(model: DictionaryCodec, conv: nn.Conv2d, conv_t: nn.ConvTranspose2d) -> Tensor:
    """Scale the channels of y so that a unit in each is a unit of the image; the factors."""
    m = model.config.M
    unit = torch.zeros(1, m, 3, 3)  # a kernel of g_s reaches less than one sample of y further
    nothing = model.g_s(unit)
    norms = torch.empty(m)
    for i in range(m):
        unit.zero_()[0, i, 1, 1] = 1
        norms[i] = (model.g_s(unit) - nothing).norm()
    conv.weight.mul_(norms[:, None, None, None])
    conv.bias.mul_(norms)
    conv_t.weight.div_(norms[:, None, None, None])
    return norms


def _match_scales(model: DictionaryCodec, y: Tensor) -> None:
    codec = model.latent_codec
    std = y.std(dim=(0, 2, 3))
    if model.config.is_variable_rate:
        std = std * codec.gain_y.log_gain.mean(0).exp()
    for head, part in zip(codec.slices, std.split(model.config.groups), strict=True):
        head.scale[-1].bias.copy_(part)
