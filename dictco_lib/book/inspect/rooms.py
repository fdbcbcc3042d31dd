"""The rooms of a codec, measured: shapes, parameters, multiply-accumulates, and how far they see.

Nothing here comes from a formula. Multiply-accumulates are counted by torch's own
``FlopCounterMode`` while the modules run (on torch's meta device: shapes without numbers), and
receptive fields are read off gradients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dictco_lib.book.inspect.hooks import watching
from dictco_lib.config import Y_STRIDE, Z_STRIDE, ModelConfig
from dictco_lib.entropy.heads import Side
from dictco_lib.errors import ShapeError
from dictco_lib.layers.attention import AttentionStage
from dictco_lib.models import DictionaryCodec

#: The parts that an encoder runs, and those that a decoder runs.
ENCODER, DECODER = ("g_a", "h_a", "h_s", "slices"), ("h_s", "slices", "g_s")


@dataclass(frozen=True)
class Room:
    """One step of a codec.

    ``shape`` (C, H, W) is that of its output, for the rooms of the slices of all of them together.
    ``stride`` is in pixels of the picture per sample. ``macs`` are multiply-accumulates of
    convolutions and matrix products, those inside attention included; normalisation, activations
    and softmax are not counted.
    """

    part: str
    name: str
    shape: tuple[int, int, int]
    stride: int
    parameters: int
    macs: int


class _MeanCoder:
    """Coder of measurements: nothing is rounded, and the slices are their means."""

    def code_z(self, z: Tensor, medians: Tensor) -> Tensor:
        return z

    def code(self, k: int, y: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        return mean


def _modules(model: DictionaryCodec) -> dict[tuple[str, str], list[nn.Module]]:
    """The modules of every room, by part and name, in the order of the data."""
    codec = model.latent_codec
    rooms = dict(_steps("g_a", "down to", (2, 2, 4, 4, 8, 8, 16), model.g_a))
    rooms["h_a", "y to z"] = [codec.h_a]
    rooms["h_s", "z to side, for scales"] = [codec.h_scale]
    rooms["h_s", "z to side, for means"] = [codec.h_mean]
    rooms["slices", "dictionary attention"] = [head.attention for head in codec.slices]
    rooms["slices", "means"] = [head.mean for head in codec.slices]
    rooms["slices", "scales"] = [head.scale for head in codec.slices]
    rooms["slices", "LRP"] = [head.lrp for head in codec.slices]
    return rooms | dict(_steps("g_s", "up to", (8, 8, 4, 4, 2, 2, 1), model.g_s))


def _steps(
    part: str, verb: str, strides: Sequence[int], transform: nn.Sequential
) -> Iterator[tuple[tuple[str, str], list[nn.Module]]]:
    for stride, module in zip(strides, transform, strict=True):
        if not isinstance(module, nn.Identity):
            name = "attention at" if isinstance(module, AttentionStage) else verb
            yield (part, f"{name} 1/{stride}"), [module]


def measure_rooms(config: ModelConfig, height: int = 512, width: int = 768) -> list[Room]:
    """Every room of a model of this shape, for a picture of this size.

    Args:
        config: the shape of the model; no weights are made.
        height: of the picture, a multiple of 64.
        width: of the picture, a multiple of 64.
    """
    if height % Z_STRIDE or width % Z_STRIDE:
        raise ShapeError(f"{height}x{width}: rooms are measured for multiples of {Z_STRIDE}")
    with torch.device("meta"):
        model = DictionaryCodec(config).eval().requires_grad_(False)
        x = torch.empty(1, 3, height, width)
        level = torch.zeros(1) if config.is_variable_rate else None
    codec, rooms = model.latent_codec, _modules(model)
    with FlopCounterMode(display=False) as counter, _counting(rooms, counter) as (macs, shapes):
        y = model.g_a(x)
        trace = codec.run(_MeanCoder(), level, y)
        model.g_s(trace.latent)
    found = []
    for key, modules in rooms.items():
        channels, *size = (sum(c for c, *_ in shapes[key]), *shapes[key][0][1:])
        parameters = sum(p.numel() for module in modules for p in module.parameters())
        if key == ("slices", "dictionary attention") and codec.dictionary is not None:
            parameters += codec.dictionary.numel()
        found.append(Room(*key, (channels, *size), height // size[0], parameters, macs[key]))
    return found


@contextmanager
def _counting(rooms: Mapping[tuple, list[nn.Module]], counter: FlopCounterMode) -> Iterator:
    """Count the multiply-accumulates and collect the output shapes of rooms while inside."""
    macs, shapes = Counter(), {key: [] for key in rooms}

    def before(key: tuple) -> Callable:
        def hook(*_) -> None:
            macs[key] -= counter.get_total_flops() // 2

        return hook

    def after(key: tuple) -> Callable:
        def hook(module: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
            macs[key] += counter.get_total_flops() // 2
            out = output[0] if isinstance(output, tuple) else output
            shapes[key].append(tuple(out.shape[1:]))

        return hook

    with ExitStack() as stack:
        for key, modules in rooms.items():
            for module in modules:
                stack.callback(module.register_forward_pre_hook(before(key)).remove)
                stack.callback(module.register_forward_hook(after(key)).remove)
        yield macs, shapes


def total_macs(rooms: Sequence[Room], parts: Sequence[str]) -> int:
    """Multiply-accumulates of some parts, for example :data:`ENCODER`."""
    return sum(room.macs for room in rooms if room.part in parts)


def measure_reach(model: DictionaryCodec, length: int = 1536) -> dict[tuple[str, str], int]:
    """How far every room sees, in pixels of the picture across, from where its part begins.

    A strip of one row of ``y`` runs through each part. The derivatives of the middle column of an
    output say which columns of the input it depends on. ``g_a`` and ``h_a`` look at the picture,
    ``h_s`` at ``z_hat``, the slices at the side information and the slices before, ``g_s`` at
    ``y_hat``. Down is like across. The middle is a corner of attention windows.

    Args:
        model: in evaluation mode, its parameters without gradient.
        length: of the strip in pixels, a multiple of 128; at least twice of what is seen.
    """
    codec, rooms = model.latent_codec, _modules(model)
    head, device = codec.slices[-1], next(model.parameters()).device

    def encode(x: Tensor) -> None:
        codec.h_a(model.g_a(x))

    def synthesise(z: Tensor) -> None:
        codec.side(z, None)

    def predict(query: Tensor) -> None:
        s = model.config.hyper_channels
        scales, means, earlier = query.split((s, s, query.shape[1] - 2 * s), dim=1)
        prediction = head(Side(scales, means), [earlier], codec.dictionary)
        head.refine(prediction, prediction.mean.detach())

    query = 2 * model.config.hyper_channels + sum(model.config.groups[:-1])
    runs = [
        (encode, ("g_a", "h_a"), (3, Y_STRIDE), 1),
        (synthesise, ("h_s",), (model.config.N, 1), Z_STRIDE),
        (predict, ("slices",), (query, 1), Y_STRIDE),
        (model.g_s, ("g_s",), (model.config.M, 1), Y_STRIDE),
    ]
    reach = {}
    for run, parts, shape, stride in runs:
        source = torch.rand(1, *shape, length // stride, device=device).requires_grad_()
        watched = {key: modules[-1] for key, modules in rooms.items() if key[0] in parts}
        with watching(watched) as seen:
            run(source)
        for key in watched:
            reach[key] = stride * columns_seen(seen[key].output, source)
    return reach


def columns_seen(output: Tensor, source: Tensor) -> int:
    """From the first to the last column of the source that the output's middle depends on."""
    middle = output[..., output.shape[-1] // 2].sum()
    (gradient,) = torch.autograd.grad(middle, source, retain_graph=True)
    columns = gradient.abs().sum((0, 1, 2)).nonzero().flatten()
    return int(columns[-1] - columns[0]) + 1


def influence(
    function: Callable[[Tensor], Tensor], x: Tensor, place: tuple[int, int], draws: int = 8
) -> Tensor:
    """How strongly each pixel moves one place of what a function makes of a picture.

    The sum over channels of squared derivatives, estimated without bias from random signs, as
    the mean over ``draws`` of ``(signs @ jacobian)**2``.

    Args:
        function: (1, C, H, W) -> (1, D, h, w).
        x: the picture, shape (1, C, H, W).
        place: row and column of the output.
        draws: one gradient each.

    Returns:
        Squared derivatives, shape (H, W).

    Reference:
        Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural
        Networks", NeurIPS 2016, arXiv:1701.04128.
    """
    x = x.clone().requires_grad_()
    values = function(x)[0, :, place[0], place[1]]
    generator = torch.Generator().manual_seed(0)
    total = x.new_zeros(x.shape[-2:])
    for _ in range(draws):
        signs = (torch.randint(0, 2, values.shape, generator=generator) * 2.0 - 1).to(values)
        (gradient,) = torch.autograd.grad(values @ signs, x, retain_graph=True)
        total += gradient.square().sum((0, 1))
    return total / draws


def rooms_table(rooms: Sequence[Room], reach: Mapping[tuple[str, str], int]) -> str:
    """Text table of rooms, with a line between the parts."""
    head = f"{'':7}{'room':24}{'output':>18}{'stride':>8}{'parameters':>12}{'GMACs':>8}{'sees':>7}"
    lines = [head]
    for room in rooms:
        shape = " x ".join(map(str, room.shape))
        lines.append(
            f"{room.part:7}{room.name:24}{shape:>18}{room.stride:8}{room.parameters:12,}"
            f"{room.macs / 1e9:8.2f}{reach[room.part, room.name]:7,}"
        )
    cuts = [i for i, (a, b) in enumerate(pairwise(rooms), 2) if a.part != b.part]
    for i in reversed(cuts):
        lines.insert(i, "")
    return "\n".join(lines)
