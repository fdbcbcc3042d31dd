"""How far the rooms of a codec see: receptive fields, read off gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from dictco_lib.config import Y_STRIDE, Z_STRIDE, CodecConfig
from dictco_lib.entropy.heads import Side
from dictco_lib.evaluation.complexity import steps_of
from dictco_lib.layers.gates import ShiftedWindows
from dictco_lib.layers.hooks import watching
from dictco_lib.models import FAMILIES, Codec

#: Fields of configurations that say how far a network sees: kernels are fixed, and widths say
#: nothing of it.
_DEPTHS = (
    "blocks", "residual_blocks", "window", "windows", "depths", "naf_blocks", "batch_norm", "auxt",
)  # fmt: skip
#: Strips of so many pixels; the next one where something sees as far as an end.
_LENGTHS = (512, 2048)


def measure_reach(model: Codec, length: int = 1536) -> dict[tuple[str, str], int]:
    """How far every room sees, in pixels of the image across, from where its part begins.

    A strip of one row of ``y`` runs through each part. The derivatives of the middle column of an
    output say which columns of the input it depends on. ``g_a`` and ``h_a`` look at the image,
    ``h_s`` at ``z_hat``, the slices at the side information and the slices before, ``g_s`` at
    ``y_hat``. Down is like across. The middle is a corner of attention windows.

    Args:
        model: any member, in evaluation mode, its parameters without gradient.
        length: of the strip in pixels, a multiple of 128; at least twice of what is seen.
    """
    steps = steps_of(model)
    modules = {(s.part, s.name): model.get_submodule(s.path) for s in steps}  # the last one alike
    sides = next(s.shape[0] for s in steps if s.path == "latent_codec.h_scale")
    reach = {}
    for run, parts, shape, stride in _runs(model, sides):
        watched = {key: module for key, module in modules.items() if key[0] in parts}
        source = _source(model, (*shape, length // stride))
        with watching(watched) as seen:
            run(source)
        for key in watched:
            reach[key] = stride * columns_seen(seen[key].output, source)
    return reach


def _runs(model: Codec, sides: int) -> list[tuple[Callable, tuple[str, ...], tuple[int, int], int]]:
    """What to run, for which parts, on what (channels and height), and the stride of that."""
    codec, config, rows = model.latent_codec, model.config, rows_of_y(model)
    head = codec.slices[-1]
    query = (sides, sides, *config.groups[:-1][: head.sees])

    def encode(x: Tensor) -> None:
        codec.h_a(model.g_a(x))

    def synthesise(z: Tensor) -> None:
        codec.side(z, None)

    def predict(seen: Tensor) -> None:
        scales, means, *earlier = seen.split(query, dim=1)
        prediction = head(Side(scales, means), earlier, codec.dictionary)
        head.refine(prediction, prediction.mean.detach())

    return [
        (encode, ("g_a", "h_a"), (3, Y_STRIDE * rows), 1),
        (synthesise, ("h_s",), (config.N, 1), Z_STRIDE),
        (predict, ("slices",), (sum(query), rows), Y_STRIDE),
        (model.g_s, ("g_s",), (config.M, rows), Y_STRIDE),
    ]


def rows_of_y(model: nn.Module) -> int:
    """Height of a strip in samples of y: one, but for windows that a map must fill."""
    return 4 if any(isinstance(layer, ShiftedWindows) for layer in model.modules()) else 1


def _source(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    like = next(model.parameters())
    return torch.rand(1, *shape, device=like.device, dtype=like.dtype).requires_grad_()


def columns_seen(output: Tensor, source: Tensor) -> int:
    """From the first to the last column of the source that the output's middle depends on."""
    first, last = _columns(output, source)
    return last - first + 1


def _columns(output: Tensor, source: Tensor) -> tuple[int, int]:
    middle = output[..., output.shape[-1] // 2].sum()
    (gradient,) = torch.autograd.grad(middle, source, retain_graph=True)
    columns = gradient.abs().sum((0, 1, 2)).nonzero().flatten()
    return int(columns[0]), int(columns[-1])


def transform_reach(config: CodecConfig) -> dict[str, int | None]:
    """How far the two transforms of a member see, in pixels of the image across.

    Measured by gradient on a narrow model, see :func:`narrowed`, in float64: it has the kernels,
    windows and depth of a full-size one, and is quick. The place is a corner of windows.

    Returns:
        ``g_a`` and ``g_s`` -> pixels that one place of y depends on, and pixels that depend on
        one; None where that is more than a strip of 2048 pixels: all of the image.
    """
    small = narrowed(config)
    page = FAMILIES[small.family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        g_a, g_s = (_opened(make(small).double()) for make in (page.analysis, page.synthesis))
        return {
            "g_a": _reach(g_a, (3, Y_STRIDE * rows_of_y(g_a)), 1),
            "g_s": _reach(g_s, (small.M, rows_of_y(g_s)), Y_STRIDE),
        }


def _reach(transform: nn.Module, shape: tuple[int, int], stride: int) -> int | None:
    for length in _LENGTHS:
        source = _source(transform, (*shape, length // stride))
        first, last = _columns(transform(source), source)
        if first > 0 and last < length // stride - 1:
            return stride * (last - first + 1)
    return None


def narrowed(config: CodecConfig) -> CodecConfig:
    """A configuration that sees as far, with the widths of the family's smallest preset."""
    presets = FAMILIES[config.family].PRESETS.values()
    smallest = min((c for c in presets if c.family == config.family), key=lambda c: c.M)
    names = {field.name for field in fields(config)} & set(_DEPTHS)
    return replace(smallest, **{name: getattr(config, name) for name in names})


def _opened(module: nn.Module) -> nn.Module:
    """The same, with residuals that start at zero opened: they hide what lies behind them."""
    for weight in module.parameters():
        weight.requires_grad_(False)
        if weight.dim() > 1 and not weight.any():
            weight.fill_(0.1)
    return module.eval()
