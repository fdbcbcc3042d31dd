"""Parts of a model switched off, one or several at a time, and what the rest then makes of it.

A part is switched off by putting a constant in place of what it hands on, with torch's forward
hooks: the model's code knows nothing of it, and the slice loop stays the only one.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dictco_lib.book.inspect.routing import Rule, rerouted, uniform
from dictco_lib.entropy.ring import LatentCodec
from dictco_lib.errors import OptionError
from dictco_lib.evaluation.bdrate import Curve
from dictco_lib.evaluation.complexity import count_macs
from dictco_lib.evaluation.estimate import estimate
from dictco_lib.evaluation.measure import estimated_rows
from dictco_lib.images import ImageData
from dictco_lib.layers.dictionary import DictionaryAttention
from dictco_lib.layers.hooks import hooked
from dictco_lib.models import DictionaryCodec
from dictco_lib.models.codec import pad_to_stride

#: What can be switched off, and what that means.
PARTS = {
    "dictionary": "nothing is read from the dictionaries; the network around them stays",
    "context": "the whole dictionary attention hands on a constant",
    "router": "every expert counts alike, everywhere",
    "LRP": "slices stay as they were rounded",
    "hyperprior": "constant side information, and no bits for z in estimates",
    "slices": "no slice sees the ones before it",
    "gains": "one step for all channels of y, and one for all of z",
}
#: Parts that have no output of their own, so that no mean can stand in for it.
WITHOUT_MEAN = ("router", "gains")
#: Name of a module of the latent codec -> mean of what it hands on, ready to be broadcast. For
#: a slice head it is the mean of what it is handed: the earlier slices.
Means = dict[str, Tensor]


def parts_of(model: DictionaryCodec) -> list[str]:
    """The names of :data:`PARTS` that a model has."""
    has_dictionary = hasattr(model.latent_codec.slices[0], "attention")
    lacks = {
        "dictionary": not has_dictionary,
        "context": not has_dictionary,
        "router": model.config.experts < 2,
        "gains": not model.config.is_variable_rate,
    }
    return [part for part in PARTS if not lacks.get(part)]


def _heads(codec: LatentCodec) -> list[str]:
    return [f"slices.{k}" for k in range(len(codec.slices))]


def _modules(codec: LatentCodec, part: str) -> list[str]:
    """Names of the modules whose outputs are what a part hands on."""
    if part == "hyperprior":
        return ["h_scale", "h_mean"]
    leaf = {"dictionary": "attention.proj", "context": "attention.fc_out", "LRP": "lrp"}.get(part)
    return [f"{head}.{leaf}" for head in _heads(codec)] if leaf else []


def _outputs(
    codec: LatentCodec, names: list[str], change: Callable[[str, Tensor], Tensor]
) -> AbstractContextManager[None]:
    """Let ``change`` see and replace the outputs of some modules while inside."""
    modules = {name: codec.get_submodule(name) for name in names}
    return hooked(modules, after=lambda name, inputs, output: change(name, output))


def _earlier(
    codec: LatentCodec, change: Callable[[str, Tensor], Tensor]
) -> AbstractContextManager[None]:
    """Let ``change`` see and replace the earlier slices that heads are handed, while inside."""

    def hook(name: str, inputs: tuple) -> tuple:
        side, earlier, dictionary = inputs
        if earlier:
            earlier = [change(name, torch.cat(earlier, dim=1))]
        return side, earlier, dictionary

    return hooked({name: codec.get_submodule(name) for name in _heads(codec)}, before=hook)


@torch.no_grad()
def mean_outputs(
    model: DictionaryCodec, images: Sequence[ImageData], qualities: Sequence[float | None]
) -> Means:
    """What the parts hand on in the mean, by channel: over images, places and qualities.

    Args:
        model: a codec in evaluation mode, with nothing switched off.
        images: of one size; best not those that will be measured.
        qualities: 0-100, or one None for a fixed-rate model.
    """
    codec, means = model.latent_codec, {}

    def keep(name: str, values: Tensor) -> Tensor:
        # The dictionary attention works on (B, H, W, C), all else on (B, C, H, W).
        is_map = not isinstance(codec.get_submodule(name), nn.Linear)
        mean = values.mean((0, 2, 3))[:, None, None] if is_map else values.mean((0, 1, 2))
        means[name] = means.get(name, 0) + mean / len(qualities)
        return values

    names = [name for part in parts_of(model) for name in _modules(codec, part)]
    x = torch.stack([image.pixels for image in images]).to(next(model.parameters()))
    with _outputs(codec, names, keep), _earlier(codec, keep):
        for quality in qualities:
            model(x, quality)
    return means


@contextlib.contextmanager
def switched_off(
    model: DictionaryCodec, parts: Collection[str], means: Means | None = None
) -> Iterator[DictionaryCodec]:
    """Switch parts off while inside; they are back afterwards, whatever happened.

    Files that are coded inside can only be decoded inside, with the same parts off.

    Args:
        model: a codec.
        parts: names from :data:`PARTS`.
        means: what stands in for the outputs of a part, from :func:`mean_outputs`; zeros if
            left out.

    Raises:
        OptionError: for a part that the model does not have.
    """
    codec = model.latent_codec
    parts = (parts,) if isinstance(parts, str) else parts
    own = parts_of(model)
    for part in parts:
        if part not in own:
            raise OptionError(
                f"model {model.config.name!r} has no part {part!r}; choose from {', '.join(own)} "
                "(dictionary, context: of members with one; router: of a mixture; gains: of a "
                "variable-rate model)"
            )
    with contextlib.ExitStack() as stack:
        stack.callback(_sealed_again, codec)
        for part in parts:
            stack.enter_context(_SWITCHES.get(part, _constant)(model, part, means))
        _sealed_again(codec)
        yield model


def _sealed_again(codec: LatentCodec) -> None:
    """Let coding follow what was hung into the modules, or changed in them, on purpose."""
    if codec.y_tables.is_filled:
        codec.seal()


def _filler(like: Tensor, mean: Tensor | None) -> Tensor:
    return torch.zeros_like(like) if mean is None else mean.to(like).expand_as(like)


def _constant(
    model: DictionaryCodec, part: str, means: Means | None
) -> AbstractContextManager[None]:
    def change(name: str, output: Tensor) -> Tensor:
        return _filler(output, means and means[name])

    return _outputs(model.latent_codec, _modules(model.latent_codec, part), change)


@contextlib.contextmanager
def _no_hyperprior(model: DictionaryCodec, part: str, means: Means | None) -> Iterator[None]:
    def free(name: str, inputs: tuple, output: tuple) -> tuple:
        return output[0], torch.ones_like(output[1])  # nobody needs z, so nobody sends it

    prior = {"z": model.latent_codec.entropy_bottleneck}
    with hooked(prior, after=free), _constant(model, part, means):
        yield


def _no_earlier_slices(
    model: DictionaryCodec, part: str, means: Means | None
) -> AbstractContextManager[None]:
    def change(name: str, earlier: Tensor) -> Tensor:
        return _filler(earlier, means and means[name])

    return _earlier(model.latent_codec, change)


def _no_router(
    model: DictionaryCodec, part: str, means: Means | None
) -> AbstractContextManager[DictionaryCodec]:
    return rerouted(model, uniform)


@contextlib.contextmanager
def _one_gain(model: DictionaryCodec, part: str, means: Means | None) -> Iterator[None]:
    codec = model.latent_codec
    rows = [*codec.gain_y.parameters(), *codec.gain_z.parameters()]  # logarithms, (lambdas, C)
    kept = [row.detach().clone() for row in rows]
    try:
        for gain in (codec.gain_y, codec.gain_z):
            both = gain.log_gain.data + gain.log_inverse.data  # stays: what follows expects it
            gain.log_gain.data.copy_(gain.log_gain.data.mean(1, keepdim=True).expand_as(both))
            gain.log_inverse.data.copy_(both - gain.log_gain.data)
        yield
    finally:
        for row, values in zip(rows, kept, strict=True):
            row.data.copy_(values)


_SWITCHES = {
    "hyperprior": _no_hyperprior,
    "slices": _no_earlier_slices,
    "router": _no_router,
    "gains": _one_gain,
}


@dataclass(frozen=True)
class Result:
    """One image through a model: ``pixels`` (H, W, 3) uint8, ``bits`` of each 16x16, ``psnr``."""

    pixels: np.ndarray
    bits: np.ndarray
    psnr: float


def reconstruct(model: DictionaryCodec, image: ImageData, quality: float | None = None) -> Result:
    """What the model as it stands makes of an image; bits are estimated.

    Bits of z are shared out among its 16 places.
    """
    (found,) = estimate(model, [image], quality)
    return Result(found.pixels, found.per_place(), found.psnr)


def rd_curves(
    model: DictionaryCodec, images: dict[str, ImageData], qualities: Sequence[float]
) -> dict[str, Curve]:
    """Image name -> curve of estimated rate and PSNR, of the model as it stands.

    Args:
        model: a variable-rate codec, whole or with parts switched off.
        images: by name, of one size.
        qualities: 0-100, one point each.
    """
    rows = [estimated_rows(model, list(images.values()), quality) for quality in qualities]
    return {
        name: Curve(name, [row[i]["bpp"] for row in rows], [row[i]["psnr-rgb"] for row in rows])
        for i, name in enumerate(images)
    }


def strongest(k: int) -> Rule:
    """Each place keeps its k largest gates; the others' part is shared out among them."""

    def rule(gates: Tensor) -> Tensor:
        values, chosen = gates.topk(k, dim=-1)
        values = values / values.sum(-1, keepdim=True)
        return torch.zeros_like(gates).scatter(-1, chosen, values)

    return rule


