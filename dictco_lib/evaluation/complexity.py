"""The rooms of a codec, measured: shapes, parameters, multiply-accumulates, and how far they see.

Nothing here comes from a formula, and nothing knows one member of the family from another.
Multiply-accumulates are counted by torch's own ``FlopCounterMode`` while the modules run (on
torch's meta device: shapes without numbers), and receptive fields are read off gradients.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dictco_lib.config import Y_STRIDE, Z_STRIDE, CodecConfig
from dictco_lib.errors import ShapeError
from dictco_lib.layers.attention import WindowAttention
from dictco_lib.layers.branches import Branched
from dictco_lib.layers.hooks import first_tensor, hooked
from dictco_lib.layers.meta import on_meta
from dictco_lib.models import Codec

#: The parts that an encoder runs, and those that a decoder runs.
ENCODER, DECODER = ("g_a", "h_a", "h_s", "slices"), ("h_s", "slices", "g_s")
#: Rooms of a slice head by the names of its modules; others are called as they are.
_HEAD = {
    "attention": "dictionary attention",
    "mean_support": "support of means",
    "scale_support": "support of scales",
    "mean": "means",
    "scale": "scales",
    "lrp": "LRP",
}
_SLICES = "latent_codec.slices"


@dataclass(frozen=True)
class Room:
    """One step of a codec, or several alike.

    ``shape`` (C, H, W) is that of its output, for the rooms of the slices of all of them together.
    ``stride`` is in pixels of the image per sample. ``macs`` are multiply-accumulates of
    convolutions and matrix products, those inside attention included; normalisation, activations
    and softmax are not counted.
    """

    part: str
    name: str
    shape: tuple[int, int, int]
    stride: int
    parameters: int
    macs: int


@dataclass(frozen=True)
class Step:
    """A module that is a room or one of several alike, with the shape (C, H, W) of its output."""

    part: str
    name: str
    path: str
    shape: tuple[int, int, int]
    stride: int


class MeanCoder:
    """Coder of measurements: nothing is rounded, and the slices are their means."""

    def code_z(self, z: Tensor, medians: Tensor) -> Tensor:
        """Z as it is."""
        return z

    def code(self, k: int, y: Tensor | None, mean: Tensor, scale: Tensor) -> Tensor:
        """What was predicted."""
        return mean


class _Pass(nn.Module):
    """All that coding runs of a codec, as one call: counters name modules by their way from it."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, x: Tensor, level: Tensor | None) -> Tensor:
        y = self.codec.g_a(x)
        trace = self.codec.latent_codec.run(MeanCoder(), level, y)
        return self.codec.g_s(trace.latent)


class Macs:
    """Multiply-accumulates of one pass of a codec, by module and operator."""

    def __init__(self, counts: dict[str, dict]) -> None:
        self._counts = counts

    def of(self, *paths: str, kind: str = "") -> int:
        """Those of modules.

        Args:
            paths: of modules within the codec; of several, one inside another counts twice.
            kind: part of the name of the operators to count, such as ``bmm``; all if left out.
        """
        found = (self._counts.get(f"{_Pass.__name__}.codec.{path}", {}) for path in paths)
        return sum(n for ops in found for op, n in ops.items() if kind in str(op)) // 2


@torch.no_grad()
def count_macs(model: Codec, x: Tensor, level: Tensor | None) -> Macs:
    """Let a codec analyse, predict all slices and synthesise, and count.

    Args:
        model: any member, in evaluation mode; on the meta device it costs nothing.
        x: images, shape (B, 3, H, W), H and W multiples of 64.
        level: position between the lambda anchors, shape (B,); None for a fixed rate.
    """
    with FlopCounterMode(display=False) as counter:
        _Pass(model)(x, level)
    return Macs(counter.get_flop_counts())


def outline(config: CodecConfig, page: object = None) -> Codec:
    """A model of this shape on the meta device: no memory is taken, whatever its size.

    Args:
        config: the shape of any member of the family.
        page: networks of your own, see :class:`~dictco_lib.models.Codec`.
    """
    with on_meta():
        model = Codec(config, page)
    return model.to("meta").eval().requires_grad_(False)  # constants of GDN are made on the CPU


def measure_rooms(config: CodecConfig, height: int = 512, width: int = 768) -> list[Room]:
    """Every room of a model of this shape, for an image of this size.

    Args:
        config: the shape of any member of the family; no weights are made.
        height: of the image, a multiple of 64.
        width: of the image, a multiple of 64.
    """
    return rooms_of(outline(config), height, width)


def rooms_of(model: Codec, height: int = 512, width: int = 768) -> list[Room]:
    """The same, of a model that is there already, such as an :func:`outline`.

    Networks of your own are measured alike: a room is named by what it does to the stride, or, in
    a head, as its module is called there.
    """
    steps, macs = _measured(model, height, width)
    return _joined(model, steps, macs)


def steps_of(model: Codec) -> list[Step]:
    """The modules that are rooms, or belong to one, in the order of the data."""
    return _measured(model, Z_STRIDE, Z_STRIDE)[0]


def _measured(model: Codec, height: int, width: int) -> tuple[list[Step], Macs]:
    if height % Z_STRIDE or width % Z_STRIDE:
        raise ShapeError(f"{height}x{width}: rooms are measured for multiples of {Z_STRIDE}")
    shapes: dict[str, tuple[int, ...]] = {}

    def note(path: str, inputs: tuple, output: Tensor | tuple) -> None:
        shapes[path] = tuple(first_tensor(output).shape[1:])

    modules = {path: model.get_submodule(path) for _, _, path in _modules(model)}
    x = next(model.parameters()).new_zeros(1, 3, height, width)
    level = x.new_zeros(1) if model.config.is_variable_rate else None
    with hooked(modules, after=note):
        macs = count_macs(model, x, level)
    return _steps(model, shapes, height), macs


def _joined(model: Codec, steps: Sequence[Step], macs: Macs) -> list[Room]:
    """Rooms of the steps; those of a part with one name are one room."""
    rooms: dict[tuple[str, str], list[Step]] = defaultdict(list)
    for step in steps:
        rooms[step.part, step.name].append(step)
    found = []
    for (part, name), alike in rooms.items():
        modules = [model.get_submodule(step.path) for step in alike]
        parameters = sum(p.numel() for module in modules for p in module.parameters())
        dictionary = model.latent_codec.dictionary
        if name == _HEAD["attention"] and dictionary is not None:
            parameters += dictionary.numel()
        channels, *size = alike[-1].shape
        if part == "slices":
            channels = sum(step.shape[0] for step in alike)
        counted = macs.of(*(step.path for step in alike))
        found.append(Room(part, name, (channels, *size), alike[-1].stride, parameters, counted))
    return found


def _modules(model: Codec) -> Iterator[tuple[str, str, str]]:
    """Part, name and path of every module that is a step, in the order of the data.

    What a step of a transform is called depends on shapes: see :func:`_steps`.
    """
    yield from _transform(model, "g_a")
    yield "h_a", "y to z", "latent_codec.h_a"
    yield "h_s", "z to side, for scales", "latent_codec.h_scale"
    yield "h_s", "z to side, for means", "latent_codec.h_mean"
    heads = model.latent_codec.slices
    for net in dict.fromkeys(name for head in heads for name, _ in head.named_children()):
        for k, head in enumerate(heads):
            if not isinstance(getattr(head, net, nn.Identity()), nn.Identity):
                yield "slices", _HEAD.get(net, net), f"{_SLICES}.{k}.{net}"
    yield from _transform(model, "g_s")


def _transform(model: Codec, part: str) -> Iterator[tuple[str, str, str]]:
    transform = getattr(model, part)
    if isinstance(transform, Branched):
        yield from _chain(part, f"{part}.main", transform.main)
        for i in range(len(transform.branch)):
            yield part, "side branch", f"{part}.branch.{i}"
    elif isinstance(transform, nn.Sequential):
        yield from _chain(part, part, transform)
    else:
        yield part, "", part


def _chain(part: str, path: str, layers: nn.Sequential) -> Iterator[tuple[str, str, str]]:
    for i, layer in layers.named_children():
        if not isinstance(layer, nn.Identity):
            yield part, "", f"{path}.{i}"


def _steps(model: Codec, shapes: dict[str, tuple[int, ...]], height: int) -> list[Step]:
    """The steps with their shapes, those of transforms named by what they do to the stride."""
    found = []
    strides = {"g_a": 1, "g_s": Y_STRIDE}  # where the transforms begin
    for part, name, path in _modules(model):
        stride = height // shapes[path][1]
        if not name:
            verb = {"g_a": "down to", "g_s": "up to"}[part]
            if stride == strides[part]:
                layers = model.get_submodule(path).modules()
                looks = any(isinstance(layer, WindowAttention) for layer in layers)
                verb = "attention at" if looks else "layers at"
            strides[part] = stride
            name = f"{verb} 1/{stride}"
        found.append(Step(part, name, path, shapes[path], stride))
    return found


def total_macs(rooms: Sequence[Room], parts: Sequence[str]) -> int:
    """Multiply-accumulates of some parts, for example :data:`ENCODER`."""
    return sum(room.macs for room in rooms if room.part in parts)