def sparse_attend(
    attention: DictionaryAttention, q: Tensor, entries: Tensor, gates: Tensor
) -> Tensor:
    """What :meth:`DictionaryAttention.attend` gives, without computing what a gate of 0 drops.

    Each expert gathers the places that chose it, attends, and adds its part.

    Args:
        attention: a mixture.
        q: queries, shape (B, H, W, D).
        entries: the experts' dictionaries, shape (K, N, D).
        gates: shape (B, H, W, K), mostly 0.
    """
    dim = q.shape[-1]
    values = attention.norm_dictionary(entries)
    keys = attention.to_key(values)
    split = attention.split_heads
    flat, weights = q.reshape(-1, dim), gates.reshape(-1, len(entries))
    context = torch.zeros_like(flat)
    for k in range(len(entries)):
        rows = weights[:, k].nonzero().squeeze(1)
        logits = split(flat[rows]) @ split(keys[k]).mT * attention.temperature
        part = (logits.softmax(-1) @ split(values[k])).transpose(0, 1).reshape(-1, dim)
        context.index_add_(0, rows, part * weights[rows, k, None])
    return context.view_as(q)


@contextlib.contextmanager
def sparse(model: DictionaryCodec, k: int) -> Iterator[DictionaryCodec]:
    """Each place uses its k strongest experts while inside, and only those are computed."""
    with rerouted(model, strongest(k)), contextlib.ExitStack() as stack:
        for head in model.latent_codec.slices:
            own = vars(head.attention).copy()
            head.attention.attend = functools.partial(sparse_attend, head.attention)
            if "attend" in own:  # sparse within sparse
                stack.callback(setattr, head.attention, "attend", own["attend"])
            else:
                stack.callback(delattr, head.attention, "attend")
        yield model


def macs_by_part(model: DictionaryCodec, x: Tensor, quality: float | None = None) -> dict[str, int]:
    """Multiply-accumulates of a pass through a codec, part by part, as torch counts them.

    ``dictionaries`` are the products of queries with keys and of weights with values; ``around
    the dictionaries`` is the rest of their attention. Members without dictionaries have none of
    both, and perhaps ``supports`` of their slices.

    Args:
        model: a codec.
        x: images, shape (B, 3, H, W).
        quality: 0-100 for a variable-rate model.
    """
    macs = count_macs(model, pad_to_stride(x), model.level(quality, x))
    heads = [f"latent_codec.{name}" for name in _heads(model.latent_codec)]

    def nets(*names: str) -> list[str]:
        return [f"{head}.{name}" for head in heads for name in names]

    products = macs.of(*nets("attention"), kind="bmm")  # linear layers are mm and addmm
    counts = {
        "g_a": macs.of("g_a"),
        "g_s": macs.of("g_s"),
        "hyperprior": macs.of(*(f"latent_codec.{n}" for n in ("h_a", "h_scale", "h_mean"))),
        "mean, scale and LRP nets": macs.of(*nets("mean", "scale", "lrp")),
        "supports": macs.of(*nets("mean_support", "scale_support")),
        "around the dictionaries": macs.of(*nets("attention")) - products,
        "dictionaries": products,
    }
    return {part: n for part, n in counts.items() if n}
